package main

import (
	"context"
	"fmt"
	"strings"

	"postbag/internal/config"
	"postbag/internal/spool"
	"postbag/internal/status"
)

// A choice is which messages a run of the queue is for, as Sendmail's -qI, -qS
// and -qR have it: those whose ID, sender or a recipient contains a text, or with
// ! all others.
type choice struct {
	what byte // I, S or R
	not  bool
	text string
}

func parseChoice(s string) (choice, bool) {
	rest, not := strings.CutPrefix(s, "!")
	if len(rest) < 2 || strings.IndexByte("ISR", rest[0]) < 0 {
		return choice{}, false
	}
	return choice{rest[0], not, strings.ToLower(rest[1:])}, true
}

func (c choice) match(e *spool.Entry) bool {
	has := func(s string) bool { return strings.Contains(strings.ToLower(s), c.text) }
	found := false
	switch c.what {
	case 'I':
		found = has(string(e.ID))
	case 'S':
		found = has(e.From.String())
	case 'R':
		for _, r := range e.To {
			found = found || has(r.Address.String())
		}
	}
	return found != c.not
}

// chosen lists the messages that all choices leave.
func chosen(ctx context.Context, v *config.Values, choices []choice) (ids []string, err error) {
	s, err := openSpool(v)
	if err != nil {
		return nil, err
	}
	for e, err := range s.List(ctx) {
		if err != nil {
			return nil, status.Exit(status.ExTempFail, "read the queue", err)
		}
		all := true
		for _, c := range choices {
			all = all && c.match(e)
		}
		if all {
			ids = append(ids, string(e.ID))
		}
	}
	return ids, nil
}

// countQueue prints how many messages wait (-bP).
func countQueue(ctx context.Context, v *config.Values) error {
	ids, err := chosen(ctx, v, nil)
	if err == nil {
		fmt.Fprintln(v.Stdout, len(ids))
	}
	return err
}
