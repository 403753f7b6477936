package mailbox

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"postbag/internal/durable"
)

// later makes all that the disk has seem old.
func later() time.Time { return time.Now().Add(time.Minute) }

// TestOldStampsAreBelievedWithoutAScan: a folder that was scanned when its stamps
// were old is as it was while it has them, also when a watch has just begun.
func TestOldStampsAreBelievedWithoutAScan(t *testing.T) {
	x := newFixture(t)
	name := x.deliver("a: b\n\nc\n")
	s := NewStore(durable.New(), Options{Now: later})
	t.Cleanup(func() { s.Close() })
	s.watcher()
	f := x.open(s)
	x.must(f.Sync(x.ctx))
	b := f.b
	// A change that only a scan would find.
	x.must(os.Remove(filepath.Join(x.dir, "new", name)))
	now, err := b.stamps()
	x.must(err)
	now.firm, now.settled = true, [2]bool{true, true}
	b.seen = now
	b.event.start()
	x.must(f.Sync(x.ctx))
	if f.View().Len() != 1 || b.event.lost() {
		t.Errorf("it was scanned: %d letters; events still lost: %v", f.View().Len(), b.event.lost())
	}
	b.event.end()
	b.event.start()
	b.seen.settled = [2]bool{} // those are stamps that only events vouch for
	x.must(f.Sync(x.ctx))
	if f.View().Len() != 0 {
		t.Error("it was not scanned though events may have been lost")
	}
}

func TestWhatHappensBeforeAWatchBeginsIsFound(t *testing.T) {
	x := newFixture(t)
	x.deliver("a: b\n\nc\n")
	s := NewStore(durable.New(), Options{Now: later})
	t.Cleanup(func() { s.Close() })
	s.watcher()
	f := x.open(s)
	x.must(f.Sync(x.ctx))
	x.deliver("a: b\n\nd\n")
	f.b.event.start()
	x.must(f.Sync(x.ctx))
	if n := f.View().Len(); n != 2 {
		t.Errorf("%d letters, want 2", n)
	}
}

// A stepped FS calls after when a step has been taken.
type stepped struct {
	after func(op durable.Op)
}

func (s *stepped) Step(op durable.Op, do func() error) error {
	err := do()
	if s.after != nil {
		s.after(op)
	}
	return err
}

// deliverAtRename delivers a letter, as another program does, between two steps of
// our renaming of letters.
func (x *fixture) deliverAtRename(on *stepped) {
	on.after = func(op durable.Op) {
		if op.Kind == durable.OpRename && filepath.Base(filepath.Dir(op.To)) == "cur" {
			on.after = nil
			x.deliver("a: b\n\nother\n")
		}
	}
}

// What others deliver while we rename letters is found by the next Sync, though
// nothing may have told of it yet.
func TestADeliveryWhileWeRenameIsFoundAtOnce(t *testing.T) {
	x := newFixture(t)
	on := &stepped{}
	s := NewStore(durable.NewTraced(on), Options{})
	t.Cleanup(func() { s.Close() })
	f := x.open(s)
	defer f.Subscribe(func() {})()
	for n := 0; n < 200; n += 2 {
		x.must(f.Sync(x.ctx))
		x.deliverAtRename(on)
		x.append(f, "a: b\r\n\r\nours\r\n")
		x.must(f.Sync(x.ctx))
		if got := f.View().Len(); got != n+2 {
			t.Fatalf("%d letters, want %d", got, n+2)
		}
	}
}

// Nor is it hidden from those who open the folder later: the stamps after our own
// renames are none that others can trust.
func TestADeliveryWhileWeRenameIsFoundLater(t *testing.T) {
	x := newFixture(t)
	x.deliver("a: b\n\nc\n")
	on := &stepped{}
	s := NewStore(durable.NewTraced(on), Options{Now: later})
	t.Cleanup(func() { s.Close() })
	f := x.open(s)
	f.Subscribe(func() {})()
	x.must(f.Sync(x.ctx))
	x.settled()
	x.must(f.Sync(x.ctx))
	x.deliverAtRename(on)
	f.SettleSoon()
	s.watch.notify.close() // what it would tell is not known any more
	f.Close()
	g := x.open(x.process())
	x.must(g.Sync(x.ctx))
	if n := g.View().Len(); n != 2 {
		t.Errorf("%d letters, want 2", n)
	}
}

// Two owners of one folder in a process have a box each: events go on telling the
// first one, and the clock the other.
func TestAnotherBoxOfAFolderLeavesTheFirstItsEvents(t *testing.T) {
	x := newFixture(t)
	f := x.open(x.store)
	defer f.Subscribe(func() {})()
	w, other := x.store.watcher(), newBox(x.store, x.dir)
	w.add(other)
	w.mu.Lock()
	if !w.poll[other] || w.poll[f.b] || w.boxes[x.dir] != f.b {
		t.Error("the other box has taken the events")
	}
	w.mu.Unlock()
	w.remove(other)
	x.must(f.Sync(x.ctx))
	x.deliver("a: b\n\nc\n")
	x.must(f.Sync(x.ctx))
	if n := f.View().Len(); n != 1 {
		t.Errorf("%d letters, want 1", n)
	}
}

// settled waits until the clock of the directories has gone on.
func (x *fixture) settled() {
	x.t.Helper()
	for b := newBox(x.store, x.dir); ; time.Sleep(time.Millisecond) {
		now, err := b.stamps()
		x.must(err)
		if !now.young {
			return
		}
	}
}
