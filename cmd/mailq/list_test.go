package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"postbag/internal/address"
	"postbag/internal/spool"
)

func deferred(why, host string) spool.State {
	return spool.State{Last: &spool.Event{Kind: spool.Deferred, Reply: why, Host: host, Status: "4.4.1"}}
}

func rcpt(local string) spool.Recipient {
	return spool.Recipient{Address: address.Address{Local: local, Domain: "b.example"}}
}

// entry is a message that one recipient has and three still wait for.
func entry() *spool.Entry {
	e := &spool.Entry{Size: 1500, Active: true}
	e.ID, e.UID = "0123456789ABCDEF01", -1
	e.From = address.Address{Local: "ann", Domain: "a.example"}
	e.Arrived = time.Date(2026, 11, 3, 9, 5, 0, 0, time.UTC)
	e.To = []spool.Recipient{rcpt("has"), rcpt("one"), rcpt("two"), rcpt("three")}
	e.Progress = spool.Progress{Attempts: 2, Next: e.Arrived.Add(time.Hour), Rcpts: []spool.State{
		{Settled: true}, deferred("connection refused", "mx.b.example"), deferred("connection refused", "mx.b.example"), deferred("mx.b.example said:\x1b 450 later", "mx.b.example"),
	}}
	return e
}

func TestTable(t *testing.T) {
	want := strings.Join([]string{
		"-----Queue ID------ --Size-- ---Arrival Time---- --Sender/Recipient------",
		"0123456789ABCDEF01*     1500 Tue Nov  3 09:05:00 ann@a.example",
		"                                            (mx.b.example: connection refused)",
		"                                                  one@b.example",
		"                                                  two@b.example",
		"                                               (mx.b.example said:? 450 later)",
		"                                                  three@b.example",
		"",
		"0123456789ABCDEF01!     1500 Tue Nov  3 09:05:00 MAILER-DAEMON",
		"                                                                 (torn by cat)",
		"-- 2 Kbytes in 2 Requests.",
		"",
	}, "\n")
	var b bytes.Buffer
	p := &table{w: &b}
	p.print(entry())
	bad := entry()
	bad.Active, bad.Damage, bad.From, bad.To = false, errors.New("torn by cat"), address.Address{}, nil
	p.print(bad)
	p.end(nil)
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
}

func TestAnEmptyListThatCouldNotBeReadIsNotEmpty(t *testing.T) {
	var b bytes.Buffer
	(&table{w: &b}).end(errors.New("x"))
	if b.Len() > 0 {
		t.Errorf("got %s", b.String())
	}
}

func TestJSON(t *testing.T) {
	want := `{"queue_name":"active","queue_id":"0123456789ABCDEF01","arrival_time":1793696700,"message_size":1500,"forced_expire":false,"sender":"ann@a.example","recipients":[` +
		`{"address":"one@b.example","delay_reason":"mx.b.example: connection refused","dsn":"4.4.1","mx":"mx.b.example"},` +
		`{"address":"two@b.example","delay_reason":"mx.b.example: connection refused","dsn":"4.4.1","mx":"mx.b.example"},` +
		`{"address":"three@b.example","delay_reason":"mx.b.example said:? 450 later","dsn":"4.4.1","mx":"mx.b.example"}],"attempts":2,"next_retry":1793700300}` + "\n"
	var b bytes.Buffer
	(&lines{json.NewEncoder(&b)}).print(entry())
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
}

func TestStates(t *testing.T) {
	for want, change := range map[string]func(*spool.Entry){
		"active":   func(*spool.Entry) {},
		"deferred": func(e *spool.Entry) { e.Active = false },
		"incoming": func(e *spool.Entry) { e.Active, e.Progress.Attempts = false, 0 },
		"hold":     func(e *spool.Entry) { e.Progress.Held = true },
		"corrupt":  func(e *spool.Entry) { e.Damage = errors.New("x") },
	} {
		e := entry()
		change(e)
		if got := state(e); got != want {
			t.Errorf("state = %s, want %s", got, want)
		}
	}
}

func TestDueSince(t *testing.T) {
	e := entry()
	if got := dueSince(e); !got.IsZero() {
		t.Errorf("one that is worked on: %v", got)
	}
	e.Active = false
	if got := dueSince(e); !got.Equal(e.Progress.Next) {
		t.Errorf("one that waits: %v, want %v", got, e.Progress.Next)
	}
	e.Progress.Next = time.Time{}
	if got := dueSince(e); !got.Equal(e.Arrived) {
		t.Errorf("one that was never tried: %v, want %v", got, e.Arrived)
	}
	e.Progress.Held = true
	if got := dueSince(e); !got.IsZero() {
		t.Errorf("one that is held: %v", got)
	}
	if a, b := time.Unix(1, 0), time.Unix(2, 0); earlier(time.Time{}, b) != b || earlier(b, a) != a || earlier(a, b) != a || earlier(a, time.Time{}) != a {
		t.Error("earlier does not give the earlier one")
	}
}
