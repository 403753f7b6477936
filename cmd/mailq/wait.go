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
	f, err := q.find(ctx, id)
	switch {
	case errors.Is(err, spool.ErrUnknown):
		return q.gone(context.WithoutCancel(ctx), id)
	case errors.Is(err, errDropped):
		return q.pending(id, nil)
	case err != nil:
		return failure(err)
	}
	defer f.Close()
	return q.follow(ctx, id, f)
}

// errDropped means that a message is not in the queue yet.
var errDropped = errors.New("nobody has taken the letter into the queue yet")

// find begins to follow a message. One that a user has dropped is waited for. The
// time may be up already, with the answer at hand.
func (q *queue) find(ctx context.Context, id spool.ID) (*spool.Follower, error) {
	for {
		dropped := q.s.InDrop(id) // asked first: from there it goes into the queue
		f, err := q.s.Follow(context.WithoutCancel(ctx), id)
		if !errors.Is(err, spool.ErrUnknown) || !dropped {
			return f, err
		}
		select {
		case <-ctx.Done():
			return nil, errDropped
		case <-time.After(maxLook / 10):
		}
	}
}

func (q *queue) follow(ctx context.Context, id spool.ID, f *spool.Follower) error {
	for pause := firstLook; ; pause = min(2*pause, maxLook) {
		gone, err := f.Look()
		if err != nil {
			return failure(err)
		}
		if gone {
			return q.ended(context.WithoutCancel(ctx), id, f.Events())
		}
		select {
		case <-ctx.Done():
			return q.pending(id, f.Events())
		case <-time.After(pause):
		}
	}
}

// pending says why a message still waits.
func (q *queue) pending(id spool.ID, events []spool.Event) error {
	why := "no attempt yet"
	for _, ev := range events {
		if ev.Kind == spool.Deferred {
			why = ev.Reply
		}
	}
	fmt.Fprintf(q.v.Stderr, "mailq: message %s: still in the queue: %s\n", id, masked(why))
	return config.Silent(status.ExTempFail)
}

// ended says how a message ended that was followed: in the words of the last
// failure where there is one.
func (q *queue) ended(ctx context.Context, id spool.ID, events []spool.Event) error {
	for _, ev := range events {
		if ev.Kind == spool.Failed {
			return q.lost(id, ev.Reply)
		}
	}
	return q.gone(ctx, id)
}

// gone says how a message ended that has left the queue, as the spool remembers
// it. One that the spool does not know may never have been.
func (q *queue) gone(ctx context.Context, id spool.ID) error {
	how, err := q.s.Ended(id)
	switch {
	case err != nil:
		return failure(err)
	case how == spool.HasFailed:
		return q.lost(id, q.reported(ctx, id))
	case how == spool.WasRemoved:
		return q.lost(id, "it was removed from the queue")
	}
	return nil
}

func (q *queue) lost(id spool.ID, why string) error {
	fmt.Fprintf(q.v.Stderr, "mailq: message %s: not delivered: %s\n", id, masked(why))
	return config.Silent(status.ExUnavailable)
}

// reported looks for the report on a message that has failed.
func (q *queue) reported(ctx context.Context, id spool.ID) string {
	for e, err := range q.s.List(ctx) {
		if err == nil && e.About == id && e.Report != spool.ReportDelay {
			return "report " + string(e.ID) + " says why"
		}
	}
	return "the log says why"
}
