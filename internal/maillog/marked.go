package maillog

import (
	"context"
	"io"
	"log/slog"
	"sync"
)

// priority is the level as syslog(3) counts.
func priority(l slog.Level) byte {
	switch {
	case l >= slog.LevelError:
		return '3'
	case l >= slog.LevelWarn:
		return '4'
	case l >= slog.LevelInfo:
		return '6'
	}
	return '7'
}

// A marker puts the priority of a record before its line.
type marker struct {
	mu   sync.Mutex
	w    io.Writer
	next byte // priority of the record that is being written
	line []byte
}

// Write gets one line at a time from a slog.Handler.
func (m *marker) Write(p []byte) (int, error) {
	m.line = append(m.line[:0], '<', m.next, '>')
	m.line = append(m.line, p...)
	if _, err := m.w.Write(m.line); err != nil {
		return 0, err
	}
	return len(p), nil
}

// A marked Handler tells the marker the priority of each record.
type marked struct {
	slog.Handler
	m *marker
}

func (h marked) Handle(ctx context.Context, r slog.Record) error {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	h.m.next = priority(r.Level)
	return h.Handler.Handle(ctx, r)
}

func (h marked) WithAttrs(attrs []slog.Attr) slog.Handler {
	return marked{h.Handler.WithAttrs(attrs), h.m}
}

func (h marked) WithGroup(name string) slog.Handler {
	return marked{h.Handler.WithGroup(name), h.m}
}
