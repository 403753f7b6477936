package mailbox

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"time"
	"unsafe"
)

// A folder that nobody has open any more stays in memory for a while, so that
// the next session need not read it again: clients come back, and look into one
// folder after the other. Its box is at rest then. On the disk it is closed:
// debts are paid, the snapshot is written, and no lock tells other processes of
// it. If it was watched it still is, and whoever opens it next compares what one
// compares who has had it open all the time.
//
// These are the limits. What has been at rest for longest goes first.
const (
	restTime    = 5 * time.Minute
	restFolders = 100
	restBytes   = 64 << 20 // of memory, all together
)

// size is about how much memory the box takes.
func (b *box) size() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := &b.st
	n := chunkRows * int64(unsafe.Sizeof(row{})) * int64(len(s.rows.chunks))
	n += s.names.memory()
	return n + 8*int64(s.history.runs) + 200*int64(len(s.at)+len(s.uidls)) + 4096
}

// settleDown makes a box one at rest, if it is in order. The caller holds sem,
// and has tidied up.
func (b *box) settleDown() bool {
	if b.shut() || b.openFile == nil || !b.well() || b.indebted() {
		return false
	}
	b.openFile.Close() // and gives the lock back
	b.openFile, b.resting = nil, true
	b.closeCache()
	return true
}

// wake makes a box at rest ready again. An error means that it is not that of
// the folder any more, or that something else is wrong: then it is of no use.
func (b *box) wake(ctx context.Context) error {
	b.resting = false
	if err := b.holdOpen(); err != nil {
		return err
	}
	// The lock is that of the folder which has the name now: so must the log be.
	if same, err := b.log.Current(); err != nil || !same {
		return errors.Join(ErrGone, err)
	}
	return b.firstVersion(ctx)
}

// shut reports whether nobody has the box open.
func (b *box) shut() bool { return b.log == nil || b.resting }

// leave counts one user less. The last one leaves the box at rest, if it can be,
// and is given the boxes that must go for it.
func (s *Store) leave(b *box) (spare []*box) {
	b.lock()
	defer b.unlock()
	s.mu.Lock()
	b.users--
	last := b.users == 0
	s.mu.Unlock()
	if !last || s.linger(b) {
		return nil
	}
	return s.abandon(b)
}

// abandon leaves a box at rest that nobody has open, or gives back what it holds. The
// caller holds sem: whoever opens the folder now waits in b.open for that.
func (s *Store) abandon(b *box) (spare []*box) {
	b.retire()
	if b.settleDown() {
		return s.keep(b)
	}
	b.drop()
	s.forget(b)
	return nil
}

// keep notes that a box is at rest.
func (s *Store) keep(b *box) (spare []*box) {
	n := b.size()
	s.mu.Lock()
	defer s.mu.Unlock()
	if b.users > 0 || s.closed {
		return nil // it is waited for, or about to be closed
	}
	if n > restBytes {
		return []*box{b}
	}
	b.restsSince, b.restsWith = time.Now(), n
	s.resting = append(s.resting, b)
	if s.expiry == nil {
		s.expireIn(restTime)
	}
	return s.tooMuch()
}

// tooMuch takes boxes from those at rest until the others are within the limits.
// The caller holds mu.
func (s *shared) tooMuch() (spare []*box) {
	bytes := int64(0)
	for _, b := range s.resting {
		bytes += b.restsWith
	}
	n := 0
	for ; len(s.resting)-n > restFolders || bytes > restBytes; n++ {
		bytes -= s.resting[n].restsWith
	}
	return s.takeResting(n)
}

// takeResting takes the first of those at rest. The caller holds mu.
func (s *shared) takeResting(n int) []*box {
	taken := slices.Clone(s.resting[:n])
	s.resting = slices.Delete(s.resting, 0, n)
	return taken
}

// expireIn has boxes looked for after a time that have been at rest for long
// enough. The caller holds mu.
func (s *Store) expireIn(d time.Duration) {
	s.expiry = time.AfterFunc(d, func() {
		s.start(func(context.Context) { s.expire(time.Now().Add(-restTime)) })
	})
}

// stopExpiry: nobody is to look. The caller holds mu.
func (s *shared) stopExpiry() {
	if s.expiry != nil {
		s.expiry.Stop()
		s.expiry = nil
	}
}

// expire lets go of those boxes that have been at rest since then.
func (s *Store) expire(then time.Time) {
	s.mu.Lock()
	n := 0
	for n < len(s.resting) && !s.resting[n].restsSince.After(then) {
		n++
	}
	old := s.takeResting(n)
	s.stopExpiry()
	if len(s.resting) > 0 && !s.closed {
		s.expireIn(s.resting[0].restsSince.Sub(then))
	}
	s.mu.Unlock()
	dismiss(old)
}

// dismiss closes boxes at rest, but those that are in use again.
func dismiss(boxes []*box) {
	for _, b := range boxes {
		b.store.closeUnused(b)
	}
}

func (s *Store) closeUnused(b *box) {
	b.lock()
	defer b.unlock()
	s.mu.Lock()
	used := b.users > 0
	s.mu.Unlock()
	if !used {
		b.close()
		s.forget(b)
	}
}

// forget takes a box out of the maps that nobody has open.
func (s *Store) forget(b *box) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.awaken(b)
	if at := (place{b.dir, b.store.fs.Owner()}); b.users == 0 && s.boxes[at] == b {
		delete(s.boxes, at)
	}
}

// awaken takes a box out of those at rest, if it is among them. The caller holds
// mu.
func (s *shared) awaken(b *box) {
	if at := slices.Index(s.resting, b); at >= 0 {
		s.resting = slices.Delete(s.resting, at, at+1)
	}
}

// Release lets go of what is in memory of a folder that nobody has open: its
// directory is about to go.
func (s *Store) Release(dir string) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return // there can be no box of it
	}
	s.mu.Lock()
	b := s.boxes[place{dir, s.fs.Owner()}]
	s.mu.Unlock()
	if b != nil {
		s.closeUnused(b)
	}
}
