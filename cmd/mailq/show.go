package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"postbag/cmd/internal/sibling"
	"postbag/internal/config"
	"postbag/internal/spool"
	"postbag/internal/status"
)

// show prints a message with its envelope before it, and what became of it.
func (q *queue) show(ctx context.Context, args []string) error {
	if len(args) != 1 {
		return usage(errors.New("show takes one ID"))
	}
	e, err := q.lookup(ctx, args[0])
	if err != nil {
		return failure(err)
	}
	events, err := q.s.Events(e.ID)
	if err != nil {
		return failure(err)
	}
	r, err := q.s.OpenMessage(e)
	if err != nil {
		return failure(err)
	}
	defer r.Close()
	text := summary(e) + q.rules(ctx, e) + history(e, events) + "\n"
	if _, err := io.WriteString(q.v.Stdout, text); err != nil {
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

// lookup finds the message of an ID as the user gave it.
func (q *queue) lookup(ctx context.Context, name string) (*spool.Entry, error) {
	id, err := parseID(name)
	switch {
	case err != nil:
		return nil, err
	case q.s == nil:
		return nil, fmt.Errorf("message %s: %w", id, spool.ErrUnknown)
	}
	return q.s.Lookup(ctx, id)
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
	line("arrived", "%s%s", e.Arrived.Format(time.RFC3339), origin(e))
	line("size", "%d", e.Size)
	line("attempts", "%d", e.Progress.Attempts)
	if e.ByMode != "" {
		line("deliver by", "%s, mode %s", e.By.Format(time.RFC3339), e.ByMode)
	}
	if e.Priority != 0 {
		line("priority", "%d", e.Priority)
	}
	if !e.NotBefore.IsZero() {
		line("not before", "%s", e.NotBefore.Format(time.RFC3339))
	}
	if !e.Progress.Next.IsZero() {
		line("next attempt", "%s", e.Progress.Next.Format(time.RFC3339))
	}
	for i, r := range e.To {
		line("recipient", "<%s> %s", r.Address, fate(e, i))
	}
	return b.String()
}

// origin says how a message came.
func origin(e *spool.Entry) string {
	var words []string
	add := func(name, value string) {
		if value != "" {
			words = append(words, name+" "+value)
		}
	}
	add("by", e.Proto)
	add("from", e.ClientIP)
	add("as", e.HELO)
	add("login", e.Login)
	if e.UID >= 0 {
		add("of user", fmt.Sprint(e.UID))
	}
	add("report on", string(e.About))
	if words == nil {
		return ""
	}
	return ", " + strings.Join(words, " ")
}

// fate says how far a recipient is.
func fate(e *spool.Entry, i int) string {
	l := last(e, i)
	if l.Kind == "" {
		return "waits"
	}
	return strings.TrimSpace(fmt.Sprintf("%s %s %s", l.Kind, l.Status, reason(e, i)))
}

// rulesTime is how long the look-up of rules may take.
const rulesTime = 10 * time.Second

// rules are those that hold now for the recipients that wait, as sendmail -bv
// tells them. Where it is not installed nothing is said of them.
func (q *queue) rules(ctx context.Context, e *spool.Entry) string {
	program, err := sibling.Find("sendmail")
	var waiting []string
	for i, r := range e.To {
		if !done(e, i) {
			waiting = append(waiting, r.Address.String())
		}
	}
	if err != nil || len(waiting) == 0 {
		return ""
	}
	ctx, stop := context.WithTimeout(ctx, rulesTime)
	defer stop()
	args := append(q.v.Flags(config.Common), "--spool="+q.v.String("spool"), "-bv", "--")
	out, _ := exec.CommandContext(ctx, program, append(args, waiting...)...).Output() // it ends with 67 when one is undeliverable
	var b strings.Builder
	for lines := bufio.NewScanner(strings.NewReader(string(out))); lines.Scan(); {
		fmt.Fprintf(&b, "rule: %s\n", masked(lines.Text()))
	}
	return b.String()
}

// history is what happened to a message, a line an event.
func history(e *spool.Entry, events []spool.Event) string {
	var b strings.Builder
	for _, ev := range events {
		words := []string{"event:", ev.Time.Format(time.RFC3339), string(ev.Kind)}
		switch ev.Kind {
		case spool.Attempted, spool.Retry:
			words = append(words, "next "+ev.At().Format(time.RFC3339))
		case spool.Held, spool.Released, spool.Warned:
		default:
			if ev.Rcpt < len(e.To) {
				words = append(words, "<"+e.To[ev.Rcpt].Address.String()+">")
			}
		}
		for _, s := range []string{ev.Status, ev.Host, ev.Reply, ev.Name} {
			if s != "" {
				words = append(words, s)
			}
		}
		if ev.Via != "" {
			words = append(words, "via "+ev.Via)
		}
		if ev.Way != "" {
			words = append(words, "["+ev.Way+"]")
		}
		if ev.Cause != "" {
			words = append(words, "("+ev.Cause+")")
		}
		b.WriteString(masked(strings.Join(words, " ")) + "\n")
	}
	return b.String()
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
