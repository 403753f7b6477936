// Package deliver makes one attempt to bring a message to one destination, or to
// several of one kind together.
//
// It knows nothing of queues and schedules: what it returns says whether the
// destination has the message, and the caller decides what follows. An error
// that nobody has classified is temporary (package status).
//
// Into a Maildir there are two ways. The direct one (Local.Begin) writes the
// letter while it arrives, and its sender waits: nothing is remembered, and a
// crash before the answer may leave a copy that the sender sends again (RFC
// 1047). The other one (Local.Maildirs) is for messages in the queue and
// delivers exactly once, by a journal:
//
//  1. tmp/X is written and synced, and so is the name of it;
//  2. the journal says `placed X`, durably;
//  3. X is renamed into new/, and that name synced;
//  4. the journal says `delivered` (by the caller).
//
// After a crash, `placed` without `delivered` and tmp/X there: go on at 3. Not
// there: the rename had happened, and readers may have moved the letter on.
package deliver

import (
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"path/filepath"
	"time"

	"postbag/internal/address"
	"postbag/internal/durable"
	"postbag/internal/maildir"
	"postbag/internal/quota"
	"postbag/internal/status"
)

// A Mailbox is a Maildir and the address whose mail it takes.
type Mailbox struct {
	Dir     string
	Address address.Address // final: aliases, routes and subaddress are behind it
	UID     int             // of the account; -1: it has none, and the Maildir is this process's
	GID     int             // of the account; -1: the first group of its uid
	Shared  bool            // no account's: an alias or a route leads there
	Sender  address.Address // reverse-path of list mail; zero: the letter's
	Junk    bool            // its folder .Junk
}

// Local delivers into Maildirs of this host.
type Local struct {
	FS       *durable.FS
	Hostname string           // in the names of letters
	Trusted  string           // directory in which root makes Maildirs for accounts; "": none
	Quota    quota.Limit      // of each account; the zero value leaves it to the account's own (package quota)
	Now      func() time.Time // nil: time.Now

	free free
}

func (l *Local) now() time.Time {
	if l.Now == nil {
		return time.Now()
	}
	return l.Now()
}

// A Letter is on its way into a Mailbox. It is for one goroutine at a time.
type Letter struct {
	*maildir.Letter
	fs    *durable.FS
	who   durable.Owner
	box   Mailbox
	loop  loopFinder
	quota *quota.Quota // nil: its account keeps none
}

// Begin starts a letter from the reverse-path from, with the fields of final
// delivery. What is written to it then is the message in disk form. The Maildir
// is made if it is not there.
func (l *Local) Begin(ctx context.Context, box Mailbox, from address.Address) (*Letter, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	who, err := l.owner(box)
	if err != nil {
		return nil, err
	}
	fs, err := l.as(who)
	if err != nil {
		return nil, err
	}
	unique := maildir.Unique(l.now(), l.Hostname)
	m, err := maildir.Begin(fs, box.dir(), unique)
	if errors.Is(err, iofs.ErrNotExist) {
		if err := l.make(fs, who, box); err != nil {
			return nil, err
		}
		m, err = maildir.Begin(fs, box.dir(), unique)
	}
	if err != nil {
		return nil, err
	}
	if !from.IsNull() && !box.Sender.IsNull() {
		from = box.Sender
	}
	letter := &Letter{
		Letter: m, fs: fs, who: who, box: box, loop: loopFinder{address: box.Address.String()},
		quota: l.quotaOf(fs, box),
	}
	if _, err := m.Write(finalFields(from, box.Address)); err != nil {
		m.Discard()
		return nil, err
	}
	return letter, nil
}

// dir is where the letter goes.
func (b Mailbox) dir() string {
	if b.Junk {
		return filepath.Join(b.Dir, ".Junk")
	}
	return b.Dir
}

// make makes the Maildir, and the folder in it; fs is that of who.
func (l *Local) make(fs *durable.FS, who durable.Owner, box Mailbox) error {
	trusted := l.Trusted
	if box.Shared { // an alias gives nobody a Maildir of an account
		trusted = ""
	}
	if err := maildir.InitFor(l.FS, who, box.Dir, trusted); err != nil || !box.Junk {
		return err
	}
	err := fs.MkdirAll(box.dir(), 0o700)
	if err == nil { // the mark by which other programs know a folder
		err = fs.WriteFile(filepath.Join(box.dir(), "maildirfolder"), nil, 0o600)
	}
	if err != nil {
		return fmt.Errorf("make folder %s: %w", box.dir(), err)
	}
	return maildir.Init(fs, box.dir(), 0o700)
}

// finalFields are what the last host adds, RFC 5321 section 4.4. Delivered-To
// is what a loop is found by.
func finalFields(from, to address.Address) []byte {
	b := make([]byte, 0, 256)
	b = append(b, "Return-Path: <"...)
	b = append(b, from.String()...)
	b = append(b, ">\nDelivered-To: "...)
	b = append(b, to.String()...)
	return append(b, '\n')
}

// Write takes the next octets of the message.
func (l *Letter) Write(p []byte) (int, error) {
	l.loop.look(p)
	return l.Letter.Write(p)
}

// Sync makes the letter durable in tmp/. A letter that has been here before is
// refused for good, one that its mailbox has no room for until there is room.
func (l *Letter) Sync() error {
	if l.loop.found {
		return status.Perm("deliver to "+l.box.Address.String(), "5.4.6", "mail forwarding loop",
			errors.New("it has a Delivered-To field of this address"))
	}
	if l.quota != nil {
		if err := l.quota.Check(quota.Usage{Bytes: l.Size(), Letters: 1}); err != nil {
			return err
		}
	}
	return l.Letter.Sync(time.Time{})
}

// Commit goes from synced to placed to durably placed. When it returns nil the
// letter is in the Maildir for good; after an error it is not there.
func (l *Letter) Commit(ctx context.Context) error {
	if _, err := l.Place(ctx, "new", ""); err != nil {
		return err
	}
	return l.settle()
}

// settle makes the place of the letter durable, and notes what it takes.
func (l *Letter) settle() error {
	size := l.Size()
	if err := l.SyncDir(); err != nil {
		return err
	}
	if l.quota != nil {
		l.quota.Note(quota.Usage{Bytes: size, Letters: 1})
	}
	return nil
}
