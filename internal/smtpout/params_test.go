package smtpout

import (
	"strings"
	"testing"
	"time"

	"postbag/internal/address"
)

// RFC 2852 section 4.1.4.2: where the time ends to count, delay is to be told of.
func TestAHostThatKnowsNoTimeShallTellOfDelay(t *testing.T) {
	for name, c := range map[string]struct {
		ehlo, mode, notify string
		left               time.Duration
		want               string
	}{
		"nothing was asked for":  {"DSN", "N", "", time.Hour, " NOTIFY=FAILURE,DELAY"},
		"success was":            {"DSN", "NT", "SUCCESS", time.Hour, " NOTIFY=SUCCESS,DELAY"},
		"delay was":              {"DSN", "N", "DELAY", time.Hour, " NOTIFY=DELAY"},
		"nothing is wanted":      {"DSN", "N", "NEVER", time.Hour, " NOTIFY=NEVER"},
		"it is late":             {"DSN", "N", "", -time.Hour, ""},
		"it knows time":          {"DSN\nDELIVERBY", "N", "", time.Hour, ""},
		"it reports nothing":     {"PIPELINING", "N", "", time.Hour, ""},
		"nobody has said a time": {"DSN", "", "", 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := &script{ehlo: c.ehlo}
			m := Mail{From: ann, Rcpts: to("bob"), ByMode: c.mode, By: time.Now().Add(c.left)}
			m.Rcpts[0].Notify = c.notify
			if _, err := client(t).Deliver(t.Context(), s.host(t), m, source("x\n")); err != nil {
				t.Fatal(err)
			}
			if want := "RCPT TO:<" + m.Rcpts[0].Address.String() + ">" + c.want + "\n"; !strings.Contains(s.said(), want) {
				t.Errorf("it was told\n%s\nwant %s", s.said(), want)
			}
		})
	}
}

// RFC 3461 sections 4.2 and 5.2.1, RFC 6533 section 3.
func TestTheOriginalRecipient(t *testing.T) {
	for name, c := range map[string]struct{ ehlo, from, orig, want string }{
		"as it came":                         {"DSN", "ann", "RFC822;An+n@example.org", "RFC822;An+2Bn@example.org"},
		"of another type":                    {"DSN", "ann", "X400;/C=de /", "X400;/C+3Dde+20/"},
		"in a form of its own":               {"DSN", "ann", `utf-8;j\x{FC}rgen@example.org`, `utf-8;j\x{FC}rgen@example.org`},
		"that is not ASCII":                  {"DSN", "ann", `utf-8;jürgen\x{2B}x@example.org`, `utf-8;j\x{FC}rgen\x{2B}x@example.org`},
		"to who does not need UTF-8":         {"DSN\nSMTPUTF8", "ann", "utf-8;jürgen@example.org", `utf-8;j\x{FC}rgen@example.org`},
		"to who is spoken to in UTF-8":       {"DSN\nSMTPUTF8", "änn", "utf-8;jürgen@example.org", "utf-8;jürgen@example.org"},
		"that has no type that can hold it":  {"DSN", "ann", "rfc822;jür+gen@example.org", `utf-8;j\x{FC}r\x{2B}gen@example.org`},
		"that has none, to who takes it all": {"DSN\nSMTPUTF8", "änn", "rfc822;jür+gen@example.org", `utf-8;jür\x{2B}gen@example.org`},
	} {
		t.Run(name, func(t *testing.T) {
			s := &script{ehlo: c.ehlo}
			m := Mail{From: address.Address{Local: c.from, Domain: "example.org"}, Rcpts: to("bob")}
			m.Rcpts[0].Orig = c.orig
			if _, err := client(t).Deliver(t.Context(), s.host(t), m, source("x\n")); err != nil {
				t.Fatal(err)
			}
			if want := " ORCPT=" + c.want + "\n"; !strings.Contains(s.said(), want) {
				t.Errorf("it was told\n%s\nwant %s", s.said(), want)
			}
		})
	}
}
