package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"postbag/cmd/internal/sibling"
	"postbag/internal/config"
	"postbag/internal/durable"
	"postbag/internal/spool"
	"postbag/internal/status"
)

func newFS() *durable.FS { return durable.New() }

// handedOn are the settings that programs which sendmail starts get from its
// command line; the rest they find where it did.
func handedOn() []config.Setting {
	return slices.DeleteFunc(settings(), func(s config.Setting) bool { return s.Name == "explain" || s.Name == "print-id" })
}

// wake has a queued letter tried at once: by the process that schedules the
// queue, else by one that is started for it. Whatever goes wrong, the letter
// lies in the queue.
func wake(ctx context.Context, v *config.Values, s *spool.Spool, id spool.ID, own bool) {
	if !own {
		_ = s.Wake(ctx) // somebody has to look into drop/
		return
	}
	if err := s.Wake(ctx, id); err == nil {
		return
	}
	if v.Broken {
		// With defaults in place of what it cannot read, a run could bring letters
		// to the wrong host, or back.
		fmt.Fprintf(v.Stderr, "sendmail: warning: message %s waits in the queue until the configuration is mended\n", id)
		return
	}
	program, err := sibling.Find("smtpd")
	if err != nil {
		return // here letters wait for somebody else's run
	}
	if err := startRun(v, program, "--run-queue="+string(id)); err != nil {
		fmt.Fprintf(v.Stderr, "sendmail: warning: message %s waits in the queue: %v\n", id, err)
	}
}

// startRun starts a run of the queue in the background.
func startRun(v *config.Values, program, run string) error {
	log, more, err := sibling.RunLog(v.String("spool"))
	if err != nil {
		return err
	}
	defer log.Close()
	return sibling.Background(program, slices.Concat(more, flags(v), []string{run}), log)
}

// flags are those of this command line that others have too. The spool is named
// always: a daemon could choose another.
func flags(v *config.Values) []string {
	return append(v.Flags(handedOn()), "--spool="+v.String("spool"))
}

// become replaces this process by another of our programs.
func become(name string, args []string) error {
	program, err := sibling.Find(name)
	if err != nil {
		return err
	}
	if err := syscall.Exec(program, append([]string{name}, args...), os.Environ()); err != nil {
		return status.Exit(status.ExOSErr, "run "+program, err)
	}
	return nil
}

// listQueue is mailq.
func listQueue(v *config.Values) error {
	return become("mailq", v.Flags(config.Common))
}

// runQueue makes a pass over the queue or a part of it, or one each while.
func runQueue(ctx context.Context, v *config.Values, r *request) error {
	run := "--run-queue"
	if v.String("spool") == "" {
		return status.Exit(status.ExTempFail, "spool", errors.New("none can be used here; say --spool DIR"))
	}
	if len(r.choices) > 0 {
		ids, err := chosen(ctx, v, r.choices)
		if err != nil || len(ids) == 0 {
			return err
		}
		run += "=" + strings.Join(ids, ",")
	}
	args := append(flags(v), run)
	if !v.IsSet("log-level") {
		args = append(args, "--log-level=error") // cron mails whatever is printed
	}
	switch {
	case r.every == 0:
		return become("smtpd", args)
	case !r.stay:
		return r.inBackground(v)
	}
	return repeat(ctx, r.every, args)
}

// inBackground starts this program again, to stay.
func (r *request) inBackground(v *config.Values) error {
	self, err := os.Executable()
	if err != nil {
		return status.Exit(status.ExOSErr, "run the queue", err)
	}
	log, _, err := sibling.RunLog(v.String("spool"))
	if err != nil {
		return status.Exit(status.ExTempFail, "run the queue", err)
	}
	defer log.Close()
	if err := sibling.Background(self, append(flags(v), "-q"+r.every.String(), "-qf"), log); err != nil {
		return status.Exit(status.ExOSErr, "run the queue", err)
	}
	return nil
}

// repeat makes passes over the queue until somebody ends this process.
func repeat(ctx context.Context, every time.Duration, args []string) error {
	program, err := sibling.Find("smtpd")
	if err != nil {
		return err
	}
	for ctx.Err() == nil {
		cmd := exec.CommandContext(ctx, program, args...)
		cmd.Stderr = os.Stderr
		_ = cmd.Run() // it has said what is wrong; the next pass may go well
		select {
		case <-time.After(every):
		case <-ctx.Done():
		}
	}
	return nil
}

// discard is standard error with -oeq.
type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

func stderr(p config.Program) io.Writer {
	if p.Stderr == nil {
		return os.Stderr
	}
	return p.Stderr
}
