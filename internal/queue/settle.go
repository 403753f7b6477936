package queue

import (
	"time"

	"postbag/internal/spool"
)

// settle records what happened, and which recipients that settles. What failed in
// a Maildir is taken back only once the record says that it does not count.
func (a *attempt) settle() error {
	a.expire()
	if err := a.record(); err != nil {
		return err
	}
	for _, undo := range a.undo {
		undo()
	}
	for i := range a.entry.To {
		if a.isSettled(i) {
			a.events = append(a.events, spool.Event{Kind: spool.Settled, Rcpt: i})
		}
	}
	return a.record()
}

func (a *attempt) record() error {
	if len(a.events) == 0 {
		return nil
	}
	events := a.events
	a.events = nil
	return a.locked.Record(a.ctx, events...)
}

// isSettled tells whether nothing is left to be tried for a recipient: each place
// that it leads to has the letter or never will.
func (a *attempt) isSettled(i int) bool {
	state := &a.entry.Progress.Rcpts[i]
	if state.Settled {
		return false // recorded before
	}
	if a.plans[i] == nil {
		e, ok := state.Dests["resolve"]
		return ok && e.Kind == spool.Failed
	}
	for _, d := range a.plans[i] {
		if !done(state, d.Name) {
			return false
		}
	}
	for _, e := range state.Dests {
		if e.Kind == spool.Placed {
			return false
		}
	}
	return true
}

// expire gives up what has been tried for too long.
func (a *attempt) expire() {
	if a.now().Sub(a.entry.Arrived) < or(a.Lifetime, defaultLifetime) || len(a.parked) > 0 {
		return
	}
	for k := range a.events {
		e := &a.events[k]
		if e.Kind != spool.Deferred {
			continue
		}
		e.Kind, e.Status = spool.Failed, "5.4.7" // RFC 3463 section 3.5: delivery time expired
		e.Reply = "tried for too long; the last time: " + e.Reply
		a.loop.events.Failed(a.ctx, &a.entry.Envelope, a.entry.To[e.Rcpt].Address, e.Host, e.Status, e.Reply)
		if e.Dest == "resolve" {
			a.plans[e.Rcpt] = nil
		}
	}
}

// finish reports to the sender what has to be reported, and takes a message out
// of the queue that is done with.
func (a *attempt) finish(next time.Time) (time.Time, []string) {
	if err := a.report(); err != nil {
		a.trouble(a.ctx, "report on "+string(a.entry.ID), err)
		return next, a.parked
	}
	if a.entry.Progress.Pending() {
		return next, a.parked
	}
	if err := a.locked.Remove(a.ctx); err != nil {
		a.trouble(a.ctx, "remove message "+string(a.entry.ID), err)
		return next, nil
	}
	a.loop.events.Removed(a.ctx, a.entry.ID)
	return time.Time{}, nil
}
