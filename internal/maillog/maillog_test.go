package maillog

import (
	"bytes"
	"context"
	"errors"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestLines holds the form of every line: programs read them.
func TestLines(t *testing.T) {
	ctx, err := context.Background(), errors.New("no space\nleft")
	for want, write := range map[string]func(*Log){
		`INFO msg=received id=A1 from=<ann@a.b> recipients=2 size=7 proto=ESMTPS client=192.0.2.1 helo=h`: func(l *Log) {
			l.Received(ctx, Letter{ID: "A1", From: "ann@a.b", Recipients: 2, Size: 7, Proto: "ESMTPS", Client: "192.0.2.1", HELO: "h", UID: -1})
		},
		`INFO msg=received id=A1 from=<> recipients=1 size=7 proto=local uid=0`:                     func(l *Log) { l.Received(ctx, Letter{ID: "A1", Recipients: 1, Size: 7, Proto: "local"}) },
		`INFO msg=refused client=192.0.2.1 from=<a@b> to=<c@d> code="550 5.1.1" why="no such user"`: func(l *Log) { l.Refused(ctx, "192.0.2.1", "a@b", "c@d", "550 5.1.1", "no such user") },
		`ERROR msg=not-taken id=A1 client=192.0.2.1 code="452 4.3.1" why="no space\nleft"`:          func(l *Log) { l.NotTaken(ctx, "A1", "192.0.2.1", "452 4.3.1", err, true) },
		`INFO msg=lost client=192.0.2.1 where=text why="no space\nleft"`:                            func(l *Log) { l.Lost(ctx, "192.0.2.1", "text", err) },
		`INFO msg=delivered id=A1 to=<c@d> where=/m reply="250 ok" delay=1.5s`:                      func(l *Log) { l.Delivered(ctx, "A1", "c@d", "/m", "250 ok", 1500*time.Millisecond) },
		`INFO msg=deferred id=A1 to=<c@d> where=h status=4.4.1 why=refused delay=2s`:                func(l *Log) { l.Deferred(ctx, "A1", "c@d", "h", "4.4.1", "refused", 2*time.Second) },
		`INFO msg=failed id=A1 to=<c@d> where=h status=5.1.1 why="550 no" delay=2s`:                 func(l *Log) { l.Failed(ctx, "A1", "c@d", "h", "5.1.1", "550 no", 2*time.Second) },
		`INFO msg=reported id=A1 report=A2 to=<a@b>`:                                                func(l *Log) { l.Reported(ctx, "A1", "A2", "a@b") },
		`WARN msg=discarded id=A1 why=x`:                                                            func(l *Log) { l.Discarded(ctx, "A1", "x") },
		`INFO msg=queued id=A1 from=<a@b> recipients=1 size=9`:                                      func(l *Log) { l.Queued(ctx, "A1", "a@b", 1, 9) },
		`INFO msg=removed id=A1`:                                   func(l *Log) { l.Removed(ctx, "A1") },
		`ERROR msg=stopped id=A1 why="no space\nleft"`:             func(l *Log) { l.Stopped(ctx, "A1", err) },
		`ERROR msg=trouble what="read queue" why="no space\nleft"`: func(l *Log) { l.Trouble(ctx, "read queue", err) },
		`INFO msg=login proto=imap client=192.0.2.1 user=ann method=PLAIN tls=true`: func(l *Log) {
			l.Login(ctx, "imap", "192.0.2.1", "ann", "PLAIN", true)
		},
		`WARN msg=login-failed proto=pop3 client=192.0.2.1 user=ann method=PLAIN why="no space\nleft"`: func(l *Log) {
			l.LoginFailed(ctx, "pop3", "192.0.2.1", "ann", "PLAIN", err)
		},
		`INFO msg=logout proto=pop3 client=192.0.2.1 user=ann retrieved=1 octets=2 deleted=3 clean=true`: func(l *Log) {
			l.Logout(ctx, "pop3", "192.0.2.1", "ann", 1, 2, 3, true)
		},
		`ERROR msg=session-failed proto=imap client=192.0.2.1 user=ann why="no space\nleft"`: func(l *Log) {
			l.SessionFailed(ctx, "imap", "192.0.2.1", "ann", err)
		},
		`INFO msg=listening proto=smtp addr=127.0.0.1:25`:         func(l *Log) { l.Listening(ctx, "smtp", "127.0.0.1:25") },
		`INFO msg=stopping why=SIGTERM`:                           func(l *Log) { l.Stopping(ctx, "SIGTERM") },
		`ERROR msg=reload-failed what=users why="no space\nleft"`: func(l *Log) { l.Reloaded(ctx, "users", err) },
		`INFO msg=reloaded what=users`:                            func(l *Log) { l.Reloaded(ctx, "users", nil) },
		`WARN msg=warning what=x`:                                 func(l *Log) { l.Warning(ctx, "x") },
	} {
		var b bytes.Buffer
		l, err := New(&b, Form{Level: "debug", Format: "text"})
		if err != nil {
			t.Fatal(err)
		}
		write(l)
		_, line, _ := strings.Cut(b.String(), "level=")
		if line != want+"\n" {
			t.Errorf("got  %swant %s", line, want)
		}
		write(nil) // a nil Log writes nothing and does not fall over
	}
}

func TestThePageListsJustTheEvents(t *testing.T) {
	page, err := os.ReadFile("../../man/maillog.5")
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	written := map[string]bool{"reload-failed": true} // Reloaded with an error
	l, _ := New(&b, Form{Level: "debug", Format: "text"})
	v := reflect.ValueOf(l)
	for i := range v.NumMethod() {
		m := v.Type().Method(i)
		if slices.Contains([]string{"Logger", "Count", "Session", "Flush"}, m.Name) {
			continue
		}
		args := []reflect.Value{v}
		for k := 1; k < m.Type.NumIn(); k++ {
			arg := reflect.Zero(m.Type.In(k))
			if k == 1 {
				arg = reflect.ValueOf(t.Context())
			}
			args = append(args, arg)
		}
		b.Reset()
		m.Func.Call(args)
		_, event, _ := strings.Cut(b.String(), "msg=")
		event = strings.Fields(event)[0]
		written[event] = true
		if !bytes.Contains(page, []byte(".It Cm "+event+"\n")) {
			t.Errorf("maillog(5) has no event %s", event)
		}
	}
	_, events, _ := bytes.Cut(page, []byte(".Sh EVENTS\n"))
	for _, m := range regexp.MustCompile(`(?m)^\.It Cm (\S+)$`).FindAllSubmatch(events, -1) {
		if !written[string(m[1])] {
			t.Errorf("maillog(5) has the event %s, which nobody writes", m[1])
		}
	}
}

func TestLevelsAndFormats(t *testing.T) {
	var b bytes.Buffer
	l, err := New(&b, Form{Level: "warn", Format: "json"})
	if err != nil {
		t.Fatal(err)
	}
	l.Removed(t.Context(), "A1")
	if b.Len() > 0 {
		t.Errorf("a line below the level: %s", b.String())
	}
	l.Warning(t.Context(), "x")
	if !strings.HasPrefix(b.String(), "{") {
		t.Errorf("no JSON: %s", b.String())
	}
	for _, bad := range [][2]string{{"loud", "text"}, {"info", "xml"}} {
		if _, err := New(&b, Form{Level: bad[0], Format: bad[1]}); err == nil {
			t.Errorf("New takes %v", bad)
		}
	}
}
