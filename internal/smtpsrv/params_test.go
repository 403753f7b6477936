package smtpsrv

import "testing"

// RFC 3461 section 5.2.1: the original recipient goes on as it came.
func TestTheOriginalRecipientIsKept(t *testing.T) {
	for value, want := range map[string]string{
		"rfc822;ann@example.org":    "rfc822;ann@example.org",
		"RFC822;An+2Bn@example.org": "RFC822;An+n@example.org",
		"X400;/C+3Dde+20/+09x":      "X400;/C=de /\tx",
		`utf-8;j\x{F6}rg+41@x`:      `utf-8;j\x{F6}rg+41@x`,
		"UTF-8;jörg@x":              "UTF-8;jörg@x",
	} {
		o, err := rcptOptions("ORCPT="+value, true)
		if err != nil || originalString(o) != want {
			t.Errorf("ORCPT=%s is kept as %q, %v; want %q", value, originalString(o), err, want)
		}
	}
}

// RFC 4865 sections 3 and 5.1.2: what was asked for is kept, for reports.
func TestWhatIsHeldTellsHowLong(t *testing.T) {
	for param, want := range map[string]string{
		"HOLDFOR=3600":                             "for;3600",
		"HOLDUNTIL=2026-11-24T10:00:00Z":           "until;2026-11-24T10:00:00Z",
		"HOLDUNTIL=2026-11-24t10:00:00.5z":         "until;2026-11-24t10:00:00.5z",
		"HOLDUNTIL=2026-11-24T10:00:00+00:00":      "until;2026-11-24T10:00:00+00:00",
		"HOLDUNTIL=2026-11-24T10:00:00+01:00":      "",
		"HOLDFOR=0":                                "",
		"HOLDFOR=+1":                               "",
		"HOLDFOR=1000000000":                       "",
		"HOLDUNTIL=2026-11-24T10:00:00Z HOLDFOR=1": "",
	} {
		o, err := mailOptions(param, offered{future: true})
		switch {
		case want == "" && err == nil:
			t.Errorf("%s was taken", param)
		case want == "" && (err.Code != 501 || err.EnhancedCode != [3]int{5, 5, 4}):
			t.Errorf("%s: %v, want 501 5.5.4", param, err)
		case want != "" && (err != nil || o.release != want):
			t.Errorf("%s is kept as %+v, %v; want %q", param, o, err, want)
		}
	}
}
