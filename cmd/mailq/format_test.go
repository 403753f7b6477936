package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"postbag/internal/address"
	"postbag/internal/spool"
)

func TestSendmailFormat(t *testing.T) {
	want := strings.Join([]string{
		"\t\t/spool/queue (2 requests)",
		"-----Q-ID----- --Size-- -----Q-Time----- ------------Sender/Recipient-----------",
		"0123456789ABCDEF01*     1500 Tue Nov  3 09:05 <ann@a.example>",
		"                 (mx.b.example: connection refused)",
		"                                            <one@b.example>",
		"                                            <two@b.example>",
		"                 (mx.b.example said:? 450 later)",
		"                                            <three@b.example>",
		"0123456789ABCDEF01?     1500 Tue Nov  3 09:05 MAILER-DAEMON",
		"\t\tTotal requests: 2",
		"",
	}, "\n")
	var b bytes.Buffer
	p := newPrinter("sendmail", &b, "/spool")
	p.print(entry())
	bad := entry()
	bad.Active, bad.Damage, bad.From, bad.To = false, errors.New("torn"), address.Address{}, nil
	p.print(bad)
	p.end(nil)
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
}

func TestEximFormat(t *testing.T) {
	e := entry()
	e.ID = "6611E67D7B46A18EFA"
	e.Arrived = time.Now().Add(-5 * time.Hour)
	e.Progress.Held = true
	want := " 5h  1.5K " + eximID(e.ID) + " <ann@a.example> *** frozen ***\n        D has@b.example\n          one@b.example\n          two@b.example\n          three@b.example\n\n"
	var b bytes.Buffer
	p := newPrinter("exim", &b, "")
	p.print(e)
	p.end(nil)
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
}

func TestEximIDsAreOurs(t *testing.T) {
	for _, id := range []spool.ID{"6611E67D7B46A18EFA", "000000000000000000", "FFFFFFFFFFFFFFFFFF"} {
		short := eximID(id)
		if got, err := parseID(short); err != nil || got != id || len(short) != 16 {
			t.Errorf("parseID(%q) = %s, %v; want %s", short, got, err, id)
		}
	}
	for _, bad := range []string{"", "123456-123456-1!", "zzzzzz-zzzzzz-zz", "1234567123456-12"} {
		if got, err := parseID(bad); err == nil {
			t.Errorf("parseID(%q) = %s", bad, got)
		}
	}
}

func TestExim(t *testing.T) {
	for age, want := range map[time.Duration]string{0: " 0m", 90 * time.Minute: "90m", 91 * time.Minute: " 1h", 72 * time.Hour: "72h", 73 * time.Hour: " 3d"} {
		if got := eximAge(age); got != want {
			t.Errorf("eximAge(%v) = %q, want %q", age, got, want)
		}
	}
	for size, want := range map[int64]string{0: "0", 1023: "1023", 1024: "1.0K", 20 << 10: "20K", 3 << 20: "3.0M", 30 << 20: "30M"} {
		if got := eximSize(size); got != want {
			t.Errorf("eximSize(%d) = %q, want %q", size, got, want)
		}
	}
}
