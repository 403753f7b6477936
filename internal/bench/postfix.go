package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// The settings of a Postfix of our own. What is not set is Postfix's default;
// files of the queue and of Maildirs are synced.
const postfixConfig = `compatibility_level = 3.6
queue_directory = ROOT/spool
data_directory = ROOT/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
myhostname = mx.DOMAIN
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
disable_dns_lookups = yes
smtp_host_lookup = native
smtp_tls_security_level = none
smtpd_tls_security_level = none
biff = no
alias_maps =
alias_database =
smtpd_relay_restrictions = permit_mynetworks, reject
virtual_mailbox_domains = DOMAIN
virtual_mailbox_base = ROOT/mail
virtual_mailbox_maps = texthash:ROOT/etc/boxes
default_transport = error:no such domain here
virtual_uid_maps = static:UID
virtual_gid_maps = static:GID
maillog_file = ROOT/log
maillog_file_prefixes = ROOT
`

var (
	inetLine   = regexp.MustCompile(`(?m)^smtp +inet .*`)
	chrootLine = regexp.MustCompile(`(?m)^([a-z]+ +unix +[-yn] +[-yn] +)y`)
)

// A postfix is an instance with its own configuration, queue and Maildirs.
type postfix struct {
	root, addr string
	pid        int
	owner      *user.User // of the Maildirs
}

// newPostfix starts Postfix for the receive figure.
func (b *bench) newPostfix() (*mailServer, error) {
	p, err := b.startPostfix("")
	if err != nil {
		return nil, err
	}
	return &mailServer{
		b: b, title: "Postfix", addr: p.addr, pid: p.pid, own: p.own, done: p.idle,
		maildir: func(account string) string { return filepath.Join(p.root, "mail", account) },
	}, nil
}

// startPostfix starts an instance until the bench ends; more is appended to its
// settings.
func (b *bench) startPostfix(more string) (*postfix, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("not root")
	}
	if _, err := exec.LookPath("postfix"); err != nil {
		return nil, err
	}
	p := &postfix{root: filepath.Join(b.dir, "postfix")}
	if err := p.prepare(b, more); err != nil {
		return nil, err
	}
	if out, err := p.postfix("start"); err != nil {
		return nil, fmt.Errorf("start: %w: %s", err, out)
	}
	b.atEnd(func() { p.postfix("stop") })
	var err error
	p.pid, err = readPID(filepath.Join(p.root, "spool/pid/master.pid"))
	return p, err
}

func (p *postfix) postfix(what string) ([]byte, error) {
	return exec.Command("postfix", "-c", filepath.Join(p.root, "etc"), what).CombinedOutput()
}

// prepare makes directories and configuration, from those of the package.
func (p *postfix) prepare(b *bench, more string) (err error) {
	owner, err := user.Lookup("postfix")
	if err != nil {
		return err
	}
	if p.owner, err = user.Lookup("nobody"); err != nil {
		return err
	}
	for _, sub := range []string{"etc", "spool", "data", "mail"} {
		if err := os.MkdirAll(filepath.Join(p.root, sub), 0o755); err != nil {
			return err
		}
	}
	if err := errors.Join(chown(filepath.Join(p.root, "data"), owner), p.own(filepath.Join(p.root, "mail"))); err != nil {
		return err
	}
	main := strings.NewReplacer("ROOT", p.root, "DOMAIN", domain, "UID", p.owner.Uid, "GID", p.owner.Gid).Replace(postfixConfig) + more
	if err := os.WriteFile(filepath.Join(p.root, "etc/main.cf"), []byte(main), 0o644); err != nil {
		return err
	}
	var boxes strings.Builder
	for _, account := range b.accounts() {
		fmt.Fprintf(&boxes, "%s@%s %s/\n", account, domain, account)
	}
	if err := os.WriteFile(filepath.Join(p.root, "etc/boxes"), []byte(boxes.String()), 0o644); err != nil {
		return err
	}
	return p.writeMaster()
}

// writeMaster takes the package's master.cf, without chroot, on a free port.
func (p *postfix) writeMaster() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	p.addr = l.Addr().String()
	l.Close()
	text, err := os.ReadFile("/etc/postfix/master.cf")
	if err != nil {
		return err
	}
	master := inetLine.ReplaceAllString(string(text), p.addr+" inet n - n - - smtpd")
	master = chrootLine.ReplaceAllString(master, "${1}n")
	if !strings.Contains(master, "\npostlog") {
		master += "postlog unix-dgram n - n - 1 postlogd\n"
	}
	return os.WriteFile(filepath.Join(p.root, "etc/master.cf"), []byte(master), 0o644)
}

func (p *postfix) own(path string) error { return chown(path, p.owner) }

func chown(path string, u *user.User) error {
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	return os.Chown(path, uid, gid)
}

// idle says that nothing is in the queue.
func (p *postfix) idle() bool {
	for _, sub := range []string{"maildrop", "incoming", "active", "deferred"} {
		empty := true
		filepath.WalkDir(filepath.Join(p.root, "spool", sub), func(_ string, d os.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				empty = false
				return filepath.SkipAll
			}
			return nil
		})
		if !empty {
			return false
		}
	}
	return true
}
