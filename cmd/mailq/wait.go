package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"postbag/internal/config"
	"postbag/internal/spool"
	"postbag/internal/status"
)

// How often a message is looked at that one waits for: often at first.
const (
	firstLook = 10 * time.Millisecond
	maxLook   = time.Second
)

// wait waits until messages have left the queue. It ends with 0 when all
// recipients have them, else with the code of the first that went wrong: 69 when
// a recipient will never have it, 75 when the time is up.
func (q *queue) wait(ctx context.Context, args []string) error {
	names, err := q.named(ctx, args)
	if err != nil {
		return err
	}
	if q.v.IsSet("timeout") {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, q.v.Duration("timeout"))
		defer stop()
	}
	var first error
	for _, name := range names {
		if err := q.waitFor(ctx, name); first == nil {
			first = err
		}
	}
	return first
}

func (q *queue) waitFor(ctx context.Context, name string) error {
	id, err := parseID(name)
	if err == nil && q.s == nil {
		err = fmt.Errorf("message %s: %w", id, spool.ErrUnknown)
	}
	if err != nil {
		return failure(err)
	}
	look := context.WithoutCancel(ctx) // the time may be up already, with the answer at hand
	e, err := q.s.Lookup(look, id)
	var f *spool.Follower
	if err == nil {
		f, err = q.s.Follow(look, id)
	}
	if errors.Is(err, spool.ErrUnknown) && e == nil {
		return q.before(look, id, err)
	}
	if errors.Is(err, spool.ErrUnknown) {
		return q.ended(look, e, nil)
	}
	if err != nil {
		return failure(err)
	}
	defer f.Close()
	return q.follow(ctx, e, f)
}

func (q *queue) follow(ctx context.Context, e *spool.Entry, f *spool.Follower) error {
	for pause := firstLook; ; pause = min(2*pause, maxLook) {
		gone, err := f.Look()
		if err != nil {
			return failure(err)
		}
		if gone {
			return q.ended(context.WithoutCancel(ctx), e, f.Events())
		}
		select {
		case <-ctx.Done():
			return q.pending(e, f.Events())
		case <-time.After(pause):
		}
	}
}

// pending says why a message still waits.
func (q *queue) pending(e *spool.Entry, events []spool.Event) error {
	why := "no attempt yet"
	for _, ev := range events {
		if ev.Kind == spool.Deferred {
			why = ev.Reply
		}
	}
	fmt.Fprintf(q.v.Stderr, "mailq: message %s: still in the queue: %s\n", e.ID, masked(why))
	return config.Silent(status.ExTempFail)
}

// ended says how a message ended of which these events are known. One of which
// nothing is known went between two looks.
func (q *queue) ended(ctx context.Context, e *spool.Entry, events []spool.Event) error {
	settled := map[int]bool{}
	for _, ev := range events {
		if ev.Kind == spool.Failed {
			return q.lost(e.ID, ev.Reply)
		}
		if ev.Kind == spool.Settled {
			settled[ev.Rcpt] = true
		}
	}
	switch {
	case len(settled) == len(e.To):
		return nil
	case len(events) > 0:
		return q.lost(e.ID, "it was removed from the queue")
	}
	return q.reported(ctx, e.ID)
}

func (q *queue) lost(id spool.ID, why string) error {
	fmt.Fprintf(q.v.Stderr, "mailq: message %s: not delivered: %s\n", id, masked(why))
	return config.Silent(status.ExUnavailable)
}

// reported looks for a report on a message that nobody saw end.
func (q *queue) reported(ctx context.Context, id spool.ID) error {
	for e, err := range q.s.List(ctx) {
		if err == nil && e.About == id && e.Report != spool.ReportDelay {
			return q.lost(id, "report "+string(e.ID)+" says why")
		}
	}
	return nil
}

// recent is how old an ID may be that is taken for one that has left the queue:
// no message is kept longer, with the longest lifetime that makes sense.
const recent = 30 * 24 * time.Hour

// before is for a message that is not in the queue at the first look: a moment
// ago it may have been.
func (q *queue) before(ctx context.Context, id spool.ID, unknown error) error {
	if age := time.Since(id.Time()); age < -time.Minute || age > recent {
		return failure(unknown)
	}
	return q.reported(ctx, id)
}
