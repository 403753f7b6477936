// Package maillog writes down what happens to mail: one line for each event, one
// function for each kind of line. maillog(5) lists them for those who read logs
// with programs.
//
// A line has the time, the level, the name of the event, the queue ID first of
// all keys, then key=value (or the same as JSON, or what Postfix would write: see
// Form). Passwords and texts of letters never reach it; control characters are
// written as escapes. The same events are counted (see Log.Count).
package maillog

import (
	"context"
	"io"
	"log/slog"
	"net/netip"
	"time"
)

// A Log writes events. A nil *Log writes none. It is safe for concurrent use.
type Log struct {
	h      slog.Handler
	batch  *Batch // nil: each line is written at once
	counts counts
}

// New writes events to w in the form f. A *Batch does not hold errors back.
func New(w io.Writer, f Form) (*Log, error) {
	h, err := f.handler(w)
	if err != nil {
		return nil, err
	}
	batch, _ := w.(*Batch)
	return &Log{h: h, batch: batch}, nil
}

// Flush writes what waits in a Batch.
func (l *Log) Flush() {
	if l != nil && l.batch != nil {
		l.batch.Flush()
	}
}

// Logger gives the logger for what is no event of mail.
func (l *Log) Logger() *slog.Logger {
	if l == nil {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(l.h)
}

// write puts the queue ID first and leaves out what is empty.
func (l *Log) write(ctx context.Context, level slog.Level, event, id string, kv ...any) {
	if l == nil || !l.h.Enabled(ctx, level) {
		return
	}
	attrs := make([]slog.Attr, 0, 1+len(kv)/2)
	if id != "" {
		attrs = append(attrs, slog.String("id", id))
	}
	for i := 0; i+1 < len(kv); i += 2 {
		if a := slog.Any(kv[i].(string), kv[i+1]); !empty(kv[i+1]) {
			attrs = append(attrs, a)
		}
	}
	r := slog.NewRecord(time.Now(), level, event, 0) // no line tells where in the code it comes from
	r.AddAttrs(attrs...)
	_ = l.h.Handle(ctx, r) // there is no other log to tell
	if level >= slog.LevelError {
		l.Flush()
	}
}

func empty(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case string:
		return v == ""
	case netip.AddrPort:
		return !v.IsValid()
	case bool:
		return !v
	}
	return false
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// path prints a reverse-path or forward-path as it stands in SMTP.
func path(s string) string { return "<" + s + ">" }

// A Letter is one that was received.
type Letter struct {
	ID, From   string
	Recipients int
	Size       int64 // octets in disk form
	Proto      string
	Client     string // address
	HELO       string
	Login      string
	UID        int           // who submitted it here; -1 for nobody
	Took       time.Duration // until it was durable; only counted
}

// Received is a letter that was taken, durably.
func (l *Log) Received(ctx context.Context, m Letter) {
	if l != nil {
		l.counts.received.With(m.Proto).Inc()
		l.counts.commit.Observe(m.Took)
	}
	kv := []any{"from", path(m.From), "recipients", m.Recipients, "size", m.Size, "proto", m.Proto, "client", m.Client, "helo", m.HELO, "login", m.Login}
	if m.UID >= 0 {
		kv = append(kv, "uid", m.UID)
	}
	l.write(ctx, slog.LevelInfo, "received", m.ID, kv...)
}

// Refused is a recipient that was not taken; code is that of the reply, and the
// one of RFC 3463.
func (l *Log) Refused(ctx context.Context, client, from, to, code, why string) {
	if l != nil {
		l.counts.refused.With(enhancedOf(code)).Inc()
	}
	l.write(ctx, slog.LevelInfo, "refused", "", "client", client, "from", path(from), "to", path(to), "code", code, "why", why)
}

// NotTaken is a letter that was not taken as a whole. Trouble with the disk is
// an error, everything else the client's affair.
func (l *Log) NotTaken(ctx context.Context, id, client, code string, err error, ours bool) {
	if l != nil {
		l.counts.notTaken.With(enhancedOf(code)).Inc()
	}
	level := slog.LevelInfo
	if ours {
		level = slog.LevelError
	}
	l.write(ctx, level, "not-taken", id, "client", client, "code", code, "why", text(err))
}

// Lost is a client that went away in the middle of something.
func (l *Log) Lost(ctx context.Context, client, where string, err error) {
	l.write(ctx, slog.LevelInfo, "lost", "", "client", client, "where", where, "why", text(err))
}

// Delivered is a recipient whose letter has arrived; where is a Maildir or host.
func (l *Log) Delivered(ctx context.Context, id, to, where, reply string, delay time.Duration) {
	if l != nil {
		l.counts.delivered.With(placeOf(where)).Inc()
	}
	l.write(ctx, slog.LevelInfo, "delivered", id, "to", path(to), "where", where, "reply", reply, "delay", seconds(delay))
}

// Deferred is a recipient who will be tried again.
func (l *Log) Deferred(ctx context.Context, id, to, where, code, why string, delay time.Duration) {
	if l != nil {
		l.counts.deferred.With(code).Inc()
	}
	l.write(ctx, slog.LevelInfo, "deferred", id, "to", path(to), "where", where, "status", code, "why", why, "delay", seconds(delay))
}

// Failed is a recipient who will never get the letter.
func (l *Log) Failed(ctx context.Context, id, to, where, code, why string, delay time.Duration) {
	if l != nil {
		l.counts.failed.With(code).Inc()
	}
	l.write(ctx, slog.LevelInfo, "failed", id, "to", path(to), "where", where, "status", code, "why", why, "delay", seconds(delay))
}

// Reported is a report about a letter, which goes to somebody.
func (l *Log) Reported(ctx context.Context, id, report, to string) {
	l.write(ctx, slog.LevelInfo, "reported", id, "report", report, "to", path(to))
}

// Discarded is a letter that goes nowhere any more, with the reason.
func (l *Log) Discarded(ctx context.Context, id, why string) {
	l.write(ctx, slog.LevelWarn, "discarded", id, "why", why)
}

// Queued is a letter that has got into the queue.
func (l *Log) Queued(ctx context.Context, id, from string, recipients int, size int64) {
	l.write(ctx, slog.LevelInfo, "queued", id, "from", path(from), "recipients", recipients, "size", size)
}

// Removed is a letter that has left the queue.
func (l *Log) Removed(ctx context.Context, id string) {
	l.write(ctx, slog.LevelInfo, "removed", id)
}

// Stopped is a letter that is not tried before somebody decides.
func (l *Log) Stopped(ctx context.Context, id string, err error) {
	l.write(ctx, slog.LevelError, "stopped", id, "why", text(err))
}

// Trouble is something of this host that needs a human.
func (l *Log) Trouble(ctx context.Context, what string, err error) {
	l.write(ctx, slog.LevelError, "trouble", "", "what", what, "why", text(err))
}

// Login is a user who has logged in.
func (l *Log) Login(ctx context.Context, proto, client, user, method string, tls bool) {
	if l != nil {
		l.counts.logins.With(proto, method, "ok").Inc()
	}
	l.write(ctx, slog.LevelInfo, "login", "", "proto", proto, "client", client, "user", user, "method", method, "tls", tls)
}

// LoginFailed is one who could not.
func (l *Log) LoginFailed(ctx context.Context, proto, client, user, method string, err error) {
	if l != nil {
		l.counts.logins.With(proto, method, "failed").Inc()
	}
	l.write(ctx, slog.LevelWarn, "login-failed", "", "proto", proto, "client", client, "user", user, "method", method, "why", text(err))
}

// Logout is the end of a session.
func (l *Log) Logout(ctx context.Context, proto, client, user string, retrieved int, octets int64, deleted int, clean bool) {
	l.write(ctx, slog.LevelInfo, "logout", "", "proto", proto, "client", client, "user", user, "retrieved", retrieved, "octets", octets, "deleted", deleted, "clean", clean)
}

// SessionFailed is an error of this host in a session.
func (l *Log) SessionFailed(ctx context.Context, proto, client, user string, err error) {
	l.write(ctx, slog.LevelError, "session-failed", "", "proto", proto, "client", client, "user", user, "why", text(err))
}

// Listening is a listener that is ready.
func (l *Log) Listening(ctx context.Context, proto, addr string) {
	l.write(ctx, slog.LevelInfo, "listening", "", "proto", proto, "addr", addr)
	l.Flush() // who started us waits for it
}

// Stopping is the beginning of the end of a daemon.
func (l *Log) Stopping(ctx context.Context, why string) {
	l.write(ctx, slog.LevelInfo, "stopping", "", "why", why)
}

// Reloaded is a configuration that was read again; an error means that the old
// one stays.
func (l *Log) Reloaded(ctx context.Context, what string, err error) {
	if err != nil {
		l.write(ctx, slog.LevelError, "reload-failed", "", "what", what, "why", text(err))
		return
	}
	l.write(ctx, slog.LevelInfo, "reloaded", "", "what", what)
}

// Warning is something that an administrator should know.
func (l *Log) Warning(ctx context.Context, what string) {
	l.write(ctx, slog.LevelWarn, "warning", "", "what", what)
}

func seconds(d time.Duration) string {
	if d <= 0 {
		return ""
	}
	return d.Round(time.Millisecond).String()
}
