package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

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
		ids = append(ids, spool.ID(name))
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
	id, err := spool.ParseID(name)
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

// show prints a message with its envelope before it.
func (q *queue) show(ctx context.Context, args []string) error {
	if len(args) != 1 {
		return usage(errors.New("show takes one ID"))
	}
	id, err := spool.ParseID(args[0])
	if err == nil && q.s == nil {
		err = fmt.Errorf("message %s: %w", id, spool.ErrUnknown)
	}
	if err != nil {
		return failure(err)
	}
	e, err := q.s.Lookup(ctx, id)
	if err != nil {
		return failure(err)
	}
	r, err := q.s.OpenMessage(e)
	if err != nil {
		return failure(err)
	}
	defer r.Close()
	if _, err := io.WriteString(q.v.Stdout, summary(e)); err != nil {
		return status.Exit(status.ExIOErr, "print message", err)
	}
	out := q.v.Stdout
	if terminal(out) {
		out = maskedWriter{out}
	}
	if _, err := io.Copy(out, r); err != nil {
		return status.Exit(status.ExIOErr, "print message", err)
	}
	return nil
}

// summary is the envelope in words.
func summary(e *spool.Entry) string {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%s: %s\n", name, masked(fmt.Sprintf(format, args...)))
	}
	line("queue ID", "%s", e.ID)
	line("state", "%s", state(e))
	if e.Damage != nil {
		line("damage", "%v", e.Damage)
	}
	line("sender", "<%s>", e.From)
	line("arrived", "%s", e.Arrived.Format(time.RFC3339))
	line("size", "%d", e.Size)
	line("attempts", "%d", e.Progress.Attempts)
	if !e.Progress.Next.IsZero() {
		line("next attempt", "%s", e.Progress.Next.Format(time.RFC3339))
	}
	for i, r := range e.To {
		line("recipient", "<%s> %s", r.Address, fate(e, i))
	}
	return b.String() + "\n"
}

// fate says how far a recipient is.
func fate(e *spool.Entry, i int) string {
	l := last(e, i)
	if l.Kind == "" {
		return "waits"
	}
	return strings.TrimSpace(fmt.Sprintf("%s %s %s", l.Kind, l.Status, reason(e, i)))
}

func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	st, err := f.Stat()
	return err == nil && st.Mode()&os.ModeCharDevice != 0
}

// maskedWriter keeps a letter from doing things to a terminal.
type maskedWriter struct{ w io.Writer }

func (m maskedWriter) Write(p []byte) (int, error) {
	safe := make([]byte, len(p))
	for i, c := range p {
		if c < ' ' && c != '\n' && c != '\t' || c == 0x7f {
			c = '?'
		}
		safe[i] = c
	}
	if _, err := m.w.Write(safe); err != nil {
		return 0, err
	}
	return len(p), nil
}
