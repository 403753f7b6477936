package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"postbag/internal/mailtest"
)

// A postfix is an instance with its own configuration, queue and Maildirs.
type postfix struct {
	mailtest.PostfixSetup
	addr string
	pid  int
}

// benchMain are settings of all of them.
const benchMain = `myhostname = mx.` + domain + `
smtp_tls_security_level = none
smtpd_tls_security_level = none
smtpd_relay_restrictions = permit_mynetworks, reject
`

// localMain are those for letters into Maildirs.
const localMain = `virtual_mailbox_domains = ` + domain + `
virtual_mailbox_maps = texthash:DIR/etc/boxes
default_transport = error:no such domain here
`

// newPostfix starts Postfix for the receive figure.
func (b *bench) newPostfix() (*mailServer, error) {
	var boxes strings.Builder
	for _, account := range b.accounts() {
		fmt.Fprintf(&boxes, "%s@%s %s/\n", account, domain, account)
	}
	p, err := b.startPostfix("postfix", localMain, map[string]string{"boxes": boxes.String()})
	if err != nil {
		return nil, err
	}
	return &mailServer{
		b: b, title: "Postfix", addr: p.addr, pid: p.pid, own: p.Own, done: p.Idle,
		maildir: func(account string) string { return filepath.Join(p.Dir, "mail", account) },
	}, nil
}

// startPostfix starts an instance until the bench ends, with settings and tables
// of its own.
func (b *bench) startPostfix(name, main string, tables map[string]string) (*postfix, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	p := &postfix{addr: "127.0.0.1:" + port, PostfixSetup: mailtest.PostfixSetup{
		Dir: filepath.Join(b.dir, name), Owner: "nobody", Main: benchMain + main,
		Services: []string{"127.0.0.1:" + port + " inet n - n - - smtpd"},
	}}
	if err := os.MkdirAll(filepath.Join(p.Dir, "etc"), 0o755); err != nil {
		return nil, err
	}
	for name, text := range tables {
		if err := os.WriteFile(filepath.Join(p.Dir, "etc", name), []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	if err := p.Start(); err != nil {
		return nil, err
	}
	b.atEnd(p.Stop)
	p.pid, err = readPID(filepath.Join(p.Dir, "spool/pid/master.pid"))
	return p, err
}
