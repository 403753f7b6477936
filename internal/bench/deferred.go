package main

import (
	"fmt"
	"path/filepath"
	"time"
)

// manyDeferred is the length of the queue beside which letters are taken in.
const manyDeferred = 50_000

// deferred measures how fast letters are queued while many others wait there.
// Both queues are ours; all letters are for a host that is not there.
func deferred(b *bench) error {
	port, err := freePort() // where nobody listens
	if err != nil {
		return err
	}
	var all []contender
	for _, title := range []string{"with an empty queue", "with a full one"} {
		r, err := b.queueing(title, filepath.Join(b.dir, fmt.Sprintf("deferred%d", len(all))), &sink{addrs: []string{""}},
			"--smarthost", "smtp://127.0.0.1:"+port, "--retry-min", "4h", "--retry-max", "4h")
		if err != nil {
			return err
		}
		all = append(all, intaker{r})
	}
	full := all[1].(intaker)
	if err := full.fill(manyDeferred); err != nil {
		return err
	}
	turns, err := b.takeTurns(all, relaySessions)
	if err != nil {
		return err
	}
	compare(all, turns)
	return nil
}

// An intaker takes letters into a queue that does not move.
type intaker struct{ *relayer }

// fill queues letters and waits until all have been attempted.
func (i intaker) fill(n int) error {
	l := i.load(n, relaySessions)
	if _, err := l.run(); err != nil {
		return err
	}
	return i.quiet()
}

func (i intaker) load(letters, sessions int) *load {
	return &load{addr: i.addr, sessions: sessions, letters: letters, rcpt: func(int) string { return "bob@far.test" }}
}

// quiet waits until the server does nothing any more.
func (i intaker) quiet() error {
	before, err := treeCPU(i.pid)
	if err != nil {
		return err
	}
	return until("attempt all", func() bool {
		time.Sleep(time.Second)
		now, err := treeCPU(i.pid)
		idle := err == nil && now-before < 2*tick
		before = now
		return idle
	})
}

// turn is over when the last letter is acknowledged; what follows is waited for
// and counts as processor time only.
func (i intaker) turn(sessions int) (t turn, err error) {
	before, err := treeCPU(i.pid)
	if err != nil {
		return t, err
	}
	t.Letters = i.b.letters
	if t.Elapsed, err = i.load(t.Letters, sessions).run(); err == nil {
		err = i.quiet()
	}
	after, cerr := treeCPU(i.pid)
	if err == nil {
		err = cerr
	}
	t.CPU = after - before
	return t, err
}
