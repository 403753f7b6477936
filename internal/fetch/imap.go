package fetch

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"postbag/internal/fetchlog"
	"postbag/internal/maildir"
	"postbag/internal/status"
)

// An imapBox is an IMAP session.
type imapBox struct {
	conn *watchedConn
	c    *imapclient.Client
}

func (r *run) connectIMAP() (mailbox, error) {
	conn, err := r.dial()
	if err != nil {
		return nil, err
	}
	box := &imapBox{conn: &watchedConn{Conn: conn, timeout: r.timeout()}}
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

// openIMAP makes the session secret and logs in.
func (r *run) openIMAP(b *imapBox) error {
	err := b.wait(func() error {
		options := &imapclient.Options{TLSConfig: r.tlsConfig()}
		if r.mode() == TLSStart {
			return r.startIMAP(b, options)
		}
		b.c = imapclient.New(b.conn, options)
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

func (r *run) startIMAP(b *imapBox, options *imapclient.Options) (err error) {
	b.c, err = imapclient.NewStartTLS(b.conn, options)
	var refused *imap.Error
	if errors.As(err, &refused) {
		return r.noTLS("STARTTLS")
	}
	return b.failed(r, "TLS with", err)
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
	if err := b.c.Authenticate(client); err != nil {
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

// folders lists what is to be fetched.
func (b *imapBox) folders(r *run) ([]imapFolder, error) {
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
		folders, err = b.folders(r)
		return err
	})
	if err != nil {
		return err
	}
	for _, f := range folders {
		if err := b.fetchFolder(r, f); err != nil {
			return err
		}
	}
	return nil
}

func (b *imapBox) fetchFolder(r *run, f imapFolder) error {
	var uids []imap.UID
	var validity uint32
	err := b.wait(func() (err error) {
		validity, uids, err = b.open(r, f.name)
		return err
	})
	if err != nil {
		return err
	}
	folder, renewed, err := r.log.Folder(f.name, validity)
	if err != nil {
		return localError("journal", err)
	}
	if renewed {
		r.warn("folder %s has a new UIDVALIDITY; its letters are looked at again", f.name)
	}
	fresh, left, err := b.sortOut(r, folder, f, uids)
	if err != nil {
		return err
	}
	r.report(Event{Kind: Began, Folder: f.name, Total: len(fresh)})
	for batch := range batches(fresh) {
		if err := b.fetchBatch(r, batch); err != nil {
			return err
		}
	}
	if r.Delete && len(left) > 0 {
		return b.remove(r, left)
	}
	return nil
}

// open selects a folder, for reading only if nothing is to be deleted, and
// lists its letters.
func (b *imapBox) open(r *run, name string) (validity uint32, uids []imap.UID, err error) {
	data, err := b.c.Select(name, &imap.SelectOptions{ReadOnly: !r.Delete}).Wait()
	if err != nil {
		return 0, nil, b.command(r, "open folder "+strconv.Quote(name)+" of", err)
	}
	if data.NumMessages == 0 {
		return data.UIDValidity, nil, nil
	}
	var options *imap.SearchOptions
	if b.c.Caps().Has(imap.CapESearch) { // ranges, not a number for each letter
		options = &imap.SearchOptions{ReturnAll: true}
	}
	found, err := b.c.UIDSearch(&imap.SearchCriteria{}, options).Wait()
	if err != nil {
		return 0, nil, b.command(r, "search folder "+strconv.Quote(name)+" of", err)
	}
	return data.UIDValidity, found.AllUIDs(), nil
}

// sortOut tells letters that are new from those that were delivered before.
func (b *imapBox) sortOut(r *run, folder *fetchlog.Folder, f imapFolder, uids []imap.UID) (fresh, left []letter, err error) {
	var wanted []imap.UID
	present := map[string]bool{}
	for _, uid := range uids {
		key := uidKey(uid)
		present[key] = true
		if folder.Done(key) {
			left = append(left, letter{folder: folder, key: key})
		} else {
			wanted = append(wanted, uid)
		}
	}
	r.sum.Known += len(left)
	if err := r.gone(folder, present); err != nil {
		return nil, nil, localError("journal", err)
	}
	slices.Sort(wanted)
	for part := range slices.Chunk(wanted, 500) {
		err := b.wait(func() error {
			list, err := b.c.Fetch(imap.UIDSetNum(part...), &imap.FetchOptions{UID: true, Flags: true, InternalDate: true, RFC822Size: true}).Collect()
			for _, m := range list {
				if m.UID == 0 || !slices.Contains(part, m.UID) {
					continue // the server tells of another letter's flags
				}
				fresh = append(fresh, letter{folder: folder, key: uidKey(m.UID), local: f.local,
					flags: maildirFlags(m.Flags), internal: m.InternalDate, size: m.RFC822Size})
			}
			return b.command(r, "fetch from", err)
		})
		if err != nil {
			return nil, nil, err
		}
	}
	return fresh, left, nil
}

func uidKey(uid imap.UID) string { return strconv.FormatUint(uint64(uid), 10) }

func keyUIDs(letters []letter) imap.UIDSet {
	var set imap.UIDSet
	for _, l := range letters {
		n, _ := strconv.ParseUint(l.key, 10, 32) // made by uidKey
		set.AddNum(imap.UID(n))
	}
	return set
}

// maildirFlags gives flags as letters of a file name, in ASCII order.
func maildirFlags(flags []imap.Flag) string {
	letters := map[string]byte{`\draft`: 'D', `\flagged`: 'F', `$forwarded`: 'P', `\answered`: 'R', `\seen`: 'S', `\deleted`: 'T'}
	var out []byte
	for _, f := range flags {
		if c, ok := letters[strings.ToLower(string(f))]; ok {
			out = append(out, c)
		}
	}
	slices.Sort(out)
	return string(slices.Compact(out))
}

// fetchBatch gets the letters of a batch and delivers them.
func (b *imapBox) fetchBatch(r *run, batch []letter) error {
	byKey := map[string]letter{}
	for _, l := range batch {
		byKey[l.key] = l
	}
	err := b.wait(func() error {
		section := &imap.FetchItemBodySection{Peek: true}
		cmd := b.c.Fetch(keyUIDs(batch), &imap.FetchOptions{UID: true, BodySection: []*imap.FetchItemBodySection{section}})
		for {
			m := cmd.Next()
			if m == nil {
				return b.command(r, "fetch from", cmd.Close())
			}
			if err := r.takeMessage(m, byKey); err != nil {
				b.abort() // the rest of the answers is not to be waited for
				return err
			}
		}
	})
	if ferr := r.flush(b); err == nil {
		err = ferr
	}
	return err
}

// takeMessage puts the letter of one FETCH response. Its UID commonly comes
// before its text; where it does not, the text waits in a file.
func (r *run) takeMessage(m *imapclient.FetchMessageData, byKey map[string]letter) error {
	var key string
	var early *staged
	for {
		item := m.Next()
		switch item := item.(type) {
		case nil:
			if early == nil {
				return nil
			}
			defer early.Close()
			return r.putOnce(byKey, key, early)
		case imapclient.FetchItemDataUID:
			key = uidKey(item.UID)
		case imapclient.FetchItemDataBodySection:
			if item.Literal == nil {
				r.warn("server gives no text of letter %s", key)
				continue
			}
			text := &exact{r: item.Literal, left: item.Literal.Size()}
			if key != "" {
				if err := r.putOnce(byKey, key, text); err != nil {
					return r.failed("fetch from", err)
				}
				continue
			}
			var err error
			if early, err = r.stage(text); err != nil {
				return r.failed("fetch from", err)
			}
		}
	}
}

// putOnce puts a letter that was asked for, once.
func (r *run) putOnce(byKey map[string]letter, key string, text io.Reader) error {
	l, ok := byKey[key]
	if !ok {
		return nil
	}
	delete(byKey, key)
	return r.put(l, text)
}

// An exact reader makes a literal that ends early an error.
type exact struct {
	r    io.Reader
	left int64
}

func (e *exact) Read(p []byte) (int, error) {
	n, err := e.r.Read(p)
	e.left -= int64(n)
	if err == io.EOF && e.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// remove deletes letters, and no others: without UIDPLUS, letters that somebody
// else has marked would go too.
func (b *imapBox) remove(r *run, done []letter) error {
	return b.wait(func() error {
		for part := range slices.Chunk(done, 500) {
			if err := b.removeSome(r, part); err != nil {
				return err
			}
		}
		return nil
	})
}

func (b *imapBox) removeSome(r *run, done []letter) error {
	set := keyUIDs(done)
	flags := &imap.StoreFlags{Op: imap.StoreFlagsAdd, Silent: true, Flags: []imap.Flag{imap.FlagDeleted}}
	if err := b.c.Store(set, flags, nil).Close(); err != nil {
		return b.command(r, "delete on", err)
	}
	caps := b.c.Caps()
	var err error
	switch {
	case caps.Has(imap.CapUIDPlus), caps.Has(imap.CapIMAP4rev2):
		err = b.c.UIDExpunge(set).Close()
	default:
		var others bool
		if others, err = b.othersMarked(set); others {
			r.warn("server has no UIDPLUS, and others have marked letters as deleted: ours are marked, too, but not expunged")
			return nil
		}
		if err == nil {
			err = b.c.Expunge().Close()
		}
	}
	if err != nil {
		return b.command(r, "delete on", err)
	}
	r.deleted(done)
	return nil
}

// othersMarked reports whether letters are marked as deleted that are not ours.
func (b *imapBox) othersMarked(ours imap.UIDSet) (bool, error) {
	found, err := b.c.UIDSearch(&imap.SearchCriteria{Flag: []imap.Flag{imap.FlagDeleted}}, nil).Wait()
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(found.AllUIDs(), func(u imap.UID) bool { return !ours.Contains(u) }), nil
}

// close logs out. What was deleted is deleted, so that an error here is none.
func (b *imapBox) close(*run) error {
	b.wait(func() error { return b.c.Logout().Wait() })
	b.abort()
	return nil
}

func (b *imapBox) abort() {
	b.conn.Close()
	if b.c != nil {
		b.c.Close()
	}
}
