package spool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"iter"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// List gives every message in the queue, oldest first. An error that comes
// instead of an Entry is about one file and does not end the list, but one
// about the directory does. Envelopes are read by several goroutines, a little
// ahead of the consumer.
func (s *Spool) List(ctx context.Context) iter.Seq2[*Entry, error] {
	return each(ctx, s.names, s.read)
}

// A Due says when the next attempt at a message is due; the zero time is at once.
type Due struct {
	ID   ID
	At   time.Time
	Held bool
}

// Dues gives every message in the queue, oldest first, without reading more than
// a scheduler needs: of one that was never attempted, nothing at all. What is
// damaged, or held since it came, is found by the attempt.
func (s *Spool) Dues(ctx context.Context) iter.Seq2[Due, error] {
	files, err := readNames(s.Path("queue/progress"))
	if err != nil {
		return func(yield func(Due, error) bool) { yield(Due{}, fmt.Errorf("list queue: %w", err)) }
	}
	begun := make(map[ID]struct{}, len(files))
	for _, name := range files {
		begun[ID(name)] = struct{}{}
	}
	return each(ctx, s.names, func(_ context.Context, q queued) (Due, error) {
		if _, ok := begun[q.id]; !ok {
			return Due{ID: q.id}, nil
		}
		return s.due(q.id)
	})
}

// due reads the progress of a message, and of that only what decides.
func (s *Spool) due(id ID) (Due, error) {
	d := Due{ID: id}
	f, err := os.OpenFile(s.progressPath(id), os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, iofs.ErrNotExist) {
		return d, nil
	}
	if err != nil {
		return d, fmt.Errorf("progress of %s: %w", id, err)
	}
	defer f.Close()
	raw, err := io.ReadAll(f)
	if err != nil {
		return d, fmt.Errorf("progress of %s: %w", id, err)
	}
	placed := map[string]bool{}
	for _, payload := range scanFrames(raw).payloads {
		switch kindOf(payload) {
		case Settled, Reported, Warned:
			continue
		}
		e, err := decodeEvent(payload)
		if err != nil {
			return Due{ID: id}, nil
		}
		switch e.Kind {
		case Attempted, Retry:
			d.At = e.At()
		case Held, Released:
			d.Held = e.Kind == Held
		case Placed:
			placed[e.Dest] = true
		default:
			delete(placed, e.Dest)
		}
	}
	if len(placed) > 0 {
		d.At = time.Time{} // interrupted: to be completed at once
	}
	return d, nil
}

// kindOf gives the kind of an event without decoding it, if it is as we write it.
func kindOf(payload []byte) Kind {
	rest, ok := bytes.CutPrefix(payload, []byte(`{"e":"`))
	end := bytes.IndexByte(rest, '"')
	if !ok || end < 0 {
		return ""
	}
	return Kind(rest[:end])
}

// each reads what is found, in order.
func each[T any](ctx context.Context, find func() ([]queued, error), read func(context.Context, queued) (T, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		found, err := find()
		if err != nil {
			yield(none, err)
			return
		}
		ctx, stop := context.WithCancel(ctx)
		var readers sync.WaitGroup
		defer readers.Wait()
		defer stop()
		for c := range readAhead(ctx, &readers, found, read) {
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
			yield(none, err)
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

// A chunk is a part of a list being read; done is closed when it is.
type chunk[T any] struct {
	found   []queued
	entries []T
	errs    []error
	done    chan struct{}
}

const (
	readers   = 4  // goroutines that read
	ahead     = 16 // chunks that they may be ahead of the consumer
	chunkSize = 64 // messages in one
)

// readAhead reads what is found, and gives the chunks in order, some of them not
// done yet. wg waits for what it has started; ctx stops it.
func readAhead[T any](ctx context.Context, wg *sync.WaitGroup, found []queued, read func(context.Context, queued) (T, error)) <-chan *chunk[T] {
	inOrder, work := make(chan *chunk[T], ahead), make(chan *chunk[T])
	wg.Go(func() {
		defer close(inOrder)
		defer close(work)
		for part := range slices.Chunk(found, chunkSize) {
			c := &chunk[T]{found: part, done: make(chan struct{})}
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
				c.read(ctx, read)
			}
		})
	}
	return inOrder
}

func (c *chunk[T]) read(ctx context.Context, read func(context.Context, queued) (T, error)) {
	defer close(c.done)
	c.entries, c.errs = make([]T, len(c.found)), make([]error, len(c.found))
	for i, q := range c.found {
		if c.errs[i] = ctx.Err(); c.errs[i] == nil {
			c.entries[i], c.errs[i] = read(ctx, q)
		}
	}
}
