package search

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// write writes threads as IMAP does, positions counted from 1.
func write(list []*Thread) string {
	var b strings.Builder
	var one func(t *Thread)
	one = func(t *Thread) {
		if t.Pos >= 0 {
			fmt.Fprint(&b, t.Pos+1)
		} else {
			b.WriteByte('_')
		}
		for _, c := range t.Children {
			b.WriteByte('(')
			one(c)
			b.WriteByte(')')
		}
	}
	for _, t := range list {
		b.WriteByte('(')
		one(t)
		b.WriteByte(')')
	}
	return b.String()
}

// letter is "id subject refs...", a day apart.
func threadLetters(lines ...string) (all []Sorted) {
	for i, l := range lines {
		f := strings.Split(l, " ")
		all = append(all, Sorted{
			Pos: i, Date: day(1).AddDate(0, 0, i), MessageID: f[0],
			Subject: strings.ReplaceAll(f[1], "_", " "), References: f[2:],
		})
	}
	return all
}

func TestThreads(t *testing.T) {
	for name, c := range map[string]struct {
		letters                   []Sorted
		references, refs, ordered string
	}{
		"answers":                   {threadLetters("a x", "b x a", "c x a b"), "(1(2(3)))", "(1(2(3)))", "(1(2)(3))"},
		"one is missing in between": {threadLetters("a x", "c x a b"), "(1(2))", "(1(2))", "(1(2))"},
		"the first is missing":      {threadLetters("b x a", "c y a"), "(_(1)(2))", "(_(1)(2))", "(1)(2)"},
		"a subject joins":           {threadLetters("a x", "b Re:_x"), "(1(2))", "(1)(2)", "(1(2))"},
		"the answer came first":     {threadLetters("b Re:_x", "a x"), "(2(1))", "(1)(2)", "(1(2))"},
		"two originals":             {threadLetters("a x", "b x"), "(_(1)(2))", "(1)(2)", "(1(2))"},
		"no subject joins nothing":  {threadLetters("a ", "b "), "(1)(2)", "(1)(2)", "(1(2))"},
		"a circle":                  {threadLetters("a x b", "b y a"), "(2(1))", "(2(1))", "(1)(2)"},
		"one id twice":              {threadLetters("a x", "a y", "b z a"), "(1(3))(2)", "(2)(1(3))", "(1)(2)(3)"},
		"of oneself":                {threadLetters("a x a"), "(1)", "(1)", "(1)"},
		"newest threads last":       {threadLetters("a x", "b y", "c z a"), "(1(3))(2)", "(2)(1(3))", "(1)(2)(3)"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := write(References(slices.Clone(c.letters))); got != c.references {
				t.Errorf("References: %s, want %s", got, c.references)
			}
			if got := write(Refs(slices.Clone(c.letters))); got != c.refs {
				t.Errorf("Refs: %s, want %s", got, c.refs)
			}
			if got := write(OrderedSubject(slices.Clone(c.letters))); got != c.ordered {
				t.Errorf("OrderedSubject: %s, want %s", got, c.ordered)
			}
		})
	}
}

func TestSort(t *testing.T) {
	letters := []struct {
		subject, from string
		size          int64
		date          time.Time
	}{
		{"Re: b", "Zoe", 3, day(3)}, {"a", "adam", 2, day(3).Add(-time.Hour)}, {"B", "ZOE", 2, day(1)},
	}
	for want, keys := range map[string][]SortKey{
		"[1 0 2]": {{By: Subject}}, "[1 2 0]": {{By: Subject}, {By: Size}}, "[0 1 2]": {{By: Size, Reverse: true}},
		"[2 1 0]": {{By: SentDate}}, "[0 2 1]": {{By: From, Reverse: true}},
	} {
		var values []Value
		for _, l := range letters {
			for _, k := range keys {
				values = append(values, map[By]Value{
					Subject: {Text: CollateSubject(l.subject)}, From: {Text: Collate(l.from)}, Size: {Number: l.size}, SentDate: {Number: l.date.Unix()},
				}[k.By])
			}
		}
		if got := fmt.Sprint(Sort(values, keys)); got != want {
			t.Errorf("sorted by %v: %v, want %s", keys, got, want)
		}
	}
}

// TestALongChainOfAnswersNeedsNoDeepStack: a client may make one.
func TestALongChainOfAnswersNeedsNoDeepStack(t *testing.T) {
	const n = 100_000
	letters := make([]Sorted, n)
	for i := range letters {
		letters[i] = Sorted{Pos: i, MessageID: fmt.Sprint(i), Date: day(1)}
		if i > 0 {
			letters[i].References = []string{fmt.Sprint(i - 1)}
		}
	}
	roots := References(letters)
	depth := 0
	for list := roots; len(list) == 1; list = list[0].Children {
		depth++
	}
	if depth != n {
		t.Errorf("%d levels, want %d", depth, n)
	}
}
