package imapsrv

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// FuzzSession plays a session with two letters and whatever commands. What the
// server says must be whole responses, one tagged one for each command, in their
// order, and speak only of letters that are there.
func FuzzSession(f *testing.F) {
	for _, s := range []string{
		"a NOOP\r\n", "a LOGOUT\r\n", "a FETCH 1 (BODY[1.2.MIME] ENVELOPE BODYSTRUCTURE BINARY[1]<0.5>)\r\n", "a SEARCH OR NOT (SEEN) HEADER x y 1:*\r\n",
		"a STORE 1 +FLAGS (\\Seen a)\r\n", "a APPEND INBOX () {3+}\r\nabc\r\nb COPY 1 INBOX\r\n", "a LIST (SUBSCRIBED) \"\" (% *) RETURN (STATUS (SIZE))\r\n",
		"a IDLE\r\nDONE\r\n", "a UID EXPUNGE $\r\n", "a AUTHENTICATE PLAIN =\r\n", "a SELECT {5}\r\nINBOX\r\n", "a ID (\"a\" NIL)\r\n", "a ENABLE IMAP4rev2\r\nb STATUS x (MESSAGES)\r\n",
		"a STORE 1:* +FLAGS.SILENT \\Deleted\r\nb EXPUNGE\r\nc FETCH 1 FLAGS\r\nd NOOP\r\n", "a MOVE 1 x\r\nb CREATE x\r\nc MOVE 1 x\r\nd SELECT x\r\ne CLOSE\r\n",
		"a SEARCH RETURN (SAVE COUNT) {3+}\r\nALL\r\nb FETCH $ (RFC822 UID)\r\n", "a APPEND INBOX ~{3+}\r\na\x00b\r\n", "a X ( {9+}\r\nb LOGOUT\r\nc NOOP\r\n",
		"a SORT RETURN (PARTIAL -1:-2 MIN) (REVERSE DATE SUBJECT) UTF-8 ALL\r\nb UID THREAD REFERENCES UTF-8 ALL\r\n", "a FETCH 1:2 (PREVIEW (LAZY) MODSEQ EMAILID SAVEDATE) (CHANGEDSINCE 1)\r\n",
		"a ENABLE QRESYNC\r\nb SELECT INBOX (QRESYNC (1 1 1:* (1 1)))\r\nc UID FETCH 1:* FLAGS (CHANGEDSINCE 1 VANISHED)\r\n", "a STORE 1 (UNCHANGEDSINCE 1) -FLAGS.SILENT a\r\n",
		"a REPLACE 1 INBOX {1+}\r\nx\r\n", "a APPEND INBOX CATENATE (URL \"/INBOX/;UID=1/;SECTION=1/;PARTIAL=0.1\" TEXT {1+}\r\nx)\r\n", "a UNAUTHENTICATE\r\nb NOOP\r\n",
		"a SEARCH MODSEQ \"x\" all 1 OLDER 1 EMAILID M SAVEDON 1-Jan-2020\r\n", "a APPEND INBOX UTF8 (~{1+}\r\nx) {1+}\r\ny\r\n",
		"a NOTIFY SET STATUS (selected (MessageNew (UID) MessageExpunge)) (personal (MailboxName MailboxMetadataChange))\r\nb CREATE x\r\nc NOTIFY NONE\r\n",
		"a SETMETADATA INBOX (/private/x {1+}\r\ny)\r\nb GETMETADATA (DEPTH 1 MAXSIZE 9) INBOX (/private)\r\nc LIST \"\" * RETURN (METADATA (/private/x))\r\n",
		"a SEARCH RETURN (UPDATE (UID) COUNT) SEEN\r\nb STORE 1 +FLAGS (\\Seen)\r\nc CANCELUPDATE \"a\"\r\nd UID SORT RETURN (UPDATE) (DATE) UTF-8 1:*\r\n",
		"a ESEARCH IN (personal subtree (x y)) RETURN (COUNT) OR UIDAFTER 1 2:*\r\nb ENABLE UIDONLY\r\nc UID FETCH 1:* FLAGS\r\nd FETCH 1 UID\r\n",
	} {
		f.Add([]byte(s))
	}
	fx := newFixture(f)
	memory := "/dev/shm" // syncs cost nothing there
	if st, err := os.Stat(memory); err != nil || !st.IsDir() {
		memory = f.TempDir()
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		dir, err := os.MkdirTemp(memory, "postbag-fuzz-*")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		fx.t, fx.root = t, filepath.Join(dir, "Maildir")
		fx.deliver("1.M1.h", "Subject: x\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\ntext\n--b--\n")
		fx.deliver("2.M1.h", "Date: Thu, 1 Jan 2026 10:00:00 +0000\nFrom: a <a@b>\n\ntext\n")
		in = append([]byte("0 LOGIN ann \"open sesame\"\r\n1 SELECT INBOX\r\n"), in...)
		out := &bytes.Buffer{}
		fx.server.Serve(t.Context(), &scriptConn{in: bytes.NewReader(in), out: out})
		checkSession(t, in, out.String())
	})
}

// checkSession holds what the server said against the commands.
func checkSession(t *testing.T, in []byte, out string) {
	t.Helper()
	heard := &listener{t: t}
	for rest := out; rest != ""; {
		var response string
		response, rest = cutResponse(t, rest)
		heard.hear(response)
	}
	if heard.asked {
		return // what is a command then depends on what the server asked for
	}
	tags := commandTags(in)
	if len(heard.tags) > len(tags) || !heard.bye && len(heard.tags) < len(tags) {
		t.Fatalf("%d answers to %d commands\n%q\n%q", len(heard.tags), len(tags), in, out)
	}
	for i, tag := range heard.tags {
		if tag != tags[i] && tag != "*" {
			t.Fatalf("answer %d is for %q, want %q\n%q\n%q", i, tag, tags[i], in, out)
		}
	}
}

var literal = regexp.MustCompile(`\{([0-9]+)\}\r\n$`)

// cutResponse takes a response with its literals.
func cutResponse(t *testing.T, s string) (response, rest string) {
	t.Helper()
	at := 0
	for {
		end := strings.Index(s[at:], "\r\n")
		if end < 0 {
			t.Fatalf("it ends in the middle of a response: %q", s)
		}
		line := s[at : at+end+2]
		at += end + 2
		m := literal.FindStringSubmatch(line)
		if m == nil {
			return s[:at], s[at:]
		}
		n, _ := strconv.Atoi(m[1])
		if n > len(s)-at {
			t.Fatalf("a literal of %d octets has %d", n, len(s)-at)
		}
		at += n
	}
}

// A listener is a client that believes what it is told.
type listener struct {
	t          *testing.T
	tags       []string // of tagged responses, "*" for BAD without one
	asked, bye bool
	exists     int
}

var (
	tagged   = regexp.MustCompile(`^(\S+) (OK|NO|BAD)[ \[]`)
	counting = regexp.MustCompile(`^\* (\d+) (EXISTS|EXPUNGE|FETCH)\b`)
)

func (l *listener) hear(response string) {
	switch {
	case strings.HasPrefix(response, "+"):
		l.asked = true
	case strings.HasPrefix(response, "* BAD "):
		l.tags = append(l.tags, "*")
	case strings.HasPrefix(response, "* BYE "):
		l.bye = true
	case strings.HasPrefix(response, "* "):
		l.count(response)
	default:
		m := tagged.FindStringSubmatch(response)
		if m == nil {
			l.t.Fatalf("that is no response: %q", response)
		}
		l.tags = append(l.tags, m[1])
	}
}

func (l *listener) count(response string) {
	m := counting.FindStringSubmatch(response)
	if m == nil {
		return
	}
	n, _ := strconv.Atoi(m[1])
	switch {
	case m[2] == "EXISTS":
		l.exists = n
		return
	case n < 1 || n > l.exists:
		l.t.Fatalf("%q, but there are %d", response, l.exists)
	case m[2] == "EXPUNGE":
		l.exists--
	}
}

var announced = regexp.MustCompile(`\{([0-9]+)\+\}\r?\n$`)

// commandTags gives the tags of all commands that are complete, "*" for one that
// has none, written without imapwire.
func commandTags(in []byte) (tags []string) {
	for len(in) > 0 {
		at := 0
		for {
			nl := bytes.IndexByte(in[at:], '\n')
			if nl < 0 {
				return tags
			}
			line := in[at : at+nl+1]
			at += nl + 1
			m := announced.FindSubmatch(line)
			if m == nil {
				break
			}
			n, err := strconv.Atoi(string(m[1]))
			if err != nil || n > len(in)-at {
				return tags
			}
			at += n
		}
		tag, _, ok := strings.Cut(strings.SplitN(string(in[:at]), "\n", 2)[0], " ")
		if !ok || tag == "" {
			tag = "*"
		}
		tags = append(tags, tag)
		in = in[at:]
	}
	return tags
}

// A scriptConn says what was recorded.
type scriptConn struct {
	testConn
	in  *bytes.Reader
	out *bytes.Buffer
}

func (c *scriptConn) Read(p []byte) (int, error)  { return c.in.Read(p) }
func (c *scriptConn) Write(p []byte) (int, error) { return c.out.Write(p) }
func (c *scriptConn) Flush() error                { return nil }
func (c *scriptConn) PlaintextOK(string) bool     { return true }
func (c *scriptConn) Wake()                       {}
func (c *scriptConn) WaitInput() (bool, error) {
	return c.in.Len() > 0, map[bool]error{true: nil, false: io.EOF}[c.in.Len() > 0]
}
