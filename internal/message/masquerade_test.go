package message

import "testing"

func TestMasquerade(t *testing.T) {
	m := Masquerade{"!foo.example.com", "x.example.com", "example.com", "köln.example"}
	for in, want := range map[string]string{
		"host.example.com":         "example.com",
		"Host.EXAMPLE.com":         "example.com",
		"a.b.example.com":          "example.com",
		"a.x.example.com":          "x.example.com",
		"x.example.com":            "x.example.com",
		"example.com":              "example.com",
		"foo.example.com":          "foo.example.com",
		"bar.foo.example.com":      "bar.foo.example.com",
		"notexample.com":           "notexample.com",
		"other.example":            "other.example",
		"host.xn--kln-sna.example": "köln.example",
		"[192.0.2.1]":              "[192.0.2.1]",
	} {
		if got := m.Domain(in); got != want {
			t.Errorf("Domain(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestASubmissionHidesHosts(t *testing.T) {
	s := Submission{Origin: "host.example.com", Masquerade: Masquerade{"example.com"}}
	for in, want := range map[string]string{
		"From: Ann <ann@host.example.com>\n": "From: Ann <ann@example.com>\n",
		"From: ann\n":                        "From: ann@example.com\n",
		"To: \"x@host.example.com\" <bob@mx.example.com>,\n\tteam: carl@a.example.com (at a.example.com), dave@other.example;\n": "To: \"x@host.example.com\" <bob@example.com>,\n\tteam: carl@example.com (at a.example.com), dave@other.example;\n",
		"Subject: ann@host.example.com\n":                     "Subject: ann@host.example.com\n",
		"Message-ID: <1@host.example.com>\n":                  "Message-ID: <1@host.example.com>\n",
		"Reply-To: \"a@host.example.com\"@host.example.com\n": "Reply-To: \"a@host.example.com\"@example.com\n",
	} {
		h, _ := Parse([]byte(in))
		if got := string(s.mend(h.Fields[0]).Raw); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
	s.Bare = true
	h, _ := Parse([]byte("From: ann@host.example.com\n"))
	if got := string(s.mend(h.Fields[0]).Raw); got != "From: ann@host.example.com\n" {
		t.Errorf("a bare submission became %q", got)
	}
}
