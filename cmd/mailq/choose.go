package main

import (
	"bufio"
	"context"
	"errors"
	"iter"
	"slices"
	"strings"
	"time"

	"postbag/internal/address"
	"postbag/internal/config"
	"postbag/internal/spool"
)

var states = []string{"active", "deferred", "incoming", "hold", "corrupt"}

// state is the queue of Postfix that a message would be in.
func state(e *spool.Entry) string {
	switch {
	case e.Damage != nil:
		return "corrupt"
	case e.Progress.Held:
		return "hold"
	case e.Active:
		return "active"
	case e.Progress.Attempts == 0:
		return "incoming"
	}
	return "deferred"
}

// A filter chooses messages. Its zero fields choose all.
type filter struct {
	from, to *address.Address
	domain   string
	before   time.Time
	state    string
}

func newFilter(v *config.Values) (filter, error) {
	f := filter{domain: v.String("domain"), state: v.String("state")}
	if v.IsSet("older") {
		f.before = time.Now().Add(-v.Duration("older"))
	}
	var err error
	if f.from, err = wanted(v, "from"); err == nil {
		f.to, err = wanted(v, "to")
	}
	return f, err
}

// wanted reads an address to look for.
func wanted(v *config.Values, name string) (*address.Address, error) {
	text := v.String(name)
	if !v.IsSet(name) {
		return nil, nil
	}
	if text == "" || text == "<>" || text == "MAILER-DAEMON" {
		return &address.Address{}, nil
	}
	a, err := address.ParseUnqualified(strings.Trim(text, "<>"))
	if err != nil {
		return nil, usage(err)
	}
	return &a, nil
}

// set reports whether it chooses at all.
func (f filter) set() bool { return f != filter{} }

func (f filter) match(e *spool.Entry) bool {
	switch {
	case f.from != nil && f.from.Key() != e.From.Key():
		return false
	case f.state != "" && f.state != state(e):
		return false
	case !f.before.IsZero() && !e.Arrived.Before(f.before):
		return false
	case f.to == nil && f.domain == "":
		return true
	}
	return slices.ContainsFunc(e.To, f.recipient)
}

func (f filter) recipient(r spool.Recipient) bool {
	return (f.to == nil || f.to.Key() == r.Address.Key()) &&
		(f.domain == "" || address.EqualDomain(f.domain, r.Address.Domain))
}

// chosen lists the messages that the filters leave.
func (q *queue) chosen(ctx context.Context) (iter.Seq2[*spool.Entry, error], error) {
	f, err := newFilter(q.v)
	if err != nil {
		return nil, err
	}
	return func(yield func(*spool.Entry, error) bool) {
		if q.s == nil {
			return
		}
		for e, err := range q.s.List(ctx) {
			if err == nil && !f.match(e) {
				continue
			}
			if !yield(e, err) {
				return
			}
		}
	}, nil
}

// named gives the IDs that a verb shall work on.
func (q *queue) named(ctx context.Context, args []string) ([]string, error) {
	f, err := newFilter(q.v)
	if err != nil {
		return nil, err
	}
	byFilter := f.set() || q.v.Bool("all")
	switch {
	case byFilter && len(args) > 0:
		return nil, usage(errors.New("either IDs or --all and filters"))
	case byFilter:
		return q.idsOfChosen(ctx)
	case len(args) == 0:
		return nil, usage(errors.New("which messages? name IDs, or - or --all"))
	}
	return q.withInput(args)
}

func (q *queue) idsOfChosen(ctx context.Context) ([]string, error) {
	entries, err := q.chosen(ctx)
	if err != nil {
		return nil, err
	}
	var ids []string
	for e, err := range entries {
		if err != nil {
			return nil, failure(err)
		}
		ids = append(ids, string(e.ID))
	}
	return ids, nil
}

// withInput reads the IDs for - from standard input: the first word of a line,
// with or without the mark that the list gives it.
func (q *queue) withInput(args []string) ([]string, error) {
	var ids []string
	for _, a := range args {
		if a != "-" {
			ids = append(ids, a)
			continue
		}
		lines := bufio.NewScanner(q.v.Stdin)
		for lines.Scan() {
			if words := strings.Fields(lines.Text()); len(words) > 0 {
				ids = append(ids, strings.TrimRight(words[0], "*!"))
			}
		}
		if err := lines.Err(); err != nil {
			return nil, failure(err)
		}
	}
	return ids, nil
}
