package mailbox

import (
	"os"
	"testing"
	"time"

	"postbag/internal/durable"
)

// lingering gives a Store that waits so long before it puts a folder in order.
func (x *fixture) lingering(d time.Duration) *Store {
	s := NewStore(durable.New(), Options{Linger: d, NoWatch: true})
	x.t.Cleanup(func() { s.Close() })
	return s
}

func (x *fixture) hasSnapshot() bool {
	_, err := os.Stat(x.dir + "/" + snapName)
	return err == nil
}

// Who comes back at once finds the folder as it was left; what is for other processes
// is made later, at the latest when the Store is closed.
func TestAFolderThatWasLeftJustNow(t *testing.T) {
	x := newFixture(t)
	x.deliver("a: b\n\nc\n")
	s := x.lingering(time.Hour)
	f := x.open(s)
	x.must(f.Sync(x.ctx))
	f.Close()
	if x.hasSnapshot() || f.b.openFile == nil {
		t.Error("it has been put in order already")
	}
	g := x.open(s)
	x.must(g.Sync(x.ctx))
	if g.b != f.b || g.View() != f.View() {
		t.Error("it has been read again")
	}
	g.Close()
	x.must(s.Close())
	if !x.hasSnapshot() {
		t.Error("nothing was made for the next process")
	}
	h := x.open(x.store)
	x.must(h.Sync(x.ctx))
	if h.View().Len() != 1 {
		t.Errorf("%d letters", h.View().Len())
	}
}

func TestAFolderThatWasLeftIsAtRestInTheEnd(t *testing.T) {
	x := newFixture(t)
	x.deliver("a: b\n\nc\n")
	x.store = x.lingering(time.Millisecond)
	f := x.open(x.store)
	x.must(f.Sync(x.ctx))
	f.Close()
	for deadline := time.Now().Add(time.Minute); !x.rests(f.b); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it is not at rest")
		}
	}
	if !x.hasSnapshot() {
		t.Error("nothing was made for the next process")
	}
}

// What others wait for is done at once: flags go into names.
func TestAFolderThatIsOwedIsPutInOrderAtOnce(t *testing.T) {
	x := newFixture(t)
	x.deliver("a: b\n\nc\n")
	s := x.lingering(time.Hour)
	f := x.open(s)
	x.must(f.Sync(x.ctx))
	f.SettleSoon()
	_, err := f.Store(x.ctx, []uint32{1}, FlagChange{Set: Seen}, Always)
	x.must(err)
	f.Close()
	files, err := os.ReadDir(x.dir + "/cur")
	x.must(err)
	if len(files) != 1 || files[0].Name()[len(files[0].Name())-4:] != ":2,S" {
		t.Errorf("there is %v", files)
	}
}
