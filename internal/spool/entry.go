package spool

import (
	"context"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

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
	file, err := s.find(id)
	if err != nil {
		return nil, err
	}
	e, err := s.load(id, file)
	if err != nil {
		return nil, err
	}
	return e, s.peekProgress(e)
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
	st, err := f.Stat()
	if err != nil {
		return fmt.Errorf("message %s: %w", id, err)
	}
	h, err := readHead(f)
	switch {
	case errors.Is(err, errDamaged):
		e.Damage, e.Size = err, st.Size()
		return nil
	case err != nil:
		return fmt.Errorf("message %s: %w", id, err)
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
	e.Active, err = locked(f)
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

// List gives every message in the queue, oldest first. An error that comes
// instead of an Entry is about one file and does not end the list, but one
// about the directory does. Envelopes are read by several goroutines, a little
// ahead of the consumer.
func (s *Spool) List(ctx context.Context) iter.Seq2[*Entry, error] {
	return func(yield func(*Entry, error) bool) {
		found, err := s.names()
		if err != nil {
			yield(nil, err)
			return
		}
		ctx, stop := context.WithCancel(ctx)
		var readers sync.WaitGroup
		defer readers.Wait()
		defer stop()
		for c := range s.readAhead(ctx, &readers, found) {
			<-c.done
			for i, e := range c.entries {
				// Gone since its name was read: delivered.
				if errors.Is(c.errs[i], ErrUnknown) {
					continue
				}
				if !yield(e, c.errs[i]) {
					return
				}
			}
		}
		if err := ctx.Err(); err != nil {
			yield(nil, err)
		}
	}
}

// A queued is a name found in the queue.
type queued struct {
	id   ID
	file string
}

// names reads the directories of the queue. new comes first: what moves to cur
// meanwhile is then seen twice, not never.
func (s *Spool) names() ([]queued, error) {
	var all []queued
	for _, sub := range []string{"queue/new", "queue/cur"} {
		files, err := readNames(s.Path(sub))
		if err != nil {
			return nil, fmt.Errorf("list queue: %w", err)
		}
		for _, name := range files {
			if id, ok := idOfFile(name); ok {
				all = append(all, queued{id, sub + "/" + name})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b queued) int { return strings.Compare(string(a.id), string(b.id)) })
	return slices.CompactFunc(all, func(a, b queued) bool { return a.id == b.id }), nil
}

// readNames reads a directory without sorting it or looking at its files.
func readNames(dir string) ([]string, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.Readdirnames(-1)
}

// A chunk is a part of the list being read; done is closed when it is.
type chunk struct {
	found   []queued
	entries []*Entry
	errs    []error
	done    chan struct{}
}

const (
	readers   = 4  // goroutines that read envelopes
	ahead     = 16 // chunks that they may be ahead of the consumer
	chunkSize = 64 // messages in one
)

// readAhead reads the entries of found, and gives the chunks in order, some of
// them not done yet. wg waits for what it has started; ctx stops it.
func (s *Spool) readAhead(ctx context.Context, wg *sync.WaitGroup, found []queued) <-chan *chunk {
	inOrder, work := make(chan *chunk, ahead), make(chan *chunk)
	wg.Go(func() {
		defer close(inOrder)
		defer close(work)
		for part := range slices.Chunk(found, chunkSize) {
			c := &chunk{found: part, done: make(chan struct{})}
			select {
			case work <- c:
			case <-ctx.Done():
				return
			}
			select {
			case inOrder <- c:
			case <-ctx.Done():
				return
			}
		}
	})
	for range readers {
		wg.Go(func() {
			for c := range work {
				s.readChunk(ctx, c)
			}
		})
	}
	return inOrder
}

func (s *Spool) readChunk(ctx context.Context, c *chunk) {
	defer close(c.done)
	c.entries, c.errs = make([]*Entry, len(c.found)), make([]error, len(c.found))
	for i, q := range c.found {
		if c.errs[i] = ctx.Err(); c.errs[i] != nil {
			continue
		}
		c.entries[i], c.errs[i] = s.read(ctx, q)
	}
}

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
