// Mailq shows and manages the queue: see mailq(1).
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"postbag/internal/config"
	"postbag/internal/durable"
	"postbag/internal/spool"
	"postbag/internal/status"
)

func main() {
	os.Exit(config.Main(program(), longFlags(os.Args)))
}

// longFlags turns the short options that other mailers' mailq has into ours:
// scripts have -v and -Ac, monitors -C.
func longFlags(argv []string) []string {
	out := slices.Clone(argv[:min(1, len(argv))])
	for i := 1; i < len(argv); i++ {
		a := argv[i]
		switch {
		case a == "--":
			return append(out, argv[i:]...)
		case a == "-v", a == "-Ac", a == "-Am":
		case a == "-C" && i+1 < len(argv):
			i++
			out = append(out, "--config="+argv[i])
		case len(a) > 2 && a[:2] == "-C":
			out = append(out, "--config="+a[2:])
		default:
			out = append(out, a)
		}
	}
	return out
}

// own are the flags that only mailq has.
var own = []config.Setting{
	{Name: "json", Kind: config.Switch, Usage: "print one JSON object a message, as postqueue -j"},
	{Name: "format", Arg: "NAME", Usage: "print the list as postfix, sendmail or exim does", Default: "postfix", OneOf: formats},
	{Name: "timeout", FlagOnly: true, Arg: "TIME", Usage: "with wait: how long (default: until it has left the queue)", Kind: config.Duration},
	{Name: "all", FlagOnly: true, Kind: config.Switch, Usage: "every message, in place of IDs"},
	{Name: "from", FlagOnly: true, Arg: "ADDRESS", Usage: "only messages of that sender; <> is the null one"},
	{Name: "to", FlagOnly: true, Arg: "ADDRESS", Usage: "only messages with that recipient"},
	{Name: "domain", FlagOnly: true, Arg: "DOMAIN", Usage: "only messages with a recipient there"},
	{Name: "older", FlagOnly: true, Arg: "TIME", Usage: "only messages that came longer ago", Kind: config.Duration},
	{Name: "state", FlagOnly: true, Arg: "STATE", Usage: "only messages that are active, deferred, incoming, hold or corrupt", OneOf: states},
}

const verbs = `
  show ID                     print a message, the rules for it and what became of it
  hold ID...                  try no more to deliver, until it is released
  release ID...               let go what is held
  retry ID...                 make due now
  delete ID...                remove; nobody is told
  wait ID...                  wait until it has left the queue: 0 delivered, 69 not,
                              75 when the time is up

IDs may be on standard input (-), or chosen by --all and the filters.
`

func program() config.Program {
	return config.Program{
		Name: "mailq", Usage: "show and manage the queue", Args: "[VERB ID...]", More: verbs,
		Settings: config.Join(config.Common, own), Run: run, Check: check,
	}
}

// A queue is what the verbs work on.
type queue struct {
	v *config.Values
	s *spool.Spool
}

func run(ctx context.Context, v *config.Values) error {
	verb, ids := "", v.Operands
	if len(ids) > 0 {
		verb, ids = ids[0], ids[1:]
	}
	do, known := actions[verb]
	if !known && verb != "" && verb != "show" && verb != "wait" {
		return usage(fmt.Errorf("no such verb: %s; see --help", verb))
	}
	s, err := open(v)
	if err != nil {
		return err
	}
	q := &queue{v, s}
	switch verb {
	case "":
		return q.list(ctx)
	case "show":
		return q.show(ctx, ids)
	case "wait":
		return q.wait(ctx, ids)
	}
	return q.manage(ctx, do, ids)
}

// open opens the spool, but makes none: a queue that nobody has made is empty,
// unless it was named.
func open(v *config.Values) (*spool.Spool, error) {
	dir := v.String("spool")
	if dir == "" {
		return nil, status.Exit(status.ExConfig, "spool", errors.New("none can be used here; say --spool DIR"))
	}
	if _, err := os.Stat(dir + "/queue"); errors.Is(err, os.ErrNotExist) {
		if v.FromFlag("spool") {
			return nil, status.Exit(status.ExNoInput, "--spool", fmt.Errorf("%s: no spool", dir))
		}
		return nil, nil
	}
	s, err := spool.Open(durable.New(), dir, spool.Options{Hostname: v.String("hostname")})
	if err != nil {
		return nil, failure(fmt.Errorf("spool %s: %w", dir, err))
	}
	return s, nil
}

// check is for --check: whether the queue can be read.
func check(ctx context.Context, v *config.Values) (faults []error) {
	s, err := open(v)
	if err != nil {
		return []error{err}
	}
	if s == nil { // nobody has made one yet
		return nil
	}
	for _, err := range s.List(ctx) {
		if err != nil {
			faults = append(faults, err)
		}
	}
	return faults
}

func usage(err error) error { return status.Exit(status.ExUsage, "usage", err) }

// failure gives an error its exit code.
func failure(err error) error {
	code := 0
	switch {
	case err == nil:
		return nil
	case errors.Is(err, spool.ErrUnknown):
		code = status.ExNoInput
	case errors.Is(err, os.ErrPermission):
		code = status.ExNoPerm
	default:
		code = status.ExTempFail
	}
	return status.Exit(code, "", err)
}
