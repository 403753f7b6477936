package queue

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"postbag/internal/deliver"
	"postbag/internal/spool"
	"postbag/internal/status"
)

// outcome turns how a destination went into events of all recipients that led
// there. name is that of the destination, or "" if nothing shall be said of it.
func (a *attempt) outcome(ctx context.Context, t *target, name, where string, o deliver.Outcome) []spool.Event {
	a.mu.Lock()
	defer a.mu.Unlock()
	e := spool.Event{Kind: spool.Delivered, Dest: name, Status: "2.0.0", Reply: o.Reply, Host: o.Host, Took: o.Reports, Way: o.Way, Tell: a.tells(t, o)}
	if o.Err != nil {
		e.Kind, e.Status = spool.Deferred, status.Code(o.Err)
		if status.ClassOf(o.Err) == status.Permanent {
			e.Kind = spool.Failed
		}
		if o.Reply == "" {
			_, _, e.Reply = status.Reply(o.Err)
			if e.Cause = o.Err.Error(); e.Cause == e.Reply {
				e.Cause = ""
			}
		}
	}
	e.Via = where
	if !t.dest.Sender.IsNull() && !a.e.From.IsNull() {
		e.Owner, e.Member = t.dest.Sender.String(), t.dest.Address.String()
	}
	var events []spool.Event
	for _, i := range t.rcpts {
		e.Rcpt = i
		events = append(events, e)
		a.say(ctx, e, where, o.Err)
		if e.Kind == spool.Deferred {
			continue
		}
		if a.left[i]--; a.left[i] == 0 {
			events = append(events, spool.Event{Kind: spool.Settled, Rcpt: i})
		}
	}
	return events
}

// say logs an event, with the cause that peers are not told.
func (a *attempt) say(ctx context.Context, e spool.Event, where string, err error) {
	to := a.e.To[e.Rcpt].Address
	if e.Host != "" {
		where = e.Host
	}
	switch e.Kind {
	case spool.Delivered:
		a.events.Delivered(ctx, &a.e.Envelope, to, where, e.Reply)
	case spool.Deferred:
		a.events.Deferred(ctx, &a.e.Envelope, to, where, e.Status, err.Error())
	case spool.Failed:
		a.events.Failed(ctx, &a.e.Envelope, to, where, e.Status, err.Error())
	}
}

// note records what a group has done, and keeps the first error.
func (a *attempt) note(ctx context.Context, events []spool.Event) error {
	err := a.last(ctx, events...)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.failed == nil {
		a.failed = err
	}
	return err
}

func (a *attempt) record(ctx context.Context, events ...spool.Event) error {
	if len(events) == 0 {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.l.Record(ctx, events...)
}

// last records what settles the message, if it does: then nothing is left but to
// remove it, which makes that durable, too.
func (a *attempt) last(ctx context.Context, events ...spool.Event) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	err := a.l.Note(ctx, events...)
	if err == nil && !a.over() {
		err = a.l.Sync()
	}
	return err
}

// sync makes durable what has been noted.
func (a *attempt) sync() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.l.Sync()
}

// over reports whether all recipients are settled and nobody is to be told.
func (a *attempt) over() bool {
	if a.e.Progress.Pending() {
		return false
	}
	failed, delivered, passed := a.unreported()
	return len(failed)+len(delivered)+len(passed) == 0
}

// expire gives up what has waited too long. A Maildir that may have the letter
// is not given up: the next attempt finds out.
func (a *attempt) expire(ctx context.Context) error {
	if a.now().Before(a.end()) {
		return a.warn(ctx)
	}
	var events []spool.Event
	for i, state := range a.e.Progress.Rcpts {
		if state.Settled || holdsPlaced(state) {
			continue
		}
		for _, e := range expired(state, a.givenUp()) {
			e.Rcpt = i
			a.events.Failed(ctx, &a.e.Envelope, a.e.To[i].Address, e.Host, e.Status, e.Reply)
			events = append(events, e)
		}
		events = append(events, spool.Event{Kind: spool.Settled, Rcpt: i})
	}
	return a.record(ctx, events...)
}

func holdsPlaced(state spool.State) bool {
	for _, e := range state.Dests {
		if e.Kind == spool.Placed {
			return true
		}
	}
	return false
}

// expired are the failures of one that has waited too long, of each destination
// with its last reason: owners of lists hear of those of their members.
func expired(state spool.State, e spool.Event) (all []spool.Event) {
	last := state.Last
	for _, name := range slices.Sorted(maps.Keys(state.Dests)) {
		if d := state.Dests[name]; d.Kind == spool.Deferred && name != "" && name != last.Dest {
			all = append(all, overdue(e, d))
		}
	}
	if last != nil && last.Kind == spool.Deferred {
		e = overdue(e, *last)
	} else if len(all) > 0 {
		return all
	}
	return append(all, e)
}

// givenUp is the failure of a letter whose time is over. What was to be back by a
// time has no life left, whoever asks (RFC 3463 section 3.5: X.4.7).
func (a *attempt) givenUp() spool.Event {
	e := spool.Event{Kind: spool.Failed, Status: "4.4.7", Reply: fmt.Sprintf("not delivered within %s", or(a.Lifetime, defaultLifetime))}
	if a.tooLate() {
		e.Status, e.Reply = "5.4.7", "not delivered by "+a.e.By.Format(time.RFC1123Z)+", as its sender wanted"
	}
	return e
}

// overdue is the failure e of what was deferred.
func overdue(e, deferred spool.Event) spool.Event {
	e.Dest, e.Host, e.Owner, e.Member = deferred.Dest, deferred.Host, deferred.Owner, deferred.Member
	e.Reply = deferred.Reply + " (" + e.Reply + ")"
	return e
}
