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

// Sorted is what is known of a letter that is sorted or threaded. Only what the
// keys ask for need be there. Texts are decoded; Fold and BaseSubject are done
// here.
type Sorted struct {
	Pos                    int // where it is in the folder: what decides last
	Arrival, Date          time.Time
	Size                   int64
	Cc, From, To           string // local part of the first address
	DisplayFrom, DisplayTo string
	Subject                string
	MessageID              string
	References             []string // oldest first
}

// Sort brings letters into an order.
func Sort(letters []Sorted, keys []SortKey) {
	for i := range letters {
		l := &letters[i]
		l.Cc, l.From, l.To = collate(l.Cc), collate(l.From), collate(l.To)
		l.DisplayFrom, l.DisplayTo = collate(l.DisplayFrom), collate(l.DisplayTo)
		base, _ := BaseSubject(l.Subject)
		l.Subject = collate(base)
	}
	slices.SortFunc(letters, func(a, b Sorted) int {
		for _, k := range keys {
			c := k.By.compare(&a, &b)
			if k.Reverse {
				c = -c
			}
			if c != 0 {
				return c
			}
		}
		return cmp.Compare(a.Pos, b.Pos)
	})
}

// collate brings text into the order of i;unicode-casemap (RFC 5051), which goes
// by capitals.
func collate(s string) string { return strings.ToUpper(s) }

func (by By) compare(a, b *Sorted) int {
	switch by {
	case Arrival:
		return a.Arrival.Compare(b.Arrival)
	case Cc:
		return strings.Compare(a.Cc, b.Cc)
	case SentDate:
		return a.Date.Compare(b.Date)
	case From:
		return strings.Compare(a.From, b.From)
	case Size:
		return cmp.Compare(a.Size, b.Size)
	case Subject:
		return strings.Compare(a.Subject, b.Subject)
	case To:
		return strings.Compare(a.To, b.To)
	case DisplayFrom:
		return strings.Compare(a.DisplayFrom, b.DisplayFrom)
	}
	return strings.Compare(a.DisplayTo, b.DisplayTo)
}
