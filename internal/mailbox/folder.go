package mailbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync/atomic"
	"time"

	"postbag/internal/maildir"
)

// A Folder is one session's hold on a folder. Its methods are safe for
// concurrent use.
type Folder struct {
	b      *box
	closed atomic.Bool
}

// Close gives the folder back.
func (f *Folder) Close() {
	if f.closed.CompareAndSwap(false, true) {
		f.b.store.give(f.b)
	}
}

// Dir is the folder's directory.
func (f *Folder) Dir() string { return f.b.dir }

// MailboxID is the OBJECTID of the folder (RFC 8474 section 4).
func (f *Folder) MailboxID() string { return f.View().MailboxID() }

// View gives the newest version that this process knows.
func (f *Folder) View() *View { return f.b.view.Load() }

// Sync looks for changes by other processes and programs, gives UIDs to new
// letters, and publishes the result for View. What it publishes survives a
// crash. When nothing has changed it costs a few calls of stat.
func (f *Folder) Sync(ctx context.Context) error {
	if err := f.b.lockCtx(ctx); err != nil {
		return err
	}
	defer f.b.unlock()
	if err := f.b.sync(ctx); err != nil {
		return fmt.Errorf("sync folder %s: %w", f.b.dir, err)
	}
	f.b.payLater(payWait) // what others have left
	return nil
}

// Subscribe has tell called after each new version, until cancel is called. tell must not
// block. While anybody is subscribed, changes by others are looked for in the
// background.
func (f *Folder) Subscribe(tell func()) (cancel func()) {
	b, s := f.b, &subscriber{tell}
	b.feed.add(s)
	b.store.attend(b)
	return func() { b.feed.remove(s) }
}

// PayDebts brings files and names to where clients have been told they are. A
// session calls it before it answers LOGOUT.
func (f *Folder) PayDebts(ctx context.Context) error {
	if err := f.b.payAll(ctx); err != nil {
		return fmt.Errorf("pay debts of %s: %w", f.b.dir, err)
	}
	return nil
}

// ClaimRecent gives those letters of a version to the caller to be \Recent that
// no session has claimed before, in this process or another (RFC 3501 section
// 2.3.2); none is a Last of 0. The claim need not outlive a crash.
func (f *Folder) ClaimRecent(ctx context.Context, v *View) (claimed Range, err error) {
	b, upto := f.b, v.uidNext-1
	if f.RecentAbove() >= upto {
		return Range{}, nil
	}
	if err := b.lockCtx(ctx); err != nil {
		return Range{}, err
	}
	defer b.unlock()
	if f.RecentAbove() >= upto {
		return Range{}, nil // many wait here when a letter comes, and one was the first
	}
	err = b.exclusive(ctx, func() error {
		if b.st.recent >= upto {
			return nil
		}
		claimed = Range{b.st.recent + 1, upto}
		return b.note(encodeRecent(upto))
	})
	return claimed, err
}

// RecentAbove: letters with a greater UID have been claimed by no session, as far
// as the last Sync knew.
func (f *Folder) RecentAbove() uint32 {
	f.b.mu.Lock()
	defer f.b.mu.Unlock()
	return f.b.st.recent
}

// Settle moves letters that have UIDs from new/ to cur/.
func (f *Folder) Settle(ctx context.Context) error {
	if !f.b.hasNew() {
		return nil
	}
	f.b.settling.Store(true)
	return f.b.settleNew(ctx)
}

// SettleSoon has Settle done in the background, at the latest when the folder
// is closed. A session that has the folder selected calls it when it has told
// the client of new letters; one that examines it, STATUS and POP3 never do.
func (f *Folder) SettleSoon() {
	b := f.b
	if !b.hasNew() || !b.settling.CompareAndSwap(false, true) {
		return
	}
	b.store.start(func(ctx context.Context) {
		err := b.settleNew(ctx)
		if err != nil && ctx.Err() == nil && !errors.Is(err, ErrClosed) && !errors.Is(err, ErrGone) {
			b.store.o.Log.Error("move new mail to cur", "dir", b.dir, "err", err)
		}
	})
}

// settleNew does it in steps, so that others get at the folder in between. Until
// it is done, whoever closes the folder does the rest.
func (b *box) settleNew(ctx context.Context) error {
	for more := true; more; {
		err := b.lockCtx(ctx)
		if err != nil {
			return err
		}
		if !b.settling.CompareAndSwap(true, false) {
			b.unlock()
			return nil // somebody has done it
		}
		more, err = b.settleSome(ctx)
		b.settling.Store(more)
		b.unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

// settleSome moves some letters, and reports whether there may be more. The
// caller holds sem.
func (b *box) settleSome(ctx context.Context) (more bool, err error) {
	if err := b.refresh(); err != nil {
		return false, err
	}
	if err := b.loadNames(); err != nil {
		return false, err
	}
	err = b.exclusive(ctx, func() error {
		return b.certify(func() (err error) {
			more, err = b.moveNew()
			return err
		})
	})
	if err != nil || more {
		return more, err
	}
	return false, b.publish()
}

// hasNew reports whether a letter with a UID was last seen in new/.
func (b *box) hasNew() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, at := range b.st.at {
		if at[0] == 'n' {
			return true
		}
	}
	return false
}

// settleStep is how many letters are moved while the lock is held once.
const settleStep = 10_000

// moveNew moves letters with UIDs to cur/, and reports whether there are more
// than it has moved. The moves need no sync: a letter that a crash puts back, or
// leaves in both, is the same letter.
func (b *box) moveNew() (more bool, err error) {
	l := &listing{}
	if err := l.read(b.store.fs, b.path("new"), "new", b.st.keys.mask()); err != nil {
		return false, gone(err)
	}
	moved := 0
	for i := range l.entries {
		if moved >= settleStep {
			return true, nil
		}
		e := &l.entries[i]
		r := b.st.find(e.base())
		if r == nil || e.flags != r.disk {
			continue // Sync has to see it first
		}
		to := withFlags(e.at, e.flags, b.st.keys.mask())
		err := b.rename(e.at, to)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrExist) {
			b.seen = stamps{}
			continue // somebody else has been at it
		}
		if err != nil {
			return false, err
		}
		moved++
		b.mu.Lock()
		b.st.place(r, to)
		b.mu.Unlock()
	}
	return false, nil
}

// Size is the number of octets of a letter as it goes over the wire. It is
// taken from the letter's name, or looked up once and remembered.
func (f *Folder) Size(ctx context.Context, l *Letter) (int64, error) {
	if n, ok := f.b.knownSize(l.UID); ok {
		return n, nil
	}
	c, err := f.Content(ctx, l)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	return c.Size(), nil
}

// knownSize gives what the log or the name says.
func (b *box) knownSize(uid uint32) (int64, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.st.rows.find(uid)
	if r == nil {
		return 0, false
	}
	n := b.sizeOf(r)
	return n, n != unknownSize
}

// sizeOf is the size of a letter as far as it is known. The caller holds mu.
func (b *box) sizeOf(r *row) int64 {
	if r.wire != noSize {
		return r.size()
	}
	if f, ok := b.facts[r.uid]; ok && f.wire != unknownSize {
		return f.wire
	}
	if b.st.loadNames() != nil {
		return unknownSize
	}
	base, _ := b.st.name(r)
	if n := maildir.ParseName(base); n.Size >= 0 && n.Wire >= n.Size {
		return n.Wire
	}
	return unknownSize
}

// Internal is the INTERNALDATE of a letter: when it was delivered, which is
// the time of last modification of its file.
func (f *Folder) Internal(ctx context.Context, l *Letter) (time.Time, error) {
	b := f.b
	b.mu.Lock()
	if r := b.st.rows.find(l.UID); r != nil && r.internal != unknownTime {
		defer b.mu.Unlock()
		return time.Unix(r.internal, 0), nil
	}
	if known, ok := b.facts[l.UID]; ok && known.internal != unknownTime {
		defer b.mu.Unlock()
		return time.Unix(known.internal, 0), nil
	}
	b.mu.Unlock()
	var st os.FileInfo
	err := b.reach(ctx, l.UID, func(path string) (err error) {
		st, err = b.store.fs.Stat(path)
		return err
	})
	if err != nil {
		return time.Time{}, err
	}
	b.learn(l.UID, fact{internal: st.ModTime().Unix(), wire: unknownSize})
	return st.ModTime().Truncate(time.Second), nil
}

// learn remembers what took a look into a file.
func (b *box) learn(uid uint32, f fact) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.st.rows.find(uid) == nil {
		return
	}
	old, ok := b.facts[uid]
	if ok && f.internal == unknownTime {
		f.internal = old.internal
	}
	if ok && f.wire == unknownSize {
		f.wire = old.wire
	}
	b.facts[uid] = f
}
