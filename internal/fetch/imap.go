package fetch

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"postbag/internal/maildir"
	"postbag/internal/status"
)

// An imapBox is an IMAP session.
type imapBox struct {
	conn    *watchedConn
	c       *imapclient.Client
	changed chan struct{} // the server has told of something in a folder
	folders int           // that are fetched

	attended *attendants // nil: none
}

func (r *run) connectIMAP() (mailbox, error) {
	conn, err := r.dial()
	if err != nil {
		return nil, err
	}
	if r.mode() == TLSStart {
		secure, err := r.startTLS(conn)
		if err != nil {
			conn.Close()
			return nil, err
		}
		conn = secure
	}
	box := &imapBox{conn: &watchedConn{Conn: conn, timeout: r.timeout()}, changed: make(chan struct{}, 1)}
	if err := r.openIMAP(box); err != nil {
		box.abort()
		return nil, err
	}
	return box, nil
}

// wait awaits answers while do runs.
func (b *imapBox) wait(do func() error) error {
	b.conn.await(true)
	defer b.conn.await(false)
	return do()
}

// openIMAP waits for the greeting and logs in.
func (r *run) openIMAP(b *imapBox) error {
	err := b.wait(func() error {
		b.c = imapclient.New(b.conn, &imapclient.Options{UnilateralDataHandler: b.news()})
		return b.failed(r, "connect to", b.c.WaitGreeting())
	})
	if err != nil {
		return err
	}
	if b.c.State() != imap.ConnStateNotAuthenticated { // PREAUTH, over TLS or without it as was asked for
		return nil
	}
	password, err := r.Password(r.ctx)
	if err != nil {
		return err
	}
	return b.wait(func() error { return r.loginIMAP(b, password) })
}

func (r *run) loginIMAP(b *imapBox, password string) error {
	caps := b.c.Caps()
	mechanism, err := r.chooseMechanism(caps.AuthMechanisms(), !caps.Has(imap.CapLoginDisabled))
	if err != nil {
		return err
	}
	if mechanism == "" {
		return b.refused(r, b.c.Login(r.Source.User, password).Wait())
	}
	client, err := r.saslClient(mechanism, password)
	if err != nil {
		return err
	}
	b.conn.login(true)
	err = b.c.Authenticate(client)
	b.conn.login(false)
	if err != nil {
		return b.refused(r, err)
	}
	return r.verified(client)
}

// refused gives a refused login the exit code 77, unless the server says
// that the password is not what it minds (RFC 5530 section 3).
func (b *imapBox) refused(r *run, err error) error {
	var e *imap.Error
	if !errors.As(err, &e) {
		return b.failed(r, "login to", err)
	}
	switch e.Code {
	case imap.ResponseCodeUnavailable, imap.ResponseCodeInUse, imap.ResponseCodeLimit, imap.ResponseCodeServerBug, imap.ResponseCodeContactAdmin:
		return status.Exit(status.ExTempFail, r.op("login to"), said(e))
	}
	return status.Exit(status.ExNoPerm, r.op("login to"), said(e))
}

// failed classifies an error by what happened to the connection, if anything.
func (b *imapBox) failed(r *run, what string, err error) error {
	if cause := b.conn.cause(); err != nil && cause != nil && !badCertificate(err) {
		err = cause
	}
	return r.failed(what, err)
}

// said is a server's refusal, fit for a terminal.
func said(e *imap.Error) error {
	text := strings.Map(func(c rune) rune {
		if isControl(c) {
			return '?'
		}
		return c
	}, e.Text)
	return fmt.Errorf("server says: %s", text)
}

// command classifies the end of a command that is not a login.
func (b *imapBox) command(r *run, what string, err error) error {
	var e *imap.Error
	if errors.As(err, &e) {
		return status.Exit(status.ExUnavailable, r.op(what), said(e))
	}
	return b.failed(r, what, err)
}

// An imapFolder is a folder on the server, and where its letters go.
type imapFolder struct{ name, local string }

// list lists what is to be fetched.
func (b *imapBox) list(r *run) ([]imapFolder, error) {
	if len(r.Folders) == 0 {
		return []imapFolder{{name: r.Source.Folder}}, nil
	}
	found := map[string]imapFolder{}
	for _, pattern := range r.Folders {
		list, err := b.c.List("", pattern, nil).Collect()
		if err != nil {
			return nil, b.command(r, "list folders of", err)
		}
		for _, d := range list {
			if !slices.Contains(d.Attrs, imap.MailboxAttrNoSelect) && !slices.Contains(d.Attrs, imap.MailboxAttrNonExistent) {
				found[d.Mailbox] = imapFolder{d.Mailbox, localFolder(d.Mailbox, d.Delim)}
			}
		}
	}
	var all []imapFolder
	for _, f := range found {
		all = append(all, f)
	}
	if len(all) == 0 {
		return nil, status.Exit(status.ExUnavailable, r.op("list folders of"), fmt.Errorf("no folder matches %q", r.Folders))
	}
	slices.SortFunc(all, func(a, b imapFolder) int { return strings.Compare(a.name, b.name) })
	return all, nil
}

// localFolder is the Maildir++ folder for one on the server.
func localFolder(name string, delim rune) string {
	if strings.EqualFold(name, "INBOX") {
		return ""
	}
	if delim == 0 {
		return maildir.Join(name)
	}
	return maildir.Join(strings.Split(name, string(delim))...)
}

func (b *imapBox) fetch(r *run) error {
	var folders []imapFolder
	err := b.wait(func() (err error) {
		folders, err = b.list(r)
		return err
	})
	if err != nil {
		return err
	}
	b.folders = len(folders)
	// The inbox comes last: it stays open, and is the one that IDLE is about.
	slices.SortStableFunc(folders, func(a, c imapFolder) int { return compareBool(a.local == "", c.local == "") })
	for _, f := range folders {
		if err := b.fetchFolder(r, f); err != nil {
			return err
		}
	}
	b.attend(r, folders)
	return nil
}

// compareBool puts false before true.
func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// close logs out. What was deleted is deleted, so that an error here is none.
func (b *imapBox) close(*run) error {
	b.attended.end()
	b.wait(func() error { return b.c.Logout().Wait() })
	b.abort()
	return nil
}

func (b *imapBox) abort() {
	b.attended.end()
	b.conn.Close()
	if b.c != nil {
		b.c.Close()
	}
}
