// Package spool keeps accepted messages on disk until they are delivered.
//
// A message is in the queue from the moment Draft.Commit returns nil until
// Locked.Remove is called, across crashes and restarts. Any program may create
// and list; only the holder of a message's lock may record or remove. The same
// spool may be used by several processes at once.
//
// # Files
//
//	queue/tmp/NAME       being written, or a spare; of no meaning to readers
//	queue/new/NAME       queued, no attempt yet
//	queue/cur/NAME:2,    queued, an attempt has begun
//	queue/progress/ID    what became of it: events, one frame each; its lock (see
//	                     HandOver for the one exception)
//	queue/bad/...        copies of progress files that were damaged
//	queue/ended          how the last messages ended (see NoteEnd)
//	drop/                submissions of unprivileged users (see Drop)
//	run/runner.lock      held by the one scheduler
//	run/queue            socket of that scheduler (see Wake)
//	mail/, state/        Maildirs; journals of other packages
//
// NAME is SECONDS.M<usec>Q<ID> and follows from the ID, whose first part is the
// time. The message is a whole one that any Maildir tool can read; its first
// header field (message.EnvelopeField) carries the envelope, and length and CRC
// of what follows it. A message in cur/ without events in its progress file has
// lost them: it is held, never sent, for nobody knows who has it already.
//
// doc/design.md has the table of states and who repairs what.
package spool

import (
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"postbag/internal/durable"
	"postbag/internal/maildir"
)

// Errors that callers tell apart.
var (
	ErrUnknown = errors.New("no such message in the queue")
	ErrLocked  = errors.New("message is being worked on")
	ErrQueued  = errors.New("message is in the queue already")
)

// Options of a Spool; the zero value works.
type Options struct {
	Hostname string           // for names that hold one
	Now      func() time.Time // nil: time.Now
}

// A Spool is one spool directory. It is safe for concurrent use.
type Spool struct {
	fs  *durable.FS
	dir string
	now func() time.Time

	mu       sync.Mutex
	lastID   int64           // microseconds of the last ID given here
	listener *Listener       // the scheduler, if it runs in this process
	refused  map[string]bool // drops that have been reported as refused

	fresh  handover // what was queued here a moment ago
	spares spares   // files of what has left

	openEndings sync.Once
	ended       *endings // see NoteEnd
}

// tree is what Open makes below a spool. A spool of the system (made by root)
// lets every user submit and look up sockets, and nobody read mail.
var tree = []struct {
	name            string
	private, shared iofs.FileMode
}{
	{"queue", 0o700, 0o700},
	{"queue/tmp", 0o700, 0o700},
	{"queue/new", 0o700, 0o700},
	{"queue/cur", 0o700, 0o700},
	{"queue/progress", 0o700, 0o700},
	{"run", 0o700, 0o755},
	{"drop", 0o700, 0o733 | iofs.ModeSticky | iofs.ModeSetgid},
	{"mail", 0o700, 0o711},
	{"state", 0o700, 0o700},
}

// Open opens the spool in dir and makes what of it is missing. What the caller
// may not see is left alone: to submit, drop/ is enough.
func Open(fs *durable.FS, dir string, o Options) (*Spool, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open spool %s: %w", dir, err)
	}
	s := &Spool{fs: fs, dir: dir, now: o.Now}
	if s.now == nil {
		s.now = time.Now
	}
	shared := os.Geteuid() == 0
	top := iofs.FileMode(0o700)
	if shared {
		top = 0o755
	}
	if err := s.ensure("", top); err != nil {
		return nil, err
	}
	for _, t := range tree {
		mode := t.private
		if shared {
			mode = t.shared
		}
		if err := s.ensure(t.name, mode); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// ensure makes one directory of the tree, with just that mode.
func (s *Spool) ensure(name string, mode iofs.FileMode) error {
	dir := s.Path(name)
	_, err := os.Lstat(dir)
	if err == nil || errors.Is(err, iofs.ErrPermission) {
		return nil
	}
	if err := s.fs.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("open spool %s: %w", s.dir, err)
	}
	if mode == 0o700 {
		return nil
	}
	if err := s.fs.Chmod(dir, mode); err != nil {
		return fmt.Errorf("open spool %s: %w", s.dir, err)
	}
	return nil
}

// Path gives a path below the spool.
func (s *Spool) Path(parts ...string) string {
	return filepath.Join(append([]string{s.dir}, parts...)...)
}

// Dir is the directory of the spool.
func (s *Spool) Dir() string { return s.dir }

// FS is what the spool changes files through.
func (s *Spool) FS() *durable.FS { return s.fs }

// Clean removes what crashes have left: files in tmp/ that nobody has touched
// for a day and a half, and progress files of messages that are gone.
func (s *Spool) Clean(ctx context.Context) error {
	return errors.Join(
		maildir.Clean(s.fs, s.Path("queue"), maildir.TmpAge),
		s.cleanProgress(ctx),
	)
}
