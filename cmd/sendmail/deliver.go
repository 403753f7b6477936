package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"postbag/internal/config"
	"postbag/internal/message"
	"postbag/internal/spool"
	"postbag/internal/status"
)

var (
	errNobody     = errors.New("neither the command line nor the header names any")
	errLikeOption = errors.New("looks like an option behind a recipient; options come first, and such addresses after --")
	errNUL        = errors.New("NUL in the header")
)

// maxHeader bounds the header in memory; no mailer takes one that large.
const maxHeader = 16 << 20

// deliver queues the letter on standard input.
func deliver(ctx context.Context, v *config.Values, r *request) error {
	ctx, stop := signal.NotifyContext(ctx, heeded()...)
	defer stop()
	u, err := r.begin(ctx, v)
	if err != nil {
		return err
	}
	s, err := openSpool(v)
	if err != nil {
		return err
	}
	body, header, err := readHeader(interruptible(ctx, v.Stdin), r.dots)
	if err != nil {
		return err
	}
	if err := u.extract(r, header); err != nil {
		return err
	}
	if err := u.addCopy(v); err != nil {
		return err
	}
	if err := r.complete(v, u, header); err != nil {
		return err
	}
	own, err := store(ctx, s, v.String("hostname"), u.env, header, body)
	if err != nil {
		return err
	}
	if v.Bool("print-id") {
		fmt.Fprintln(v.Stdout, u.env.ID)
	}
	if !r.later {
		wake(ctx, v, s, u.env.ID, own)
	}
	return nil
}

// heeded are the signals that end a submission, but those that whoever started
// sendmail wants ignored.
func heeded() []os.Signal {
	all := []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP}
	return slices.DeleteFunc(all, signal.Ignored)
}

// readHeader reads the header of a letter and leaves the rest.
func readHeader(r io.Reader, dots bool) (io.Reader, *message.Header, error) {
	br := bufio.NewReaderSize(newInput(r, dots), 32<<10)
	if err := skipFromLines(br); err != nil {
		return nil, nil, readError(err)
	}
	h, err := message.ReadHeader(br, maxHeader)
	if err != nil {
		return nil, nil, readError(err)
	}
	for _, f := range h.Fields {
		if bytes.IndexByte(f.Raw, 0) >= 0 {
			return nil, nil, status.Exit(status.ExDataErr, "header "+f.Name, errNUL)
		}
	}
	return br, h, nil
}

func readError(err error) error { return status.Exit(status.ExTempFail, "read letter", err) }

// complete makes a whole header of what the program gave.
func (r *request) complete(v *config.Values, u *submission, h *message.Header) error {
	if message.Hops(h)+r.hops > message.MaxHops {
		return status.Exit(status.ExUnavailable, "submit", errors.New("too many hops, mail loop"))
	}
	u.env.Arrived = time.Now()
	sub := message.Submission{
		Hostname: v.String("hostname"), Origin: v.String("origin"),
		From: u.env.From, FullName: r.displayName(u.me), Now: u.env.Arrived, Masquerade: v.Strings("masquerade"), Bare: r.bare,
	}
	if err := sub.Complete(h); err != nil {
		return status.Exit(status.ExDataErr, "complete header", err)
	}
	return nil
}

// displayName is that of -F, $NAME or passwd(5); that of the user only where
// the letter is his own.
func (r *request) displayName(me person) string {
	switch {
	case r.fullName != "":
		return r.fullName
	case os.Getenv("NAME") != "":
		return os.Getenv("NAME")
	case r.from == nil:
		return me.name
	}
	return ""
}

// store puts a letter into the queue, or into drop/ where the queue is not open
// to this user. own says that it is in the queue.
func store(ctx context.Context, s *spool.Spool, hostname string, env *spool.Envelope, h *message.Header, body io.Reader) (own bool, err error) {
	d, err := s.Create(ctx, env)
	own = err == nil
	if errors.Is(err, os.ErrPermission) {
		d, err = s.Drop(ctx, env)
	}
	if err != nil {
		return own, spoolError(s, err)
	}
	defer d.Discard()
	trace := message.Trace{ByHost: hostname, ID: string(env.ID), UID: env.UID, At: env.Arrived}
	h.Prepend(trace.Received())
	if _, err := h.WriteTo(d); err != nil {
		return own, spoolError(s, err)
	}
	if _, err := io.Copy(withoutNUL{d}, body); err != nil {
		return own, spoolError(s, err)
	}
	if err := d.Commit(ctx); err != nil {
		return own, spoolError(s, err)
	}
	return own, nil
}

// openSpool opens the spool; whatever is wrong with it may be mended, so that the
// caller shall try again.
func openSpool(v *config.Values) (*spool.Spool, error) {
	dir := v.String("spool")
	if dir == "" {
		return nil, status.Exit(status.ExTempFail, "spool", errors.New("none can be used here; say --spool DIR"))
	}
	s, err := spool.Open(newFS(), dir, spool.Options{Hostname: v.String("hostname")})
	if err != nil {
		return nil, status.Exit(status.ExTempFail, "spool "+dir, err)
	}
	return s, nil
}

func spoolError(s *spool.Spool, err error) error {
	return status.Exit(status.ExTempFail, "spool "+s.Dir(), err)
}
