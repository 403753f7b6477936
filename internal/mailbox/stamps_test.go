package mailbox

import (
	"os"
	"path/filepath"
	"testing"

	"postbag/internal/durable"
	"postbag/internal/mboxlog"
)

// snapshotted makes a folder of three letters with a snapshot, closed.
func (x *fixture) snapshotted() {
	x.t.Helper()
	x.write("cur/1700000000.M1P1.host:2,S", "one\n")
	x.write("cur/1700000001.M1P1.host:2,", "two\n")
	x.write("new/1700000002.M1P1.host", "three\n")
	s := x.process()
	f := x.open(s)
	x.must(f.Sync(x.ctx))
	f.Close()
	x.must(s.Close())
}

func (x *fixture) stat(name string) os.FileInfo {
	x.t.Helper()
	st, err := os.Stat(filepath.Join(x.dir, name))
	x.must(err)
	return st
}

// change changes names, by a process of its own.
func (x *fixture) change() {
	x.t.Helper()
	s := x.process()
	f := x.open(s)
	x.must(f.Sync(x.ctx))
	if _, err := f.Store(x.ctx, []uint32{2}, FlagChange{Set: Flagged}, Always); err != nil {
		x.t.Fatal(err)
	}
	x.rename("new/1700000002.M1P1.host", "cur/1700000002.M1P1.host,S=6:2,R")
	x.must(f.Sync(x.ctx))
	f.Close()
	x.must(s.Close())
}

const changed3 = "1:S 2:F 3:R"

// When names have changed and little else, the snapshot stays as it is, and the
// next process needs no scan.
func TestStampsAreWrittenApart(t *testing.T) {
	x := newFixture(t)
	x.onFineTimes()
	x.snapshotted()
	before := x.stat(snapName)
	x.change()
	if !os.SameFile(before, x.stat(snapName)) {
		t.Error("there is another snapshot")
	}
	for range 2 { // who looks and changes nothing leaves the stamps as they are
		g := x.open(x.process())
		x.must(g.Sync(x.ctx))
		x.unscanned(g)
		x.wantView(g, changed3)
		x.must(g.b.loadNames())
		if got := g.b.st.where(g.b.st.rows.find(3)); got != "cur/1700000002.M1P1.host,S=6:2,R" {
			t.Errorf("letter 3 is at %q", got)
		}
		g.Close()
	}
}

// Stamps that are not of this snapshot and this log say nothing.
func TestStampsOfSomethingElse(t *testing.T) {
	for name, harm := range map[string]func(x *fixture){
		"damaged": func(x *fixture) { x.flip(stampsName) },
		"no file": func(x *fixture) { x.must(os.Remove(filepath.Join(x.dir, stampsName))) },
		"of a snapshot that is gone": func(x *fixture) {
			x.must(os.Remove(filepath.Join(x.dir, snapName)))
		},
		"of another snapshot": func(x *fixture) {
			path := filepath.Join(x.dir, stampsName)
			old, err := mboxlog.OpenSnapshot(durable.New(), path)
			x.must(err)
			text, err := old.Section(0)
			x.must(err)
			d, e := &decoder{b: text}, encoder{}
			e.num(d.num() + 1)
			_, err = mboxlog.WriteSnapshot(durable.New(), path, old.Position, append(e.b, d.b...))
			x.must(err)
		},
		"beyond the log": func(x *fixture) {
			path := filepath.Join(x.dir, logName)
			x.must(os.Truncate(path, x.stat(logName).Size()-1))
		},
	} {
		t.Run(name, func(t *testing.T) {
			x := newFixture(t)
			x.onFineTimes()
			x.snapshotted()
			x.change()
			harm(x)
			g := x.open(x.process())
			now, err := g.b.stamps()
			x.must(err)
			if g.b.seen.sub == now.sub {
				t.Error("the stamps are believed")
			}
			x.must(g.Sync(x.ctx))
			x.wantView(g, changed3)
		})
	}
}
