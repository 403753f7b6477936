package mailbox

import (
	"reflect"
	"slices"
	"testing"

	"postbag/internal/mboxlog"
)

// play applies records to a fresh state.
func play(t testing.TB, recs ...mboxlog.Record) *state {
	t.Helper()
	s := &state{}
	s.reset()
	for _, r := range recs {
		if err := s.apply(r); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func someLetters() mboxlog.Record {
	return encodeLetters(7, []arrival{
		{uid: 1, id: 11, flags: Seen, base: "1.a.b", internal: 99, wire: unknownSize},
		{uid: 2, id: 12, keywords: []string{"k", "l"}, base: "2.a.b", internal: unknownTime, wire: 5, at: "new/2.a.b"},
		{uid: 5, id: 13, flags: Deleted, base: "3.a.b", internal: -5, wire: 0, tmp: "3"},
	})
}

func TestRecordsSayWhatTheyWereTold(t *testing.T) {
	m := meta{validity: 77, id: [16]byte{1}, inode: 5, modseq: 3, uidNext: 1, floor: 2}
	s := play(t, m.encode(), encodeCeilings(1000, 2000), someLetters())
	if got := show(s.view()); got != "1:S 2:k,l 5:T" {
		t.Errorf("letters: %q", got)
	}
	if s.validity != 77 || s.uidNext != 6 || s.modseq != 7 || s.uidCeil != 1000 || s.modCeil != 2000 || s.floor != 2 {
		t.Errorf("state is %+v", s.meta)
	}
	if got := []string{s.where(s.rows.find(1)), s.where(s.rows.find(2)), s.coming[5]}; !slices.Equal(got, []string{"cur/1.a.b:2,S", "new/2.a.b", "3"}) {
		t.Errorf("files are at %q", got)
	}
	s.apply(encodeFlags(8, &FlagChange{Set: Flagged, Clear: Seen, SetKeywords: []string{"k"}}, []uint32{1, 2, 3}))
	if got := show(s.view()); got != "1:Fk 2:Fk,l 5:T" || s.owing != 2 {
		t.Errorf("after flags: %q, %d debts", got, s.owing)
	}
	// Another program marks letter 1 as answered and, not knowing of the debt,
	// leaves it seen.
	s.apply(encodeObserved(9, []observed{{1, Seen | Answered}}))
	if got := show(s.view()); got != "1:FRk 2:Fk,l 5:T" || s.owing != 2 {
		t.Errorf("after a foreign change: %q, %d debts", got, s.owing)
	}
	s.apply(encodePaid(kindPaidFlags, []uint32{1, 2}))
	s.apply(encodeRemoved(kindExpunge, 10, []uint32{2, 5}))
	if got := show(s.view()); got != "1:FRk" || s.owing != 0 || len(s.doomed) != 2 || len(s.coming) != 0 {
		t.Errorf("after expunge: %q, %d debts, %d files to go", got, s.owing, len(s.doomed))
	}
	s.apply(encodePaid(kindPaidExpunge, []uint32{2, 5}))
	s.apply(encodeFacts([]uint32{1}, map[uint32]fact{1: {internal: unknownTime, wire: 42}}))
	if r := s.rows.find(1); s.debts() || r.internal != 99 || r.wire != 42 {
		t.Errorf("at the end: debts %v, letter %+v", s.debts(), r)
	}
}

func TestCompactedAndSnapshotStatesAreTheSame(t *testing.T) {
	m := meta{validity: 77, id: [16]byte{1}, inode: 5, modseq: 3, uidNext: 1}
	s := play(t, m.encode(), encodeCeilings(1000, 2000), someLetters(),
		encodePaid(kindPaidArrival, []uint32{5}), encodeRecent(2),
		encodeRemoved(kindGone, 12, []uint32{5}))
	compacted := play(t, slices.Collect(s.records)...)
	if got, want := compacted.view(), s.view(); show(got) != show(want) || got.modseq != want.modseq || got.uidNext != want.uidNext || compacted.recent != s.recent {
		t.Errorf("compacted: %q %d %d, want %q %d %d", show(got), got.modseq, got.uidNext, show(want), want.modseq, want.uidNext)
	}
	var loaded state
	loaded.reset()
	want := stamps{settled: [2]bool{true, false}}
	d := &decoder{b: s.encodeSnapHead(want)}
	seen := decodeSnapHead(d, &loaded)
	rows, text := s.snapshotRows()
	if d.bad || len(d.b) > 0 || seen != want || !loadRows(&loaded, rows) {
		t.Fatalf("snapshot is no good: %v, %d octets left", d.bad, len(d.b))
	}
	loaded.names.data, loaded.names.size = text, uint32(len(text))
	if show(loaded.view()) != show(s.view()) || !reflect.DeepEqual(loaded.at, s.at) || loaded.modseq != s.modseq || loaded.uidCeil != s.uidCeil {
		t.Errorf("loaded: %q, want %q", show(loaded.view()), show(s.view()))
	}
	if got, want := loaded.where(loaded.rows.find(1)), "cur/1.a.b:2,S"; got != want {
		t.Errorf("letter 1 is at %q, want %q", got, want)
	}
}

// FuzzRecord applies records of any content: nothing panics, and what is
// refused is refused with an error.
func FuzzRecord(f *testing.F) {
	m := meta{validity: 1, uidNext: 1}
	for _, r := range []mboxlog.Record{
		m.encode(), someLetters(), encodeCeilings(1, 2), encodeRecent(1),
		encodeFlags(8, &FlagChange{Set: Seen, SetKeywords: []string{"k"}}, []uint32{1, 2, 9}),
		encodeObserved(9, []observed{{1, Seen}, {5, 0}}), encodePaid(kindPaidFlags, []uint32{1}),
		encodeRemoved(kindExpunge, 10, []uint32{1, 2}), encodePaid(kindPaidExpunge, []uint32{1}),
		encodeFacts([]uint32{1}, map[uint32]fact{1: {1, 2}}),
	} {
		f.Add(r.Kind, r.Payload)
	}
	f.Fuzz(func(t *testing.T, kind byte, payload []byte) {
		s := play(t, someLetters(), encodeRemoved(kindExpunge, 8, []uint32{2}))
		s.apply(mboxlog.Record{Kind: kind, Payload: payload})
		v := s.view()
		last := uint32(0)
		for i := range v.Len() {
			l := v.At(i)
			if l.UID <= last || l.UID >= v.UIDNext() {
				t.Fatalf("letter %d after %d, UIDNEXT %d", l.UID, last, v.UIDNext())
			}
			last = l.UID
			s.where(s.rows.find(l.UID))
		}
		d := &decoder{b: payload}
		var loaded state
		loaded.reset()
		decodeSnapHead(d, &loaded)
		loadRows(&loaded, payload)
	})
}
