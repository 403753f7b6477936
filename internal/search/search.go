// Package search decides which letters fulfil the criteria of IMAP's SEARCH (RFC
// 9051 section 6.4.4). The tree is our own; what a letter is like is asked of a
// Row, and dear questions are asked last.
package search

import (
	"slices"
	"time"
)

// A Row is one letter. Questions that need the file may fail; a letter whose file
// is gone fulfils nothing that needs it.
type Row interface {
	Seq() uint32
	UID() uint32
	// Last reports whether it is the last one of its folder.
	Last() bool
	// HasFlag knows system flags with their backslash, \Recent, and keywords;
	// case does not count.
	HasFlag(flag string) bool
	Size() (int64, error)
	// Internal is the INTERNALDATE.
	Internal() (time.Time, error)
	// Saved is the SAVEDATE; zero when it is not known.
	Saved() time.Time
	ModSeq() uint64
	EmailID() string
	// Fields gives the values of a header field, decoded to UTF-8.
	Fields(name string) ([]string, error)
	// Sent is the date of the Date field; zero when there is none.
	Sent() (time.Time, error)
	// Contains looks for text, which is folded, in the texts of the body, and
	// with header in the header too.
	Contains(folded string, header bool) (bool, error)
}

// Criteria are fulfilled by a letter or not.
type Criteria interface {
	match(Row) (bool, error)
	// cost orders what has to be asked: 0 is free.
	cost() int
}

// Match asks whether a letter fulfils the criteria.
func Match(c Criteria, r Row) (bool, error) { return c.match(r) }

// ReadsFiles reports whether it takes a look into letters to know.
func ReadsFiles(c Criteria) bool { return c.cost() >= head }

// A Range is numbers from First to Last. Sets of them are ascending.
type Range struct{ First, Last uint32 }

func within(n uint32, ranges []Range) bool {
	_, found := slices.BinarySearchFunc(ranges, n, func(r Range, n uint32) int {
		switch {
		case r.Last < n:
			return -1
		case r.First > n:
			return 1
		}
		return 0
	})
	return found
}

// And is fulfilled when all of its members are; an empty one is ALL.
type And []Criteria

func (a And) match(r Row) (bool, error) {
	for class := 0; class <= dearest; class++ {
		for _, c := range a {
			if c.cost() != class {
				continue
			}
			if ok, err := c.match(r); !ok || err != nil {
				return false, err
			}
		}
	}
	return true, nil
}

func (a And) cost() int {
	most := 0
	for _, c := range a {
		most = max(most, c.cost())
	}
	return most
}

// Numbers gives those of the criteria that name letters by number, as all that
// fulfil c must.
func Numbers(c Criteria) Criteria {
	switch c := c.(type) {
	case Seqs, UIDs, SeqsFrom, UIDsFrom:
		return c
	case Or:
		if named(c.A) && named(c.B) {
			return c
		}
	case And:
		var all And
		for _, member := range c {
			all = append(all, Numbers(member))
		}
		return all
	}
	return And{}
}

// named reports whether criteria name letters by number only.
func named(c Criteria) bool {
	switch c.(type) {
	case Seqs, UIDs, SeqsFrom, UIDsFrom:
		return true
	}
	return false
}

// Classes of cost.
const (
	free    = iota
	stat    // the file's name or attributes
	head    // the header is read
	text    // all of the letter is read
	dearest = text
)

// Or is fulfilled when one of two is.
type Or struct{ A, B Criteria }

func (o Or) match(r Row) (bool, error) {
	a, b := o.A, o.B
	if a.cost() > b.cost() {
		a, b = b, a
	}
	if ok, err := a.match(r); ok || err != nil {
		return ok, err
	}
	return b.match(r)
}

func (o Or) cost() int { return max(o.A.cost(), o.B.cost()) }

// Not turns criteria round.
type Not struct{ C Criteria }

func (n Not) match(r Row) (bool, error) {
	ok, err := n.C.match(r)
	return !ok && err == nil, err
}

func (n Not) cost() int { return n.C.cost() }

// Seqs and UIDs are sets of numbers.
type (
	Seqs []Range
	UIDs []Range
)

func (s Seqs) match(r Row) (bool, error) { return within(r.Seq(), s), nil }
func (s Seqs) cost() int                 { return free }
func (s UIDs) match(r Row) (bool, error) { return within(r.UID(), s), nil }
func (s UIDs) cost() int                 { return free }

// SeqsFrom and UIDsFrom are ranges that end in `*`: from a number on, and the last
// letter, whatever its number is (RFC 9051 section 9).
type (
	SeqsFrom uint32
	UIDsFrom uint32
)

func (n SeqsFrom) match(r Row) (bool, error) { return r.Seq() >= uint32(n) || r.Last(), nil }
func (n SeqsFrom) cost() int                 { return free }
func (n UIDsFrom) match(r Row) (bool, error) { return r.UID() >= uint32(n) || r.Last(), nil }
func (n UIDsFrom) cost() int                 { return free }

// A Flag is a flag or keyword that is set.
type Flag string

func (f Flag) match(r Row) (bool, error) { return r.HasFlag(string(f)), nil }
func (f Flag) cost() int                 { return free }

// Larger and Smaller compare sizes in octets.
type (
	Larger  int64
	Smaller int64
)

func (n Larger) match(r Row) (bool, error) {
	size, err := r.Size()
	return size > int64(n), err
}
func (n Larger) cost() int { return stat }

func (n Smaller) match(r Row) (bool, error) {
	size, err := r.Size()
	return size < int64(n), err
}
func (n Smaller) cost() int { return stat }

// A When says how a date is compared.
type When int

// On a day, before it, since it.
const (
	On When = iota
	Before
	Since
)

// A Stamp is a date that a letter has.
type Stamp int

// The INTERNALDATE, the Date field, and the SAVEDATE (RFC 8514).
const (
	Internal Stamp = iota
	Sent
	Saved
)

// A Date compares one of a letter's dates. Times and zones do not count: the day
// is the one that the date itself names.
type Date struct {
	When When
	Day  time.Time
	Of   Stamp
}

func (d Date) match(r Row) (bool, error) {
	var t time.Time
	var err error
	switch d.Of {
	case Sent:
		t, err = r.Sent()
	case Saved:
		t = r.Saved()
	default:
		t, err = r.Internal()
	}
	if err != nil || t.IsZero() {
		return false, err
	}
	day, want := dayOf(t), dayOf(d.Day)
	switch d.When {
	case Before:
		return day < want, nil
	case Since:
		return day >= want, nil
	}
	return day == want, nil
}

func (d Date) cost() int {
	if d.Of == Sent {
		return head
	}
	return stat
}

// An Age compares the INTERNALDATE with a time (RFC 5032): Older ones are of then
// or before, the others of then or later.
type Age struct {
	Than  time.Time
	Older bool
}

func (a Age) match(r Row) (bool, error) {
	t, err := r.Internal()
	if err != nil || t.IsZero() {
		return false, err
	}
	// To the second; a letter of that second is both (RFC 5032 section 2).
	age := t.Truncate(time.Second).Compare(a.Than.Truncate(time.Second))
	return age == 0 || age < 0 == a.Older, nil
}

func (a Age) cost() int { return stat }

// ModSeq is fulfilled by letters that have changed at that modseq or later (RFC
// 7162 section 3.1.5).
type ModSeq uint64

func (m ModSeq) match(r Row) (bool, error) { return r.ModSeq() >= uint64(m), nil }
func (m ModSeq) cost() int                 { return free }

// EmailID is the object id of a letter (RFC 8474 section 5.1).
type EmailID string

func (e EmailID) match(r Row) (bool, error) { return r.EmailID() == string(e), nil }
func (e EmailID) cost() int                 { return free }

// dayOf numbers days, with gaps.
func dayOf(t time.Time) int {
	year, month, day := t.Date()
	return year*1000 + int(month)*50 + day
}

// A Field looks for text in fields of a name; empty text asks whether there is
// one.
type Field struct{ Name, Text string }

func (f Field) match(r Row) (bool, error) {
	values, err := r.Fields(f.Name)
	if err != nil {
		return false, err
	}
	want := Fold(f.Text)
	for _, v := range values {
		if Contains([]byte(v), want) {
			return true, nil
		}
	}
	return false, nil
}

func (f Field) cost() int { return head }

// Body and Text look for text in the body, and in header and body.
type (
	Body string
	Text string
)

func (b Body) match(r Row) (bool, error) { return r.Contains(Fold(string(b)), false) }
func (b Body) cost() int                 { return text }
func (t Text) match(r Row) (bool, error) { return r.Contains(Fold(string(t)), true) }
func (t Text) cost() int                 { return text }
