package mailbox

import (
	"context"
	"time"
)

// linger puts off what is done when the last one leaves a folder, if nobody else
// needs it: who comes back at once, as clients do, would have to wait for it. Until
// then the folder is like one that is open. The caller holds sem.
func (s *Store) linger(b *box) bool {
	if s.o.Linger == 0 || b.shut() || b.openFile == nil || !b.well() || b.indebted() || b.settling.Load() {
		return false
	}
	if b.lingers {
		return true
	}
	b.lingers = true
	time.AfterFunc(s.o.Linger, func() {
		s.start(func(context.Context) { dismiss(s.endLinger(b)) }) // else Close is about to do it
	})
	return true
}

// endLinger does it, if nobody has come back.
func (s *Store) endLinger(b *box) (spare []*box) {
	b.lock()
	defer b.unlock()
	b.lingers = false
	s.mu.Lock()
	used := b.users > 0
	s.mu.Unlock()
	if used || b.shut() {
		return nil
	}
	return s.abandon(b)
}
