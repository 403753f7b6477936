package mailbox

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestDiffAgreesWithALookAtEveryLetter changes a vector at random and compares
// all that views say with plain lists.
func TestDiffAgreesWithALookAtEveryLetter(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var s state
	s.reset()
	s.uidNext = 1
	old := s.view()
	for range 100 {
		before := show(old)
		for range rnd.IntN(4) {
			mutate(rnd, &s)
		}
		cur := s.view()
		checkView(t, cur)
		checkDelta(t, old, cur)
		if show(old) != before {
			t.Fatal("a version has changed")
		}
		old = cur
	}
}

func mutate(rnd *rand.Rand, s *state) {
	uid := 1 + rnd.Uint32N(s.uidNext)
	runs := []Range{{uid, uid + rnd.Uint32N(300)}}
	switch rnd.IntN(3) {
	case 0:
		for range rnd.IntN(400) {
			s.rows.add(row{uid: s.uidNext})
			s.uidNext += 1 + rnd.Uint32N(2)
		}
	case 1:
		s.rows.remove(runs, func(*row) {})
	case 2:
		s.modseq++
		s.rows.editRuns(runs, func(r *row) { r.modseq = s.modseq })
	}
}

func checkView(t *testing.T, v *View) {
	t.Helper()
	last := uint32(0)
	for i := range v.Len() {
		uid := v.At(i).UID
		if uid <= last {
			t.Fatalf("UID %d at %d after %d", uid, i, last)
		}
		if at, ok := v.Index(uid); at != i || !ok {
			t.Fatalf("Index(%d) = %d, %v, want %d", uid, at, ok, i)
		}
		if at, ok := v.Index(last + 1); at != i || ok != (uid == last+1) {
			t.Fatalf("Index(%d) = %d, %v, want %d", last+1, at, ok, i)
		}
		last = uid
	}
	if at, ok := v.Index(last + 1); at != v.Len() || ok {
		t.Fatalf("Index(%d) = %d, %v at the end", last+1, at, ok)
	}
}

func checkDelta(t *testing.T, old, cur *View) {
	t.Helper()
	var want Delta
	for i := old.Len() - 1; i >= 0; i-- {
		l := old.At(i)
		j, ok := cur.Index(l.UID)
		if !ok {
			want.Expunged = append(want.Expunged, i)
		} else if cur.At(j).ModSeq != l.ModSeq {
			want.Changed = append(want.Changed, l.UID)
		}
	}
	slices.Reverse(want.Changed)
	want.Added = cur.Len() - (old.Len() - len(want.Expunged))
	got := Diff(old, cur)
	if !slices.Equal(got.Expunged, want.Expunged) || !slices.Equal(got.Changed, want.Changed) || got.Added != want.Added {
		t.Fatalf("Diff = %v, want %v", got, want)
	}
}

func TestFlagsAreLettersInOrder(t *testing.T) {
	for letters, want := range map[string]string{"": "", "STFRDP": "DFPRST", "Sab": "Sab", "TT": "T", "x,1": "x"} {
		if got := parseFlags(letters).String(); got != want {
			t.Errorf("parseFlags(%q) = %q, want %q", letters, got, want)
		}
	}
}

func TestEmailIDIsAnObjectID(t *testing.T) {
	for _, id := range []uint64{0, 1, 1<<64 - 1} {
		got := (&Letter{id: id}).EmailID()
		if len(got) > 255 || len(got) < 1 {
			t.Errorf("EmailID = %q", got)
		}
		for _, c := range got {
			if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == 'M') {
				t.Errorf("EmailID = %q has %q", got, c)
			}
		}
	}
}

// What is counted of a version is that version's, whatever comes later.
func TestVersionsAreCountedOnce(t *testing.T) {
	x := newFixture(t)
	f := x.open(x.store)
	x.append(f, "one\r\n", "two\r\n", "three\r\n")
	change := func(c FlagChange, uids ...uint32) *View {
		_, err := f.Store(x.ctx, uids, c, Always)
		x.must(err)
		return f.View()
	}
	first := change(FlagChange{Set: Seen}, 1)
	second := change(FlagChange{Set: Seen, Replace: true}, 1, 2, 3)
	for range 2 {
		for _, c := range []struct {
			v    *View
			want string
		}{{first, "2 1 true"}, {second, "0 0 false"}} {
			i, found := c.v.FirstUnseen()
			if got := fmt.Sprint(c.v.Unseen(), i, found); got != c.want {
				t.Errorf("unseen and the first of them: %s, want %s", got, c.want)
			}
		}
	}
}
