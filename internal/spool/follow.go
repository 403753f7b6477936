package spool

import (
	"context"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// A Follower sees what becomes of a message until it has left the queue, and how
// it ended. It takes no lock, and keeps nobody from working.
type Follower struct {
	s      *Spool
	id     ID
	file   *os.File // the progress file, which can be read after its name is gone
	events []Event
}

// Follow begins to follow a message; ErrUnknown when it is not in the queue.
func (s *Spool) Follow(ctx context.Context, id ID) (*Follower, error) {
	if _, err := s.Lookup(ctx, id); err != nil {
		return nil, err
	}
	f := &Follower{s: s, id: id}
	if err := f.prepare(); err != nil {
		return nil, err
	}
	f.open()
	if _, err := s.find(id); err != nil { // it left meanwhile: nobody else removes the file now
		if errors.Is(err, ErrUnknown) {
			s.fs.Remove(s.progressPath(id))
		}
		f.Close()
		return nil, err
	}
	return f, nil
}

// prepare makes the progress file of a message that was never attempted: an
// empty one says the same, and shows the first attempt, however short. Only who
// would own it as those do who work on the queue may make it.
func (f *Follower) prepare() error {
	st, err := os.Stat(f.s.Path("queue", "progress"))
	if err != nil {
		return fmt.Errorf("follow message %s: %w", f.id, err)
	}
	if sys, ok := st.Sys().(*syscall.Stat_t); !ok || int(sys.Uid) != os.Geteuid() {
		return nil
	}
	file, err := f.s.fs.OpenAppend(f.s.progressPath(f.id), 0o600)
	if err != nil {
		return fmt.Errorf("follow message %s: %w", f.id, err)
	}
	return file.Close()
}

// open opens the progress file if it is there.
func (f *Follower) open() {
	if f.file == nil {
		f.file, _ = os.OpenFile(f.s.progressPath(f.id), os.O_RDONLY|unix.O_NOFOLLOW, 0)
	}
}

// Close ends it.
func (f *Follower) Close() {
	if f.file != nil {
		f.file.Close()
	}
}

// Look reports whether the message is gone from the queue. Events then has all
// that was recorded.
func (f *Follower) Look() (gone bool, err error) {
	_, err = f.s.find(f.id)
	if gone = errors.Is(err, ErrUnknown); err != nil && !gone {
		return false, err
	}
	if f.open(); f.file == nil {
		return gone, nil
	}
	raw, err := io.ReadAll(io.NewSectionReader(f.file, 0, 1<<40))
	if err != nil {
		return gone, fmt.Errorf("progress of %s: %w", f.id, err)
	}
	f.events = events(raw)
	return gone, nil
}

// Events are those of the last Look, oldest first.
func (f *Follower) Events() []Event { return f.events }

// Events lists what is recorded of a message, oldest first, as far as it can be
// read.
func (s *Spool) Events(id ID) ([]Event, error) {
	raw, err := os.ReadFile(s.progressPath(id))
	if err != nil && !errors.Is(err, iofs.ErrNotExist) {
		return nil, fmt.Errorf("progress of %s: %w", id, err)
	}
	return events(raw), nil
}

func events(raw []byte) (all []Event) {
	for _, payload := range scanFrames(raw).payloads {
		if e, err := decodeEvent(payload); err == nil {
			all = append(all, e)
		}
	}
	return all
}
