package mailbox

import (
	"encoding/binary"
	"errors"
	"maps"
	"slices"

	"postbag/internal/mboxlog"
)

// Kinds of records. Numbers are written as uvarints, strings with their length
// before them, sets of UIDs as runs. A record that changes letters has the
// modseq that they get.
const (
	kindMeta        = mboxlog.KindUser + iota // who this folder is
	kindCeilings                              // UIDs and modseqs below these may be in use
	kindLetters                               // letters and their UIDs
	kindFlags                                 // flags and keywords changed by a client: a debt where the name differs
	kindObserved                              // flags found changed in names
	kindPaidFlags                             // names say what kindFlags promised
	kindExpunge                               // expunged by a client: a debt, the file
	kindPaidExpunge                           // the files are gone
	kindGone                                  // found unlinked by others
	kindPaidArrival                           // letters of a batch have left tmp/
	kindRecent                                // letters up to this UID have been shown to a session
	kindFacts                                 // sizes and dates that took a look into the file
	kindHistory                               // letters that went before the log was compacted
	kindUIDLs                                 // what another server has said of letters in POP3
	kindKeys                                  // keywords that letters of names stand for
)

var errRecord = errors.New("record makes no sense")

// meta says who the folder is. Written when a log is begun, when the folder
// turns out to be a copy, and after damage.
type meta struct {
	validity uint32
	id       [16]byte // MAILBOXID
	inode    uint64   // of the folder's directory: another one means a copy
	uidNext  uint32
	modseq   uint64
	floor    uint64 // expunges at or below this modseq are no longer in the log
}

func (m *meta) encode() mboxlog.Record {
	e := encoder{}
	e.num(uint64(m.validity))
	e.b = append(e.b, m.id[:]...)
	e.num(m.inode)
	e.num(uint64(m.uidNext))
	e.num(m.modseq)
	e.num(m.floor)
	return mboxlog.Record{Kind: kindMeta, Payload: e.b}
}

func decodeMeta(d *decoder) (m meta) {
	m.validity = d.num32()
	copy(m.id[:], d.raw(16))
	m.inode, m.uidNext, m.modseq, m.floor = d.num(), d.num32(), d.num(), d.num()
	return m
}

// An arrival is a letter that gets a UID.
type arrival struct {
	uid      uint32
	id       uint64
	flags    Flags // as in the name
	keywords []string
	internal int64 // unknownTime, unknownSize where nobody looked
	wire     int64
	saved    uint32 // seconds since 1970 when it came into this folder; 0: unknown
	base     string
	at       string // where the file is, when not where it is to be expected
	tmp      string // the name below tmp/ that it still has; "" when it is in place
}

func encodeLetters(modseq uint64, letters []arrival) mboxlog.Record {
	return appendLetters(nil, modseq, letters)
}

// appendLetters encodes letters in scratch, or in what is larger.
func appendLetters(scratch []byte, modseq uint64, letters []arrival) mboxlog.Record {
	e := encoder{b: slices.Grow(scratch[:0], 100*len(letters)+20)}
	e.num(modseq)
	e.num(uint64(len(letters)))
	last := uint32(0)
	for i := range letters {
		l := &letters[i]
		e.num(uint64(l.uid - last))
		last = l.uid
		e.b = binary.LittleEndian.AppendUint64(e.b, l.id)
		e.num(uint64(l.flags))
		e.strings(l.keywords)
		e.optional(l.internal, unknownTime)
		e.optional(l.wire, unknownSize)
		e.num(uint64(l.saved))
		e.string(l.base)
		e.string(l.at)
		e.string(l.tmp)
	}
	return mboxlog.Record{Kind: kindLetters, Payload: e.b}
}

func decodeLetters(d *decoder, each func(modseq uint64, l *arrival)) {
	modseq, n := d.num(), d.num()
	var l arrival
	for ; n > 0 && !d.bad; n-- {
		l.uid += d.num32()
		if b := d.raw(8); b != nil {
			l.id = binary.LittleEndian.Uint64(b)
		}
		l.flags = d.flags()
		l.keywords = d.strings()
		l.internal = d.optional(unknownTime)
		l.wire = d.optional(unknownSize)
		l.saved = d.num32()
		l.base, l.at, l.tmp = d.string(), d.string(), d.string()
		if !d.bad {
			each(modseq, &l)
		}
	}
}

func encodeFlags(modseq uint64, c *FlagChange, uids []uint32) mboxlog.Record {
	e := encoder{}
	e.num(modseq)
	replace := byte(0)
	if c.Replace {
		replace = 1
	}
	e.b = append(e.b, replace)
	e.num(uint64(c.Set))
	e.num(uint64(c.Clear))
	e.strings(c.SetKeywords)
	e.strings(c.ClearKeywords)
	e.uids(uids)
	return mboxlog.Record{Kind: kindFlags, Payload: e.b}
}

func decodeFlags(d *decoder) (modseq uint64, c FlagChange, runs []Range) {
	modseq = d.num()
	c.Replace = d.octet() == 1
	c.Set, c.Clear = d.flags(), d.flags()
	c.SetKeywords, c.ClearKeywords = d.strings(), d.strings()
	return modseq, c, d.uids()
}

// observed is what the name of a letter turned out to say.
type observed struct {
	uid   uint32
	flags Flags
}

func encodeObserved(modseq uint64, found []observed) mboxlog.Record {
	e := encoder{}
	e.num(modseq)
	e.num(uint64(len(found)))
	last := uint32(0)
	for _, o := range found {
		e.num(uint64(o.uid - last))
		last = o.uid
		e.num(uint64(o.flags))
	}
	return mboxlog.Record{Kind: kindObserved, Payload: e.b}
}

func decodeObserved(d *decoder, each func(modseq uint64, o observed)) {
	modseq, n := d.num(), d.num()
	var o observed
	for ; n > 0 && !d.bad; n-- {
		o.uid += d.num32()
		o.flags = d.flags()
		if !d.bad {
			each(modseq, o)
		}
	}
}

// encodeRemoved encodes kindExpunge and kindGone.
func encodeRemoved(kind byte, modseq uint64, uids []uint32) mboxlog.Record {
	e := encoder{}
	e.num(modseq)
	e.uids(uids)
	return mboxlog.Record{Kind: kind, Payload: e.b}
}

func encodeHistory(r removal) mboxlog.Record {
	e := encoder{}
	e.num(r.modseq)
	e.ranges(r.runs)
	return mboxlog.Record{Kind: kindHistory, Payload: e.b}
}

func encodeUIDLs(ids map[uint32]string) mboxlog.Record {
	e := encoder{}
	e.num(uint64(len(ids)))
	for _, uid := range slices.Sorted(maps.Keys(ids)) {
		e.num(uint64(uid))
		e.string(ids[uid])
	}
	return mboxlog.Record{Kind: kindUIDLs, Payload: e.b}
}

func (d *decoder) uidls(into map[uint32]string) {
	for n := d.num(); n > 0 && !d.bad; n-- {
		if uid, id := d.num32(), d.string(); !d.bad {
			into[uid] = id
		}
	}
}

// encodePaid encodes the kindPaid records.
func encodePaid(kind byte, uids []uint32) mboxlog.Record {
	e := encoder{}
	e.uids(uids)
	return mboxlog.Record{Kind: kind, Payload: e.b}
}

func encodeCeilings(uid uint32, modseq uint64) mboxlog.Record {
	e := encoder{}
	e.num(uint64(uid))
	e.num(modseq)
	return mboxlog.Record{Kind: kindCeilings, Payload: e.b}
}

func encodeRecent(mark uint32) mboxlog.Record {
	e := encoder{}
	e.num(uint64(mark))
	return mboxlog.Record{Kind: kindRecent, Payload: e.b}
}

// A fact is what a look into a file told.
type fact struct {
	internal int64
	wire     int64
}

func encodeFacts(uids []uint32, facts map[uint32]fact) mboxlog.Record {
	e := encoder{}
	e.num(uint64(len(uids)))
	last := uint32(0)
	for _, uid := range uids {
		e.num(uint64(uid - last))
		last = uid
		e.optional(facts[uid].internal, unknownTime)
		e.optional(facts[uid].wire, unknownSize)
	}
	return mboxlog.Record{Kind: kindFacts, Payload: e.b}
}

func decodeFacts(d *decoder, each func(uid uint32, f fact)) {
	uid := uint32(0)
	for n := d.num(); n > 0 && !d.bad; n-- {
		uid += d.num32()
		f := fact{d.optional(unknownTime), d.optional(unknownSize)}
		if !d.bad {
			each(uid, f)
		}
	}
}

// A Range is a range of UIDs, both ends in it.
type Range struct{ First, Last uint32 }

// An encoder appends values to b.
type encoder struct{ b []byte }

func (e *encoder) num(n uint64) { e.b = binary.AppendUvarint(e.b, n) }

func (e *encoder) string(s string) {
	e.num(uint64(len(s)))
	e.b = append(e.b, s...)
}

func (e *encoder) strings(list []string) {
	e.num(uint64(len(list)))
	for _, s := range list {
		e.string(s)
	}
}

// optional encodes n, or its absence.
func (e *encoder) optional(n, absent int64) {
	if n == absent {
		e.b = append(e.b, 0)
		return
	}
	e.b = append(e.b, 1)
	e.b = binary.AppendVarint(e.b, n)
}

// uids encodes an ascending list as runs.
func (e *encoder) uids(list []uint32) {
	var runs []Range
	for _, uid := range list {
		runs = appendRange(runs, Range{uid, uid})
	}
	e.ranges(runs)
}

func (e *encoder) ranges(runs []Range) {
	e.num(uint64(len(runs)))
	last := uint32(0)
	for _, r := range runs {
		e.num(uint64(r.First - last))
		e.num(uint64(r.Last - r.First))
		last = r.Last
	}
}

// A decoder takes values off b. After the first that is not there bad is true
// and all values are zero.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) num() uint64 {
	n, size := binary.Uvarint(d.b)
	if size <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[size:]
	return n
}

func (d *decoder) num32() uint32 {
	n := d.num()
	if n > 1<<32-1 {
		d.fail()
		return 0
	}
	return uint32(n)
}

func (d *decoder) fail() { d.b, d.bad = nil, true }

func (d *decoder) raw(n uint64) []byte {
	if n > uint64(len(d.b)) {
		d.fail()
		return nil
	}
	b := d.b[:n]
	d.b = d.b[n:]
	return b
}

func (d *decoder) octet() byte {
	if b := d.raw(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) flags() Flags { return Flags(d.num32()) }

func (d *decoder) string() string { return string(d.raw(d.num())) }

func (d *decoder) strings() []string {
	var list []string
	for n := d.num(); n > 0 && !d.bad; n-- {
		list = append(list, d.string())
	}
	return list
}

func (d *decoder) optional(absent int64) int64 {
	if d.octet() == 0 {
		return absent
	}
	n, size := binary.Varint(d.b)
	if size <= 0 {
		d.fail()
		return absent
	}
	d.b = d.b[size:]
	return n
}

// uids decodes runs of UIDs, ascending and apart.
func (d *decoder) uids() []Range {
	var runs []Range
	last := uint64(0)
	for n := d.num(); n > 0 && !d.bad; n-- {
		first := last + d.num()
		last = first + d.num()
		if last > 1<<32-1 || first == 0 {
			d.fail()
			break
		}
		runs = append(runs, Range{uint32(first), uint32(last)})
	}
	if d.bad {
		return nil
	}
	return runs
}
