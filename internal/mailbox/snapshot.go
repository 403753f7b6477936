package mailbox

import (
	"context"
	"encoding/binary"
	"time"

	"postbag/internal/mboxlog"
)

// The snapshot of a folder has three sections: what is true of the folder as a
// whole, the letters at snapRow octets each, and their names, which are read
// only when somebody needs them.
const (
	sectionHead = iota
	sectionRows
	sectionNames
)

// snapRow is: modseq 7, keywords 3, EMAILID 8, internal date 5, save date 4, wire
// size 4, offset of the name 4, UID 4, system flags 1; little-endian, all ones
// for unknown. Keywords are an index into the labels of the head; a folder with
// more of them has no snapshot.
const (
	snapRow   = 40
	maxLabels = 1 << 24
)

// A label is all the keywords of a letter: those that are letters of its name,
// and the set of the others.
type label struct {
	letters Flags
	kw      uint32
}

// labels lists those that are in use, and numbers them.
func (s *state) labels() (list []label, number map[label]uint32) {
	number = map[label]uint32{}
	for _, c := range s.rows.chunks {
		for i := range c {
			l := label{c[i].flags &^ system, c[i].kw}
			if _, ok := number[l]; !ok {
				number[l] = uint32(len(list))
				list = append(list, l)
			}
		}
	}
	return list, number
}

const ones40 = 1<<40 - 1

// loadSnapshot takes the state from the snapshot, if that is of our log.
func (b *box) loadSnapshot() {
	s, err := mboxlog.OpenSnapshot(b.store.fs, b.path(snapName))
	if err != nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	var st state
	st.reset()
	head, err1 := s.Section(sectionHead)
	rows, err2 := s.Section(sectionRows)
	d := &decoder{b: head}
	seen := decodeSnapHead(d, &st)
	if err1 != nil || err2 != nil || d.bad || !loadRows(&st, rows) || !b.log.Resume(s.Position) {
		s.Close()
		return
	}
	b.snap = s
	st.loaded = nil
	st.names.size = uint32(s.Length(sectionNames))
	st.lazy = func() ([]byte, error) {
		defer b.closeSnap()
		return s.Section(sectionNames)
	}
	b.st, b.seen, b.snapSeen = st, seen, seen
	b.snapEnd, b.snapSum = s.Position.Offset, s.Sum
}

func loadRows(s *state, b []byte) bool {
	if len(b)%snapRow != 0 {
		return false
	}
	last := uint32(0)
	s.rows.room(len(b) / snapRow)
	for ; len(b) > 0; b = b[snapRow:] {
		r := row{
			modseq:   binary.LittleEndian.Uint64(b) & (1<<56 - 1),
			kw:       binary.LittleEndian.Uint32(b[6:]) >> 8,
			id:       binary.LittleEndian.Uint64(b[10:]),
			internal: get40(b[18:], unknownTime),
			saved:    binary.LittleEndian.Uint32(b[23:]),
			wire:     binary.LittleEndian.Uint32(b[27:]),
			name:     binary.LittleEndian.Uint32(b[31:]),
			uid:      binary.LittleEndian.Uint32(b[35:]),
			flags:    Flags(b[39]),
		}
		if r.uid <= last || int(r.kw) >= len(s.loaded) {
			return false
		}
		r.flags, r.kw = r.flags|s.loaded[r.kw].letters, s.loaded[r.kw].kw
		r.disk = r.flags // there are no debts in a snapshot
		last = r.uid
		s.rows.add(r)
	}
	return true
}

func get40(b []byte, absent int64) int64 {
	n := int64(binary.LittleEndian.Uint32(b)) | int64(b[4])<<32
	if n == ones40 {
		return absent
	}
	return n
}

func put40(b []byte, n int64) []byte {
	if n < 0 || n >= ones40 {
		n = ones40
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(n))
	return append(b, byte(n>>32))
}

// snapshotRows gives the sections of the letters, the names without those of
// letters that are gone.
func (s *state) snapshotRows() (rows, text []byte) {
	rows = make([]byte, 0, snapRow*s.rows.length)
	_, labels := s.labels()
	for _, c := range s.rows.chunks {
		for i := range c {
			r := &c[i]
			rows = binary.LittleEndian.AppendUint64(rows, r.modseq)[:len(rows)+7]
			kw := labels[label{r.flags &^ system, r.kw}]
			rows = append(rows, byte(kw), byte(kw>>8), byte(kw>>16))
			rows = binary.LittleEndian.AppendUint64(rows, r.id)
			rows = put40(rows, r.internal)
			rows = binary.LittleEndian.AppendUint32(rows, r.saved)
			rows = binary.LittleEndian.AppendUint32(rows, r.wire)
			rows = binary.LittleEndian.AppendUint32(rows, uint32(len(text)))
			rows = binary.LittleEndian.AppendUint32(rows, r.uid)
			rows = append(rows, byte(r.flags&system))
			base, _ := s.name(r)
			text = binary.AppendUvarint(text, uint64(len(base)))
			text = append(text, base...)
		}
	}
	return rows, text
}

func (s *state) encodeSnapHead(seen stamps) []byte {
	e := encoder{b: s.meta.encode().Payload}
	e.num(uint64(s.uidNext))
	e.num(s.modseq)
	e.num(uint64(s.uidCeil))
	e.num(s.modCeil)
	e.num(uint64(s.recent))
	e.num(uint64(len(s.sets)))
	for _, set := range s.sets {
		e.strings(set)
	}
	e.strings(s.keys.names[:])
	labels, _ := s.labels()
	e.num(uint64(len(labels)))
	for _, l := range labels {
		e.num(uint64(l.letters))
		e.num(uint64(l.kw))
	}
	unusual := map[uint32]string{}
	for uid := range s.at {
		if r := s.rows.find(uid); r != nil {
			if _, at := s.name(r); at != "" {
				unusual[uid] = at
			}
		}
	}
	e.places(unusual)
	e.b = append(e.b, encodeUIDLs(s.livingUIDLs()).Payload...)
	e.num(uint64(len(s.history.list)))
	for _, h := range s.history.list {
		e.num(h.modseq)
		e.ranges(h.runs)
	}
	e.stamps(seen)
	return e.b
}

func decodeSnapHead(d *decoder, s *state) (seen stamps) {
	s.meta = decodeMeta(d)
	s.born = true
	s.uidNext, s.modseq = d.num32(), d.num()
	s.uidCeil, s.modCeil = d.num32(), d.num()
	s.recent = d.num32()
	s.sets = nil
	for n := d.num(); n > 0 && !d.bad; n-- {
		set := d.strings()
		if len(s.sets) > 0 {
			s.intern(set)
		} else {
			s.sets = [][]string{nil}
		}
	}
	s.keys = &keymap{names: d.keys()}
	s.learnSpelling(s.keys.named(^system))
	for n := d.num(); n > 0 && !d.bad; n-- {
		l := label{d.flags() &^ system, d.num32()}
		if int(l.kw) >= len(s.sets) {
			d.fail()
			break
		}
		s.loaded = append(s.loaded, l)
	}
	s.at = d.places()
	d.uidls(s.uidls)
	for n := d.num(); n > 0 && !d.bad; n-- {
		modseq := d.num()
		s.went(modseq, d.uids())
	}
	return d.stamps()
}

// When the log has grown by more than this beyond the snapshot, a new one is
// written; and a log so much longer than what it says needs is compacted.
const (
	snapAfter    = 16 << 10
	compactAfter = 256 << 10
	compactRatio = 4
)

// tidy is done when the last session leaves: debts are paid, what nobody needs
// any more goes, and the next opening is made quick. Its errors are no news to
// anybody; whoever comes next does it.
func (b *box) tidy() {
	ctx, cancel := context.WithTimeout(context.Background(), tidyTime)
	defer cancel()
	for more := b.settling.CompareAndSwap(true, false); more; {
		var err error
		if more, err = b.settleSome(ctx); err != nil {
			return
		}
	}
	for more := true; more; {
		paid, left, err := b.payOnce(ctx)
		if err != nil {
			return
		}
		more = left && paid > 0
	}
	b.sweep()
	if err := b.attest(ctx); err != nil {
		return
	}
	if b.st.debts() || !b.st.born {
		return
	}
	grown := b.log.Position().Offset - b.snapEnd
	if len(b.facts) > 0 || grown > compactAfter {
		if b.exclusive(ctx, b.writeDown) != nil {
			return
		}
	}
	b.remember()
}

// attest makes the stamps some that others can trust, if that is possible: by what
// events have told, or by a scan.
func (b *box) attest(ctx context.Context) error {
	if b.fine {
		b.grow() // that is all that they need
	}
	now, err := b.heard()
	if err != nil || !now.old() || b.unchanged(now) && b.seen.old() {
		return err
	}
	if done, err := b.follow(ctx, now); err != nil || done && b.seen.old() {
		return err
	}
	return b.rescan(ctx)
}

const tidyTime = 10 * time.Second

// writeDown puts into the log what has been learnt, and compacts it when that
// is worth it. b is locked.
func (b *box) writeDown() error {
	if b.st.debts() {
		return nil
	}
	b.mu.Lock()
	facts := b.facts
	b.facts = map[uint32]fact{}
	b.mu.Unlock()
	if len(facts) > 0 {
		uids := make([]uint32, 0, len(facts))
		for uid := range facts {
			uids = append(uids, uid)
		}
		if err := b.note(encodeFacts(sorted(uids), facts)); err != nil {
			return err
		}
	}
	size := b.log.Position().Offset
	if size < compactAfter || size < compactRatio*b.compactSize() {
		return nil
	}
	if err := b.loadNames(); err != nil {
		return err
	}
	b.snapEnd, b.snapSum = 0, 0
	return b.log.Compact(b.st.records)
}

// compactSize is about how long the log would be if it were compacted.
func (b *box) compactSize() int64 {
	return int64(b.st.names.octets()) + 32*int64(b.st.rows.length) + 8*int64(b.st.history.runs)
}

// livingUIDLs are the unique-ids of letters that are there.
func (s *state) livingUIDLs() map[uint32]string {
	living := map[uint32]string{}
	for uid, id := range s.uidls {
		if s.rows.find(uid) != nil {
			living[uid] = id
		}
	}
	return living
}

// records gives the state, which has no debts, as the records of a new log.
func (s *state) records(yield func(mboxlog.Record) bool) {
	m := s.meta
	m.uidNext, m.modseq = 0, 0
	if !yield(m.encode()) {
		return
	}
	if s.keys.mask() != system && !yield(encodeKeys(s.keys.names)) {
		return
	}
	for _, c := range s.rows.chunks {
		for i := range c {
			r := &c[i]
			a := arrival{
				uid: r.uid, id: r.id, flags: r.flags, keywords: s.sets[r.kw],
				internal: r.internal, wire: r.size(), saved: r.saved,
			}
			a.base, a.at = s.name(r)
			if !yield(encodeLetters(r.modseq, []arrival{a})) {
				return
			}
		}
	}
	if living := s.livingUIDLs(); len(living) > 0 && !yield(encodeUIDLs(living)) {
		return
	}
	for _, h := range s.history.list {
		if !yield(encodeHistory(h)) {
			return
		}
	}
	m.uidNext, m.modseq = s.uidNext, s.modseq
	_ = yield(m.encode()) && yield(encodeCeilings(s.uidCeil, s.modCeil)) && yield(encodeRecent(s.recent))
}
