package fetch

import (
	"context"
	"sync"

	"github.com/emersion/go-imap/v2"
)

// maxAttended is how many connections a watch of several folders has besides its
// own, one for each folder: IDLE tells of the open folder only (RFC 2177), and
// servers count the connections of a user. Dovecot lets an address have ten for
// each, others fewer.
const maxAttended = 7

// The attendants have further connections wait for news in folders that the session
// does not have open. What they cannot do is done by looking each pollTime.
type attendants struct {
	stop    context.CancelFunc
	running sync.WaitGroup

	mu   sync.Mutex
	left int // folders that nobody waits in
}

// attend begins to wait in all folders but the last, which the session itself
// waits in.
func (b *imapBox) attend(r *run, folders []imapFolder) {
	others := folders[:len(folders)-1]
	if !r.watching || b.attended != nil || len(others) == 0 || !b.canIdle() {
		return
	}
	quiet := *r.Fetch
	quiet.Report = nil
	ctx, stop := context.WithCancel(r.ctx)
	b.attended = &attendants{stop: stop, left: len(others)}
	for _, f := range others[:min(len(others), maxAttended)] {
		s := &run{Fetch: &quiet, ctx: ctx, watching: true} // it connects, and has neither journal nor target
		b.attended.running.Go(func() { b.attended.waitIn(s, f.name, b.changed) })
	}
}

// waitIn tells of news in one folder until its connection ends. Then that folder
// is only looked at each while: whatever is wrong, the session has it, too.
func (a *attendants) waitIn(s *run, folder string, news chan<- struct{}) {
	m, err := s.connectIMAP()
	if s.release != nil {
		defer s.release()
	}
	if err != nil {
		return
	}
	b := m.(*imapBox)
	defer b.abort()
	err = b.wait(func() error {
		_, err := b.c.Select(folder, &imap.SelectOptions{ReadOnly: true}).Wait()
		return err
	})
	if err != nil {
		return
	}
	a.count(-1)
	defer a.count(1)
	for err == nil {
		select {
		case news <- struct{}{}: // at first for what came before this was open
		default:
		}
		_, err = b.idle(s)
	}
}

func (a *attendants) count(n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.left += n
}

// all reports whether somebody waits in each folder.
func (a *attendants) all() bool {
	if a == nil {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.left == 0
}

// end ends all of them.
func (a *attendants) end() {
	if a != nil {
		a.stop()
		a.running.Wait()
	}
}
