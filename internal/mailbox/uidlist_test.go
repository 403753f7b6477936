package mailbox

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"postbag/internal/uidlist"
)

func (x *fixture) list() string {
	x.t.Helper()
	b, err := os.ReadFile(filepath.Join(x.dir, uidlist.Dovecot))
	x.must(err)
	return string(b)
}

const dovecotList = `3 V1275660208 N30 G3085f01b7f11094c501100008c4a11c1
7 P1f0b W9 :1700000000.M3P1.host,S=4:2,S
9 :1700000000.M1P1.host:2,
12 :1700000000.M9P1.gone:2,
`

// uidl is the unique-id of the letter at a position.
func (f *Folder) uidl(i int) string { return string(f.AppendUIDL(nil, f.View().At(i))) }

// UIDs, UIDVALIDITY, UIDNEXT and the unique-ids of POP3 are taken over, and the
// list is kept.
func TestTakesOverDovecotsList(t *testing.T) {
	x := newFixture(t)
	x.write(uidlist.Dovecot, dovecotList)
	x.write("cur/1700000000.M3P1.host,S=4:2,S", "one\n")
	x.write("cur/1700000000.M1P1.host:2,F", "two\n")
	f := x.open(x.store)
	x.wantView(f, "7:S 9:F")
	v := f.View()
	if v.UIDValidity() != 1275660208 || v.UIDNext() != 30 {
		t.Errorf("UIDVALIDITY %d, UIDNEXT %d", v.UIDValidity(), v.UIDNext())
	}
	if a, b := f.uidl(0), f.uidl(1); a != "1f0b" || b != "000000094c0907b0" {
		t.Errorf("unique-ids %q, %q", a, b)
	}
	x.write("new/1700000000.M4P1.host", "three\n")
	x.wantView(f, "7:S 9:F 30:")
	x.append(f, "four")
	x.append(f, "five", "six")
	x.must(f.PayDebts(x.ctx))
	list := x.list()
	if rest, ok := strings.CutPrefix(list, dovecotList); !ok || strings.Count(rest, "\n") != 4 || !strings.HasPrefix(rest, "30 :1700000000.M4P1.host:2,\n31 :") {
		t.Errorf("the list is\n%s", list)
	}
	// Dovecot gives a UID.
	x.write(uidlist.Dovecot, list+"40 :1700000000.M6P1.host:2,\n")
	x.write("cur/1700000000.M6P1.host:2,", "seven\n")
	x.wantView(f, "7:S 9:F 30: 31: 32: 33: 40:")
	// It goes on without our files, too.
	x.must(f.PayDebts(x.ctx))
	f.Close()
	for _, name := range []string{logName, snapName} {
		if err := os.Remove(filepath.Join(x.dir, name)); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	g := x.open(x.process())
	x.wantView(g, "7:S 9:F 30: 31: 32: 33: 40:")
	if got := g.uidl(0); got != "1f0b" {
		t.Errorf("unique-id is %q", got)
	}
	// And through compaction and snapshot.
	b := g.b
	b.lock()
	x.must(b.exclusive(x.ctx, func() error { return b.log.Compact(b.st.records) }))
	b.snapEnd = -snapAfter
	b.remember()
	b.unlock()
	for range 2 {
		h := x.open(x.process())
		if got := h.uidl(0); got != "1f0b" {
			t.Errorf("unique-id is %q", got)
		}
		os.Remove(filepath.Join(x.dir, snapName)) // the second goes by the log
	}
}

// A list that contradicts what clients have been told is written anew.
func TestAListThatIsWrongIsWrittenAnew(t *testing.T) {
	for name, text := range map[string]string{
		"another UIDVALIDITY":       "3 V99 N5 Gabc\n3 :1700000000.M1P1.host:2,\n4 :1700000000.M2P1.host:2,\n",
		"no list at all":            "what\n",
		"a UID that was given long": "3 V1275660208 N30 Gabc\n7 :1700000000.M1P1.host:2,\n8 :1700000000.M2P1.host:2,\n",
	} {
		t.Run(name, func(t *testing.T) {
			x := newFixture(t)
			x.write(uidlist.Dovecot, "3 V1275660208 N7 Gabc\n")
			x.write("cur/1700000000.M1P1.host:2,", "one\n")
			f := x.open(x.store)
			x.wantView(f, "7:")
			x.append(f, "two")
			x.write(uidlist.Dovecot, text)
			x.write("cur/1700000000.M2P1.host:2,", "three\n")
			x.must(f.Sync(x.ctx))
			v := f.View()
			if v.UIDValidity() != 1275660208 || v.Len() != 3 || v.At(0).UID != 7 || v.At(2).UID < 9 {
				t.Errorf("UIDVALIDITY %d: %s", v.UIDValidity(), show(v))
			}
			l, err := uidlist.Parse([]byte(x.list()))
			x.must(err)
			if l.Validity != v.UIDValidity() || len(l.Records) != 3 || l.Records[2].UID != v.At(2).UID || l.Next <= v.At(2).UID {
				t.Errorf("the list is %+v", l)
			}
		})
	}
}

func TestTakesOverCouriersList(t *testing.T) {
	x := newFixture(t)
	x.write(uidlist.Courier, "1 1275660208 20\n5 1700000000.M3P1.host\n8 1700000000.M1P1.host\n")
	x.write("cur/1700000000.M3P1.host:2,S", "one\n")
	x.write("cur/1700000000.M1P1.host:2,", "two\n")
	x.write("new/1700000000.M2P1.host", "three\n")
	f := x.open(x.store)
	x.wantView(f, "5:S 8: 20:")
	if v := f.View(); v.UIDValidity() != 1275660208 || v.UIDNext() != 21 {
		t.Errorf("UIDVALIDITY %d, UIDNEXT %d", v.UIDValidity(), v.UIDNext())
	}
	if _, err := os.Stat(filepath.Join(x.dir, uidlist.Dovecot)); err == nil {
		t.Error("a list of Dovecot's was made")
	}
}

// While somebody has Dovecot's lock no UIDs are given.
func TestDovecotsLockIsRespected(t *testing.T) {
	x := newFixture(t)
	x.write(uidlist.Dovecot, dovecotList)
	s := NewStore(x.store.fs, Options{LockWait: 1})
	defer s.Close()
	f := x.open(s)
	x.write("new/1700000000.M4P1.host", "three\n")
	x.write(uidlist.Dovecot+".lock", "1:elsewhere")
	if err := f.Sync(x.ctx); err == nil {
		t.Error("UIDs are given while Dovecot has its lock")
	}
	x.must(os.Remove(filepath.Join(x.dir, uidlist.Dovecot+".lock")))
	x.wantView(f, "30:")
}

// Letters have the places in POP3 that the list gives them (O); others come behind them.
func TestTakesOverTheOrderOfPOP3(t *testing.T) {
	x := newFixture(t)
	x.write(uidlist.Dovecot, "3 V1275660208 N30\n1 O2 Pa :1.M1P1.h:2,\n2 :2.M1P1.h:2,\n3 O1 :3.M1P1.h:2,\n")
	for _, name := range []string{"1.M1P1.h", "2.M1P1.h", "3.M1P1.h"} {
		x.write("cur/"+name+":2,", "x\n")
	}
	f := x.open(x.store)
	x.wantView(f, "1: 2: 3:")
	for _, f := range []*Folder{f, x.open(x.process())} {
		if got := f.POP3Order(f.View()); !slices.Equal(got, []int{2, 0, 1}) {
			t.Errorf("the order is %v", got)
		}
		if a, b := f.uidl(0), f.uidl(2); a != "a" || b != "000000034c0907b0" {
			t.Errorf("unique-ids %q, %q", a, b)
		}
	}
}

// A new folder's UIDVALIDITY is above all that Dovecot has given in the tree, to
// folders that are gone, too.
func TestUIDVALIDITYIsAboveDovecots(t *testing.T) {
	x := newFixture(t)
	x.write("dovecot-uidvalidity.f0000001", "")
	x.write("dovecot-uidvalidity.nothing", "")
	if got := x.open(x.store).View().UIDValidity(); got != 0xf0000002 {
		t.Errorf("UIDVALIDITY %x", got)
	}
}
