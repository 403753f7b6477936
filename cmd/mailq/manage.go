package main

import (
	"context"
	"errors"
	"fmt"

	"postbag/internal/config"
	"postbag/internal/spool"
	"postbag/internal/status"
)

// An action is what a verb does with one message; due says that an attempt may
// follow at once.
type action struct {
	do  func(*spool.Spool, context.Context, spool.ID) error
	due bool
}

var actions = map[string]action{
	"hold":    {do: (*spool.Spool).Hold},
	"release": {do: (*spool.Spool).Release, due: true},
	"retry":   {do: (*spool.Spool).Retry, due: true},
	"delete":  {do: (*spool.Spool).Delete},
}

// manage does one thing with several messages. One that cannot be done does not
// keep the others from it.
func (q *queue) manage(ctx context.Context, a action, args []string) error {
	names, err := q.named(ctx, args)
	if err != nil {
		return err
	}
	var ids []spool.ID
	code := 0
	for _, name := range names {
		if err := q.one(ctx, a, name); err != nil {
			fmt.Fprintf(q.v.Stderr, "mailq: %s\n", masked(err.Error()))
			if code == 0 {
				code = status.ExitCode(failure(err))
			}
			continue
		}
		id, _ := parseID(name)
		ids = append(ids, id)
	}
	if a.due && len(ids) > 0 {
		q.wake(ctx, ids)
	}
	if code != 0 {
		return config.Silent(code)
	}
	return nil
}

func (q *queue) one(ctx context.Context, a action, name string) error {
	id, err := parseID(name)
	if err != nil {
		return err
	}
	if q.s == nil {
		return fmt.Errorf("message %s: %w", id, spool.ErrUnknown)
	}
	return a.do(q.s, ctx, id)
}

// wake tells who runs the queue. If nobody does, the next one will see.
func (q *queue) wake(ctx context.Context, ids []spool.ID) {
	if err := q.s.Wake(ctx, ids...); errors.Is(err, spool.ErrNoRunner) {
		fmt.Fprintln(q.v.Stderr, "mailq: queue: no runner; start smtpd or run sendmail -q")
	}
}
