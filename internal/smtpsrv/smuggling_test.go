package smtpsrv

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"unicode/utf8"
)

// evil is a transaction that a letter carries for servers that see its end too
// early.
const evil = "MAIL FROM:<evil@b.example>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\nevil\r\n.\r\n"

// ends are what somebody may take for the end of a line. Each stands before and
// after the dot.
var ends = []string{"\r\n", "\n", "\r", "\r\r\n", "\n\r", "\n\n", "\r\r", "\r\x00\n", "\x00\r\n", "\v", "\f", "\u0085", "\u2028", ""}

// A sender is a client, with what becomes of its bare CR and LF.
type sender struct {
	name, proto, peer string
	normalize         bool
	lenient           bool // they become line ends; else the letter is refused
}

var senders = []sender{
	{name: "a stranger", proto: SMTP, peer: "192.0.2.7"},
	{name: "a stranger whose line ends are normalized", proto: SMTP, peer: "192.0.2.7", normalize: true, lenient: true},
	{name: "a client that may relay", proto: SMTP, peer: "10.0.0.1", lenient: true},
}

// sendCut plays input in pieces of at most cut octets; 0 is all at once.
func sendCut(t *testing.T, who sender, input string, cut int) (said string, in *fakeIntake) {
	t.Helper()
	s, in := newTestServer()
	s.Normalize = who.normalize
	c := &memConn{in: bytes.NewReader([]byte(input)), cut: cut}
	if err := s.Serve(context.Background(), newFakeConn(c, who.proto, who.peer)); err != nil {
		t.Errorf("Serve: %v", err)
	}
	return c.out.String(), in
}

// eachEnd calls f with every pair of ends around a dot, the text that it makes,
// who sends it, and how it is cut.
func eachEnd(t *testing.T, f func(t *testing.T, who sender, text string, ended bool, cut int)) {
	for _, who := range senders {
		for _, before := range ends {
			for _, after := range ends {
				text := "Subject: x\r\n\r\nhello" + before + "." + after + evil
				ended := strings.HasSuffix(before, "\r\n") && after == "\r\n"
				for _, cut := range []int{0, 1} {
					t.Run(fmt.Sprintf("%s, %q.%q in pieces of %d", who.name, before, after, cut), func(t *testing.T) { f(t, who, text, ended, cut) })
				}
			}
		}
	}
}

// isBare says that a text has CRs or LFs that are no CRLF.
func isBare(text string) bool {
	return strings.ContainsAny(strings.ReplaceAll(text, "\r\n", ""), "\r\n")
}

// wantLetters holds what was stored against the first text and whether the evil
// transaction was one of its own.
func wantLetters(t *testing.T, in *fakeIntake, who sender, text string, second bool) {
	t.Helper()
	var want []string
	if who.lenient || !isBare(text) && !strings.Contains(text, "\x00") {
		want = append(want, "a")
	}
	if strings.Contains(text, "\x00") && who.normalize {
		want = nil // a stranger's NUL is refused whatever becomes of line ends
	}
	if second {
		want = append(want, "evil")
	}
	var got []string
	for _, l := range in.letters {
		got = append(got, l.env.From.Local)
		if strings.Contains(l.text, "\r") {
			t.Errorf("a CR is stored: %q", l.text)
		}
		if l.env.From.Local == "a" && strings.Contains(l.text, "evil@") == second {
			t.Errorf("the letter is not what stood before its end: %q", l.text)
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("letters of %v are taken, want %v", got, want)
	}
}

func TestNoEndOfDataButOneIsSeen(t *testing.T) {
	eachEnd(t, func(t *testing.T, who sender, text string, ended bool, cut int) {
		_, in := sendCut(t, who, start+"DATA\r\n"+text+"QUIT\r\n", cut)
		if ended {
			text, _, _ = strings.Cut(text, ".\r\n")
		}
		wantLetters(t, in, who, text, ended)
	})
}

// A chunk ends where its length says, whatever it holds.
func TestNoEndOfDataIsSeenInAChunk(t *testing.T) {
	eachEnd(t, func(t *testing.T, who sender, text string, _ bool, cut int) {
		_, in := sendCut(t, who, fmt.Sprintf("%sBDAT %d LAST\r\n%sQUIT\r\n", start, len(text), text), cut)
		wantLetters(t, in, who, text, false)
		half := len(text) / 2
		_, in = sendCut(t, who, fmt.Sprintf("%sBDAT %d\r\n%sBDAT %d LAST\r\n%sQUIT\r\n", start, half, text[:half], len(text)-half, text[half:]), cut)
		wantLetters(t, in, who, text, false)
	})
}

// The end is the same for a client that waits for each reply.
func TestNoEndOfDataButOneIsSeenWithoutPipelining(t *testing.T) {
	for _, before := range ends {
		for _, after := range ends {
			text := "Subject: x\r\n\r\nhello" + before + "." + after
			s, in := newTestServer()
			client, server := net.Pipe()
			done := make(chan error, 1)
			go func() {
				err := s.Serve(context.Background(), newFakeConn(server, SMTP, "192.0.2.7"))
				server.Close()
				done <- err
			}()
			d := newStepwise(t, client)
			for _, line := range strings.SplitAfter(strings.TrimSuffix(start, "\r\n")+"\r\nDATA\r\n", "\r\n") {
				d.say(line)
			}
			if strings.HasSuffix(before, "\r\n") && after == "\r\n" {
				d.say(text)
			} else {
				io.WriteString(client, text)
				d.say(evil[:strings.Index(evil, "DATA")] + "\r\n.\r\n")
			}
			d.say("QUIT\r\n")
			<-done
			ended := strings.HasSuffix(before, "\r\n") && after == "\r\n"
			for _, l := range in.letters {
				if l.env.From.Local != "a" || strings.Contains(l.text, "evil@") == ended {
					t.Errorf("%q.%q: a letter of %v is taken: %q", before, after, l.env.From, l.text)
				}
			}
		}
	}
}

// A stepwise client reads a reply to everything it says.
type stepwise struct {
	t *testing.T
	net.Conn
}

func newStepwise(t *testing.T, c net.Conn) *stepwise {
	d := &stepwise{t, c}
	d.hear()
	return d
}

func (d *stepwise) say(text string) {
	if text != "" {
		io.WriteString(d, text)
		d.hear()
	}
}

// hear reads one reply, of which the last line has a blank after its code.
func (d *stepwise) hear() {
	d.t.Helper()
	var reply []byte
	one := make([]byte, 1)
	for {
		if _, err := d.Read(one); err != nil {
			d.t.Fatalf("no reply: %v; so far %q", err, reply)
		}
		reply = append(reply, one[0])
		last := reply[bytes.LastIndexByte(bytes.TrimSuffix(reply, []byte("\r\n")), '\n')+1:]
		if bytes.HasSuffix(reply, []byte("\r\n")) && len(last) > 3 && last[3] == ' ' {
			return
		}
	}
}

// What a client, or somebody between, says before TLS is forgotten (RFC 3207
// section 4.2): octets that came with STARTTLS, and all that was agreed.
func TestNothingSaidBeforeTLSCounts(t *testing.T) {
	for _, tt := range []struct{ name, plain, protected, want string }{
		{"commands behind STARTTLS", "EHLO c\r\nSTARTTLS\r\nEHLO d\r\nMAIL FROM:<evil@b.example>\r\n", "RCPT TO:<ann@example.org>\r\n", "503 5.5.1 MAIL first"},
		{"half a command behind STARTTLS", "EHLO c\r\nSTARTTLS\r\nMAIL FROM:<evil@b.example> ", "NOOP\r\n", "250 2.0.0 Ok"},
		{"a transaction", start + "STARTTLS\r\n", "DATA\r\n", "503 5.5.1 MAIL first"},
		{"chunks of a letter", start + "BDAT 3\r\nabcRSET\r\nSTARTTLS\r\n", "BDAT 3 LAST\r\nabc", "503 5.5.1 MAIL first"},
		{"what the client is called", "EHLO c\r\nSTARTTLS\r\n", "AUTH PLAIN AGFubgBzZWNyZXQ=\r\n", "503 5.5.1 EHLO first"},
		{"a second STARTTLS", "EHLO c\r\nSTARTTLS\r\n", "STARTTLS\r\n", "503 5.5.1 TLS is active"},
		{"STARTTLS in the middle of chunks", start + "BDAT 3\r\nabcSTARTTLS\r\n", "", "503 5.5.1 BDAT expected"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, in := newTestServer()
			s.Accounts = testAccounts(t)
			c := &fuzzConn{plain: &memConn{in: bytes.NewReader([]byte(tt.plain))}, protected: &memConn{in: bytes.NewReader([]byte(tt.protected))}}
			c.fakeConn = newFakeConn(c.plain, SMTP, "127.0.0.1")
			if err := s.Serve(context.Background(), c); err != nil {
				t.Fatal(err)
			}
			lines := strings.Split(strings.TrimSpace(c.plain.out.String()+c.protected.out.String()), "\r\n")
			if got := lines[len(lines)-1]; got != tt.want {
				t.Errorf("last reply %q, want %q", got, tt.want)
			}
			if len(in.letters) != 0 || in.open != 0 {
				t.Errorf("%d letters are taken, %d are open", len(in.letters), in.open)
			}
		})
	}
}

func TestCommandsWithStrangeOctets(t *testing.T) {
	for _, tt := range []struct{ name, input, want string }{
		{"a bare LF ends a command", "EHLO c\nNOOP\n", "250 2.0.0 Ok"},
		{"a bare CR does not", "NOOP\rRSET\r\n", "500 5.5.2 control character in command"},
		{"CR CR LF", "NOOP\r\r\n", "500 5.5.2 control character in command"},
		{"NUL", "NOOP \x00\r\n", "500 5.5.2 control character in command"},
		{"NUL before the verb", "\x00NOOP\r\n", "500 5.5.2 control character in command"},
		{"a tab behind the verb", "NOOP\tx\r\n", "500 5.5.2 command not recognized"},
		{"8-bit in a verb", "NOÖP\r\n", "500 5.5.2 command not recognized"},
		{"8-bit that is not UTF-8 in an address", "EHLO c\r\nMAIL FROM:<\xff@b.example> SMTPUTF8\r\n", "501 5.1.7 bad sender address syntax"},
		{"a line that is too long", "NOOP " + strings.Repeat("x", 3000) + "\r\n", "500 5.5.2 line too long"},
		{"and the one after it", "NOOP " + strings.Repeat("x", 100_000) + "\r\nRSET\r\n", "250 2.0.0 Ok"},
		{"an empty line", "\r\n", "500 5.5.2 command not recognized"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, cut := range []int{0, 1} {
				said, _ := sendCut(t, senders[0], tt.input, cut)
				lines := strings.Split(strings.TrimSpace(said), "\r\n")
				if got := lines[len(lines)-1]; got != tt.want {
					t.Errorf("in pieces of %d: last reply %q, want %q", cut, got, tt.want)
				}
			}
		})
	}
}

func TestTextIsKeptOrRefusedWhole(t *testing.T) {
	long := strings.Repeat("0123456789", 90_000)
	for _, tt := range []struct{ name, text, want string }{
		{"8-bit that nobody declared", "Subject: x\r\n\r\nGrüße\r\n", "250"},
		{"8-bit that is not UTF-8", "Subject: \xe4\r\n\r\n\xff\xfe\r\n", "250"},
		{"control characters", "Subject: x\r\n\r\n\x01\x1b[0m\x7f\t\r\n", "250"},
		{"a line of 900,000 octets", "Subject: x\r\n\r\n" + long + "\r\n", "250"},
		{"a field of 900,000 octets", "Subject: " + long + "\r\n\r\nx\r\n", "250"},
		{"a header of more than a MiB", "Subject: " + long + "\r\nX: " + long[:200_000] + "\r\n\r\nx\r\n", "552 5.3.4 message header size exceeds fixed limit"},
		{"a header of more than a MiB in small fields", strings.Repeat("X: 0123456789\r\n", 80_000) + "\r\nx\r\n", "552 5.3.4 message header size exceeds fixed limit"},
		{"text without a header", strings.Repeat("text\r\n", 200_000), "250"},
		{"a line that ends in blanks", "Subject: x\r\n\r\nx \t \r\n \r\n", "250"},
		{"NUL in the header", "Subject: \x00\r\n\r\nx\r\n", "550 5.6.0 NUL in message"},
		{"NUL at the end", "Subject: x\r\n\r\nx\r\n\x00\r\n", "550 5.6.0 NUL in message"},
		{"more than the limit", "Subject: x\r\n\r\n" + strings.Repeat(long+"\r\n", 3), "552 5.3.4 message size exceeds fixed limit"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, input := range []string{"DATA\r\n" + tt.text + ".\r\n", fmt.Sprintf("BDAT %d LAST\r\n%s", len(tt.text), tt.text)} {
				s, in := newTestServer()
				s.MaxSize = 2 << 20
				said := converse(t, s, SMTP, "192.0.2.7", start+input)
				lines := strings.Split(strings.TrimSpace(said), "\r\n")
				if got := lines[len(lines)-1]; !strings.HasPrefix(got, tt.want) {
					t.Fatalf("last reply %q, want %q", got, tt.want)
				}
				if tt.want == "250" && (len(in.letters) != 1 || !strings.HasSuffix(in.letters[0].text, strings.ReplaceAll(tt.text, "\r\n", "\n"))) {
					t.Errorf("the letter is not what was sent")
				}
				if tt.want != "250" && len(in.letters) != 0 {
					t.Errorf("the letter is taken")
				}
			}
		})
	}
}

// The name that a client gives itself goes into the trace field.
func TestTheNameOfAClientHarmsNoTraceField(t *testing.T) {
	for _, name := range []string{"a\xff\xfe", "a(b", "a\x01\x7f", "a;b", "<a>", strings.Repeat("x", 1900)} {
		_, in := sendCut(t, senders[0], "EHLO "+name+"\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<ann@example.org>\r\nDATA\r\nSubject: x\r\n\r\nx\r\n.\r\n", 0)
		if len(in.letters) != 1 {
			t.Fatalf("%q: no letter", name)
		}
		first, _, _ := strings.Cut(in.letters[0].text, "\n")
		if !utf8.ValidString(first) || len(first) > 998 || strings.Count(first, "(") != 1 || strings.ContainsAny(first, "<>;\x01\x7f") {
			t.Errorf("%q makes %.200q", name, first)
		}
	}
}
