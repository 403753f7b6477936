package search

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// A fakeRow counts what it is asked.
type fakeRow struct{ dear int }

func (*fakeRow) Seq() uint32           { return 3 }
func (*fakeRow) UID() uint32           { return 30 }
func (*fakeRow) Last() bool            { return true }
func (*fakeRow) HasFlag(f string) bool { return strings.EqualFold(f, `\Seen`) }
func (*fakeRow) Size() (int64, error)  { return 100, nil }
func (*fakeRow) Internal() (time.Time, error) {
	return time.Date(2026, 11, 24, 23, 30, 0, 0, time.FixedZone("", -5*3600)), nil
}
func (*fakeRow) Sent() (time.Time, error) { return time.Time{}, nil }
func (*fakeRow) Saved() time.Time         { return day(20) }
func (*fakeRow) ModSeq() uint64           { return 7 }
func (*fakeRow) EmailID() string          { return "M1" }
func (*fakeRow) Fields(name string) ([]string, error) {
	if strings.EqualFold(name, "Subject") {
		return []string{"Grüße aus KÖLN"}, nil
	}
	return nil, nil
}
func (f *fakeRow) Contains(folded string, header bool) (bool, error) {
	f.dear++
	return folded == "x" || header && folded == "h", nil
}

func day(d int) time.Time { return time.Date(2026, 11, d, 0, 0, 0, 0, time.UTC) }

func TestMatch(t *testing.T) {
	for name, c := range map[string]struct {
		c    Criteria
		want bool
	}{
		"ALL":                            {And{}, true},
		"a number in the set":            {Seqs{{1, 3}}, true},
		"a UID that is not":              {UIDs{{1, 29}, {31, 40}}, false},
		"the last one is in 5:*":         {SeqsFrom(5), true},
		"and in the UIDs from 31 on":     {UIDsFrom(31), true},
		"a flag":                         {Flag(`\seen`), true},
		"NOT a flag":                     {Not{Flag(`\Seen`)}, false},
		"larger is not equal":            {Larger(100), false},
		"smaller":                        {Smaller(101), true},
		"on the day of its own zone":     {Date{On, day(24), Internal}, true},
		"not on the day in UTC":          {Date{On, day(25), Internal}, false},
		"since counts the day":           {Date{Since, day(24), Internal}, true},
		"before does not":                {Date{Before, day(24), Internal}, false},
		"no Date field, no day":          {Date{Since, day(1), Sent}, false},
		"a field without regard to case": {Field{"subject", "köln"}, true},
		"a field that is there":          {Field{"Subject", ""}, true},
		"a field that is not":            {Field{"X", ""}, false},
		"text in the body":               {Body("X"), true},
		"header text is not body":        {Body("h"), false},
		"but TEXT":                       {Text("h"), true},
		"saved on":                       {Date{On, day(20), Saved}, true},
		"a modseq that it has":           {ModSeq(7), true},
		"a modseq that is to come":       {ModSeq(8), false},
		"an id":                          {EmailID("M1"), true},
		"older than what is later":       {Age{day(25).Add(4*time.Hour + 31*time.Minute), true}, true},
		"younger than the second before": {Age{day(25).Add(4*time.Hour + 29*time.Minute), false}, true},
		"as young as itself":             {Age{day(25).Add(4*time.Hour + 30*time.Minute + time.Second/2), false}, true},
		"as old as itself":               {Age{day(25).Add(4*time.Hour + 30*time.Minute), true}, true},
		"not younger than the second":    {Age{day(25).Add(4*time.Hour + 30*time.Minute + time.Second), false}, false},
		"not older than the second":      {Age{day(25).Add(4*time.Hour + 30*time.Minute - time.Second), true}, false},
		"OR":                             {Or{Flag("a"), Smaller(500)}, true},
		"AND":                            {And{Flag(`\Seen`), Not{Flag("a")}, Or{Flag("a"), Flag("b")}}, false},
	} {
		if got, err := Match(c.c, &fakeRow{}); got != c.want || err != nil {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

func TestDearQuestionsAreAskedLast(t *testing.T) {
	r := &fakeRow{}
	Match(And{Body("x"), Text("x"), Flag("no")}, r)
	Match(Or{Body("x"), Flag(`\Seen`)}, r)
	if r.dear != 0 {
		t.Errorf("the letter was read %d times", r.dear)
	}
}

type brokenRow struct{ fakeRow }

func (*brokenRow) Size() (int64, error) { return 0, errors.New("gone") }

func TestAnErrorFulfilsNothing(t *testing.T) {
	for _, c := range []Criteria{Larger(1), Not{Larger(1)}, Or{Larger(1), Body("x")}, And{Smaller(5)}} {
		if ok, err := Match(c, &brokenRow{}); ok || err == nil {
			t.Errorf("%v: %v, %v", c, ok, err)
		}
	}
}
