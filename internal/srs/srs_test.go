package srs

import (
	"errors"
	"strings"
	"testing"
	"time"

	"postbag/internal/address"
)

func parse(t testing.TB, s string) address.Address {
	t.Helper()
	a, err := address.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// at is a Rewriter at a day.
func at(day int) *Rewriter {
	return &Rewriter{Keys: [][]byte{[]byte("key")}, Now: func() time.Time { return time.Unix(int64(day)*86400, 0) }}
}

func TestWhatIsRewrittenComesBack(t *testing.T) {
	for name, tt := range map[string]struct{ from, prefix, back string }{
		"an address":                 {"ann@far.example", "SRS0=", "ann@far.example"},
		"one with equal signs":       {"a=b=c@far.example", "SRS0=", "a=b=c@far.example"},
		"one that must be quoted":    {`"a b"@far.example`, `"SRS0=`, `"a b"@far.example`},
		"a second hop":               {"SRS0=h=d=far.example=ann@one.example", "SRS1=", "SRS0=h=d=far.example=ann@one.example"},
		"a second hop with a plus":   {"SRS0+h=d=far.example=ann@one.example", "SRS1=", "SRS0+h=d=far.example=ann@one.example"},
		"a third hop skips the rest": {"SRS1=x=one.example==h=d=far.example=ann@two.example", "SRS1=", "SRS0=h=d=far.example=ann@one.example"},
	} {
		r := at(20000)
		got := r.Forward(parse(t, tt.from), "here.example")
		if !strings.HasPrefix(got.String(), tt.prefix) || got.Domain != "here.example" || !Is(got) {
			t.Errorf("%s: Forward(%s) = %s", name, tt.from, got)
		}
		back, err := r.Reverse(got)
		if err != nil || back.String() != tt.back {
			t.Errorf("%s: Reverse(%s) = %s, %v; want %s", name, got, back, err, tt.back)
		}
		got.Local = strings.ToLower(got.Local)
		if back, err := r.Reverse(got); err != nil || !strings.EqualFold(back.String(), tt.back) {
			t.Errorf("%s: in lower case: %s, %v", name, back, err)
		}
	}
}

func TestWhatIsNotRewritten(t *testing.T) {
	for name, from := range map[string]address.Address{
		"the null reverse-path":  {},
		"what would be too long": parse(t, strings.Repeat("a", 60)+"@far.example"),
	} {
		if got := at(1).Forward(from, "here.example"); got != from {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func TestWhatIsNotTakenBack(t *testing.T) {
	good := at(20000).Forward(parse(t, "ann@far.example"), "here.example")
	other := &Rewriter{Keys: [][]byte{[]byte("another")}, Now: at(20000).Now}
	change := func(from, to string) address.Address {
		a := good
		a.Local = strings.Replace(a.Local, from, to, 1)
		return a
	}
	for name, tt := range map[string]struct {
		r    *Rewriter
		a    address.Address
		want error
	}{
		"one of another key":     {other, good, ErrForged},
		"another recipient":      {at(20000), change("ann", "bob"), ErrForged},
		"another domain":         {at(20000), change("far", "fax"), ErrForged},
		"no hash":                {at(20000), parse(t, "SRS0=@here.example"), ErrForged},
		"no rewritten one":       {at(20000), parse(t, "ann@here.example"), ErrForged},
		"after three weeks":      {at(20021), good, nil},
		"one day later":          {at(20022), good, ErrOld},
		"one from the future":    {at(19999), good, ErrOld},
		"after the days wrapped": {at(20000 + 1024 - 1), good, ErrOld},
	} {
		if _, err := tt.r.Reverse(tt.a); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
	both := &Rewriter{Keys: [][]byte{[]byte("another"), []byte("key")}, Now: at(20000).Now}
	if _, err := both.Reverse(good); err != nil {
		t.Errorf("an older key: %v", err)
	}
}

func TestIs(t *testing.T) {
	for s, want := range map[string]bool{
		"srs0=a@x.example": true, "SRS1+a@x.example": true, "SRS0-a@x.example": true,
		"srs0a@x.example": false, "srs2=a@x.example": false, "ann@x.example": false, "srs0@x.example": false,
	} {
		if got := Is(parse(t, s)); got != want {
			t.Errorf("Is(%s) = %t", s, got)
		}
	}
}

func FuzzReverse(f *testing.F) {
	f.Add(at(20000).Forward(parse(f, "ann@far.example"), "here.example").Local)
	f.Add("SRS1=x=one.example==h=d=far.example=ann")
	f.Fuzz(func(t *testing.T, local string) {
		if local == "" {
			return // no address
		}
		r := at(20000)
		a := address.Address{Local: local, Domain: "far.example"}
		// Whatever somebody makes up, what we make of it comes back.
		if got := r.Forward(a, "here.example"); got != a {
			back, err := r.Reverse(got)
			if err != nil {
				t.Fatalf("Reverse(%s): %v", got, err)
			}
			if tag, _ := cutTag(local); tag == "" && back != a {
				t.Errorf("%s came back as %s", a, back)
			}
		}
		if _, err := r.Reverse(a); err == nil && !strings.Contains(strings.ToLower(local), "far.example=ann") {
			t.Errorf("%q was taken, and nobody made it", local)
		}
	})
}
