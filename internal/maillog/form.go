package maillog

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// Formats are the forms of lines that there are.
var Formats = []string{"text", "json", "postfix"}

// A Form says how lines look.
type Form struct {
	Level    string // the least that is written: debug, info, warn or error
	Format   string // one of Formats
	Program  string // in lines of postfix
	Hostname string // in lines of postfix
	// Taken means that whoever takes the lines adds time, host and level: each
	// begins with its priority as <N>, as sd-daemon(3) has it.
	Taken bool
}

// handler makes lines of that form for w.
func (f Form) handler(w io.Writer) (slog.Handler, error) {
	var min slog.Level
	if err := min.UnmarshalText([]byte(f.Level)); err != nil {
		return nil, fmt.Errorf("log level %q: must be debug, info, warn or error", f.Level)
	}
	options := &slog.HandlerOptions{Level: min}
	if f.Taken {
		options.ReplaceAttr = withoutTime
	}
	switch f.Format {
	case "text":
		return f.mark(w, func(w io.Writer) slog.Handler { return slog.NewTextHandler(w, options) }), nil
	case "json":
		return f.mark(w, func(w io.Writer) slog.Handler { return slog.NewJSONHandler(w, options) }), nil
	case "postfix":
		return f.mark(w, func(w io.Writer) slog.Handler { return newPostfix(w, f, min) }), nil
	}
	return nil, fmt.Errorf("log format %q: must be %s", f.Format, strings.Join(Formats, ", "))
}

// withoutTime leaves out what whoever takes the lines knows.
func withoutTime(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey) {
		return slog.Attr{}
	}
	return a
}

// mark has lines begin with their priority where they are taken.
func (f Form) mark(w io.Writer, inner func(io.Writer) slog.Handler) slog.Handler {
	if !f.Taken {
		return inner(w)
	}
	m := &marker{w: w}
	return marked{inner(m), m}
}

// IsJournal reports whether a file leads to the journal of systemd, which says so
// in $JOURNAL_STREAM as DEVICE:INODE (systemd.exec(5)).
func IsJournal(f *os.File, stream string) bool {
	device, inode, ok := strings.Cut(stream, ":")
	st, err := f.Stat()
	if !ok || err != nil {
		return false
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	return ok && strconv.FormatUint(uint64(sys.Dev), 10) == device && strconv.FormatUint(sys.Ino, 10) == inode
}
