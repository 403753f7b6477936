package spool

import (
	"strings"
	"sync"
	"testing"

	"postbag/internal/durable"
)

// counting counts the syncs of a spool.
type counting struct {
	mu    sync.Mutex
	files int
	dirs  []string
}

func (c *counting) Step(op durable.Op, do func() error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch op.Kind {
	case durable.OpSync:
		c.files++
	case durable.OpSyncDir:
		c.dirs = append(c.dirs, op.Path[strings.LastIndexByte(op.Path, '/')+1:])
	}
	return do()
}

// A message that its first attempt settles costs one sync of its directory after
// it is in the queue.
func TestWhatOneAttemptSettlesIsSyncedByItsRemoval(t *testing.T) {
	c := &counting{}
	s := open(t, durable.NewTraced(c))
	id := queue(t, s, "x\n", "a@example.net")
	c.files, c.dirs = 0, nil
	l := lock(t, s, id)
	defer l.Unlock()
	for _, err := range []error{
		l.Begin(ctx, Event{Kind: Attempted, Next: 1}),
		l.Note(ctx, Event{Kind: Delivered, Dest: "x"}, Event{Kind: Settled}),
		l.Remove(ctx),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if c.files != 0 || strings.Join(c.dirs, " ") != "new" {
		t.Errorf("%d files synced, and directories %q", c.files, c.dirs)
	}
}

// What was noted is there for the next process, durably from its lock on; before
// that the message is one that nobody has attempted, never one that has lost its
// progress.
func TestNotesOfAProcessThatWasKilled(t *testing.T) {
	c := &counting{}
	s := open(t, durable.NewTraced(c))
	id := queue(t, s, "x\n", "a@example.net", "b@example.net")
	l := lock(t, s, id)
	if err := l.Begin(ctx, Event{Kind: Attempted, Next: 1 << 50}); err != nil {
		t.Fatal(err)
	}
	if err := l.Note(ctx, Event{Kind: Delivered, Dest: "x"}, Event{Kind: Settled}); err != nil {
		t.Fatal(err)
	}
	l.Unlock() // as a kill does
	for d, err := range s.Dues(ctx) {
		if err != nil || d.At.UnixMicro() != 1<<50 {
			t.Errorf("due at %v, %v", d.At, err)
		}
	}
	c.files, c.dirs = 0, nil
	l = lock(t, s, id)
	defer l.Unlock()
	e := l.Entry()
	if e.Progress.Attempts != 1 || !e.Progress.Rcpts[0].Settled || e.Progress.Rcpts[1].Settled || e.Damage != nil {
		t.Errorf("%+v", e)
	}
	if c.files != 1 || strings.Join(c.dirs, " ") != "progress" || !strings.HasPrefix(e.file, "queue/cur/") {
		t.Errorf("%d files synced, directories %q, in %s", c.files, c.dirs, e.file)
	}
}

// Of two batches that became durable together the first may be missing after a
// power cut. That is no damage: neither counts.
func TestNotesThatWereTornCountForNothing(t *testing.T) {
	first := appendFrame(nil, 1, 1, 1, []byte("one"))
	second := appendFrame(nil, 2, 1, 2, []byte("two")) // began with the first
	later := appendFrame(nil, 2, 2, 2, []byte("two"))  // the first was durable
	first[len(first)-1] ^= 1
	if s := scanFrames(append(first, second...)); s.damaged || !s.torn || s.good != 0 {
		t.Errorf("%+v", s)
	}
	if s := scanFrames(append(first, later...)); !s.damaged {
		t.Errorf("damage is not seen: %+v", s)
	}
}

// Groups of an attempt read the message while others record, which moves it. The
// race detector sees it if that is not safe.
func TestAMessageIsReadWhileItMoves(t *testing.T) {
	s := open(t, durable.New())
	l := lock(t, s, queue(t, s, "x\n", "a@example.net"))
	defer l.Unlock()
	if err := l.Begin(ctx, Event{Kind: Attempted, Next: 1}); err != nil {
		t.Fatal(err)
	}
	var both sync.WaitGroup
	both.Go(func() {
		for range 20 {
			r, err := l.Open()
			if err != nil {
				t.Error(err)
				return
			}
			r.Close()
		}
	})
	both.Go(func() {
		if err := l.Record(ctx, Event{Kind: Delivered, Dest: "x"}); err != nil {
			t.Error(err)
		}
	})
	both.Wait()
	if !strings.HasPrefix(l.Entry().file, "queue/cur/") {
		t.Errorf("the message is in %s", l.Entry().file)
	}
}
