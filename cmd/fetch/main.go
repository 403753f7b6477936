// Fetch pulls letters from mailboxes elsewhere, by IMAP or POP3: see fetch(1).
package main

import (
	"context"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"postbag/internal/config"
	"postbag/internal/fetch"
)

func main() {
	os.Exit(config.Main(program(), os.Args))
}

func program() config.Program {
	return config.Program{
		Name:     "fetch",
		Usage:    "pull letters from mailboxes elsewhere",
		Args:     "URL|ACCOUNT...",
		Settings: config.Join(config.Common, settings),
		Run:      run,
		Check:    check,
	}
}

var settings = []config.Setting{
	{Name: "to", Arg: "TARGET", Usage: "maildir:PATH, mbox:PATH, pipe:COMMAND, smtp://HOST, lmtp://HOST, sendmail:USER, or - for standard output", Valid: validTarget},
	{Name: "keep", Usage: "leave letters on the server, which is the default", Kind: config.Switch},
	{Name: "delete", Usage: "delete letters on the server once they are here for good", Kind: config.Switch},
	{Name: "delete-after", Arg: "TIME", Usage: "delete letters on the server that have been here so long", Kind: config.Duration},
	{Name: "watch", Usage: "go on, and fetch what comes as it comes", Kind: config.Switch},
	{Name: "folders", Arg: "PATTERN", Usage: "folders of IMAP, with * and %, repeated (default: that of the URL, or INBOX)", Kind: config.List},
	{Name: "password-command", Arg: "COMMAND", Usage: "prints the password"},
	{Name: "mechanism", Arg: "NAME", Usage: "plain, login, cram-md5, scram-sha-256, xoauth2 or oauthbearer (default: the best that both know)", Valid: validMechanism},
	{Name: "tls", Arg: "WHEN", Usage: "on, starttls or off (default: on with imaps and pop3s, else starttls)", OneOf: []string{"on", "starttls", "off"}},
	{Name: "tls-ca", Arg: "FILE", Usage: "certificates to trust instead of the system's, PEM", File: true},
	{Name: "tls-insecure", Usage: "take any certificate", Kind: config.Switch},
	{Name: "state", Arg: "DIR", Usage: "where it is remembered what has been fetched (default: in the spool)"},
	{Name: "quiet", Usage: "print nothing but errors", Kind: config.Switch},
	{Name: "json", Usage: "print what happens as JSON, an object a line", Kind: config.Switch},
}

func validTarget(s string) error    { _, err := fetch.ParseTarget(s); return err }
func validMechanism(s string) error { _, err := fetch.ParseMechanism(s); return err }

func run(ctx context.Context, v *config.Values) error {
	secret := os.Getenv("POSTBAG_FETCH_PASSWORD")
	os.Unsetenv("POSTBAG_FETCH_PASSWORD")
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, os.Interrupt)
	defer stop()
	out := newReporter(v)
	tasks, err := tasks(v, out, secret)
	if err != nil {
		return err
	}
	if v.Bool("watch") {
		return out.worst(watch(ctx, tasks))
	}
	var errs []error
	for _, t := range tasks {
		if _, err := t.Run(ctx); err != nil {
			errs = append(errs, err)
		}
		if ctx.Err() != nil {
			break
		}
	}
	return out.worst(errs)
}

// watch watches all accounts at once, until a signal or until none of them can go
// on.
func watch(ctx context.Context, tasks []*fetch.Fetch) (errs []error) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, t := range tasks {
		wg.Go(func() {
			if err := t.Watch(ctx); err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, err)
			}
		})
	}
	wg.Wait()
	return errs
}
