package fetch

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"time"

	"postbag/internal/fetchlog"
	"postbag/internal/status"
)

// A streamSink gives each letter to a command or to standard output. Killed
// between giving and noting, it gives the letter again.
type streamSink struct {
	*run
	give     func(ctx context.Context, l letter, text *staged) error
	close    func() // nil: nothing is to be closed
	done     []delivered
	records  []fetchlog.Placement
	refusals int // letters in a row that the command would not have
	total    int // of them
	last     error
}

// maxRefusals ends a run whose command refuses one letter after another.
const maxRefusals = 10

func (s *streamSink) recover([]fetchlog.Placement) error { return nil }

func (s *streamSink) put(ctx context.Context, l letter, text io.Reader) error {
	st, err := s.stage(text)
	if err != nil {
		return err
	}
	defer st.Close()
	d := delivered{letter: l, octets: st.size, known: l.folder.Former(st.digest) > 0}
	if !d.known {
		if err := s.give(ctx, l, st); err != nil {
			return s.refusal(l, err)
		}
	}
	s.refusals = 0
	s.done = append(s.done, d)
	s.records = append(s.records, l.placement(st.digest))
	// Noted one by one: what is given cannot be taken back.
	return s.note()
}

func (s *streamSink) note() error {
	err := s.log.Done(s.records...)
	s.records = nil
	return localError("note delivery", err)
}

// A refusalError is a command's, about one letter: others may fare better.
type refusalError struct{ err error }

func (e *refusalError) Error() string { return e.err.Error() }
func (e *refusalError) Unwrap() error { return e.err }

func (s *streamSink) refusal(l letter, err error) error {
	var refused *refusalError
	if !errors.As(err, &refused) {
		return err
	}
	s.total++
	s.last = err
	if s.refusals++; s.refusals >= maxRefusals {
		return status.Exit(status.ExTempFail, "deliver", fmt.Errorf("%d letters in a row were refused, the last: %w", s.refusals, err))
	}
	s.warn("letter %s of %s stays on the server: %v", l.key, l.folder.Name(), err)
	return nil
}

func (s *streamSink) commit(context.Context) ([]delivered, error) {
	done := s.done
	s.done = nil
	return done, nil
}

func (s *streamSink) refused() error {
	if s.total == 0 {
		return nil
	}
	return status.Exit(status.ExTempFail, "deliver", fmt.Errorf("%d letters were refused, the last: %w", s.total, s.last))
}

func (s *streamSink) discard() {
	if s.close != nil {
		s.close()
	}
}

// commandLimit is how long a command may take for one letter.
const commandLimit = 10 * time.Minute

// pipe runs the target's command with a letter on its standard input.
func (s *run) pipe(ctx context.Context, _ letter, text *staged) error {
	return s.command(ctx, text, func(ctx context.Context) *exec.Cmd { return exec.CommandContext(ctx, "/bin/sh", "-c", s.Target.Arg) })
}

// command runs a command with a letter on its standard input, in disk form.
func (s *run) command(ctx context.Context, text *staged, make func(context.Context) *exec.Cmd) error {
	// SIGTERM lets a command finish: its letter is delivered, and to be noted.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commandLimit)
	defer cancel()
	cmd := make(ctx)
	cmd.Env, cmd.Stdout, cmd.Stderr = s.Environ, s.Stderr, s.Stderr
	cmd.WaitDelay = time.Second
	in, err := cmd.StdinPipe()
	if err != nil {
		return localError("run command", err)
	}
	if err := cmd.Start(); err != nil {
		return localError("run command", err)
	}
	buf := bufio.NewWriterSize(in, 32<<10)
	werr := toDisk(buf, text)
	if werr == nil {
		werr = buf.Flush()
	}
	werr = errors.Join(werr, in.Close())
	// A command need not read all of a letter to be content with it.
	if err := cmd.Wait(); err != nil {
		return &refusalError{fmt.Errorf("command: %w", errors.Join(err, readError(werr, text)))}
	}
	return nil
}

// readError keeps an error of writing to a command that has ended from standing
// beside the command's own, which is the cause.
func readError(err error, _ *staged) error {
	if err != nil && strings.Contains(err.Error(), "broken pipe") {
		return nil
	}
	return err
}

// print writes a letter to standard output, in mbox form.
func (s *run) print(_ context.Context, l letter, text *staged) error {
	if err := writeMbox(s.Stdout, l, s.now(), text); err != nil {
		return status.Exit(status.ExIOErr, "write to standard output", err)
	}
	return nil
}

// CleanEnviron is an environment as commands get it: nothing of ours is in it.
func CleanEnviron(environ []string) []string {
	return slices.DeleteFunc(slices.Clone(environ), func(v string) bool { return strings.HasPrefix(v, "POSTBAG_") })
}
