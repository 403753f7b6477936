package mailbox

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"postbag/internal/durable"
)

// onFineTimes skips a test where the disk has no times that it is about.
func (x *fixture) onFineTimes() {
	x.t.Helper()
	b := newBox(x.store, x.dir)
	if b.learnFileSystem(); !b.fine {
		x.t.Skip("the file system is not known to give directories the times of the kernel's clock")
	}
}

// unscanned asks for a box that knows its folder from the snapshot, and has not
// listed it.
func (x *fixture) unscanned(f *Folder) {
	x.t.Helper()
	if f.b.lock(); !f.b.seen.old() || f.b.st.lazy == nil {
		x.t.Errorf("settled: %v, scanned: %v", f.b.seen.settled, f.b.st.lazy == nil)
	}
	f.b.unlock()
}

// A folder that we have just changed is believed to be as we have left it, by this
// process and others, without a scan.
func TestWhatWeHaveChangedNeedsNoScan(t *testing.T) {
	x := newFixture(t)
	x.onFineTimes()
	x.deliver("a: b\n\nc\n")
	for n := range 3 {
		f := x.open(x.store)
		x.must(f.Sync(x.ctx))
		cancel := f.Subscribe(func() {})
		x.must(f.Settle(x.ctx))
		x.append(f, "a: b\r\n\r\nd\r\n")
		if _, err := f.Store(x.ctx, []uint32{1}, FlagChange{Set: Flags(1 << n)}, Always); err != nil {
			t.Fatal(err)
		}
		cancel()
		f.Close()
		for _, s := range []*Store{x.process(), x.process()} {
			g := x.open(s)
			x.must(g.Sync(x.ctx))
			x.unscanned(g)
			if got := g.View().Len(); got != n+2 {
				t.Errorf("%d letters, want %d", got, n+2)
			}
			g.Close()
		}
	}
}

// Where times may be of a coarse clock, a folder that has just changed is listed by
// who opens it next: the next change may have left its times as they are.
func TestWhereTimesAreCoarseWhatIsYoungIsListedAnew(t *testing.T) {
	x := newFixture(t)
	name := x.deliver("one\n")
	f := x.open(x.store)
	f.b.lock()
	f.b.fine = false
	f.b.unlock()
	x.must(f.Sync(x.ctx))
	x.must(f.Settle(x.ctx))
	f.b.lock()
	f.b.grow() // it would do where times are fine
	f.b.unlock()
	f.Close()
	cur := filepath.Join(x.dir, "cur")
	st, err := os.Stat(cur)
	x.must(err)
	x.must(os.Remove(filepath.Join(cur, name+":2,")))
	x.must(os.Chtimes(cur, st.ModTime(), st.ModTime()))
	g := x.open(x.process())
	if g.b.lock(); g.b.seen.old() {
		t.Errorf("what changed a moment ago is believed: %v", g.b.seen.settled)
	}
	g.b.unlock()
	x.wantView(g, "")
}

// Where cur/ is as it was, a delivery costs a look at new/.
func TestADeliveryIsFoundWithoutAScanOfCur(t *testing.T) {
	x := newFixture(t)
	x.write("cur/1700000000.M1P1.host:2,", "one\n")
	f := x.open(x.store)
	x.must(f.Sync(x.ctx))
	x.store.watcher()
	x.must(os.Remove(filepath.Join(x.dir, "cur", "1700000000.M1P1.host:2,"))) // what only a scan would find
	now, err := f.b.stamps()
	x.must(err)
	f.b.seen = stamps{sub: now.sub, settled: [2]bool{false, true}}
	x.deliver("two\n")
	x.wantView(f, "1: 2:")
	x.deliver("three\n")
	f.b.seen.settled[1] = true
	f.b.event.start() // a watch begins
	x.wantView(f, "1: 2: 3:")
	if !f.b.event.watching() || !f.b.seen.firm {
		t.Error("events do not tell from then on")
	}
	f.b.event.end()
	f.b.seen.settled[1] = false
	x.deliver("four\n")
	x.wantView(f, "2: 3: 4:")
}

// Many renames of our own hide nothing, and make for no scan.
func TestOurOwnRenamesAreNoNews(t *testing.T) {
	x := newFixture(t)
	var uids []uint32
	for n := range maxEvents/2 + 500 {
		x.write(fmt.Sprintf("cur/1700000000.M%06dP1.host:2,", n), "one\n")
		uids = append(uids, uint32(n+1))
	}
	on := &stepped{}
	s := NewStore(durable.NewTraced(on), Options{})
	t.Cleanup(func() { s.Close() })
	f := x.open(s)
	x.must(f.Sync(x.ctx))
	f.Subscribe(func() {})() // it is watched, and nobody looks in the background
	x.must(f.Sync(x.ctx))
	var removed string // by another program, as soon as we have renamed it
	on.after = func(op durable.Op) {
		if removed == "" && op.Kind == durable.OpRename && strings.HasSuffix(op.To, ":2,F") {
			removed = op.To
			os.Remove(removed)
		}
	}
	if _, err := f.Store(x.ctx, uids, FlagChange{Set: Flagged}, Always); err != nil {
		t.Fatal(err)
	}
	x.must(f.PayDebts(x.ctx))
	f.b.store.hear()
	if names, whole := f.b.event.peek(); !whole || len(names) != 1 || removed == "" {
		t.Fatalf("%q are news, of all: %v; removed was %q", names, whole, removed)
	}
	for f.View().Len() == len(uids) {
		x.must(f.Sync(x.ctx))
	}
}

// peek gives the events, and leaves them.
func (e *events) peek() (names []string, whole bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for name := range e.names {
		names = append(names, name)
	}
	return names, e.active && !e.overflow
}

// Where other hosts may change a folder, nothing is concluded from the silence of
// inotify.
func TestEventsOfRemoteFileSystemsAreNotAll(t *testing.T) {
	x := newFixture(t)
	f := x.open(x.store)
	f.b.remote = true
	x.must(f.Sync(x.ctx))
	defer f.Subscribe(func() {})()
	x.must(f.Sync(x.ctx))
	w := x.store.watcher()
	w.mu.Lock()
	defer w.mu.Unlock()
	if f.b.event.watching() || !w.poll[f.b] {
		t.Error("it is not looked at by the clock")
	}
}
