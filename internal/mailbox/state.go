package mailbox

import (
	"maps"
	"slices"
	"strings"

	"postbag/internal/mboxlog"
)

// The state of a folder is what its log says: the same in every process that
// has read as far. What only this process knows (where files are just now) is
// kept beside it, in at.
type state struct {
	meta
	born    bool // the log has said who the folder is
	damaged bool // frames were lost, and nobody has drawn the consequences yet
	ceiled  bool // ceilings came after the damage: they are right

	uidCeil uint32
	modCeil uint64
	recent  uint32

	rows  vector
	names names
	lazy  func() ([]byte, error) // reads the names when they are asked for

	sets    [][]string // keyword sets; sets[0] is empty
	setByID map[string]uint32
	keys    *keymap
	loaded  []label           // of a snapshot, while its rows are read
	spelled map[string]string // keywords as they were first written, by what they are in small letters

	history history // what went

	uidls map[uint32]string // what another server has said of letters in POP3, as pop3 has it; also of letters that are gone

	owing  int               // rows with a flags debt
	doomed map[uint32]doom   // expunged, file perhaps still there
	coming map[uint32]string // letters of a batch whose file may still be tmp/ this name
	at     map[uint32]string // where files are that are not where one expects them
}

// doom is an open expunge debt.
type doom struct {
	base string
	at   string // where the file was, below the folder
	ours bool   // by a session of this process, which is told of it at once
}

// Reset forgets everything; part of mboxlog.Reader.
func (s *state) reset() {
	*s = state{
		sets:    [][]string{nil},
		setByID: map[string]uint32{"": 0},
		keys:    &keymap{},
		spelled: map[string]string{},
		uidls:   map[uint32]string{},
		doomed:  map[uint32]doom{},
		coming:  map[uint32]string{},
		at:      map[uint32]string{},
	}
}

// apply makes the change that a record tells of. A record about a letter that
// is not there changes nothing: its letter may have been lost to damage.
func (s *state) apply(rec mboxlog.Record) error {
	d := &decoder{b: rec.Payload}
	switch rec.Kind {
	case kindExpunge: // a debt is known by its name
		if err := s.loadNames(); err != nil {
			return err
		}
	}
	switch rec.Kind {
	case kindMeta:
		s.applyMeta(decodeMeta(d), d.bad)
	case kindCeilings:
		if uid, modseq := d.num32(), d.num(); !d.bad {
			s.uidCeil, s.modCeil = max(s.uidCeil, uid), max(s.modCeil, modseq)
			s.ceiled = true
		}
	case kindLetters:
		decodeLetters(d, s.applyLetter)
	case kindFlags:
		s.applyFlags(decodeFlags(d))
	case kindObserved:
		decodeObserved(d, s.applyObserved)
	case kindPaidFlags:
		s.applyPaidFlags(d.uids())
	case kindExpunge, kindGone:
		modseq := d.num()
		s.applyRemoved(modseq, d.uids(), rec.Kind == kindExpunge)
	case kindPaidExpunge:
		deleteRuns(s.doomed, d.uids())
	case kindPaidArrival:
		deleteRuns(s.coming, d.uids())
	case kindRecent:
		s.recent = max(s.recent, d.num32())
	case kindFacts:
		decodeFacts(d, s.applyFact)
	case kindKeys:
		s.applyKeys(d.keys())
	case kindUIDLs:
		d.uidls(s.uidls)
	case kindHistory:
		modseq := d.num()
		s.went(modseq, d.uids())
	case mboxlog.KindDamage:
		s.damaged, s.ceiled = true, false
	default:
		return errRecord
	}
	if d.bad {
		return errRecord
	}
	return nil
}

func (s *state) applyMeta(m meta, bad bool) {
	if bad {
		return
	}
	m.uidNext, m.modseq = max(m.uidNext, s.uidNext), max(m.modseq, s.modseq)
	s.meta, s.born, s.damaged = m, true, false
}

func (s *state) applyLetter(modseq uint64, l *arrival) {
	if l.uid < s.uidNext {
		return // after damage: a UID that is not above the others is not given again
	}
	r := row{
		modseq: modseq, id: l.id, internal: l.internal, wire: size32(l.wire), saved: l.saved,
		uid: l.uid, kw: s.intern(l.keywords), flags: l.flags, disk: l.flags,
	}
	r.name = s.names.add(l.base)
	s.rows.add(r)
	s.names.learn(&s.rows, &r)
	if l.at != "" {
		s.at[l.uid] = strings.Clone(l.at) // of a longer text
	}
	if l.tmp != "" {
		s.coming[l.uid] = strings.Clone(l.tmp)
	}
	s.uidNext = l.uid + 1
	s.touched(modseq)
}

func (s *state) applyFlags(modseq uint64, c FlagChange, runs []Range) {
	memo := map[uint32]uint32{}
	s.rows.editRuns(runs, func(r *row) {
		kw, known := memo[r.kw]
		if !known {
			kw = s.intern(c.keywords(s.sets[r.kw]))
			memo[r.kw] = kw
		}
		r.kw = kw
		s.setFlags(r, c.flags(r.flags), r.disk)
		r.modseq = modseq
	})
	s.touched(modseq)
}

// setFlags changes what clients are told and what the name says, and with it
// whether a debt is open.
func (s *state) setFlags(r *row, flags, disk Flags) {
	r.flags, r.disk = flags, disk
	if owes := flags != disk; owes != r.owes {
		r.owes = owes
		if owes {
			s.owing++
		} else {
			s.owing--
		}
	}
	if at, ok := s.at[r.uid]; ok && s.lazy == nil {
		s.place(r, at) // perhaps it is usual now
	}
}

// applyObserved takes flags that others wrote into a name. What a debt is open
// for is applied to whatever the name says now.
func (s *state) applyObserved(modseq uint64, o observed) {
	r := s.rows.edit(o.uid)
	if r == nil {
		return
	}
	flags := withDebt(r, o.flags)
	if flags != r.flags {
		r.modseq = modseq
	}
	s.setFlags(r, flags, o.flags)
	s.touched(modseq)
}

// withDebt gives what the flags of a letter are when its name says disk.
func withDebt(r *row, disk Flags) Flags {
	set, clear := r.flags&^r.disk, r.disk&^r.flags
	return disk&^clear | set
}

func (s *state) applyPaidFlags(runs []Range) {
	s.rows.editRuns(runs, func(r *row) { s.setFlags(r, r.flags, r.flags) })
}

func (s *state) applyRemoved(modseq uint64, runs []Range, debt bool) {
	s.rows.remove(runs, func(r *row) {
		if debt {
			at := s.where(r)
			if tmp, coming := s.coming[r.uid]; coming {
				at = "tmp/" + tmp // nobody brings it to its place any more
			}
			s.doomed[r.uid] = doom{base: string(s.names.get(r.name)), at: at}
		}
		s.names.forget(r)
		if r.owes {
			s.owing--
		}
		delete(s.at, r.uid)
		delete(s.coming, r.uid)
	})
	s.went(modseq, runs)
	s.touched(modseq)
}

// deleteRuns takes the UIDs of runs out of m; the work is bounded by what m has.
func deleteRuns[V any](m map[uint32]V, runs []Range) {
	for _, r := range runs {
		if uint64(r.Last)-uint64(r.First) > uint64(len(m)) {
			maps.DeleteFunc(m, func(uid uint32, _ V) bool { return uid >= r.First && uid <= r.Last })
			continue
		}
		for uid := uint64(r.First); uid <= uint64(r.Last); uid++ {
			delete(m, uint32(uid))
		}
	}
}

func (s *state) applyFact(uid uint32, f fact) {
	if r := s.rows.edit(uid); r != nil {
		if f.internal != unknownTime {
			r.internal = f.internal
		}
		if f.wire != unknownSize {
			r.wire = size32(f.wire)
		}
	}
}

func (s *state) touched(modseq uint64) { s.modseq = max(s.modseq, modseq) }

// intern gives the number of a set of keywords.
func (s *state) intern(keywords []string) uint32 {
	if len(keywords) == 0 {
		return 0
	}
	key := strings.Join(keywords, " ")
	n, ok := s.setByID[key]
	if !ok {
		n = uint32(len(s.sets))
		s.sets = append(s.sets, slices.Clone(keywords))
		s.setByID[key] = n
		s.learnSpelling(keywords)
	}
	return n
}

func (s *state) learnSpelling(keywords []string) {
	for _, k := range keywords {
		if small := strings.ToLower(k); s.spelled[small] == "" {
			s.spelled[small] = k
		}
	}
}

// spell gives keywords, sorted, as they are written in this folder: case does
// not matter (RFC 9051 section 9), the first who uses one decides.
func (s *state) spell(keywords []string) []string {
	var spelled []string
	seen := map[string]bool{}
	for _, k := range keywords {
		small := strings.ToLower(k)
		if seen[small] {
			continue
		}
		seen[small] = true
		if first := s.spelled[small]; first != "" {
			k = first
		}
		spelled = append(spelled, k)
	}
	return sorted(spelled)
}

// loadNames reads the names, if that has been put off. An error means that the
// snapshot is no good, and the log must be read from its beginning.
func (s *state) loadNames() error {
	if s.lazy == nil {
		return nil
	}
	data, err := s.lazy()
	if err != nil {
		return err
	}
	if uint64(len(data)) != uint64(s.names.size) {
		return mboxlog.ErrSnapshot
	}
	s.lazy, s.names.data = nil, data
	return nil
}

// base gives the base name of a letter. It and what builds on it need
// loadNames before.
func (s *state) base(r *row) string {
	return string(s.names.get(r.name))
}

// find gives the letter with a base name.
func (s *state) find(base string) *row {
	return s.names.find(&s.rows, base)
}

// where says where the file of a letter is, below the folder, as far as this
// process knows.
func (s *state) where(r *row) string {
	if at, ok := s.at[r.uid]; ok {
		return at
	}
	return usual(s.base(r), r.disk)
}

// usual is where one expects a letter.
func usual(base string, flags Flags) string { return "cur/" + base + ":2," + flags.String() }

// isUsual tells whether a file is where one expects a letter.
func isUsual(at, base string, flags Flags) bool {
	const sub, info = "cur/", ":2,"
	n := len(sub) + len(base)
	if len(at) < n+len(info) || at[:len(sub)] != sub || at[len(sub):n] != base || at[n:n+len(info)] != info {
		return false
	}
	var letters [32]byte
	return at[n+len(info):] == string(flags.append(letters[:0]))
}

// isAt is where(r) == at.
func (s *state) isAt(r *row, at string) bool {
	if len(s.at) > 0 {
		if known, ok := s.at[r.uid]; ok {
			return known == at
		}
	}
	base := s.names.get(r.name)
	return len(at) > 4+len(base) && isUsual(at, at[4:4+len(base)], r.disk) && string(base) == at[4:4+len(base)]
}

// name gives the base name that the file of a letter has now, and where it is
// if that is not where one expects a letter of that name.
func (s *state) name(r *row) (base, at string) {
	at, unusual := s.at[r.uid]
	if !unusual {
		return s.base(r), ""
	}
	e := entryAt(at)
	if isUsual(at, e.base(), r.disk) {
		at = ""
	}
	return e.base(), at
}

// place notes where the file of a letter is.
func (s *state) place(r *row, at string) {
	if isUsual(at, s.base(r), r.disk) {
		delete(s.at, r.uid)
		return
	}
	s.at[r.uid] = strings.Clone(at) // of a longer text
}

// debts reports whether files differ from what clients have been told.
func (s *state) debts() bool { return s.owing > 0 || len(s.doomed) > 0 || len(s.coming) > 0 }

// view makes a version of what the state is now.
func (s *state) view() *View {
	v := &View{
		length: s.rows.length, validity: s.validity, uidNext: s.uidNext,
		modseq: s.modseq, sets: slices.Clip(s.sets), id: s.id,
		keys: s.keys, floor: s.floor, history: slices.Clip(s.history.list),
	}
	v.chunks, v.starts = s.rows.freeze()
	return v
}
