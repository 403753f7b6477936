package mailbox

import (
	"cmp"
	"slices"
)

// A history is what has gone, in the order of modseqs: what QRESYNC is told
// (RFC 7162 section 3.2.5). It outlives compactions of the log. Its oldest part
// goes when it grows beyond maxHistory; meta.floor says up to where it is gone.
type history struct {
	list []removal // shared with versions: only appended to
	runs int       // in all of list
}

// A removal is what went at one modseq.
type removal struct {
	modseq uint64
	runs   []Range
}

// maxHistory bounds the ranges of UIDs in a history, 8 octets each.
const maxHistory = 1 << 15

// went notes that letters are gone.
func (s *state) went(modseq uint64, runs []Range) {
	h := &s.history
	if len(runs) == 0 || modseq <= s.floor {
		return
	}
	h.list = append(h.list, removal{modseq, runs})
	h.runs += len(runs)
	if h.runs <= maxHistory {
		return
	}
	var rest history
	for _, r := range slices.Backward(h.list) {
		if rest.runs += len(r.runs); rest.runs > maxHistory/2 {
			s.floor = max(s.floor, r.modseq)
			break
		}
		rest.list = append(rest.list, r)
	}
	slices.Reverse(rest.list)
	rest.list = slices.DeleteFunc(rest.list, func(r removal) bool { return r.modseq <= s.floor })
	rest.runs = 0
	for _, r := range rest.list {
		rest.runs += len(r.runs)
	}
	*h = rest
}

// VanishedSince gives UIDs, ascending, of letters that were in the folder and
// are no more: at least all that went at a greater modseq (RFC 7162 section
// 3.2.5.1). Where the history does not reach back so far, it is every UID below
// UIDNEXT that no letter has; the caller keeps to those the client asks about.
func (v *View) VanishedSince(modseq uint64) []Range {
	if modseq < v.floor {
		return v.missing()
	}
	at, _ := slices.BinarySearchFunc(v.history, modseq+1, func(r removal, n uint64) int { return cmp.Compare(r.modseq, n) })
	var all []Range
	for _, r := range v.history[at:] {
		all = append(all, r.runs...)
	}
	slices.SortFunc(all, func(a, b Range) int { return cmp.Compare(a.First, b.First) })
	merged := all[:0]
	for _, r := range all {
		merged = appendRange(merged, r)
	}
	return merged
}

// appendRange adds a range that begins after those in list begin.
func appendRange(list []Range, r Range) []Range {
	if n := len(list); n > 0 && uint64(r.First) <= uint64(list[n-1].Last)+1 {
		list[n-1].Last = max(list[n-1].Last, r.Last)
		return list
	}
	return append(list, r)
}

// missing gives every UID below UIDNEXT that no letter has.
func (v *View) missing() (all []Range) {
	next := uint32(1)
	for _, c := range v.chunks {
		for i := range c {
			if uid := c[i].uid; uid > next {
				all = append(all, Range{next, uid - 1})
			}
			next = c[i].uid + 1
		}
	}
	if v.uidNext > next {
		all = append(all, Range{next, v.uidNext - 1})
	}
	return all
}

// ChangedSince gives the positions of letters whose modseq is greater, those
// that are new among them.
func (v *View) ChangedSince(modseq uint64) (all []int) {
	for c := range v.chunks {
		for i := range v.chunks[c] {
			if v.chunks[c][i].modseq > modseq {
				all = append(all, v.starts[c]+i)
			}
		}
	}
	return all
}
