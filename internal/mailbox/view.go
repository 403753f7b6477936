package mailbox

import (
	"slices"
	"sort"
	"strings"
	"sync"
)

// chunkRows is how many letters share one chunk of a view. A change copies the
// chunks it touches and shares the others with the versions before it.
const chunkRows = 256

// A row is a letter as a version holds it: no pointers, so that the garbage
// collector does not walk a hundred thousand letters.
type row struct {
	modseq   uint64
	id       uint64 // EMAILID
	internal int64  // seconds since 1970; unknownTime when nobody looked yet
	wire     uint32 // octets in wire form; noSize when nobody looked yet, or when it is more
	saved    uint32 // seconds since 1970 when it came into this folder; 0 when that is not known
	name     uint32 // where the base name stands in names
	uid      uint32
	kw       uint32 // index into keywordSets
	flags    Flags  // what clients are told, letters for keywords among it
	disk     Flags  // what the file's name was last known to say; differs from flags while a debt is open
	owes     bool   // a flags debt is open
}

const (
	unknownTime = -1 << 63
	unknownSize = -1
	noSize      = 1<<32 - 1
)

// size gives the octets in wire form, or unknownSize.
func (r *row) size() int64 {
	if r.wire == noSize {
		return unknownSize
	}
	return int64(r.wire)
}

func size32(n int64) uint32 {
	if n < 0 || n >= noSize {
		return noSize
	}
	return uint32(n)
}

// A View is one version of a folder: what a session believes the folder to be
// until it steps to another. It never changes.
type View struct {
	chunks [][]row
	starts []int // starts[i] is the position of chunks[i][0]
	length int

	validity uint32
	uidNext  uint32
	modseq   uint64
	sets     [][]string
	id       [16]byte
	floor    uint64
	history  []removal
	keys     *keymap

	count sync.Once
	tally tally
}

// A tally is what is known of all letters of a version together, once somebody
// has asked for it: every SELECT does.
type tally struct {
	unseen int
	first  int // position of the first of them
}

// counted goes over all letters, once.
func (v *View) counted() *tally {
	v.count.Do(func() {
		var t tally
		for c := range v.chunks {
			for i := range v.chunks[c] {
				if v.chunks[c][i].flags&Seen != 0 {
					continue
				}
				if t.unseen == 0 {
					t.first = v.starts[c] + i
				}
				t.unseen++
			}
		}
		v.tally = t
	})
	return &v.tally
}

// Len is the number of letters.
func (v *View) Len() int { return v.length }

// At gives letter i, counted from 0, in the order of UIDs.
func (v *View) At(i int) *Letter {
	l := new(Letter)
	v.Load(i, l)
	return l
}

// Load is At, into a Letter that is there.
func (v *View) Load(i int, l *Letter) {
	r := v.row(i)
	l.UID, l.ModSeq, l.Flags, l.Keywords, l.id, l.saved = r.uid, r.modseq, r.flags&system, v.keys.keywords(v.sets, r), r.id, r.saved
}

func (v *View) row(i int) *row {
	c := v.chunkOf(i)
	return &v.chunks[c][i-v.starts[c]]
}

// chunkOf finds the chunk that holds position i. Chunks are full but for what
// expunges took out of them, so the first guess is never too far right.
func (v *View) chunkOf(i int) int {
	c := i / chunkRows
	for c+1 < len(v.starts) && v.starts[c+1] <= i {
		if c+8 < len(v.starts) && v.starts[c+8] <= i {
			return sort.SearchInts(v.starts, i+1) - 1
		}
		c++
	}
	return c
}

// Index finds the letter with a UID; when there is none, i is the position of
// the next greater one.
func (v *View) Index(uid uint32) (i int, found bool) {
	c := sort.Search(len(v.chunks), func(c int) bool { return v.chunks[c][0].uid > uid }) - 1
	if c < 0 {
		return 0, false
	}
	j, found := searchRows(v.chunks[c], uid)
	return v.starts[c] + j, found
}

func searchRows(rows []row, uid uint32) (int, bool) {
	return slices.BinarySearchFunc(rows, uid, func(r row, uid uint32) int {
		switch {
		case r.uid < uid:
			return -1
		case r.uid > uid:
			return 1
		}
		return 0
	})
}

// UIDValidity is the UIDVALIDITY of the folder (RFC 9051 section 2.3.1.1).
func (v *View) UIDValidity() uint32 { return v.validity }

// UIDNext is less than or equal to every UID that will be given from now on.
func (v *View) UIDNext() uint32 { return v.uidNext }

// HighestModSeq is the greatest modification sequence of any change so far.
func (v *View) HighestModSeq() uint64 { return v.modseq }

// MailboxID is the OBJECTID of the folder (RFC 8474 section 4).
func (v *View) MailboxID() string { return mailboxID(v.id) }

// Keywords are those that letters have and those that letters had, as far as
// that is known still, sorted. What one session was told of the others are, too:
// it may be used again.
func (v *View) Keywords() []string {
	all := v.keys.named(^Flags(0))
	for _, set := range v.sets {
		all = append(all, set...)
	}
	slices.SortStableFunc(all, compareFold)
	return slices.CompactFunc(all, strings.EqualFold)
}

// compareFold orders without regard to case.
func compareFold(a, b string) int { return strings.Compare(strings.ToLower(a), strings.ToLower(b)) }

// KeywordSets is how many sets of keywords letters have had. It grows whenever
// Keywords does because of a letter.
func (v *View) KeywordSets() int { return len(v.sets) }

// Unseen is the number of letters without the Seen flag.
func (v *View) Unseen() int { return v.counted().unseen }

// Count is the number of letters whose flags, of those in mask, are want.
func (v *View) Count(mask, want Flags) int {
	n := 0
	for _, c := range v.chunks {
		for i := range c {
			if c[i].flags&mask == want {
				n++
			}
		}
	}
	return n
}

// FirstUnseen is the position of the first letter without the Seen flag.
func (v *View) FirstUnseen() (i int, found bool) {
	t := v.counted()
	return t.first, t.unseen > 0
}

// A Delta is how a later version differs from an earlier one of the same
// folder, in the order in which a session tells it.
type Delta struct {
	Expunged []int    // positions in the old version, descending: each is right when those before it have been taken out
	Changed  []uint32 // UIDs in both versions whose modseq, and so flags or keywords, have changed
	Added    int      // letters at the end of the new version that the old one lacks
}

// Diff compares two versions of one folder. Chunks that both share cost
// nothing.
func Diff(old, cur *View) Delta {
	var d Delta
	a, b := cursor{v: old}, cursor{v: cur}
	for {
		if skipShared(&a, &b) {
			continue
		}
		ra, rb := a.row(), b.row()
		switch {
		case ra == nil && rb == nil:
			slices.Reverse(d.Expunged)
			return d
		case rb == nil || ra != nil && ra.uid < rb.uid:
			d.Expunged = append(d.Expunged, a.at())
			a.step()
		case ra == nil || rb.uid < ra.uid:
			d.Added++
			b.step()
		default:
			if ra.modseq != rb.modseq {
				d.Changed = append(d.Changed, ra.uid)
			}
			a.step()
			b.step()
		}
	}
}

// skipShared steps both cursors over a chunk that both versions share.
func skipShared(a, b *cursor) bool {
	if a.i != 0 || b.i != 0 || a.c >= len(a.v.chunks) || b.c >= len(b.v.chunks) {
		return false
	}
	x, y := a.v.chunks[a.c], b.v.chunks[b.c]
	if len(x) != len(y) || &x[0] != &y[0] {
		return false
	}
	a.c++
	b.c++
	return true
}

// A cursor walks the rows of a view.
type cursor struct {
	v    *View
	c, i int
}

func (c *cursor) at() int { return c.v.starts[c.c] + c.i }

func (c *cursor) row() *row {
	if c.c >= len(c.v.chunks) {
		return nil
	}
	return &c.v.chunks[c.c][c.i]
}

func (c *cursor) step() {
	if c.i++; c.i == len(c.v.chunks[c.c]) {
		c.c, c.i = c.c+1, 0
	}
}
