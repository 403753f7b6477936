package queue

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"postbag/internal/spool"
)

// An attempt is one at one message, whose lock it holds.
type attempt struct {
	*work
	l *spool.Locked
	e *spool.Entry

	mu      sync.Mutex // of l, and of what follows: groups end on their own
	eager   bool       // suspended destinations are tried, too
	left    []int      // of each recipient: destinations that have not ended
	several []bool     // of each: it leads to several addresses, lists apart
	failed  error      // of the first record that could not be made
	parked  []string   // destinations without a free slot
	began   bool       // something was tried, or nothing had to be
}

// attempt makes one at a message. It returns when the next is due, zero for
// never, and the destinations that the message waits for a slot of.
func (w *work) attempt(ctx context.Context, st start) (next time.Time, parked []string) {
	l, err := w.Spool.Lock(ctx, st.id)
	switch {
	case errors.Is(err, spool.ErrUnknown):
		return time.Time{}, nil
	case errors.Is(err, spool.ErrLocked):
		return w.later(busyWait), nil
	case err != nil:
		w.events.Trouble(ctx, "attempt "+string(st.id), err)
		return w.later(or(w.RetryMin, defaultRetryMin)), nil
	}
	defer l.Unlock()
	a := &attempt{work: w, l: l, e: l.Entry(), eager: st.eager}
	if a.e.Priority != 0 {
		w.rank(st.id, a.e.Priority)
	}
	switch {
	case a.e.Damage != nil:
		w.stopped(ctx, a.e)
		return time.Time{}, nil
	case a.e.Progress.Held:
		return time.Time{}, nil
	case a.e.Progress.Next.IsZero() && a.e.NotBefore.After(w.now()):
		return w.later(a.e.NotBefore.Sub(w.now())), nil // whoever wants the queue run, its sender wants it so
	case !st.force && st.only == nil && dueAt(a.e).After(w.now()):
		return dueAt(a.e), nil
	case w.early(ctx, a.e):
		return w.later(busyWait), nil
	}
	if err := a.run(ctx, st.only); err != nil {
		w.events.Trouble(ctx, "attempt "+string(st.id), err)
		return w.later(or(w.RetryMin, defaultRetryMin)), nil
	}
	switch {
	case !a.e.Progress.Pending():
		return time.Time{}, nil
	case !a.began:
		// Nothing could be tried: it is looked at now and then, for its time
		// may run out while it is parked.
		return a.notAfterBy(w.now().Add(or(w.RetryMax, defaultRetryMax))), a.parked
	}
	return a.e.Progress.Next, a.parked
}

// later is a time from now; a single pass does not wait for it.
func (w *work) later(d time.Duration) time.Time {
	if w.once {
		return time.Time{}
	}
	return w.now().Add(d)
}

// run brings the message as far as it goes now. An error means that something
// could not be recorded: then nothing more is done, and what is on the disk
// counts.
func (a *attempt) run(ctx context.Context, only []string) error {
	// What an interrupted attempt has settled is reported first: its report
	// has its ID from that.
	if err := a.report(ctx); err != nil {
		return err
	}
	if a.e.Progress.Pending() {
		if err := a.deliver(ctx, only); err != nil {
			return err
		}
		if err := a.report(ctx); err != nil {
			return err
		}
	}
	if a.e.Progress.Pending() {
		return nil
	}
	if err := a.l.Remove(ctx); err != nil {
		return err
	}
	a.events.Removed(ctx, a.e.ID)
	return nil
}

// deliver tries all destinations that have not ended, each group of its own.
func (a *attempt) deliver(ctx context.Context, only []string) error {
	if a.tooLate() {
		if err := a.expire(ctx); err != nil || !a.e.Progress.Pending() {
			return err
		}
	}
	targets, events := a.plan(ctx)
	if err := a.record(ctx, events...); err != nil {
		return err
	}
	g := a.groups(targets, only)
	if len(a.parked) > 0 && g.empty() {
		return a.expire(ctx)
	}
	if err := a.begin(ctx, only); err != nil {
		for key := range g.remote {
			a.release(key, nil)
		}
		return err
	}
	a.try(ctx, &g)
	if a.failed != nil {
		return a.failed
	}
	return a.expire(ctx)
}

// try makes the attempts of all groups at the same time.
func (a *attempt) try(ctx context.Context, g *groups) {
	alone := len(g.remote) == 1 && len(g.local) == 0
	var others sync.WaitGroup
	for key, group := range g.remote {
		if alone {
			a.remote(ctx, key, group)
		} else {
			others.Go(func() { a.remote(ctx, key, group) })
		}
	}
	for key, group := range g.suspended {
		a.putOff(ctx, key, group, g.why[key])
	}
	a.local(ctx, g.local)
	others.Wait()
}

// begin records the attempt before it is made. One that goes on where an earlier
// one had to wait for a slot is a part of that.
func (a *attempt) begin(ctx context.Context, only []string) error {
	a.began = true
	if only != nil && a.e.Progress.Next.After(a.now()) {
		return nil
	}
	if a.e.Progress.Attempts == 0 {
		a.tellArrival(ctx)
	}
	return a.l.Begin(ctx, spool.Event{Kind: spool.Attempted, Next: a.next().UnixMicro()})
}

// tellArrival tells of a message that was written by a program which logs
// nothing, sendmail, or by the queue itself.
func (a *attempt) tellArrival(ctx context.Context) {
	switch {
	case a.e.UID >= 0:
		a.events.Received(ctx, &a.e.Envelope, a.e.Size, 0)
	case a.e.Report != "":
		a.events.Queued(ctx, &a.e.Envelope, a.e.Size)
	}
}

// next is when the attempt after this one is due: the wait is as long as the
// message is old, so it doubles, and a tenth of chance keeps those apart that
// came together.
func (a *attempt) next() time.Time {
	now := a.now()
	wait := now.Sub(a.e.Begin())
	wait = min(max(wait, or(a.RetryMin, defaultRetryMin)), or(a.RetryMax, defaultRetryMax))
	next := a.notAfterBy(now.Add(wait + rand.N(wait/10+1)))
	if end := a.end(); next.After(end) && end.After(now) {
		return end
	}
	return next
}
