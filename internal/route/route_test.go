package route

import (
	"testing"

	"postbag/internal/address"
)

func TestTheMostSpecificPatternWins(t *testing.T) {
	table, err := Parse("routes", "# all\n* smtp://all.example\n.b.example smtp://below.example\n.a.b.example smtp://deeper.example\nb.example smtp://domain.example\nann@b.example smtp://ann.example\nbücher.example smtp://books.example\n")
	if err != nil {
		t.Fatal(err)
	}
	for to, want := range map[string]string{
		"ann@b.example": "ann.example", "Ann@B.example": "ann.example", "bob@b.example": "domain.example", "x@c.b.example": "below.example",
		"x@c.a.b.example": "deeper.example", "x@a.b.example": "below.example", "x@example": "all.example", "x@xn--bcher-kva.example": "books.example",
	} {
		a, _ := address.Parse(to)
		if r, ok := table.Match(a); !ok || r.Host != want {
			t.Errorf("Match(%s) = %s, want %s", to, r.Host, want)
		}
	}
	if _, ok := table.MatchNamed(address.Address{Local: "x", Domain: "c.example"}); ok {
		t.Error("the pattern * names nobody")
	}
}

func TestParseURL(t *testing.T) {
	for in, want := range map[string]Route{
		"mx:":                               {Kind: MX},
		"smtp://h.example":                  {Kind: SMTP, Host: "h.example", Port: 25},
		"smtp://[::1]:2525":                 {Kind: SMTP, Host: "::1", Port: 2525},
		"smtps://h.example":                 {Kind: SMTP, Host: "h.example", Port: 465, TLS: Implicit},
		"smtp+starttls://a%40b.c@h.example": {Kind: SMTP, Host: "h.example", Port: 587, TLS: StartTLS, User: "a@b.c"},
		"lmtp://h.example:24":               {Kind: LMTP, Host: "h.example", Port: 24},
		"lmtp:///run/lmtp":                  {Kind: LMTP, Path: "/run/lmtp"},
		"maildir:/m//x/":                    {Kind: Maildir, Path: "/m/x"},
		"error:gone away":                   {Kind: Error, Text: "gone away", Code: "5.1.1"},
		"error:5.7.1 no":                    {Kind: Error, Text: "no", Code: "5.7.1"},
		"error:4.7.1 no":                    {Kind: Error, Text: "4.7.1 no", Code: "5.1.1"},
		"pipe:cat >> /tmp/x":                {Kind: Pipe, Text: "cat >> /tmp/x"},
		"smtps://a;AUTH=xoauth2@h.example":  {Kind: SMTP, Host: "h.example", Port: 465, TLS: Implicit, User: "a", Auth: "XOAUTH2"},
	} {
		want.url = in
		if want.Kind == Pipe {
			want = Command(want.Text)
		}
		if got, err := ParseURL(in); err != nil || got != want {
			t.Errorf("ParseURL(%s) = %+v, %v; want %+v", in, got, err, want)
		}
	}
	for _, in := range []string{"", "x", "mx:x", "smtp://", "smtp://h/x", "smtp://h:0", "smtp://h:99999", "smtp://u@h", "smtps://u:p@h", "maildir:x", "pipe:", "smtps://;AUTH=PLAIN@h", "smtps://u;AUTH=GSSAPI@h", "http://h", "smtp://h?x", "lmtp:///"} {
		if got, err := ParseURL(in); err == nil {
			t.Errorf("ParseURL(%s) = %+v, want an error", in, got)
		}
	}
}

func TestErrorsNameTheLine(t *testing.T) {
	for text, want := range map[string]string{
		"\na.b pipe:\n":                    `routes:2: "pipe:": the command is missing`,
		"a.b smtp://h mx:\n":               `routes:1: "mx:" is not a host`,
		"a.b\n":                            "routes:1: is not PATTERN URL",
		"a.b mx:\nA.B mx:\n":               "routes:2: pattern A.B is there twice",
		"* mx:\n* mx:\n":                   "routes:2: pattern * is there twice",
		"a..b mx:\n":                       `routes:1: pattern "a..b": domain "a..b": bad address syntax`,
		"a.b smtps://u:secret@h.example\n": "routes:1: route to h.example: a password has no place here: put it into the password file",
	} {
		if _, err := Parse("routes", text); err == nil || err.Error() != want {
			t.Errorf("Parse(%q): %v, want %s", text, err, want)
		}
	}
}

func TestSeveralHosts(t *testing.T) {
	r, err := ParseTarget("smtp://a.example:26  smtps://ann@b.example")
	if err != nil || r.Host != "a.example" || r.Next == nil || r.Next.User != "ann" || r.Next.Next != nil || r.String() != "smtp://a.example:26 smtps://ann@b.example" {
		t.Errorf("%s, %v", r, err)
	}
	if r, err := ParseTarget("pipe:a smtp://b"); err != nil || r.Text != "a smtp://b" {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := ParseHosts(nil); err == nil {
		t.Error("no host is a route")
	}
}

func FuzzParse(f *testing.F) {
	f.Add("* smtp://h\n.a.b mx:\nx@y.z lmtp:///p\n")
	f.Fuzz(func(t *testing.T, s string) {
		if table, err := Parse("f", s); err == nil {
			table.Match(address.Address{Local: "a", Domain: "b.c"})
		}
	})
}

func TestRoutesOfSenders(t *testing.T) {
	table, err := ParseSenders("senders", "ann@one.example smtps://ann@hub.example\none.example smtp://a.example smtp://b.example\n.two.example mx:\n<> smtp://bounces.example\n")
	if err != nil {
		t.Fatal(err)
	}
	for from, want := range map[string]string{
		"ann@one.example": "smtps://ann@hub.example", "bob@one.example": "smtp://a.example smtp://b.example",
		"x@y.two.example": "mx:", "x@three.example": "", "": "smtp://bounces.example",
	} {
		a, _ := address.Parse(from)
		r, _ := table.MatchNamed(a)
		if got := r.String(); got != want {
			t.Errorf("MatchNamed(%s) = %s, want %s", from, got, want)
		}
	}
	for _, text := range []string{"* smtp://x.example", "a.example error:no", "a.example pipe:cat", "a.example maildir:/x", "<> mx:\n<> mx:"} {
		if _, err := ParseSenders("senders", text); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}
