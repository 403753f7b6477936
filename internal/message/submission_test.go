package message

import (
	"strings"
	"testing"

	"postbag/internal/address"
)

func TestComplete(t *testing.T) {
	ann := address.Address{Local: "ann", Domain: "example.org"}
	tests := []struct {
		name, in string
		sub      Submission
		want     string // with "Message-ID: made" for one that was made
	}{
		{"a bare text gets all it needs", "", Submission{From: ann, FullName: "Ann Other"},
			"Date: Tue, 24 Nov 2026 10:00:00 +0100 (CET)\nFrom: Ann Other <ann@example.org>\nMessage-ID: made\nTo: undisclosed-recipients:;\n"},
		{"what is there stays", "from: x@y\nDATE: now\nmessage-id: <1>\nTo: z@y\n", Submission{From: ann},
			"from: x@y\nDATE: now\nmessage-id: <1>\nTo: z@y\n"},
		{"Bcc and trace fields of others go", "From: x@y\nBcc: a@b,\n c@d\nReturn-Path: <x>\nContent-Length: 7\nDate: d\nMessage-ID: <1>\nCc: q@y\nResent-Bcc: h@h\n", Submission{},
			"From: x@y\nDate: d\nMessage-ID: <1>\nCc: q@y\n"},
		{"a letter sent again", "Resent-To: q@y\nFrom: x@y\nDate: d\nMessage-ID: <1>\nTo: z@y\n", Submission{From: ann},
			"Resent-To: q@y\nFrom: x@y\nDate: d\nMessage-ID: <1>\nTo: z@y\nResent-Date: Tue, 24 Nov 2026 10:00:00 +0100 (CET)\nResent-From: ann@example.org\nResent-Message-ID: made\n"},
		{"bare adds nothing", "Bcc: x\nTo: root\n", Submission{From: ann, Origin: "o.example", Bare: true}, "To: root\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.sub.Hostname, tt.sub.Now = "h.example", testTime
			h, _ := Parse([]byte(tt.in))
			if err := tt.sub.Complete(h); err != nil {
				t.Fatal(err)
			}
			if got := withoutID(h); got != tt.want {
				t.Errorf("completed to\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

// withoutID writes h with Message-IDs of host h.example as "made".
func withoutID(h *Header) string {
	var b strings.Builder
	for _, f := range h.Fields {
		if strings.HasSuffix(string(f.Raw), "@h.example>\n") {
			f.Raw = []byte(f.Name + ": made\n")
		}
		b.Write(f.Raw)
	}
	return b.String()
}

func TestAddressesAreCompletedInPlace(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"a name alone", "root", "root@o.example"},
		{"cron's comment", "root (Cron Daemon)", "root@o.example (Cron Daemon)"},
		{"brackets", "Ann <ann>, <bob>", "Ann <ann@o.example>, <bob@o.example>"},
		{"a list", "ann, bob@x ,carl", "ann@o.example, bob@x ,carl@o.example"},
		{"a group", "friends: ann, bob@x; , carl", "friends: ann@o.example, bob@x; , carl@o.example"},
		{"an empty group", "undisclosed-recipients:;", "undisclosed-recipients:;"},
		{"a quoted local part", `"a b"`, `"a b"@o.example`},
		{"a comma in quotes", `"Other, Ann" <ann>`, `"Other, Ann" <ann@o.example>`},
		{"an at sign in quotes", `"ann@home" <ann>`, `"ann@home" <ann@o.example>`},
		{"a comma in a comment", "ann (a, b)", "ann@o.example (a, b)"},
		{"folding stays", "ann,\n\tbob", "ann@o.example,\n\tbob@o.example"},
		{"words that are no address", "John Smith", "John Smith"},
		{"the null address", "<>", "<>"},
		{"a literal", "ann@[IPv6:::1]", "ann@[IPv6:::1]"},
		{"an open comment", "ann (x", "ann@o.example (x"},
		{"an open bracket", "<ann", "<ann@o.example"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := string(qualify(Field{Name: "To", Raw: []byte("To: " + tt.in + "\n")}, "o.example").Raw)
			if got != "To: "+tt.want+"\n" {
				t.Errorf("qualify(%q) = %q, want %q", tt.in, got, tt.want)
			}
		})
	}
}

func TestRawUTF8IsEncoded(t *testing.T) {
	tests := []struct{ in, want string }{
		{"Subject: grüße aus köln heute\n", "Subject: =?utf-8?q?gr=C3=BC=C3=9Fe_aus_k=C3=B6ln?= heute\n"},
		{"Subject: plain\n", "Subject: plain\n"},
		{"Subject: \xff\xfe\n", "Subject: \xff\xfe\n"},
		{"From: Jörg Müller <j@x>\n", "From: =?utf-8?q?J=C3=B6rg_M=C3=BCller?= <j@x>\n"},
		{"From: \"Müller, Jörg\" <j@x>, plain <p@x>\n", "From: =?utf-8?q?M=C3=BCller,_J=C3=B6rg?= <j@x>, plain <p@x>\n"},
		{"To: jörg@köln.example\n", "To: jörg@köln.example\n"},
		{"To: j@x (Jörg)\n", "To: j@x (=?utf-8?q?J=C3=B6rg?=)\n"},
		{"Content-Type: text/plain; name=\"ü\"\n", "Content-Type: text/plain; name=\"ü\"\n"},
	}
	for _, tt := range tests {
		h, _ := Parse([]byte(tt.in))
		if got := string(Submission{}.mend(h.Fields[0]).Raw); got != tt.want {
			t.Errorf("%q became %q, want %q", tt.in, got, tt.want)
		}
	}
}

func TestDisplayName(t *testing.T) {
	tests := []struct{ in, want string }{
		{"Ann Other", "Ann Other"},
		{"Other, Ann", `"Other, Ann"`},
		{`Ann "x" \ Other`, `"Ann \"x\" \\ Other"`},
		{"Jörg", "=?utf-8?q?J=C3=B6rg?="},
	}
	for _, tt := range tests {
		if got := DisplayName(tt.in); got != tt.want {
			t.Errorf("DisplayName(%q) = %s, want %s", tt.in, got, tt.want)
		}
	}
}

func TestRecipients(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"To, Cc, Bcc", "To: a@x, b@x\nCc: c@x\nBcc: d@x\nFrom: q@x\n", "a@x b@x c@x d@x"},
		{"sent again", "To: a@x\nResent-To: r@x\nResent-Bcc: s@x\n", "r@x s@x"},
		{"none", "From: a@x\n", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h, _ := Parse([]byte(tt.in))
			list, err := Recipients(h)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, m := range list {
				got = append(got, m.Address.String())
			}
			if strings.Join(got, " ") != tt.want {
				t.Errorf("Recipients = %q, want %q", got, tt.want)
			}
		})
	}
}

func FuzzMendKeepsAddressesWhole(f *testing.F) {
	for _, seed := range []string{`Ann <ann>, "b, c" <b@x> (d)`, "g: a, b;", "Jörg (ö) <j>", `"\`, "<<>>", "a:b:c;;,("} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		whole := ""
		for _, p := range splitAddresses(value) {
			whole += p.text
		}
		if whole != value {
			t.Fatalf("%q was cut to %q", value, whole)
		}
		field := Field{Name: "To", Raw: []byte("To: " + strings.ReplaceAll(value, "\n", " ") + "\n")}
		got := Submission{Origin: "o.example"}.mend(field)
		if n := strings.Count(string(got.Raw), "\n"); got.Raw[len(got.Raw)-1] != '\n' || n != 1+strings.Count(string(got.Raw), "\n ")+strings.Count(string(got.Raw), "\n\t") {
			t.Fatalf("%q became %q, which is not one field", value, got.Raw)
		}
	})
}
