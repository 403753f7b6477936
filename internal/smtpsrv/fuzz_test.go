package smtpsrv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"postbag/internal/auth"
)

// A fuzzConn gives a session what came before STARTTLS and, if it gets there,
// what came after.
type fuzzConn struct {
	*fakeConn
	plain, protected *memConn
}

func (c *fuzzConn) StartTLS(ctx context.Context) error {
	c.Conn = c.protected
	return c.fakeConn.StartTLS(ctx)
}

// fuzzStates are protocol, peer and what was said already.
var fuzzStates = []struct{ proto, peer, said string }{
	{SMTP, "192.0.2.7", ""},
	{SMTP, "192.0.2.7", "EHLO c\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<ann@example.org>\r\n"},
	{SMTP, "192.0.2.7", "HELO c\r\nMAIL FROM:<>\r\nRCPT TO:<ann@example.org>\r\nDATA\r\n"},
	{SMTP, "192.0.2.7", "EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<nobody@example.org>\r\n"},
	{SMTP, "10.0.0.1", "EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<eve@far.example>\r\nBDAT 5\r\na: b\n"},
	{Submission, "127.0.0.1", "EHLO c\r\nAUTH PLAIN AGFubgBzZWNyZXQ=\r\n"},
	{Submission, "192.0.2.7", "EHLO c\r\nAUTH LOGIN\r\n"},
	{Submissions, "127.0.0.1", "EHLO c\r\nAUTH PLAIN AGFubgBzZWNyZXQ=\r\nMAIL FROM:<ann@example.org>\r\nRCPT TO:<eve@far.example>\r\n"},
	{LMTP, "", "LHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<ann@example.org>\r\nRCPT TO:<carl@example.org>\r\nRCPT TO:<bob@example.org>\r\n"},
	{LMTP, "", "LHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<ann@example.org>\r\nRCPT TO:<bob@example.org>\r\nBDAT 3\r\nabc"},
	{Stdio, "", "EHLO c\r\nMAIL FROM:<ann>\r\nRCPT TO:<bob>\r\n"},
}

// FuzzSession plays whatever to a session in several states. A reader of the
// dialogue that knows nothing of the session checks it: each command has its
// reply and no octet of a letter has one; what was acknowledged is what was
// stored.
func FuzzSession(f *testing.F) {
	for i := range fuzzStates {
		f.Add(uint8(i), uint8(0), uint8(0), []byte("DATA\r\nSubject: x\r\n\r\n..y\r\n.\r\nQUIT\r\n"), []byte(""))
		f.Add(uint8(i), uint8(7), uint8(0), []byte("BDAT 4\r\na: bBDAT 2 LAST\r\n\r\nBDAT 3\r\nQUINOOP\r\n"), []byte(""))
		f.Add(uint8(i), uint8(1), uint8(0), []byte("STARTTLS\r\nMAIL FROM:<a@b.example>\r\n"), []byte("EHLO d\r\nNOOP\r\nSTARTTLS\r\nQUIT\r\n"))
		f.Add(uint8(i), uint8(3), uint8(i), []byte("NOOP\r\nx\n.\r\nBDAT \x00\r\n"+strings.Repeat("y", 3000)+"\r\nRSET\r\n.\r\n"), []byte(""))
		f.Add(uint8(i), uint8(0), uint8(1), []byte("BDAT 99 LAST\r\nshort"), []byte(""))
		f.Add(uint8(i), uint8(0), uint8(1), []byte("AUTH PLAIN\r\n*\r\nAUTH LOGIN =\r\nMAIL FROM:<a@b> SIZE=9 BODY=8BITMIME\r\nRCPT TO:<ann>\r\n.\r\n"), []byte(""))
	}
	accounts := testAccounts(f)
	f.Fuzz(func(t *testing.T, state, cut, fault uint8, input, protected []byte) {
		st := fuzzStates[int(state)%len(fuzzStates)]
		input = append([]byte(st.said), input...)
		s, in := fuzzServer(accounts, fault)
		c := &fuzzConn{plain: &memConn{in: bytes.NewReader(input), cut: int(cut)}, protected: &memConn{in: bytes.NewReader(protected), cut: int(cut)}}
		c.fakeConn = newFakeConn(c.plain, st.proto, st.peer)
		_ = s.Serve(context.Background(), c)
		r := &reader{t: t, lmtp: st.proto == LMTP, wire: input, protected: protected, acked: map[string]string{}}
		r.replies(c.plain.out.String() + c.protected.out.String())
		r.read()
		r.compare(in, st.proto != SMTP)
	})
}

// fuzzServer is one whose intake fails in one of several ways, or not.
func fuzzServer(accounts auth.Directory, fault uint8) (*Server, *fakeIntake) {
	s, in := newTestServer()
	s.Accounts, s.MaxSize, s.MaxRecipients = accounts, 2000, 4
	s.Normalize = fault&8 != 0
	switch fault & 7 {
	case 1:
		in.full = true
	case 2:
		in.writeErr = errors.New("no space left")
	case 3:
		in.commitErr = errors.New("no space left")
	}
	return s, in
}

// A reader follows a dialogue from outside.
type reader struct {
	t         *testing.T
	lmtp      bool
	wire      []byte // what the client has still to say
	protected []byte // what it says under TLS
	said      []string

	open  bool // a transaction
	rcpts int
	text  []byte            // of the letter that comes in chunks
	acked map[string]string // queue ID to what the client sent, in disk form
}

// replies cuts what the server said.
func (r *reader) replies(out string) {
	reply := ""
	for _, line := range strings.SplitAfter(out, "\r\n") {
		if line == "" {
			continue
		}
		if len(line) < 6 || !strings.HasSuffix(line, "\r\n") || strings.ContainsAny(line[:len(line)-2], "\r\n\x00") || len(line) > 512 {
			r.t.Fatalf("a broken line: %q", line)
		}
		if reply += line; line[3] == ' ' {
			r.said, reply = append(r.said, reply), ""
		}
	}
	if reply != "" {
		r.t.Fatalf("a reply without an end: %q", reply)
	}
}

// next is the next reply, which must be there.
func (r *reader) next(why string) string {
	if len(r.said) == 0 {
		r.t.Fatalf("no reply to %q", why)
	}
	reply := r.said[0]
	r.said = r.said[1:]
	return reply
}

// over reports that the server has hung up: 221, 421 or what it says instead
// are its last words.
func (r *reader) over(reply string) bool {
	if len(r.said) == 1 && (strings.HasPrefix(r.said[0], "421 ") || reply == "" && strings.HasPrefix(r.said[0], "552 ")) {
		r.said = nil
		return true
	}
	return strings.HasPrefix(reply, "221 ") || strings.HasPrefix(reply, "421 ")
}

// line is the next line of the client with its end.
func (r *reader) line() (string, bool) {
	line, rest, ok := bytes.Cut(r.wire, []byte("\n"))
	r.wire = rest
	return string(bytes.TrimSuffix(line, []byte("\r"))), ok
}

// read goes through the whole dialogue.
func (r *reader) read() {
	if reply := r.next("connection"); !strings.HasPrefix(reply, "220 ") {
		r.t.Fatalf("greeting %q", reply)
	}
	for {
		line, ok := r.line()
		if !ok {
			break
		}
		reply := r.next(line)
		if !r.command(line, reply) || r.over(reply) {
			break
		}
	}
	if len(r.said) > 0 {
		r.t.Fatalf("replies to nothing: %q", r.said)
	}
}

// command follows one command with its first reply; false at the end of the
// session.
func (r *reader) command(line, reply string) bool {
	verb, args, _ := strings.Cut(line, " ")
	ok := strings.HasPrefix(reply, "250")
	switch strings.ToUpper(verb) {
	case "MAIL":
		r.open = r.open || ok
	case "RCPT":
		if ok {
			r.rcpts++
		}
	case "RSET", "EHLO", "HELO", "LHLO":
		if ok {
			r.reset()
		}
	case "STARTTLS":
		if strings.HasPrefix(reply, "220") {
			r.reset()
			r.wire = r.protected
		}
	case "DATA":
		if strings.HasPrefix(reply, "354") {
			return r.data()
		}
	case "AUTH":
		for strings.HasPrefix(reply, "334") {
			answer, ok := r.line()
			if !ok {
				return false
			}
			reply = r.next(answer)
		}
		return !r.over(reply)
	}
	if len(line) >= 4 && strings.EqualFold(line[:4], "BDAT") {
		return r.bdat(verb, args, reply)
	}
	return true
}

func (r *reader) reset() { r.open, r.rcpts, r.text = false, 0, nil }

// data follows the text of DATA and the replies to it.
func (r *reader) data() bool {
	end := referenceEnd(r.wire)
	first := r.next("text")
	if end < 0 || len(r.said) == 0 && len(r.wire) > 8000 && strings.HasPrefix(first, "552") {
		return false // lost, or far too long
	}
	wire := append([]byte("\r\n"), r.wire[:end-3]...)
	r.wire = r.wire[end:]
	r.text = bytes.ReplaceAll(wire, []byte("\r\n."), []byte("\r\n"))[2:]
	return r.taken(first)
}

// bdat follows a chunk; reply came after it.
func (r *reader) bdat(verb, args, reply string) bool {
	number, word, _ := strings.Cut(strings.Trim(args, " \t"), " ")
	last := strings.EqualFold(strings.TrimSpace(word), "LAST")
	n, err := strconv.ParseUint(number, 10, 63)
	if len(verb) > 4 || err != nil || word != "" && !last || strings.HasPrefix(reply, "500") {
		return false // nobody knows where the next command is
	}
	// A full disk is told to each recipient of LMTP before the chunk is read.
	if r.lmtp && last && n > uint64(len(r.wire)) && strings.HasPrefix(reply, "452") && len(r.said) == r.rcpts {
		r.said = r.said[r.rcpts-1:]
	}
	words := append([]string{reply}, r.said...)
	if n > uint64(len(r.wire)) || n > 8000 && len(words) < 3 && strings.HasPrefix(words[len(words)-1], "552") {
		// Lost, or far too long. LMTP may have refused the letter before, for
		// each recipient.
		for r.lmtp && last && len(r.said) > 1 && !strings.HasPrefix(r.said[0], "2") {
			r.said = r.said[1:]
		}
		r.over("")
		return false
	}
	chunk := r.wire[:n]
	r.wire = r.wire[n:]
	switch {
	case strings.HasPrefix(reply, "503"), strings.HasPrefix(reply, "554 5.5.1"), !r.open:
		return true
	case last:
		r.text = append(r.text, chunk...)
		return r.taken(reply)
	case strings.HasPrefix(reply, "250"):
		r.text = append(r.text, chunk...)
	default:
		r.reset()
	}
	return true
}

// taken follows the replies to a letter, of which one is read.
func (r *reader) taken(reply string) bool {
	n := 1
	if r.lmtp {
		n = r.rcpts
	}
	for i := range n {
		if i > 0 {
			reply = r.next("letter")
		}
		if strings.HasPrefix(reply, "250") {
			_, id, _ := strings.Cut(reply, " as ")
			r.acked[fmt.Sprintf("%s %d", strings.TrimSpace(id), r.rcpts)] = string(r.text)
		}
	}
	r.reset()
	return !r.over(reply)
}

// compare holds what was acknowledged against what was stored.
func (r *reader) compare(in *fakeIntake, completed bool) {
	if in.open != 0 {
		r.t.Fatalf("%d letters neither stored nor discarded", in.open)
	}
	for _, l := range in.letters {
		key := fmt.Sprintf("%s %d", l.env.ID, len(l.env.To))
		wire, ok := r.acked[key]
		if !ok {
			r.t.Fatalf("stored %s and not acknowledged: %q", key, l.text)
		}
		delete(r.acked, key)
		r.compareText(l.text, wire, completed)
	}
	if len(r.acked) > 0 {
		r.t.Fatalf("acknowledged and not stored: %q", r.acked)
	}
}

// compareText holds a letter against what the client sent, where that needs no
// second unpacker.
func (r *reader) compareText(stored, wire string, completed bool) {
	want := strings.ReplaceAll(wire, "\r\n", "\n")
	if strings.Count(wire, "\r") != strings.Count(wire, "\r\n") || strings.Count(wire, "\n") != strings.Count(wire, "\r\n") {
		return // bare ones: see FuzzDataEndsWhereTheRFCSays
	}
	if completed || strings.Contains(strings.ToLower(wire), "x-postbag") {
		_, want, _ = strings.Cut(want, "\n\n")
	}
	if !strings.HasSuffix(stored, want) {
		r.t.Fatalf("stored %q of %q", stored, wire)
	}
}
