// Sendmail submits letters as other mailers' sendmail does: see sendmail(1).
//
// It puts a letter into the queue durably before it exits with 0, whether or not
// smtpd runs. It links neither DNS nor HTTP, and starts in milliseconds.
package main

import (
	"context"
	"fmt"
	"os"
	"slices"

	"postbag/internal/auth"
	"postbag/internal/config"
	"postbag/internal/status"
)

func main() {
	os.Exit(run(os.Args, config.Program{}))
}

// own are the long flags that only sendmail has.
var own = []config.Setting{
	{Name: "explain", Kind: config.Switch, Usage: "print how the command line is understood and where each recipient leads to, and queue nothing"},
	{Name: "print-id", Kind: config.Switch, Usage: "print the queue ID"},
}

// settings are those of programs that know recipients, and where letters go.
func settings() []config.Setting {
	relay := slices.DeleteFunc(slices.Clone(config.Relay), func(s config.Setting) bool { return s.Name == "password-file" })
	all := config.Join(config.Common, config.Recipients, relay, config.Own, own)
	for i := range all {
		if all[i].Name == "auth" {
			all[i].Valid = auth.ValidSource
		}
	}
	return all
}

// run is main with its streams and environment in p, those of the process where
// they are missing. It gives the exit code.
func run(argv []string, p config.Program) int {
	p.Name, p.Usage, p.Args, p.More = "sendmail", "submit mail", "[ADDRESS...] < LETTER", shortHelp
	p.Settings = settings()
	line, err := split(argv, p.TakesValue)
	var r *request
	if err == nil {
		r, err = wanted(line)
	}
	if err != nil {
		fmt.Fprintf(stderr(p), "sendmail: %v\n", err)
		return status.ExUsage
	}
	p.Lenient = !slices.Contains([]modus{verifyMode, testMode, aliasMode}, r.mode) && !slices.ContainsFunc(line.long, strict)
	if r.quiet {
		p.Stderr = discard{}
	}
	p.Run = func(ctx context.Context, v *config.Values) error { return act(ctx, v, r) }
	p.Check = check
	return config.Main(p, r.argv())
}

// wanted understands a command line. One that only asks about the program needs
// no recipients.
func wanted(line *commandLine) (*request, error) {
	r, err := understand(line)
	if err != nil && slices.ContainsFunc(line.long, asking) {
		return &request{line: line, mode: nothingMode}, nil
	}
	return r, err
}

func asking(flag string) bool {
	return slices.Contains([]string{"--help", "--version", "--check", "--print-config"}, flag)
}

// strict are flags with which a broken configuration is an error.
func strict(flag string) bool {
	return flag == "--explain" || flag == "--check" || flag == "--print-config"
}

// argv is what package config gets to see: the long flags.
func (r *request) argv() []string {
	argv := []string{"sendmail"}
	if r.config != "" {
		argv = append(argv, "--config="+r.config)
	}
	return append(argv, r.line.long...)
}

// act does what was asked for.
func act(ctx context.Context, v *config.Values, r *request) error {
	if v.Bool("explain") {
		return explain(ctx, v, r)
	}
	switch r.mode {
	case smtpMode:
		return serveSMTP(ctx, v, r)
	case listMode:
		return listQueue(v)
	case aliasMode:
		return checkAliases(v)
	case verifyMode:
		return verify(ctx, v, r)
	case runMode:
		return runQueue(ctx, v, r)
	case daemonMode:
		return serveMail(v, r)
	case countMode:
		return countQueue(ctx, v)
	case testMode:
		return testAddresses(ctx, v)
	case nothingMode:
		return nil
	}
	return deliver(ctx, v, r)
}
