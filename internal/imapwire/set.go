package imapwire

import (
	"slices"
	"strconv"
	"strings"
)

// Star is the greatest number in use, which `*` stands for.
const Star = 0

// A Range is a part of a Set, from First to Last in any order; Star is `*`.
type Range struct{ First, Last uint32 }

// A Set is a sequence-set (RFC 9051 section 9). With Result the saved result of
// SEARCH, `$`, is part of it, or all.
type Set struct {
	Ranges []Range
	Result bool
}

// maxRanges bounds a set.
const maxRanges = 20_000

// Set reads a sequence-set.
func (r *Reader) Set() (Set, error) {
	text, err := r.word(func(c byte) bool { return c >= '0' && c <= '9' || c == ':' || c == '*' || c == ',' || c == '$' })
	if err != nil {
		return Set{}, err
	}
	return ParseSet(text)
}

// ParseSet reads the text of a sequence-set.
func ParseSet(text string) (Set, error) {
	var s Set
	for _, part := range strings.Split(text, ",") {
		if part == "$" {
			s.Result = true
			continue
		}
		first, last, isRange := strings.Cut(part, ":")
		if !isRange {
			last = first
		}
		a, aok := setNumber(first)
		b, bok := setNumber(last)
		if !aok || !bok || len(s.Ranges) >= maxRanges {
			return Set{}, bad("bad set of numbers")
		}
		s.Ranges = append(s.Ranges, Range{a, b})
	}
	return s, nil
}

func setNumber(s string) (uint32, bool) {
	if s == "*" {
		return Star, true
	}
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err == nil && n > 0 && s[0] != '0'
}

// Resolve gives the ranges with `*` as last, each with First <= Last, sorted and
// without overlaps.
func (s Set) Resolve(last uint32) []Range {
	var all []Range
	for _, r := range s.Ranges {
		if r.First == Star {
			r.First = last
		}
		if r.Last == Star {
			r.Last = last
		}
		if r.First > r.Last {
			r.First, r.Last = r.Last, r.First
		}
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b Range) int { return int(int64(a.First) - int64(b.First)) })
	var merged []Range
	for _, r := range all {
		if n := len(merged); n > 0 && (merged[n-1].Last == ^uint32(0) || r.First <= merged[n-1].Last+1) {
			merged[n-1].Last = max(merged[n-1].Last, r.Last)
			continue
		}
		merged = append(merged, r)
	}
	return merged
}

// Split gives the ranges that have no `*`, as Resolve does, and the number from
// which on the others have all, 0 when there are none. The last number in use is
// among those, too, also when it is less than that.
func (s Set) Split() (closed []Range, from uint32) {
	var rest Set
	for _, r := range s.Ranges {
		if r.First != Star && r.Last != Star {
			rest.Ranges = append(rest.Ranges, r)
			continue
		}
		n := max(r.First, r.Last)
		if n == Star {
			n = 1<<32 - 1 // only the last one
		}
		if from == 0 || n < from {
			from = n
		}
	}
	return rest.Resolve(Star), from
}

// FormatRanges writes ranges as a set.
func FormatRanges(ranges []Range) string {
	var b []byte
	for i, r := range ranges {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendUint(b, uint64(r.First), 10)
		if r.Last > r.First {
			b = append(b, ':')
			b = strconv.AppendUint(b, uint64(r.Last), 10)
		}
	}
	return string(b)
}

// FormatSet writes numbers as a set in their order, those that follow one another
// as ranges; "" for none.
func FormatSet(numbers []uint32) string {
	var ranges []Range
	for _, n := range numbers {
		if at := len(ranges) - 1; at >= 0 && ranges[at].Last+1 == n {
			ranges[at].Last = n
			continue
		}
		ranges = append(ranges, Range{n, n})
	}
	return FormatRanges(ranges)
}
