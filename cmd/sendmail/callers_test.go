package main

import (
	"bytes"
	"errors"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"postbag/internal/durable"
	"postbag/internal/spool"
)

// A call is how a program of this world runs sendmail, and what has to come of
// it.
type call struct {
	name string
	args []string
	in   string
	code int
	from string   // envelope sender
	to   []string // recipients
	has  []string // lines of the letter
	not  []string // beginnings of lines that it does not have
	arg0 string   // "sendmail" when it is ""
	out  string   // standard output, as far as it is the same each time
}

const (
	simple  = "To: ann, bob@example.net\nSubject: s\n\ntext\n"
	cronish = "From: root (Cron Daemon)\nTo: root\nSubject: Cron <root@h> x\nAuto-Submitted: auto-generated\n\nout\n.\nmore\n"
	me      = "USER@mx.example.org"
)

var annAndBob = []string{"ann@mx.example.org", "bob@example.net"}

func argv(s string) []string { return strings.Fields(s) }

// calls are command lines as these programs have them.
var calls = []call{
	{name: "Debian's cron", args: argv("-FCronDaemon -i -B8BITMIME -oem root"), in: cronish, to: []string{"root@mx.example.org"}, has: []string{"From: root@mx.example.org (Cron Daemon)", ".", "more"}},
	{name: "cronie", args: argv("-FCronDaemon -i -odi -oem -oi -t -f root"), in: cronish, from: "root@mx.example.org", to: []string{"root@mx.example.org"}, has: []string{"more"}},
	{name: "FreeBSD's cron", args: argv("-FCronDaemon -odi -oem -oi -t"), in: simple, to: annAndBob, has: []string{"From: CronDaemon <" + me + ">"}},
	{name: "busybox crond", args: argv("-t -oem -i"), in: simple, to: annAndBob},
	{name: "anacron, without -i", args: argv("-FAnacron -odi ann"), in: "Subject: s\n\na\n.\nb\n", to: []string{"ann@mx.example.org"}, has: []string{"a"}, not: []string{"b"}},
	{name: "at", args: argv("-i ann"), in: "Subject: Output from your job\nTo: ann\n\n.\nx\n", to: []string{"ann@mx.example.org"}, has: []string{".", "x"}},
	{name: "sudo", args: argv("-t"), in: "To: root\nFrom: ann\nAuto-Submitted: auto-generated\nSubject: *** SECURITY ***\n\nx\n", to: []string{"root@mx.example.org"}, has: []string{"From: ann@mx.example.org"}},
	{name: "mdadm", args: argv("-t"), in: "From: mdadm monitoring <root>\nTo: root\nSubject: Fail event\n\nx\n", to: []string{"root@mx.example.org"}, has: []string{"From: mdadm monitoring <root@mx.example.org>"}},
	{name: "logwatch", args: argv("-t -f logwatch@example.org"), in: simple, from: "logwatch@example.org", to: annAndBob},
	{name: "unattended-upgrades", args: argv("-oi -t"), in: simple, to: annAndBob},
	{name: "mutt", args: argv("-oem -oi -f me@example.org -N failure,delay -R hdrs -- ann"), in: simple, from: "me@example.org", to: []string{"ann@mx.example.org"}},
	{name: "mutt with 8 bit and UTF-8", args: argv("-oem -oi -B 8BITMIME -U -- ann"), in: simple, to: []string{"ann@mx.example.org"}},
	{name: "s-nail with sender", args: argv("-i -m -v -f me@example.org -- ann bob@example.net"), in: simple, from: "me@example.org", to: annAndBob},
	{name: "bsd-mailx", args: argv("-i -m ann bob@example.net"), in: "Subject: s\n\nx\n", to: annAndBob, has: []string{"To: undisclosed-recipients:;"}},
	{name: "mailutils", args: argv("-oi -f user@host.example -t ann"), in: "To: bob@example.net\nSubject: s\n\nx\n", from: "user@host.example", to: annAndBob},
	{name: "git send-email", args: argv("-i -f me@example.org ann bob@example.net"), in: simple, from: "me@example.org", to: annAndBob},
	{name: "PHP's mail()", args: argv("-t -i"), in: "To: ann, bob@example.net\r\nSubject: s\r\nX-Mixed: 1\n\r\nline\r\n\r\nend", to: annAndBob, has: []string{"X-Mixed: 1", "line", "end"}},
	{name: "PHP with two senders", args: argv("-t -i -fa@example.org -fb@example.org"), in: simple, from: "b@example.org", to: annAndBob},
	{name: "PHPMailer", args: argv("-oi -fa@example.org -t"), in: simple, from: "a@example.org", to: annAndBob},
	{name: "Symfony, SMTP on a pipe", args: argv("-bs"), in: "EHLO [127.0.0.1]\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<ann@mx.example.org>\r\nDATA\r\nSubject: s\r\n\r\n..dot\r\n.\r\nRSET\r\nQUIT\r\n", from: "a@example.org", to: []string{"ann@mx.example.org"}, has: []string{".dot"}, out: "220 mx.example.org "},
	{name: "Nodemailer", args: argv("-i -f a@example.org ann bob@example.net"), in: simple, from: "a@example.org", to: annAndBob},
	{name: "Ruby mail of old, header and arguments", args: []string{"-i", "-t", "-f", "\"a@example.org\"@example.org", "ann"}, in: "To: ann, bob@example.net\nSubject: s\n\nx\n", from: "\"a@example.org\"@example.org", to: annAndBob},
	{name: "Ruby mail", args: argv("-i -f a@example.org -- ann bob@example.net"), in: simple, from: "a@example.org", to: annAndBob},
	{name: "Rails", args: argv("-i -t"), in: simple, to: annAndBob},
	{name: "Email::Sender, Bugzilla", args: argv("-i -f a@example.org -- ann"), in: simple, from: "a@example.org", to: []string{"ann@mx.example.org"}},
	{name: "MIME::Lite", args: argv("-t -oi -oem"), in: simple, to: annAndBob},
	{name: "Mail::Mailer", args: argv("-t"), in: simple, to: annAndBob},
	{name: "Request Tracker", args: argv("-oi -ODeliveryMode=b -OErrorMode=m -t"), in: simple, to: annAndBob},
	{name: "Request Tracker's bounces", args: argv("-oi -f <> -t"), in: simple, from: "<>", to: annAndBob},
	{name: "an empty sender", args: []string{"-f", "", "-t"}, in: simple, from: "<>", to: annAndBob},
	{name: "fail2ban", args: argv("-f fail2ban@example.org ann"), in: "Subject: [Fail2Ban] sshd: banned\nDate: Tue, 24 Nov 2026 10:00:00 +0000\nFrom: Fail2Ban <fail2ban@example.org>\nTo: ann\n\nHi,\n", from: "fail2ban@example.org", to: []string{"ann@mx.example.org"}},
	{name: "Icinga", args: argv("-vt"), in: simple, to: annAndBob},
	{name: "netdata's probe: -F alone must not hang", args: argv("-F"), code: 64},
	{name: "netdata", args: []string{"-t", "-f", "netdata@example.org", "-F", "netdata on host"}, in: simple, from: "netdata@example.org", to: annAndBob, has: []string{"From: netdata on host <netdata@example.org>"}},
	{name: "reportbug", args: argv("-oi -oem -t"), in: simple, to: annAndBob},
	{name: "Emacs", args: argv("-oi -f me@example.org -oem -odb -t"), in: simple, from: "me@example.org", to: annAndBob},
	{name: "Alpine", args: argv("-bs -odb -oem"), in: "QUIT\r\n", out: "220 mx.example.org "},
	{name: "Python scripts", args: argv("-t -oi"), in: simple, to: annAndBob},
	{name: "OnFailure scripts of systemd", args: argv("-t"), in: "To: ann, bob@example.net\nFrom: systemd <root@mx.example.org>\nSubject: unit\nContent-Transfer-Encoding: 8bit\nContent-Type: text/plain; charset=UTF-8\n\n● unit\n", to: annAndBob, has: []string{"● unit"}},
	{name: "mpop and fetchmail", args: argv("-i -f a@example.org -- ann"), in: simple, from: "a@example.org", to: []string{"ann@mx.example.org"}},
	{name: "LSF", args: argv("-oi -F LSF -f lsf@example.org ann"), in: simple, from: "lsf@example.org", to: []string{"ann@mx.example.org"}},
	{name: "boot scripts with newaliases", arg0: "newaliases"},
	{name: "monitors that count", args: argv("-bP"), out: "0\n"},
	{name: "Exim's and Postfix's host status", args: argv("-bh")},
	{name: "send-mail", arg0: "send-mail", args: argv("-t"), in: simple, to: annAndBob},

	{name: "Bcc goes, but is sent to", args: argv("-t"), in: "To: ann\nBcc: bob@example.net,\n eve@example.net\nSubject: s\n\nx\n", to: []string{"ann@mx.example.org", "bob@example.net", "eve@example.net"}, not: []string{"Bcc", " eve"}},
	{name: "Bcc goes also without -t", args: argv("ann"), in: "To: ann\nBcc: eve@example.net\n\nx\n", to: []string{"ann@mx.example.org"}, not: []string{"Bcc"}},
	{name: "Resent fields are the recipients", args: argv("-t"), in: "To: eve@example.net\nFrom: eve@example.net\nDate: Tue, 24 Nov 2026 10:00:00 +0000\nMessage-ID: <1@example.net>\nResent-To: ann\nResent-Cc: bob@example.net\nResent-From: ann\n\nx\n", to: annAndBob, has: []string{"To: eve@example.net"}},
	{name: "lists, groups and comments as arguments", args: []string{"ann, Bob <bob@example.net>", "friends: ann (again);"}, in: "Subject: s\n\nx\n", to: annAndBob},
	{name: "a mailbox's From lines go", args: argv("ann"), in: "From ann Mon Jan  1 00:00:00 2026\n>From x\nSubject: s\n\nx\n", to: []string{"ann@mx.example.org"}, not: []string{"From ann", ">From"}},
	{name: "a text without a header", args: argv("ann"), in: "the disk is full: call me\n", to: []string{"ann@mx.example.org"}, has: []string{"", "the disk is full: call me"}},
	{name: "a letter with header alone", args: argv("ann"), in: "Subject: s\n", to: []string{"ann@mx.example.org"}, has: []string{"Subject: s", "To: undisclosed-recipients:;"}},
	{name: "nothing at all", args: argv("ann"), to: []string{"ann@mx.example.org"}},
	{name: "lines of CR CR LF", args: argv("-i ann"), in: "Subject: s\r\r\n\r\r\nx\r\r\n", to: []string{"ann@mx.example.org"}, has: []string{"Subject: s", "x"}},
	{name: "UTF-8 in the header is encoded", args: argv("ann"), in: "Subject: grüße\n\nx\n", to: []string{"ann@mx.example.org"}, not: []string{"Subject: grüße"}},
	{name: "hops given with -h count", args: argv("-h 101 ann"), in: simple, code: 69},
	{name: "an address of UTF-8", args: argv("größe@example.org"), in: simple, to: []string{"größe@example.org"}},

	{name: "no recipients", code: 64},
	{name: "no recipients in the header", args: argv("-t"), in: "Subject: s\n\nx\n", code: 64},
	{name: "an unknown option", args: argv("-Z ann"), code: 64},
	{name: "an option behind a recipient", args: argv("ann -t"), code: 64},
	{name: "-t with -bs", args: argv("-bs -t"), code: 64},
	{name: "an operand with -q", args: argv("-q ann"), code: 64},
	{name: "a broken To field", args: argv("-t"), in: "To: \"ann\nSubject: s\n\nx\n", code: 65},
	{name: "a NUL in the header", args: argv("ann"), in: "Subject: a\x00b\n\nx\n", code: 65},
	{name: "a malformed recipient", args: argv("ann@@example.org"), code: 64},
}

// TestCallers runs each command line and looks at exit code, output and queue.
func TestCallers(t *testing.T) {
	bin := build(t) // alone in its directory: it can start no attempt
	for _, c := range calls {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "spool")
			cmd := command(bin, dir, c.args...)
			if c.arg0 != "" {
				cmd.Args[0] = c.arg0
			}
			cmd.Stdin = strings.NewReader(c.in)
			var out, errs bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &errs
			code := 0
			var exit *exec.ExitError
			if err := cmd.Run(); errors.As(err, &exit) {
				code = exit.ExitCode()
			} else if err != nil {
				t.Fatal(err)
			}
			lines := 0
			if c.code != 0 {
				lines = 1
			}
			if code != c.code || strings.Count(errs.String(), "\n") != lines {
				t.Errorf("exit %d and %q, want %d and %d lines", code, errs.String(), c.code, lines)
			}
			if !strings.HasPrefix(out.String(), c.out) || c.out == "" && out.Len() > 0 {
				t.Errorf("it printed %q, want %q", out.String(), c.out)
			}
			c.check(t, dir)
		})
	}
}

// check looks at what is queued.
func (c *call) check(t *testing.T, dir string) {
	s, err := spool.Open(durable.New(), dir, spool.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var found []*spool.Entry
	for e, err := range s.List(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, e)
	}
	if c.to == nil {
		if len(found) > 0 {
			t.Errorf("%d letters are queued, want none", len(found))
		}
		return
	}
	if len(found) != 1 {
		t.Fatalf("%d letters are queued, want 1", len(found))
	}
	c.checkEntry(t, s, found[0])
}

func (c *call) checkEntry(t *testing.T, s *spool.Spool, e *spool.Entry) {
	mine := login(t) + "@mx.example.org"
	want := map[string]string{"": mine, "<>": ""}[c.from]
	if want == "" && c.from != "<>" {
		want = c.from
	}
	if e.From.String() != want {
		t.Errorf("sender %q, want %q", e.From, want)
	}
	var to []string
	for _, r := range e.To {
		to = append(to, r.Address.String())
	}
	slices.Sort(to)
	if !slices.Equal(to, slices.Sorted(slices.Values(c.to))) {
		t.Errorf("recipients %q, want %q", to, c.to)
	}
	r, err := s.OpenMessage(e)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	for _, l := range c.has {
		if l = strings.ReplaceAll(l, me, mine); !slices.Contains(lines, l) {
			t.Errorf("the letter has no line %q:\n%s", l, text)
		}
	}
	for _, field := range []string{"Received: ", "Date: ", "Message-ID: ", "From: "} {
		if n := strings.Count("\n"+string(text), "\n"+field); n != 1 {
			t.Errorf("the letter has %d fields %s:\n%s", n, field, text)
		}
	}
	for _, l := range lines {
		for _, no := range c.not {
			if strings.HasPrefix(l, no) {
				t.Errorf("the letter has a line %q", l)
			}
		}
	}
}

// login is the user who runs the tests.
func login(t *testing.T) string {
	t.Helper()
	p := whoRuns(t.Context())
	if p.login == "" {
		t.Fatal("nobody runs this test")
	}
	return p.login
}
