package mime

import (
	"net/mail"
	"testing"
)

// usualDates are read without net/mail, others are not.
var usualDates = map[string]bool{
	"Mon, 2 Jan 2006 15:04:05 -0700":        true,
	"Mon, 02 Jan 2006 15:04:05 +0000":       true,
	"Thu, 29 Feb 2024 23:59:59 +1345":       true,
	"Fri, 31 Dec 1999 00:00:00 -0000 (UTC)": true,
	"Fri, 31 Dec 0099 00:00:00 +0000":       true,
	"Thu, 29 Feb 2023 23:59:59 +0100":       false,
	"Mon, 0 Jan 2006 15:04:05 +0100":        false,
	"Mon, 2 Jan 2006 15:04:60 +0100":        false,
	"Mon, 2 Jan 2006 24:04:05 +0100":        false,
	"Mon, 2 Jan 2006 15:60:05 +0100":        false,
	"Mon, 2 Jan 2006 15:04:05 +2400":        false,
	"Mon, 2 Jan 2006 15:04:05 +0160":        false,
	"Mon, 2 Jan 2006 15:04:05 0100":         false,
	"Mon, 2 Jan 2006 15:04:05 +0100 ":       false,
	"Mon, 2 Jan 2006 15:04:05 +0100 (":      false,
	"Mon, 2 Jan 2006 15:04:05 +0100 (a(b))": false,
	"Mon, 2 Jan 2006 15:04:05 +010":         false,
	"Mon, 2 Jan 2006 15:04 +0100":           false,
	"mon, 2 Jan 2006 15:04:05 +0100":        false,
	"Moo, 2 Jan 2006 15:04:05 +0100":        false,
	"Mon, 2 Jan 2006 1a:04:05 +0100":        false,
	"2 Jan 2006 15:04:05 +0100":             false,
	"Mon,  2 Jan 2006 15:04:05 +0100":       false,
	"":                                      false,
}

func TestUsualDates(t *testing.T) {
	for s, want := range usualDates {
		if _, ok := usualDate(s); ok != want {
			t.Errorf("usualDate(%q) = %v, want %v", s, ok, want)
		}
		sameAsMail(t, s)
	}
}

func FuzzUsualDate(f *testing.F) {
	for s := range usualDates {
		f.Add(s)
	}
	f.Fuzz(sameAsMail)
}

// sameAsMail holds usualDate against net/mail.
func sameAsMail(t *testing.T, s string) {
	got, ok := usualDate(s)
	if !ok {
		return
	}
	want, err := mail.ParseDate(s)
	if err != nil || !got.Equal(want) {
		t.Fatalf("usualDate(%q) = %v, want %v, %v", s, got, want, err)
	}
	_, gotZone := got.Zone()
	if _, wantZone := want.Zone(); gotZone != wantZone {
		t.Fatalf("usualDate(%q) has zone %d, want %d", s, gotZone, wantZone)
	}
}
