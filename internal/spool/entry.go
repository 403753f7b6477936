package spool

import (
	"context"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// An Entry is a message in the queue as it was when somebody looked.
type Entry struct {
	Envelope
	Size     int64 // octets of the message in disk form, without the envelope
	Progress Progress
	Active   bool  // somebody holds its lock
	Damage   error // why the message cannot be sent; it is kept and counts as held

	head head
	file string // below the spool
}

// Stopped reports whether no attempt is to be made until somebody decides.
func (e *Entry) Stopped() bool { return e.Damage != nil || e.Progress.Held }

// Lookup gives one message; ErrUnknown when it is not in the queue.
func (s *Spool) Lookup(ctx context.Context, id ID) (*Entry, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if _, err := ParseID(string(id)); err != nil {
		return nil, err
	}
	for {
		file, err := s.find(id)
		if err != nil {
			return nil, err
		}
		e, err := s.load(id, file)
		if errors.Is(err, ErrUnknown) {
			continue // it has moved since, or is gone
		}
		if err != nil {
			return nil, err
		}
		return e, s.peekProgress(e)
	}
}

// find gives the path of a message's file below the spool.
func (s *Spool) find(id ID) (string, error) {
	name := id.fileName()
	// It moves once, from new to cur; looking there and back finds it.
	for _, file := range []string{"queue/new/" + name, "queue/cur/" + name + ":2,", "queue/new/" + name} {
		_, err := os.Lstat(s.Path(file))
		if err == nil {
			return file, nil
		}
		if !errors.Is(err, iofs.ErrNotExist) {
			return "", fmt.Errorf("look up message %s: %w", id, err)
		}
	}
	return s.findRenamed(id, name)
}

// findRenamed looks for a file that a Maildir tool has given flags.
func (s *Spool) findRenamed(id ID, name string) (string, error) {
	for _, sub := range []string{"queue/cur", "queue/new"} {
		files, err := os.ReadDir(s.Path(sub))
		if err != nil {
			return "", fmt.Errorf("look up message %s: %w", id, err)
		}
		for _, f := range files {
			if strings.HasPrefix(f.Name(), name+":") {
				return sub + "/" + f.Name(), nil
			}
		}
	}
	return "", fmt.Errorf("message %s: %w", id, ErrUnknown)
}

// load reads a message's envelope. What is damaged is loaded as far as it goes.
func (s *Spool) load(id ID, file string) (*Entry, error) {
	e := &Entry{file: file, Envelope: Envelope{ID: id, UID: -1, Arrived: id.Time()}}
	if err := s.loadEnvelope(e, id); err != nil {
		return nil, err
	}
	e.Progress = newProgress(&e.Envelope)
	return e, nil
}

func (s *Spool) loadEnvelope(e *Entry, id ID) error {
	f, err := os.OpenFile(s.Path(e.file), os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		if errors.Is(err, iofs.ErrNotExist) {
			err = ErrUnknown
		}
		return fmt.Errorf("message %s: %w", id, err)
	}
	defer f.Close()
	err = e.read(f, id)
	if err == nil && e.Damage != nil && !s.stillNames(e.file, f) {
		err = ErrUnknown // it has left meanwhile, and another is written over it
	}
	if err != nil {
		return fmt.Errorf("message %s: %w", id, err)
	}
	return nil
}

// stillNames reports whether a path below the spool is still that of an open file.
func (s *Spool) stillNames(file string, f *os.File) bool {
	mine, err := f.Stat()
	there, lerr := os.Lstat(s.Path(file))
	return err == nil && lerr == nil && os.SameFile(mine, there)
}

// read takes the envelope of an open file.
func (e *Entry) read(f *os.File, id ID) error {
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if strings.HasPrefix(e.file, "queue/new/") { // the first attempt may hold the message itself
		if e.Active, err = locked(f); err != nil {
			return err
		}
	}
	h, err := readHead(f)
	switch {
	case errors.Is(err, errDamaged):
		e.Damage, e.Size = err, st.Size()
		return nil
	case err != nil:
		return err
	}
	e.head, e.Envelope, e.Size = h, *h.env, st.Size()-int64(h.size)
	if e.Size != h.length {
		e.Damage = fmt.Errorf("%w: %d octets of %d", errDamaged, e.Size, h.length)
	}
	if e.ID != id {
		e.Damage = fmt.Errorf("%w: file %s holds message %q", errDamaged, e.file, e.ID)
		e.ID = id
	}
	return nil
}

// readHead reads the envelope, usually with one system call.
func readHead(f io.ReaderAt) (head, error) {
	buf := make([]byte, 2048)
	for {
		n, err := f.ReadAt(buf, 0)
		if err != nil && err != io.EOF {
			return head{}, err
		}
		h, need, perr := parseHead(buf[:n])
		if perr == nil || !errors.Is(perr, errShort) || err == io.EOF {
			return h, perr
		}
		buf = make([]byte, need)
	}
}

// peekProgress reads the progress file without locking it.
func (s *Spool) peekProgress(e *Entry) error {
	f, err := os.OpenFile(s.progressPath(e.ID), os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, iofs.ErrNotExist) {
		// Never attempted, or removed since its envelope was read.
		if _, err := s.find(e.ID); err != nil {
			return err
		}
		e.replay(nil)
		return nil
	}
	if err != nil {
		return fmt.Errorf("progress of %s: %w", e.ID, err)
	}
	defer f.Close()
	raw, err := io.ReadAll(f)
	if err != nil {
		return fmt.Errorf("progress of %s: %w", e.ID, err)
	}
	e.replay(raw)
	working, err := locked(f)
	e.Active = e.Active || working
	return err
}

// locked reports whether anybody holds the lock on f, without taking it: a
// reader must not stand in the way of one who wants to work.
func locked(f *os.File) (bool, error) {
	test := unix.Flock_t{Type: unix.F_WRLCK}
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &test); err != nil {
		return false, fmt.Errorf("look at lock of %s: %w", f.Name(), err)
	}
	return test.Type != unix.F_UNLCK, nil
}

// replay adds what a progress file says.
func (e *Entry) replay(raw []byte) scan {
	sc := scanFrames(raw)
	if sc.damaged {
		e.damage(fmt.Errorf("%w: progress file, after %d good records", errDamaged, len(sc.payloads)))
	}
	for _, payload := range sc.payloads {
		ev, err := decodeEvent(payload)
		if err == nil {
			err = e.Progress.apply(ev)
		}
		if err != nil {
			e.damage(err)
			return sc
		}
	}
	if e.Progress.Attempts == 0 && strings.HasPrefix(e.file, "queue/cur/") && !e.released(sc) {
		e.damage(fmt.Errorf("%w: attempted, but what became of it is lost", errDamaged))
	}
	return sc
}

// released reports whether somebody has decided, by releasing it, that a
// message whose progress is lost shall be sent again to all.
func (e *Entry) released(sc scan) bool {
	if len(sc.payloads) == 0 || sc.damaged {
		return false
	}
	ev, err := decodeEvent(sc.payloads[0])
	return err == nil && ev.Kind == Released
}

func (e *Entry) damage(err error) {
	if e.Damage == nil {
		e.Damage = err
	}
}

func (s *Spool) progressPath(id ID) string { return s.Path("queue", "progress", string(id)) }

func (s *Spool) read(ctx context.Context, q queued) (*Entry, error) {
	e, err := s.load(q.id, q.file)
	if errors.Is(err, ErrUnknown) {
		// It may have moved from new to cur since.
		return s.Lookup(ctx, q.id)
	}
	if err != nil {
		return nil, err
	}
	return e, s.peekProgress(e)
}

// cleanProgress removes progress files whose message is gone: a crash came
// between the two unlinks of Remove.
func (s *Spool) cleanProgress(ctx context.Context) error {
	files, err := readNames(s.Path("queue/progress"))
	if err != nil {
		return fmt.Errorf("clean queue: %w", err)
	}
	found, err := s.names()
	if err != nil {
		return err
	}
	known := make(map[string]bool, len(found))
	for _, q := range found {
		known[string(q.id)] = true
	}
	for _, name := range files {
		if known[name] {
			continue
		}
		id, err := ParseID(filepath.Base(name))
		if err != nil {
			continue
		}
		// Lock removes the file when there is no message to it.
		if l, err := s.Lock(ctx, id); err == nil {
			l.Unlock()
		}
	}
	return ctx.Err()
}
