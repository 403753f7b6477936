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
	s := NewStore(durable.New(), Options{Now: later, NoWatch: true})
	t.Cleanup(func() { s.Close() })
	f := x.open(s)
	x.must(f.Sync(x.ctx))
	b := f.b
	// A change that only a scan would find.
	x.must(os.Remove(filepath.Join(x.dir, "new", name)))
	now, err := b.stamps()
	x.must(err)
	now.firm, now.young = true, false
	b.seen = now
	b.event.start()
	x.must(f.Sync(x.ctx))
	if f.View().Len() != 1 || b.event.lost() {
		t.Errorf("it was scanned: %d letters; events still lost: %v", f.View().Len(), b.event.lost())
	}
	b.event.end()
	b.event.start()
	b.seen.renamed = true // those are stamps that only events vouch for
	x.must(f.Sync(x.ctx))
	if f.View().Len() != 0 {
		t.Error("it was not scanned though events may have been lost")
	}
}

func TestWhatHappensBeforeAWatchBeginsIsFound(t *testing.T) {
	x := newFixture(t)
	x.deliver("a: b\n\nc\n")
	s := NewStore(durable.New(), Options{Now: later, NoWatch: true})
	t.Cleanup(func() { s.Close() })
	f := x.open(s)
	x.must(f.Sync(x.ctx))
	x.deliver("a: b\n\nd\n")
	f.b.event.start()
	x.must(f.Sync(x.ctx))
	if n := f.View().Len(); n != 2 {
		t.Errorf("%d letters, want 2", n)
	}
}
