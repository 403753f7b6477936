package mailbox

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"postbag/internal/durable"
	"postbag/internal/maildir"
)

// atRest opens a folder, leaves it, and gives the box that stays.
func (x *fixture) atRest(watched bool) *box {
	x.t.Helper()
	f, err := x.store.Open(x.ctx, x.dir)
	x.must(err)
	x.must(f.Sync(x.ctx))
	cancel := func() {}
	if watched {
		cancel = f.Subscribe(func() {})
		x.must(f.Sync(x.ctx))
	}
	cancel()
	f.Close()
	if !x.rests(f.b) {
		x.t.Fatal("the folder is not kept in memory")
	}
	return f.b
}

// rests reports whether a box is among those at rest.
func (x *fixture) rests(b *box) bool {
	x.store.mu.Lock()
	defer x.store.mu.Unlock()
	for _, r := range x.store.resting {
		if r == b {
			return true
		}
	}
	return false
}

// A folder that is opened again is the same in memory, and has not been looked
// through; while nobody has it open nothing tells others of it.
func TestAFolderStaysInMemory(t *testing.T) {
	for _, watched := range []bool{false, true} {
		t.Run(fmt.Sprint("watched ", watched), func(t *testing.T) {
			x := newFixture(t)
			x.deliver("a: b\n\nc\n")
			b := x.atRest(watched)
			view := b.view.Load()
			other := x.open(x.process())
			if !other.b.alone() {
				t.Error("somebody seems to have the folder open")
			}
			other.Close()
			f := x.open(x.store)
			x.must(f.Sync(x.ctx))
			if f.b != b || f.View() != view || x.rests(b) {
				t.Errorf("the same box: %v, the same version: %v, at rest: %v", f.b == b, f.View() == view, x.rests(b))
			}
			if other.b.alone() || b.openFile == nil {
				t.Error("others do not know that it is open")
			}
		})
	}
}

// Whatever others do to a folder meanwhile is found by who opens it next.
func TestWhatOthersDoToAFolderAtRest(t *testing.T) {
	const one, two = "1700000000.M1P1.host", "1700000001.M1P1.host"
	for name, c := range map[string]struct {
		do   func(x *fixture)
		want string
	}{
		"nothing":       {func(*fixture) {}, "1:S 2:"},
		"a delivery":    {func(x *fixture) { x.deliver("three\n") }, "1:S 2: 3:"},
		"flags in name": {func(x *fixture) { x.rename("cur/"+one+":2,S", "cur/"+one+":2,FS") }, "1:FS 2:"},
		"a removal":     {func(x *fixture) { x.must(os.Remove(filepath.Join(x.dir, "new", two))) }, "1:S"},
		"moved to cur":  {func(x *fixture) { x.rename("new/"+two, "cur/"+two+":2,R") }, "1:S 2:R"},
		"another process changes, expunges and adds": {func(x *fixture) {
			g := x.open(x.process())
			x.must(g.Sync(x.ctx))
			_, err := g.Store(x.ctx, []uint32{2}, FlagChange{Set: Flagged, SetKeywords: []string{"k"}}, Always)
			x.must(err)
			x.expunge(g, 1)
			x.append(g, "three\r\n")
			g.Close()
		}, "2:Fk 3:"},
		"another process that does not pay": {func(x *fixture) {
			s := NewStore(durable.New(), Options{})
			g := x.open(s)
			g.b.paying.Store(true)
			_, err := g.Store(x.ctx, []uint32{2}, FlagChange{Set: Flagged}, Always)
			x.must(err)
			abandon(s)
		}, "1:S 2:F"},
		"a compaction": {func(x *fixture) {
			g := x.open(x.process())
			x.must(g.Sync(x.ctx))
			x.expunge(g, 1)
			x.must(g.PayDebts(x.ctx))
			g.b.lock()
			x.must(g.b.exclusive(x.ctx, func() error { return g.b.log.Compact(g.b.st.records) }))
			g.b.unlock()
		}, "2:"},
		"no log any more": {func(x *fixture) { x.must(os.Remove(filepath.Join(x.dir, logName))) }, "1:S 2:"},
		"no tmp and no new": {func(x *fixture) {
			x.must(os.RemoveAll(filepath.Join(x.dir, "tmp")))
			x.must(os.RemoveAll(filepath.Join(x.dir, "new")))
		}, "1:S"},
		"another cur": {func(x *fixture) {
			x.must(os.Rename(filepath.Join(x.dir, "cur"), filepath.Join(x.dir, "was")))
			x.must(os.Mkdir(filepath.Join(x.dir, "cur"), 0o700))
		}, "2:"},
		"another folder in its place": {func(x *fixture) {
			x.must(os.Rename(x.dir, x.dir+".was"))
			x.must(maildir.Init(durable.New(), x.dir, 0o700))
			x.write("cur/"+two+":2,T", "two\n")
		}, "1:T"},
		"a copy of it in its place": {func(x *fixture) {
			x.must(os.Rename(x.dir, x.dir+".was"))
			x.must(os.CopyFS(x.dir, os.DirFS(x.dir+".was")))
			x.rename("new/"+two, "cur/"+two+":2,D")
		}, "1:S 2:D"},
	} {
		for _, watched := range []bool{false, true} {
			t.Run(fmt.Sprint(name, ", watched ", watched), func(t *testing.T) {
				x := newFixture(t)
				x.write("cur/"+one+":2,S", "one\n")
				x.write("new/"+two, "two\n")
				x.atRest(watched)
				c.do(x)
				f := x.open(x.store)
				x.must(f.Sync(x.ctx)) // what is missing must be missing twice
				x.wantView(f, c.want)
				x.wantView(x.open(x.process()), c.want)
				x.hears(f)
			})
		}
	}
}

// hears makes sure that a session is told of what comes from now on.
func (x *fixture) hears(f *Folder) {
	x.t.Helper()
	told := make(chan struct{}, 1)
	defer f.Subscribe(telling(told))()
	n := f.View().Len()
	x.deliver("last\n")
	for f.View().Len() == n {
		heard(x.t, told, "a letter came")
	}
}

// A folder that is gone is gone.
func TestAFolderAtRestIsRemoved(t *testing.T) {
	x := newFixture(t)
	x.deliver("a: b\n\nc\n")
	x.atRest(true)
	x.must(os.RemoveAll(x.dir))
	if f, err := x.store.Open(x.ctx, x.dir); err == nil {
		f.Close()
		t.Error("it is opened as if it were there")
	}
	if len(x.store.boxes) > 0 || len(x.store.resting) > 0 {
		t.Errorf("%d boxes are left, %d at rest", len(x.store.boxes), len(x.store.resting))
	}
}

// What is at rest for longest goes when there is too much of it.
func TestWhatIsAtRestIsBounded(t *testing.T) {
	x := newFixture(t)
	first := x.atRest(true)
	root := x.dir
	for n := range restFolders {
		x.dir = filepath.Join(root, fmt.Sprint(".", n))
		x.must(maildir.Init(durable.New(), x.dir, 0o700))
		x.atRest(false)
	}
	if x.rests(first) || len(x.store.resting) != restFolders || len(x.store.boxes) != restFolders {
		t.Errorf("%d boxes, %d at rest, the first among them: %v", len(x.store.boxes), len(x.store.resting), x.rests(first))
	}
	if first.log != nil || x.store.watch.boxes[first.dir] != nil {
		t.Error("the first still has its log, or its watch")
	}
	last := x.store.resting[restFolders-1]
	last.users++ // as if there were a session
	last.restsWith = restBytes
	x.store.mu.Lock()
	spare := x.store.tooMuch()
	x.store.mu.Unlock()
	if len(spare) != restFolders-1 {
		t.Errorf("%d must go for one that takes all the memory", len(spare))
	}
	last.users--
	dismiss(spare)
	if len(x.store.boxes) != 1 {
		t.Errorf("%d boxes are left", len(x.store.boxes))
	}
}

// Nothing rests for ever, and what was not at rest for long enough stays.
func TestWhatIsAtRestExpires(t *testing.T) {
	x := newFixture(t)
	old := x.atRest(true)
	root := x.dir
	x.dir = filepath.Join(root, ".B")
	x.must(maildir.Init(durable.New(), x.dir, 0o700))
	young := x.atRest(true)
	old.restsSince = old.restsSince.Add(-time.Minute)
	x.store.expire(young.restsSince.Add(-time.Second))
	if x.rests(old) || !x.rests(young) || len(x.store.boxes) != 1 || x.store.expiry == nil {
		t.Errorf("the old: %v, the young: %v, %d boxes", x.rests(old), x.rests(young), len(x.store.boxes))
	}
	x.store.expire(young.restsSince)
	if x.rests(young) || len(x.store.boxes) != 0 || x.store.expiry != nil {
		t.Errorf("the young: %v, %d boxes", x.rests(young), len(x.store.boxes))
	}
}

// What a look for changes or a payment that comes late finds at rest it leaves.
func TestNobodyWorksOnAFolderAtRest(t *testing.T) {
	x := newFixture(t)
	b := x.atRest(true)
	if err := b.payAll(x.ctx); err != ErrClosed {
		t.Errorf("payAll: %v", err)
	}
	b.lock()
	if err := b.exclusive(x.ctx, func() error { return nil }); err != ErrClosed {
		t.Errorf("exclusive: %v", err)
	}
	b.unlock()
	x.deliver("a: b\n\nc\n")
	b.look(x.ctx)
	if b.view.Load().Len() != 0 || b.openFile != nil {
		t.Error("it is looked at")
	}
}

// Sessions come and go while letters arrive and folders at rest are let go of:
// each session sees all that was delivered before it came.
func TestSessionsComeAndGo(t *testing.T) {
	x := newFixture(t)
	var all sync.WaitGroup
	var delivered sync.Mutex
	count := 0
	for range 4 {
		all.Go(func() {
			for range 50 {
				delivered.Lock()
				count++
				x.deliver("a: b\n\nc\n")
				want := count
				delivered.Unlock()
				f, err := x.store.Open(x.ctx, x.dir)
				if err != nil {
					t.Error(err)
					return
				}
				cancel := f.Subscribe(func() {})
				if err := f.Sync(x.ctx); err != nil || f.View().Len() < want {
					t.Errorf("%d letters, want %d: %v", f.View().Len(), want, err)
				}
				cancel()
				f.Close()
				x.store.expire(time.Now())
			}
		})
	}
	all.Wait()
	x.wantOnce(200)
}

// wantOnce asks for so many letters, each with one UID.
func (x *fixture) wantOnce(n int) {
	x.t.Helper()
	f := x.open(x.process())
	x.must(f.Sync(x.ctx))
	if v := f.View(); v.Len() != n || v.UIDNext() != uint32(n+1) {
		x.t.Errorf("%d letters, UIDNEXT %d, want %d letters", v.Len(), v.UIDNext(), n)
	}
}

// What is about to be removed is let go of, unless somebody has it open.
func TestRelease(t *testing.T) {
	x := newFixture(t)
	b := x.atRest(true)
	f := x.open(x.store)
	x.store.Release(x.dir)
	if b.shut() {
		t.Error("it is closed though somebody has it open")
	}
	f.Close()
	x.store.Release(x.dir)
	if b.log != nil || len(x.store.boxes) > 0 || len(x.store.resting) > 0 {
		t.Errorf("open: %v, %d boxes, %d at rest", b.log != nil, len(x.store.boxes), len(x.store.resting))
	}
}
