package mailbox

import (
	"fmt"
	"slices"
	"testing"

	"postbag/internal/mboxlog"
)

// What went is remembered by every process, and outlives snapshot and
// compaction.
func TestVanishedSince(t *testing.T) {
	x := newFixture(t)
	f := x.open(x.store)
	x.append(f, "one", "two", "three", "four", "five", "six")
	start := f.View().HighestModSeq()
	x.expunge(f, 2)
	first := f.View().HighestModSeq()
	x.expunge(f, 5)
	x.expunge(f, 3, 4)
	x.must(f.PayDebts(x.ctx))
	check := func(what string, v *View) {
		t.Helper()
		for _, c := range []struct {
			modseq uint64
			want   string
		}{
			{start, "[{2 5}]"},
			{first, "[{3 5}]"},
			{v.HighestModSeq(), "[]"},
			{0, "[{2 5}]"}, // before the history begins: all that is not there
		} {
			if got := fmt.Sprint(v.VanishedSince(c.modseq)); got != c.want {
				t.Errorf("%s: VanishedSince(%d) = %s, want %s", what, c.modseq, got, c.want)
			}
		}
	}
	check("at once", f.View())
	g := x.open(x.process())
	check("another process", g.View())
	b := f.b
	b.lock()
	x.must(b.exclusive(x.ctx, func() error { return b.log.Compact(b.st.records) }))
	b.unlock()
	h := x.open(x.process())
	check("compacted", h.View())
	b.lock()
	b.snapEnd = -snapAfter // a short log is worth one for once
	b.remember()
	b.unlock()
	k := x.open(x.process())
	if k.b.snapEnd == 0 {
		t.Error("the snapshot was not read")
	}
	check("snapshot", k.View())
}

func (x *fixture) expunge(f *Folder, uids ...uint32) {
	x.t.Helper()
	if _, err := f.Expunge(x.ctx, uids); err != nil {
		x.t.Fatal(err)
	}
}

// A history that grows without end is cut, and what was cut is answered with
// everything that is missing.
func TestHistoryIsBounded(t *testing.T) {
	m := meta{validity: 1, uidNext: 1, modseq: 1}
	recs := []mboxlog.Record{m.encode(), encodeLetters(2, []arrival{{uid: 4 * maxHistory, base: "1.a.b"}})}
	for i := range uint32(2 * maxHistory) {
		recs = append(recs, encodeRemoved(kindGone, uint64(i)+3, []uint32{2*i + 1}))
	}
	s := play(t, recs...)
	if s.history.runs > maxHistory || s.history.runs < maxHistory/4 {
		t.Errorf("%d ranges are kept", s.history.runs)
	}
	v := s.view()
	last := uint64(2*maxHistory) + 2
	if got, want := v.VanishedSince(last-2), []Range{{4*maxHistory - 3, 4*maxHistory - 3}, {4*maxHistory - 1, 4*maxHistory - 1}}; !slices.Equal(got, want) {
		t.Errorf("the last two are %v, want %v", got, want)
	}
	if got, want := v.VanishedSince(2), []Range{{1, 4*maxHistory - 1}}; !slices.Equal(got, want) {
		t.Errorf("since the beginning: %d ranges, want %v", len(got), want)
	}
}

func TestStoreUnchangedSince(t *testing.T) {
	x := newFixture(t)
	f := x.open(x.store)
	uids := x.append(f, "one", "two", "three")
	before := f.View().HighestModSeq()
	if _, err := f.Store(x.ctx, uids[:1], FlagChange{Set: Flagged}, Always); err != nil {
		t.Fatal(err)
	}
	modified, err := f.Store(x.ctx, uids, FlagChange{Set: Seen}, before)
	x.must(err)
	if !slices.Equal(modified, uids[:1]) {
		t.Errorf("modified since: %v, want %v", modified, uids[:1])
	}
	x.wantView(f, "1:F 2:S 3:S")
	v := f.View()
	if got, want := v.ChangedSince(before), []int{0, 1, 2}; !slices.Equal(got, want) {
		t.Errorf("changed since: %v, want %v", got, want)
	}
	if got := v.ChangedSince(v.At(0).ModSeq); !slices.Equal(got, []int{1, 2}) || v.At(1).ModSeq != v.HighestModSeq() {
		t.Errorf("changed by the second: %v with modseq %d of %d", got, v.At(1).ModSeq, v.HighestModSeq())
	}
	// RFC 7162 section 3.1.3: 0 is less than every modseq.
	if modified, err = f.Store(x.ctx, uids, FlagChange{Set: Draft}, 0); err != nil || len(modified) != 3 {
		t.Errorf("UNCHANGEDSINCE 0: modified %v, error %v", modified, err)
	}
}

func TestSaveDates(t *testing.T) {
	x := newFixture(t)
	x.deliver("delivered\n")
	f := x.open(x.store)
	x.must(f.Sync(x.ctx))
	if at, ok := f.View().At(0).Saved(); !ok || at.Unix() != 1700000000 {
		t.Errorf("a delivered letter was saved at %v, %t", at, ok)
	}
	now := x.store.o.Now()
	x.append(f, "appended")
	if at, ok := f.View().At(1).Saved(); !ok || at.Before(now.Add(-2e9)) || at.After(now.Add(60e9)) {
		t.Errorf("an appended letter was saved at %v, %t", at, ok)
	}
	_, to, err := Copy(x.ctx, f, []uint32{1}, f)
	x.must(err)
	i, _ := f.View().Index(to[0])
	if at, ok := f.View().At(i).Saved(); !ok || at.Before(now.Add(-2e9)) {
		t.Errorf("a copied letter was saved at %v, %t", at, ok)
	}
}
