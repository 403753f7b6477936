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
	"os"
	"time"

	"postbag/internal/address"
	"postbag/internal/durable"
	"postbag/internal/maildir"
	"postbag/internal/status"
)

// A Mailbox is a Maildir and the address whose mail it takes.
type Mailbox struct {
	Dir     string
	Address address.Address // final: aliases, routes and subaddress are behind it
	UID     int             // owner of the Maildir; -1 is this process's
}

// Local delivers into Maildirs of this host.
type Local struct {
	FS       *durable.FS
	Hostname string           // in the names of letters
	Now      func() time.Time // nil: time.Now
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
	box  Mailbox
	loop loopFinder
}

// Begin starts a letter from the reverse-path from, with the fields of final
// delivery. What is written to it then is the message in disk form. The Maildir
// is made if it is not there.
func (l *Local) Begin(ctx context.Context, box Mailbox, from address.Address) (*Letter, error) {
	if err := l.mayWrite(ctx, box); err != nil {
		return nil, err
	}
	unique := maildir.Unique(l.now(), l.Hostname)
	m, err := maildir.Begin(l.FS, box.Dir, unique)
	if errors.Is(err, iofs.ErrNotExist) {
		if err := maildir.Init(l.FS, box.Dir, 0o700); err != nil {
			return nil, err
		}
		m, err = maildir.Begin(l.FS, box.Dir, unique)
	}
	if err != nil {
		return nil, err
	}
	letter := &Letter{Letter: m, box: box, loop: loopFinder{address: box.Address.String()}}
	if _, err := m.Write(finalFields(from, box.Address)); err != nil {
		m.Discard()
		return nil, err
	}
	return letter, nil
}

// mayWrite refuses for now what would have to be done with other ids: nothing
// is ever written to a user's files as root.
func (l *Local) mayWrite(ctx context.Context, box Mailbox) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if box.UID >= 0 && box.UID != os.Geteuid() {
		return status.Temp("deliver to "+box.Dir, "4.3.5", "mailbox cannot be written now",
			fmt.Errorf("it belongs to uid %d, this process has %d", box.UID, os.Geteuid()))
	}
	return nil
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
// refused for good.
func (l *Letter) Sync() error {
	if l.loop.found {
		return status.Perm("deliver to "+l.box.Address.String(), "5.4.6", "mail forwarding loop",
			errors.New("it has a Delivered-To field of this address"))
	}
	return l.Letter.Sync(time.Time{})
}

// Commit goes from synced to placed to durably placed. When it returns nil the
// letter is in the Maildir for good; after an error it is not there.
func (l *Letter) Commit(ctx context.Context) error {
	if _, err := l.Place(ctx, "new", ""); err != nil {
		return err
	}
	return l.SyncDir()
}
