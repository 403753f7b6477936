package spool

import (
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"

	"postbag/internal/durable"
)

// handing is a spool that keeps what it queues in memory.
func handing(t testing.TB, fs *durable.FS, most int) *Spool {
	t.Helper()
	s := open(t, fs)
	s.HandOver(most)
	return s
}

// another is another process on the same spool.
func another(t testing.TB, s *Spool) *Spool {
	t.Helper()
	other, err := Open(durable.New(), s.Dir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	return other
}

// names are those in a directory of the spool.
func names(t testing.TB, s *Spool, dir string) []string {
	t.Helper()
	names, err := readNames(s.Path(dir))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// settleAll notes an attempt that brings a message to its only recipient.
func settleAll(t testing.TB, l *Locked) {
	t.Helper()
	err := l.Begin(ctx, Event{Kind: Attempted, Next: 1 << 50})
	if err == nil {
		err = l.Note(ctx, Event{Kind: Delivered, Dest: "x"}, Event{Kind: Settled})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// opened remembers what was opened and written.
type opened struct{ paths []string }

func (o *opened) Step(op durable.Op, do func() error) error {
	switch op.Kind {
	case durable.OpOpen, durable.OpCreate, durable.OpWrite:
		o.paths = append(o.paths, op.Path)
	}
	return do()
}

func TestAFreshMessageThatIsSettledAtOnceHasNoProgressFile(t *testing.T) {
	var o opened
	s := handing(t, durable.NewTraced(&o), 1<<20)
	id := queue(t, s, "Subject: x\n\ntext\n", "a@example.net")
	o.paths = nil
	l := lock(t, s, id)
	if got := readMessage(t, l); got != "Subject: x\n\ntext\n" {
		t.Errorf("message %q", got)
	}
	settleAll(t, l)
	if err := l.Remove(ctx); err != nil {
		t.Fatal(err)
	}
	l.Unlock()
	if len(o.paths) != 1 || !strings.HasPrefix(o.paths[0], s.Path("queue/new")) {
		t.Errorf("opened and written: %q, want the message to lock it", o.paths)
	}
	if how, err := s.Ended(id); err != nil || how != HasDelivered || len(list(t, s)) != 0 {
		t.Errorf("ended %v, %v; in the queue: %v", how, err, list(t, s))
	}
	if s.fresh.size != 0 {
		t.Errorf("%d octets still count", s.fresh.size)
	}
}

func TestAFreshMessageIsTheOneOnTheDisk(t *testing.T) {
	s := handing(t, durable.New(), 1<<20)
	id := queue(t, s, "x\n", "a@example.net", "b@example.net")
	l := lock(t, s, id)
	if l.file != nil {
		t.Fatal("the message was read from the disk")
	}
	mine := *l.Entry()
	l.Unlock()
	read, err := another(t, s).Lookup(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	mine.Active = false
	if !reflect.DeepEqual(&mine, read) {
		t.Errorf("in memory %+v\non the disk %+v", &mine, read)
	}
}

func TestWhatIsLeftOfAFreshMessageIsRecorded(t *testing.T) {
	s := handing(t, durable.New(), 1<<20)
	id := queue(t, s, "x\n", "a@example.net", "b@example.net")
	l := lock(t, s, id)
	settleAll(t, l)
	if len(names(t, s, "queue/progress")) != 0 {
		t.Error("it has a progress file before it needs one")
	}
	if err := l.Record(ctx, Event{Kind: Deferred, Rcpt: 1, Dest: "y", Reply: "later"}); err != nil {
		t.Fatal(err)
	}
	if _, err := another(t, s).Lock(ctx, id); !errors.Is(err, ErrLocked) {
		t.Errorf("another locks it: %v", err)
	}
	l.Unlock()
	l = lock(t, another(t, s), id)
	defer l.Unlock()
	e := l.Entry()
	if e.Damage != nil || e.Progress.Attempts != 1 || !e.Progress.Rcpts[0].Settled || e.Progress.Rcpts[1].Last.Reply != "later" {
		t.Errorf("%+v", e)
	}
	if !strings.HasPrefix(e.file, "queue/cur/") {
		t.Errorf("it is in %s", e.file)
	}
}

func TestAFreshMessageIsForOne(t *testing.T) {
	s := handing(t, durable.New(), 1<<20)
	id := queue(t, s, "x\n", "a@example.net")
	other := another(t, s)
	l := lock(t, s, id)
	if _, err := other.Lock(ctx, id); !errors.Is(err, ErrLocked) {
		t.Errorf("another locks it: %v", err)
	}
	if e, err := other.Lookup(ctx, id); err != nil || !e.Active {
		t.Errorf("it does not look active: %+v, %v", e, err)
	}
	settleAll(t, l)
	if err := l.Remove(ctx); err != nil {
		t.Fatal(err)
	}
	l.Unlock()
	if left := names(t, s, "queue/progress"); len(left) != 0 {
		t.Errorf("progress of what is gone: %q", left)
	}

	id = queue(t, s, "x\n", "a@example.net")
	l = lock(t, other, id)
	if _, err := s.Lock(ctx, id); !errors.Is(err, ErrLocked) {
		t.Errorf("locked while another has it: %v", err)
	}
	l.Unlock()
	if e := lock(t, s, id).Entry(); e.ID != id {
		t.Errorf("locked %s after that", e.ID)
	}
}

func TestWhatAnotherHasDecidedCountsForAFreshMessage(t *testing.T) {
	s := handing(t, durable.New(), 1<<20)
	held, gone := queue(t, s, "x\n", "a@example.net"), queue(t, s, "x\n", "a@example.net")
	other := another(t, s)
	if err := other.Hold(ctx, held); err != nil {
		t.Fatal(err)
	}
	if err := other.Delete(ctx, gone); err != nil {
		t.Fatal(err)
	}
	l := lock(t, s, held)
	defer l.Unlock()
	if !l.Entry().Progress.Held {
		t.Error("it is not held")
	}
	if _, err := s.Lock(ctx, gone); !errors.Is(err, ErrUnknown) {
		t.Errorf("what was deleted: %v", err)
	}
	if s.fresh.size != 0 {
		t.Errorf("%d octets still count", s.fresh.size)
	}
}

func TestAFreshMessageThatWasNotAttemptedStaysSo(t *testing.T) {
	s := handing(t, durable.New(), 1<<20)
	id := queue(t, s, "x\n", "a@example.net")
	for range 3 {
		l := lock(t, s, id)
		if l.file != nil {
			t.Fatal("it was read from the disk")
		}
		l.Unlock()
	}
	if left := names(t, s, "queue/progress"); len(left) != 0 {
		t.Errorf("progress files %q", left)
	}
}

func TestMemoryForFreshMessagesIsBounded(t *testing.T) {
	s := handing(t, durable.New(), 100<<10)
	var ids []ID
	for range 20 {
		ids = append(ids, queue(t, s, strings.Repeat("x\n", 8<<10), "a@example.net"))
		if s.fresh.size > 100<<10 {
			t.Fatalf("%d octets are kept", s.fresh.size)
		}
	}
	inMemory := func(id ID) bool {
		l := lock(t, s, id)
		defer l.Unlock()
		return l.fresh != nil
	}
	if inMemory(ids[0]) || !inMemory(ids[19]) {
		t.Error("the oldest is kept, or the newest is not")
	}
	s.HandOver(0)
	if s.fresh.size != 0 || inMemory(ids[19]) {
		t.Errorf("%d octets are kept when none shall be", s.fresh.size)
	}
}

// unremovable lets no message be removed.
type unremovable struct{ now bool }

func (f *unremovable) Step(op durable.Op, do func() error) error {
	if f.now && (op.Kind == durable.OpRemove || op.Kind == durable.OpRename) && strings.Contains(op.Path, "/queue/new/") {
		return os.ErrPermission
	}
	return do()
}

// A message that cannot be removed is not sent again: what became of it is written
// down then.
func TestAFreshMessageThatCannotBeRemovedIsKnownToBeSettled(t *testing.T) {
	var f unremovable
	s := handing(t, durable.NewTraced(&f), 1<<20)
	id := queue(t, s, "x\n", "a@example.net")
	l := lock(t, s, id)
	settleAll(t, l)
	f.now = true
	if err := l.Remove(ctx); !errors.Is(err, os.ErrPermission) {
		t.Errorf("Remove = %v", err)
	}
	l.Unlock()
	f.now = false
	l = lock(t, s, id)
	defer l.Unlock()
	if e := l.Entry(); e.Progress.Pending() || e.Damage != nil {
		t.Errorf("pending %t, damage %v", e.Progress.Pending(), e.Damage)
	}
}

// Whoever waits for a message whose first attempt has begun is told how it ended.
func TestAFollowerOfAFreshMessage(t *testing.T) {
	s := handing(t, durable.New(), 1<<20)
	id := queue(t, s, "x\n", "a@example.net")
	l := lock(t, s, id)
	f, err := another(t, s).Follow(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	settleAll(t, l)
	if err := l.Remove(ctx); err != nil {
		t.Fatal(err)
	}
	l.Unlock()
	if gone, err := f.Look(); !gone || err != nil {
		t.Errorf("gone %t, %v", gone, err)
	}
	if how, err := s.Ended(id); how != HasDelivered || err != nil {
		t.Errorf("ended %v, %v", how, err)
	}
	if left := names(t, s, "queue/progress"); len(left) != 0 {
		t.Errorf("progress of what is gone: %q", left)
	}
}
