package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"

	"postbag/internal/spool"
	"postbag/internal/status"
)

// list prints the queue: what can be read of it before what cannot.
func (q *queue) list(ctx context.Context) error {
	entries, err := q.chosen(ctx)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(q.v.Stdout)
	p := newPrinter(q.v.String("format"), out, q.v.String("spool"))
	if q.v.Bool("json") {
		p = &lines{json.NewEncoder(out)}
	}
	var bad error
	var due time.Time
	for e, err := range entries {
		if err != nil {
			bad = errors.Join(bad, err)
			continue
		}
		p.print(e)
		due = earlier(due, dueSince(e))
	}
	if bad == nil || !errors.Is(bad, context.Canceled) {
		p.end(bad)
	}
	if err := out.Flush(); err != nil {
		return status.Exit(status.ExIOErr, "print queue", err)
	}
	q.warn(due)
	return failure(bad)
}

type printer interface {
	print(e *spool.Entry)
	end(err error)
}

// A table is what Postfix's mailq prints, with room for long IDs.
type table struct {
	w     io.Writer
	count int
	size  int64
}

const (
	tableHead = "-----Queue ID------ --Size-- ---Arrival Time---- --Sender/Recipient------\n"
	tableLine = "%-19s %8d %19.19s %s\n"
	indent    = 50 // where addresses begin
	lineWidth = 76 // where reasons end
)

func (t *table) print(e *spool.Entry) {
	if t.count == 0 {
		io.WriteString(t.w, tableHead)
	} else {
		io.WriteString(t.w, "\n")
	}
	t.count++
	t.size += e.Size
	fmt.Fprintf(t.w, tableLine, string(e.ID)+mark(e), e.Size, e.Arrived.Format(time.ANSIC), masked(sender(e)))
	last := ""
	if e.Damage != nil {
		last = t.reason(last, e.Damage.Error())
	}
	for i, r := range e.To {
		if done(e, i) {
			continue
		}
		last = t.reason(last, reason(e, i))
		fmt.Fprintf(t.w, "%*s%s\n", indent, "", masked(r.Address.String()))
	}
}

// reason prints why recipients wait, once for those that follow each other.
func (t *table) reason(last, why string) string {
	if why != "" && why != last {
		text := "(" + masked(why) + ")"
		fmt.Fprintf(t.w, "%*s%s\n", max(0, lineWidth+2-len(text)), "", text)
	}
	return why
}

// end prints what monitors look at: the last line.
func (t *table) end(err error) {
	switch {
	case t.count > 0:
		plural := "s"
		if t.count == 1 {
			plural = ""
		}
		fmt.Fprintf(t.w, "-- %d Kbytes in %d Request%s.\n", t.size/1024, t.count, plural)
	case err == nil:
		io.WriteString(t.w, "Mail queue is empty\n")
	}
}

func mark(e *spool.Entry) string {
	switch state(e) {
	case "active":
		return "*"
	case "hold", "corrupt":
		return "!"
	}
	return ""
}

func sender(e *spool.Entry) string {
	if e.From.IsNull() {
		return "MAILER-DAEMON"
	}
	return e.From.String()
}

func done(e *spool.Entry, i int) bool {
	return i < len(e.Progress.Rcpts) && e.Progress.Rcpts[i].Settled
}

// reason says why a recipient still waits.
func reason(e *spool.Entry, i int) string {
	if i >= len(e.Progress.Rcpts) || e.Progress.Rcpts[i].Last == nil {
		return ""
	}
	last := e.Progress.Rcpts[i].Last
	if last.Kind != spool.Deferred && last.Kind != spool.Failed {
		return ""
	}
	if last.Host != "" && !strings.Contains(last.Reply, last.Host) {
		return last.Host + ": " + last.Reply
	}
	return last.Reply
}

// masked shows control characters as question marks: what strangers wrote shall
// not move the cursor.
func masked(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == unicode.ReplacementChar || unicode.Is(unicode.Bidi_Control, r) {
			return '?'
		}
		return r
	}, s)
}

// late is how long a due message may lie before nobody seems to run the queue.
const late = time.Hour

// dueSince is when a message should have been tried; zero for one that waits for
// its time or for somebody's decision.
func dueSince(e *spool.Entry) time.Time {
	if e.Stopped() || e.Active {
		return time.Time{}
	}
	if e.Progress.Next.After(e.Arrived) {
		return e.Progress.Next
	}
	return e.Begin()
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// warn says that nobody runs the queue.
func (q *queue) warn(due time.Time) {
	if due.IsZero() || time.Since(due) < late {
		return
	}
	if active, err := q.s.RunnerActive(); err == nil && !active {
		fmt.Fprintf(q.v.Stderr, "mailq: queue: no runner since %s\n", due.Format(time.RFC3339))
	}
}
