package mime

import (
	"fmt"
	"strings"
	"testing"
)

// list prints addresses as IMAP would, more or less.
func list(all []Address) string {
	var out []string
	for _, a := range all {
		switch a.Kind {
		case GroupStart:
			out = append(out, a.Name+":")
		case GroupEnd:
			out = append(out, ";")
		default:
			s := fmt.Sprintf("%s|%s|%s", a.Name, a.Mailbox, a.Host)
			if a.Route != "" {
				s += "|" + a.Route
			}
			out = append(out, s)
		}
	}
	return strings.Join(out, " ")
}

func TestParseAddresses(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"bare", "ann@example.org", "|ann|example.org"},
		{"with a name", "Ann Smith <ann@example.org>", "Ann Smith|ann|example.org"},
		{"with a quoted name", `"Smith, \"A\"" <ann@example.org>`, `Smith, "A"|ann|example.org`},
		{"with a name in a comment", "ann@example.org (Ann Smith)", "Ann Smith|ann|example.org"},
		{"with a name in a comment after brackets", "<ann@example.org> (Ann (S.) Smith)", "Ann (S.) Smith|ann|example.org"},
		{"several", "a@x, B <b@y>,c@z", "|a|x B|b|y |c|z"},
		{"empty members", ", ,a@x,,", "|a|x"},
		{"nothing", "", ""},
		{"null", "<>", ""},
		{"a group", "Friends: a@x, B <b@y>;", "Friends: |a|x B|b|y ;"},
		{"an empty group", "Undisclosed recipients:;", "Undisclosed recipients: ;"},
		{"a group and more", "G: a@x;, b@y", "G: |a|x ; |b|y"},
		{"a group without end", "G: a@x", "G: |a|x ;"},
		{"a route", "A <@r1,@r2:a@x>", "A|a|x|@r1,@r2"},
		{"a quoted local part", `"a b"@x`, "|a b|x"},
		{"a literal", "a@[192.0.2.1]", "|a|[192.0.2.1]"},
		{"a local user", "root", "|root|"},
		{"a local user with a name", "Root <root>", "Root|root|"},
		{"blanks around dots and the sign", "a . b @ x . y", "|a.b|x.y"},
		{"an encoded name stays", "=?utf-8?q?J=C3=B6?= <j@x>", "=?utf-8?q?J=C3=B6?=|j|x"},
		{"no closing bracket", "Ann <ann@x", "Ann|ann|x"},
		{"8-bit", "Jörg <jörg@ö.example>", "Jörg|jörg|ö.example"},
		{"two signs", "a@b@c", "|a|b@c"},
		{"no comma", "a@x b@y (B), c@z", "|a|x B|b|y |c|z"},
		{"no comma, and no address", "a@x Joe <b@y>", "|a|x"},
		{"dots in a name", "Mr. Q. Public <q@x>", "Mr. Q. Public|q|x"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := list(ParseAddresses(tt.in)); got != tt.want {
				t.Errorf("ParseAddresses(%q) = %s, want %s", tt.in, got, tt.want)
			}
		})
	}
}

func TestEnvelope(t *testing.T) {
	p, err := Parse(strings.NewReader(crlf(`Date: Fri, 21 Nov 1997 09:55:06 -0600 (CST)
From: a@x
To: b@y
to: c@z
Sender:
Subject: =?utf-8?q?h=C3=AD?=
 there
In-Reply-To:

`)))
	if err != nil {
		t.Fatal(err)
	}
	e := p.Envelope()
	text := func(s *string) string {
		if s == nil {
			return "NIL"
		}
		return *s
	}
	got := strings.Join([]string{text(e.Date), text(e.Subject), list(e.From), list(e.Sender), list(e.ReplyTo), list(e.To), list(e.Cc),
		text(e.InReplyTo), text(e.MessageID)}, " / ")
	want := "Fri, 21 Nov 1997 09:55:06 -0600 (CST) / =?utf-8?q?h=C3=AD?= there / |a|x / |a|x / |a|x / |b|y |c|z /  /  / NIL"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func FuzzParseAddresses(f *testing.F) {
	for _, s := range []string{`A <@r:a@x> (c), "q\"" <b@[1]>; G: x;`, "((((", "<@<@", "\"", "a@@"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		open := false
		for _, a := range ParseAddresses(s) {
			if a.Kind == GroupStart == open && a.Kind != Mailbox {
				t.Fatalf("ParseAddresses(%q): groups do not match", s)
			}
			open = a.Kind == GroupStart || open && a.Kind == Mailbox
		}
		if open {
			t.Fatalf("ParseAddresses(%q): a group is open", s)
		}
	})
}

func TestNamesOfFieldsWhateverTheirCase(t *testing.T) {
	names := []string{"", "Subject", "sUBJECT", "\u017fubject", "Sender", "X", "x", "[", "{", "\u212a", "K"}
	for _, a := range names {
		for _, b := range names {
			if got := (&Field{Name: a}).is(b); got != strings.EqualFold(a, b) {
				t.Errorf("field %q is %q: %v", a, b, got)
			}
		}
	}
}
