package address

import (
	"strings"
	"testing"
)

func TestParseUnqualified(t *testing.T) {
	for in, want := range map[string]Address{
		"ann@example.org":                {"ann", "example.org"},
		"ann":                            {"ann", ""},
		`"a b"@example.org`:              {"a b", "example.org"},
		`"a\"b\\"@example.org`:           {`a"b\`, "example.org"},
		`"a@b"@example.org`:              {"a@b", "example.org"},
		"ann@[192.0.2.1]":                {"ann", "[192.0.2.1]"},
		"ann@[IPv6:2001:db8::1]":         {"ann", "[IPv6:2001:db8::1]"},
		"jörg@bücher.example":            {"jörg", "bücher.example"},
		"a.b.+x=y@example.org":           {"a.b.+x=y", "example.org"},
		"docomo..x.@example.org":         {"docomo..x.", "example.org"},
		"ann@example.org.":               {"ann", "example.org"},
		"ann@under_score.example":        {"ann", "under_score.example"},
		strings.Repeat("a", 64) + "@b.c": {strings.Repeat("a", 64), "b.c"},
	} {
		got, err := ParseUnqualified(in)
		if err != nil || got != want {
			t.Errorf("ParseUnqualified(%q) = %+v, %v; want %+v", in, got, err, want)
			continue
		}
		if again, err := ParseUnqualified(got.String()); err != nil || again != got {
			t.Errorf("%q printed is %q, which is %+v, %v", in, got.String(), again, err)
		}
	}
	for _, in := range []string{
		"", "@", "ann@", "@example.org", "ann@@b", "ann@a..b", "ann@-a.b", "a b@c.d", "ann@example.org x", `"a@b`, `""@b.c`, "ann@[192.0.2.256]",
		"ann@[2001:db8::1]", "ann@[IPv6:192.0.2.1]", "a\r\n@b.c", "\"a\rb\"@b.c", "a\xff@b.c", strings.Repeat("a", 65) + "@b.c", "a@" + strings.Repeat("abc.", 64) + "d", "..",
	} {
		if got, err := ParseUnqualified(in); err == nil {
			t.Errorf("ParseUnqualified(%q) = %+v, want an error", in, got)
		}
	}
	if _, err := Parse("ann"); err == nil {
		t.Error("Parse takes an address without domain")
	}
}

func TestParsePath(t *testing.T) {
	for in, want := range map[string]struct {
		a    Address
		rest string
	}{
		"<ann@example.org>":               {Address{"ann", "example.org"}, ""},
		"<ann@example.org> SIZE=5 X":      {Address{"ann", "example.org"}, "SIZE=5 X"},
		"<>":                              {Address{}, ""},
		"<> BODY=8BITMIME":                {Address{}, "BODY=8BITMIME"},
		"<postmaster>":                    {Address{"postmaster", ""}, ""},
		"<@a.b,@c.d:ann@example.org>":     {Address{"ann", "example.org"}, ""},
		`<"> SIZE=1"@example.org> SIZE=2`: {Address{"> SIZE=1", "example.org"}, "SIZE=2"},
	} {
		a, rest, err := ParsePath(in)
		if err != nil || a != want.a || rest != want.rest {
			t.Errorf("ParsePath(%q) = %+v, %q, %v; want %+v, %q", in, a, rest, err, want.a, want.rest)
		}
	}
	for _, in := range []string{"", "<", "<a", "ann@b.c", "<ann@b.c>x", "<@a.b>", "<@a.b:>", "<a@b.c", "<a b@c.d>", "<<a@b.c>>"} {
		if a, _, err := ParsePath(in); err == nil {
			t.Errorf("ParsePath(%q) = %+v, want an error", in, a)
		}
	}
}

func TestParseList(t *testing.T) {
	for in, want := range map[string]string{
		"ann@a.b":                                   "|ann@a.b",
		"Ann B. <ann@a.b>, bob@c.d":                 "Ann B.|ann@a.b bob@c.d",
		`"B, Ann" <ann@a.b>`:                        "B, Ann|ann@a.b",
		"ann@a.b (Ann (the first))":                 "Ann (the first)|ann@a.b",
		"friends: ann@a.b, Bob <bob@c.d>; carl@e.f": "|ann@a.b bob@c.d carl@e.f",
		"undisclosed-recipients:;":                  "",
		",, ann@a.b,,":                              "|ann@a.b",
		"ann, bob":                                  "|ann bob",
		"<@x.y:ann@a.b>":                            "|ann@a.b",
		"ann . b @ a.b":                             "",
		"=?utf-8?q?J=C3=B6rg?= <j@a.b>":             "=?utf-8?q?J=C3=B6rg?=|j@a.b",
		"Ann\r\n <ann@a.b>,\r\n bob@c.d":            "Ann|ann@a.b bob@c.d",
		`"a b"@c.d`:                                 `|"a b"@c.d`,
		"Jörg <jörg@bücher.example>":                "Jörg|jörg@bücher.example",
		"<>":                                        "",
		"ann@a.b, " + "(" + strings.Repeat("(", 50) + "": "|ann@a.b",
	} {
		list, err := ParseList(in)
		if in == "ann . b @ a.b" {
			if err != nil || len(list) != 1 || list[0].Address != (Address{"ann.b", "a.b"}) {
				t.Errorf("ParseList(%q) = %+v, %v", in, list, err)
			}
			continue
		}
		var words []string
		for _, m := range list {
			words = append(words, m.Address.String())
		}
		got := strings.Join(words, " ")
		if len(list) > 0 {
			got = list[0].Name + "|" + got
		}
		if err != nil || got != want {
			t.Errorf("ParseList(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
	for _, in := range []string{"ann@", "<ann@a.b", "ann bob", "ann@a.b bob@c.d", ";", "a: b: c;", "@", `"a`, "<ann@a.b> x", "a\x01b@c.d"} {
		if list, err := ParseList(in); err == nil {
			t.Errorf("ParseList(%q) = %+v, want an error", in, list)
		}
	}
	if list, err := ParseList("ann@a.b, @"); err == nil || len(list) != 1 {
		t.Errorf("what is right before an error is lost: %v, %v", list, err)
	}
}

func TestDomains(t *testing.T) {
	for in, want := range map[string]string{
		"Example.ORG":      "example.org",
		"example.org.":     "example.org",
		"bücher.example":   "xn--bcher-kva.example",
		"BÜCHER.example":   "xn--bcher-kva.example",
		"under_score.a":    "under_score.a",
		"faß.example":      "xn--fa-hia.example",
		"例え.テスト":           "xn--r8jz45g.xn--zckzah",
		"a..b":             "",
		"":                 "",
		"a b":              "",
		"[192.0.2.1]":      "",
		"x" + "\n" + "y.z": "",
	} {
		if got, err := DomainASCII(in); got != want || (err == nil) != (want != "") {
			t.Errorf("DomainASCII(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"Example.org", "example.ORG.", true}, {"bücher.example", "XN--BCHER-KVA.example", true}, {"a.b", "a.c", false}, {"[192.0.2.1]", "[192.0.2.1]", true},
	} {
		if got := EqualDomain(c.a, c.b); got != c.want {
			t.Errorf("EqualDomain(%q, %q) = %v", c.a, c.b, got)
		}
	}
}

func TestAddressForms(t *testing.T) {
	a := Address{"Ann+Lists+x", "BÜCHER.example"}
	if base, detail := a.Split("+-"); base.Local != "Ann" || detail != "Lists+x" || base.Domain != a.Domain {
		t.Errorf("Split = %v, %q", base, detail)
	}
	if base, detail := (Address{"+x", "a"}).Split("+"); base.Local != "+x" || detail != "" {
		t.Errorf("a subaddress of nobody: %v, %q", base, detail)
	}
	if got := a.Key(); got != "ann+lists+x@bücher.example" {
		t.Errorf("Key = %q", got)
	}
	if got, err := a.ASCII(); err != nil || got.Domain != "xn--bcher-kva.example" {
		t.Errorf("ASCII = %v, %v", got, err)
	}
	if _, err := (Address{"jörg", "a.b"}).ASCII(); err == nil {
		t.Error("a local part has become ASCII")
	}
	if (Address{}).String() != "" || !(Address{}).IsNull() || !(Address{Local: "x"}).Unqualified() {
		t.Error("null and unqualified addresses are mixed up")
	}
}

func TestXText(t *testing.T) {
	for plain, coded := range map[string]string{"a b": "a+20b", "a+b=c": "a+2Bb+3Dc", "": "", "ü": "+C3+BC"} {
		if got := XText(plain); got != coded {
			t.Errorf("XText(%q) = %q", plain, got)
		}
		if got, err := ParseXText(coded); err != nil || got != plain {
			t.Errorf("ParseXText(%q) = %q, %v", coded, got, err)
		}
	}
	for _, bad := range []string{"+", "+2", "+2g", "a b", "a=b", "+2b"} {
		if got, err := ParseXText(bad); err == nil {
			t.Errorf("ParseXText(%q) = %q", bad, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"ann@a.b", `"a b"@c.d`, "<@a.b:c@d.e> X", "A <b@c.d>, e: f@g.h;", "j@[IPv6:::1]", "ü@ü.ü", "a..b.@c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		check := func(a Address) {
			if strings.ContainsAny(a.String(), "\r\n\x00") {
				t.Errorf("%q holds a control character", a.String())
			}
			if again, err := ParseUnqualified(a.String()); err != nil || again != a {
				t.Errorf("%+v is printed %q, which is %+v, %v", a, a.String(), again, err)
			}
			a.Key()
			a.Canonical()
		}
		if a, err := ParseUnqualified(s); err == nil {
			check(a)
		}
		if a, _, err := ParsePath(s); err == nil && !a.IsNull() {
			check(a)
		}
		if list, err := ParseList(s); err == nil {
			for _, m := range list {
				a := m.Address
				if strings.ContainsAny(a.String(), "\r\n\x00") {
					t.Errorf("%q holds a control character", a.String())
				}
			}
		}
	})
}
