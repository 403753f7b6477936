package main

import (
	"context"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"postbag/cmd/internal/sibling"
	"postbag/internal/address"
	"postbag/internal/config"
	"postbag/internal/maillog"
	"postbag/internal/spool"
	"postbag/internal/status"
)

// runQueue makes one attempt at some messages or at all, as `sendmail -q` wants it.
func runQueue(ctx context.Context, v *config.Values) error {
	var ids []spool.ID
	if text := v.String("run-queue"); text != "" {
		for one := range strings.SplitSeq(text, ",") {
			id, err := spool.ParseID(one)
			if err != nil {
				return status.Exit(status.ExNoInput, "--run-queue", err)
			}
			ids = append(ids, id)
		}
	}
	h, err := open(ctx, v)
	if err != nil {
		return err
	}
	defer h.Close()
	defer h.client.Close()
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	signal.Ignore(syscall.SIGPIPE, syscall.SIGHUP)
	return h.runner.Once(ctx, ids...)
}

// maxPass is how many messages one pass gets; it bounds the command line.
const maxPass = 1000

// startPass has what is due sent by a program of its own, if nobody runs the
// queue: a session of inetd ends before a host that is far away has answered.
// Whatever goes wrong, the letters lie in the queue.
func (h *host) startPass() {
	ctx := context.Background()
	if active, err := h.Spool.RunnerActive(); active || err != nil || h.Values.Bool("no-queue-runner") {
		return
	}
	due := h.due(ctx)
	self, err := os.Executable()
	if err != nil || len(due) == 0 {
		return
	}
	given := slices.DeleteFunc(settings(), func(s config.Setting) bool { return s.OwnOnly })
	log, more, err := sibling.RunLog(h.Spool.Dir())
	if err == nil {
		defer log.Close()
		args := slices.Concat(more, h.Values.Flags(given), []string{"--spool=" + h.Spool.Dir(), "--run-queue=" + strings.Join(due, ",")})
		err = sibling.Background(self, args, log)
	}
	if err != nil {
		h.Log.Trouble(ctx, "start a pass over the queue", err)
	}
}

// due are the messages whose time has come, or is over.
func (h *host) due(ctx context.Context) []string {
	var ids []string
	for e, err := range h.Spool.List(ctx) {
		if err == nil && !e.Stopped() && !e.Active && !e.Progress.Next.After(time.Now()) && !e.NotBefore.After(time.Now()) {
			ids = append(ids, string(e.ID))
		}
		if len(ids) == maxPass {
			break
		}
	}
	return ids
}

// An eventLog writes down what the queue does.
type eventLog struct{ log *maillog.Log }

func (l eventLog) Received(ctx context.Context, e *spool.Envelope, size int64, took time.Duration) {
	l.log.Received(ctx, maillog.Letter{
		ID: string(e.ID), From: e.From.String(), Recipients: len(e.To), Size: size, Proto: e.Proto,
		Client: e.ClientIP, HELO: e.HELO, Login: e.Login, UID: e.UID, Took: took,
	})
}

func (l eventLog) Delivered(ctx context.Context, e *spool.Envelope, to address.Address, where, reply string) {
	l.log.Delivered(ctx, string(e.ID), to.String(), where, reply, time.Since(e.Arrived))
}

func (l eventLog) Deferred(ctx context.Context, e *spool.Envelope, to address.Address, where, code, why string) {
	l.log.Deferred(ctx, string(e.ID), to.String(), where, code, why, time.Since(e.Arrived))
}

func (l eventLog) Failed(ctx context.Context, e *spool.Envelope, to address.Address, where, code, why string) {
	l.log.Failed(ctx, string(e.ID), to.String(), where, code, why, time.Since(e.Arrived))
}

func (l eventLog) Reported(ctx context.Context, e *spool.Envelope, report spool.ID, to address.Address) {
	l.log.Reported(ctx, string(e.ID), string(report), to.String())
}

func (l eventLog) Discarded(ctx context.Context, e *spool.Envelope, why string) {
	l.log.Discarded(ctx, string(e.ID), why)
}

func (l eventLog) Queued(ctx context.Context, e *spool.Envelope, size int64) {
	l.log.Queued(ctx, string(e.ID), e.From.String(), len(e.To), size)
}

func (l eventLog) Removed(ctx context.Context, id spool.ID) { l.log.Removed(ctx, string(id)) }

func (l eventLog) Stopped(ctx context.Context, id spool.ID, why error) {
	l.log.Stopped(ctx, string(id), why)
}

func (l eventLog) Trouble(ctx context.Context, what string, err error) {
	l.log.Trouble(ctx, what, err)
}
