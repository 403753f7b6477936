package maillog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// a day of a host, as its log is told of it.
func tellADay(ctx context.Context, l *Log) {
	err := errors.New("no such user\nhere")
	l.Listening(ctx, "smtp", "127.0.0.1:25")
	l.Received(ctx, Letter{ID: "A1", From: "ann@example.net", Recipients: 2, Size: 700, Proto: "ESMTPSA", Client: "192.0.2.1", HELO: "h", Login: "ann", UID: -1})
	l.Queued(ctx, "A1", "ann@example.net", 2, 700)
	l.Delivered(ctx, "A1", "bob@example.org", "/var/spool/postbag/mail/bob", "delivered to mailbox", 150*time.Millisecond)
	l.Delivered(ctx, "A1", "cid@example.com", "mx.example.com", "250 2.1.5 Ok", 12*time.Second)
	l.Removed(ctx, "A1")
	l.Received(ctx, Letter{ID: "A2", From: "root@example.org", Recipients: 1, Size: 50, Proto: "local"})
	l.Deferred(ctx, "A2", "dan@example.com", "mx.example.com", "4.4.1", "dial mx.example.com: connection refused", 3*time.Second)
	l.Failed(ctx, "A2", "dan@example.com", "mx.example.com", "5.1.1", "550 5.1.1 no such user", time.Hour)
	l.Queued(ctx, "A3", "", 1, 900)
	l.Reported(ctx, "A2", "A3", "root@example.org")
	l.Refused(ctx, "192.0.2.9", "x@example.net", "eve@example.org", "550 5.1.1", "no such user")
	l.Refused(ctx, "192.0.2.9", "x@nowhere.example", "", "550 5.7.1", "no such domain")
	l.NotTaken(ctx, "A4", "192.0.2.9", "552 5.3.4", errors.New("message size exceeds fixed limit"), false)
	l.NotTaken(ctx, "A5", "192.0.2.9", "452 4.3.1", errors.New("no space left"), true)
	l.Lost(ctx, "192.0.2.9", "text", err)
	l.LoginFailed(ctx, "submission", "192.0.2.9", "eve", "PLAIN", err)
	l.Login(ctx, "submission", "192.0.2.1", "ann", "PLAIN", true)
	l.LoginFailed(ctx, "imap", "[2001:db8::1]:99", "eve", "PLAIN", err)
	l.Login(ctx, "imap", "192.0.2.1:4000", "ann", "PLAIN", true)
	l.Logout(ctx, "pop3", "192.0.2.1:4000", "ann", 1, 2, 0, true)
	l.Trouble(ctx, "read queue", err)
}

const postfixDay = `smtpd: listening proto=smtp addr=127.0.0.1:25
smtpd: A1: client=unknown[192.0.2.1], sasl_username=ann
qmgr: A1: from=<ann@example.net>, size=700, nrcpt=2 (queue active)
qmgr: A1: from=<ann@example.net>, size=700, nrcpt=2 (queue active)
local: A1: to=<bob@example.org>, relay=local, delay=0.15, dsn=2.0.0, status=sent (delivered to mailbox)
smtp: A1: to=<cid@example.com>, relay=mx.example.com, delay=12, dsn=2.1.5, status=sent (250 2.1.5 Ok)
qmgr: A1: removed
pickup: A2: uid=0 from=<root@example.org>
qmgr: A2: from=<root@example.org>, size=50, nrcpt=1 (queue active)
smtp: A2: to=<dan@example.com>, relay=mx.example.com, delay=3, dsn=4.4.1, status=deferred (dial mx.example.com: connection refused)
smtp: A2: to=<dan@example.com>, relay=mx.example.com, delay=3600, dsn=5.1.1, status=bounced (550 5.1.1 no such user)
qmgr: A3: from=<>, size=900, nrcpt=1 (queue active)
bounce: A2: sender non-delivery notification: A3
smtpd: NOQUEUE: reject: RCPT from unknown[192.0.2.9]: 550 5.1.1 <eve@example.org>: Recipient address rejected: no such user; from=<x@example.net> to=<eve@example.org>
smtpd: NOQUEUE: reject: MAIL from unknown[192.0.2.9]: 550 5.7.1 <x@nowhere.example>: Sender address rejected: no such domain; from=<x@nowhere.example> to=<>
smtpd: A4: reject: END-OF-MESSAGE from unknown[192.0.2.9]: 552 5.3.4 message size exceeds fixed limit
smtpd: A5: warning: not taken from unknown[192.0.2.9]: no space left
smtpd: lost connection after TEXT from unknown[192.0.2.9]
smtpd: warning: unknown[192.0.2.9]: SASL PLAIN authentication failed: no such user?here, sasl_username=eve
smtpd: unknown[192.0.2.1]: sasl_method=PLAIN, sasl_username=ann
dovecot: imap-login: Disconnected (auth failed, 1 attempts): user=<eve>, method=PLAIN, rip=2001:db8::1
dovecot: imap-login: Login: user=<ann>, method=PLAIN, rip=192.0.2.1, TLS
dovecot: pop3(ann): Disconnected: Logged out retr=1/2, del=0
smtpd: error: trouble what=read queue why=no such user?here
`

// form gives what a log of that form writes about the day.
func form(t *testing.T, f Form) string {
	t.Helper()
	var b bytes.Buffer
	l, err := New(&b, f)
	if err != nil {
		t.Fatal(err)
	}
	tellADay(t.Context(), l)
	return b.String()
}

func TestPostfixLinesAreThoseOfPostfixAndDovecot(t *testing.T) {
	var got strings.Builder
	start := time.Now().Format("Jan ")
	for line := range strings.Lines(form(t, Form{Level: "info", Format: "postfix", Program: "smtpd", Hostname: "mx"})) {
		if len(line) < 20 || !strings.HasPrefix(line, start) || line[15:19] != " mx " {
			t.Fatalf("line %q does not begin with time and host", line)
		}
		line = strings.TrimPrefix(line[19:], "postfix/")
		got.WriteString(strings.Replace(line, fmt.Sprintf("[%d]", os.Getpid()), "", 1))
	}
	if got.String() != postfixDay {
		t.Errorf("got\n%swant\n%s", got.String(), postfixDay)
	}
}

func TestPflogsummCountsWhatHappened(t *testing.T) {
	path, err := exec.LookPath("pflogsumm")
	if err != nil {
		t.Skip("pflogsumm is not installed")
	}
	cmd := exec.Command(path)
	cmd.Stdin = strings.NewReader(form(t, Form{Level: "info", Format: "postfix", Program: "smtpd", Hostname: "mx"}))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("pflogsumm: %v: %s", err, out)
	}
	for _, want := range []string{"2 received", "2 delivered", "1 deferred", "1 bounced", "3 rejected", "750 bytes received", "1400 bytes delivered"} {
		number, what, _ := strings.Cut(want, " ")
		found := false
		for line := range strings.Lines(string(out)) {
			words := strings.Fields(line)
			found = found || len(words) >= 2 && words[0] == number && strings.HasPrefix(strings.Join(words[1:], " "), strings.TrimSpace(what))
		}
		if !found {
			t.Errorf("pflogsumm does not say %q:\n%s", want, out)
		}
	}
}

func TestLinesThatAreTakenHaveTheirPriorityAndNoTime(t *testing.T) {
	for format, want := range map[string]string{
		"text":    "<6>msg=removed id=A1\n<4>msg=warning what=x\n<3>msg=trouble what=y why=z\n",
		"json":    "<6>{\"msg\":\"removed\",\"id\":\"A1\"}\n<4>{\"msg\":\"warning\",\"what\":\"x\"}\n<3>{\"msg\":\"trouble\",\"what\":\"y\",\"why\":\"z\"}\n",
		"postfix": "<6>postfix/qmgr: A1: removed\n<4>postfix/smtpd: warning: warning what=x\n<3>postfix/smtpd: error: trouble what=y why=z\n",
	} {
		var b bytes.Buffer
		l, err := New(&b, Form{Level: "info", Format: format, Program: "smtpd", Taken: true})
		if err != nil {
			t.Fatal(err)
		}
		l.Removed(t.Context(), "A1")
		l.Warning(t.Context(), "x")
		l.Trouble(t.Context(), "y", errors.New("z"))
		if got := strings.ReplaceAll(b.String(), fmt.Sprintf("[%d]", os.Getpid()), ""); got != want {
			t.Errorf("%s: got\n%swant\n%s", format, got, want)
		}
	}
}

func TestSyslogGetsADatagramForEachLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	listen := func() *net.UnixConn {
		c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	read := func(c *net.UnixConn) string {
		buf := make([]byte, 1000)
		c.SetReadDeadline(time.Now().Add(time.Minute))
		n, err := c.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		return string(buf[:n])
	}
	c := listen()
	var spare bytes.Buffer
	s := &Syslog{Path: path, Tag: "postbag/smtpd", Spare: &spare}
	fmt.Fprint(s, "<6>msg=removed id=A1\n<3>msg=trouble\n")
	for _, want := range []string{"<22>", "<19>"} { // mail.info, mail.err
		got := read(c)
		if !strings.HasPrefix(got, want+time.Now().Format("Jan ")) || !strings.Contains(got, fmt.Sprintf(" postbag/smtpd[%d]: msg=", os.Getpid())) || strings.HasSuffix(got, "\n") {
			t.Errorf("datagram %q, want %s, a time, the program and the line", got, want)
		}
	}
	c.Close()
	fmt.Fprint(s, "<6>nobody listens\n")
	if spare.String() != "<6>nobody listens\n" {
		t.Errorf("what syslog did not take is %q", spare.String())
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	again := listen()
	defer again.Close()
	fmt.Fprint(s, "<6>msg=removed id=A2\n")
	if got := read(again); !strings.HasSuffix(got, "msg=removed id=A2") {
		t.Errorf("a syslog that was started anew got %q", got)
	}
}

func TestTheJournalIsKnownByItsStream(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	sys := st.Sys().(*syscall.Stat_t)
	for stream, want := range map[string]bool{
		fmt.Sprintf("%d:%d", sys.Dev, sys.Ino):   true,
		fmt.Sprintf("%d:%d", sys.Dev, sys.Ino+1): false,
		"":                                       false, "nonsense": false,
	} {
		if got := IsJournal(f, stream); got != want {
			t.Errorf("IsJournal(%q) = %v, want %v", stream, got, want)
		}
	}
}
