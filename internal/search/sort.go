package search

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// A By is what letters are sorted by (RFC 5256 section 3, RFC 5957).
type By int

// The keys of SORT.
const (
	Arrival By = iota
	Cc
	SentDate
	From
	Size
	Subject
	To
	DisplayFrom
	DisplayTo
)

// A SortKey is one criterion, in its order or the reverse.
type SortKey struct {
	By      By
	Reverse bool
}

// A Value is what a letter has that is sorted by a key: a number, or text as
// Collate or CollateSubject gives it.
type Value struct {
	Number int64
	Text   string
}

// Sort gives the order of letters, of which values has those of keys, letter by
// letter. Where they are equal, the order is as it was.
func Sort(values []Value, keys []SortKey) []int {
	order := make([]int, len(values)/len(keys))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int {
		a, b := values[i*len(keys):], values[j*len(keys):]
		for k := range keys {
			c := cmp.Compare(a[k].Number, b[k].Number)
			if c == 0 {
				c = strings.Compare(a[k].Text, b[k].Text)
			}
			if c != 0 && keys[k].Reverse {
				return -c
			}
			if c != 0 {
				return c
			}
		}
		return i - j
	})
	return order
}

// CollateSubject is Collate for the base subject of a decoded subject.
func CollateSubject(s string) string {
	base, _ := BaseSubject(s)
	return Collate(base)
}

// Sorted is what is known of a letter that is threaded. Texts are decoded.
type Sorted struct {
	Pos        int // where it is in the folder: what decides last
	Date       time.Time
	Subject    string
	MessageID  string
	References []string // oldest first
}
