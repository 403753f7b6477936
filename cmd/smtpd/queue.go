package main

import (
	"context"
	"os/signal"
	"strings"
	"syscall"
	"time"

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
	defer h.client.Close()
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	signal.Ignore(syscall.SIGPIPE, syscall.SIGHUP)
	return h.runner.Once(ctx, ids...)
}

// An eventLog writes down what the queue does.
type eventLog struct{ log *maillog.Log }

func (l eventLog) Delivered(ctx context.Context, e *spool.Envelope, to address.Address, where, reply string) {
	l.log.Delivered(ctx, string(e.ID), to.String(), where, reply, time.Since(e.Arrived))
}

func (l eventLog) Deferred(ctx context.Context, e *spool.Envelope, to address.Address, where, code, why string) {
	l.log.Deferred(ctx, string(e.ID), to.String(), where, code, why)
}

func (l eventLog) Failed(ctx context.Context, e *spool.Envelope, to address.Address, where, code, why string) {
	l.log.Failed(ctx, string(e.ID), to.String(), where, code, why)
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
