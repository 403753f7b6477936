package imapsrv

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"postbag/internal/account"
	"postbag/internal/auth"
	"postbag/internal/durable"
	"postbag/internal/mailbox"
)

// testConn is a Conn over a socket.
type testConn struct {
	net.Conn
	w     *bufio.Writer
	plain bool
	drain chan struct{}
	ahead []byte
}

func (c *testConn) Read(p []byte) (int, error) {
	if len(c.ahead) > 0 {
		n := copy(p, c.ahead)
		c.ahead = c.ahead[n:]
		return n, nil
	}
	if err := c.w.Flush(); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}
func (c *testConn) Write(p []byte) (int, error)    { return c.w.Write(p) }
func (c *testConn) Flush() error                   { return c.w.Flush() }
func (c *testConn) Proto() string                  { return "imap" }
func (c *testConn) Peer() netip.AddrPort           { return netip.MustParseAddrPort("192.0.2.7:1") }
func (c *testConn) TLS() *tls.ConnectionState      { return nil }
func (c *testConn) StartTLS(context.Context) error { return nil }
func (c *testConn) PlaintextOK(string) bool        { return c.plain }
func (c *testConn) SetIdleTimeout(time.Duration)   {}
func (c *testConn) Busy(bool)                      {}
func (c *testConn) Draining() <-chan struct{}      { return c.drain }

func (c *testConn) WaitInput(wake <-chan struct{}) (bool, error) {
	c.w.Flush()
	type result struct {
		n   int
		err error
	}
	got := make(chan result, 1)
	buf := make([]byte, 100)
	go func() {
		n, err := c.Conn.Read(buf)
		got <- result{n, err}
	}()
	select {
	case r := <-got:
		c.ahead = buf[:r.n]
		return r.err == nil, r.err
	case <-wake:
		c.Conn.SetReadDeadline(time.Unix(1, 0))
		r := <-got
		c.Conn.SetReadDeadline(time.Time{})
		c.ahead = buf[:r.n]
		return r.n > 0, nil
	}
}

// A fixture is a server with one account, ann.
type fixture struct {
	t      testing.TB
	root   string
	store  *mailbox.Store
	server *Server
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	f := &fixture{t: t, root: filepath.Join(t.TempDir(), "Maildir")}
	users := filepath.Join(t.TempDir(), "users")
	os.WriteFile(users, []byte("ann:{PLAIN}open sesame\n"), 0o600)
	accounts, err := auth.OpenFile(users, nil)
	if err != nil {
		t.Fatal(err)
	}
	f.store = mailbox.NewStore(durable.New(), mailbox.Options{})
	t.Cleanup(func() { f.store.Close() })
	f.server = &Server{
		Accounts: accounts, StartTLS: true, Version: "test",
		Open: func(ctx context.Context, _ auth.Account) (*account.Tree, error) {
			return account.Open(ctx, f.store, f.root, account.Options{})
		},
	}
	return f
}

// dial begins a session and gives the client's end.
func (f *fixture) dial() net.Conn {
	f.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		f.t.Fatal(err)
	}
	server, err := l.Accept()
	if err != nil {
		f.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.server.Serve(context.Background(), &testConn{Conn: server, w: bufio.NewWriter(server), plain: true, drain: make(chan struct{})})
		server.Close()
	}()
	f.t.Cleanup(func() { client.Close(); <-done })
	return client
}

// deliver puts a letter into new/, as another program would.
func (f *fixture) deliver(name, text string) {
	f.t.Helper()
	os.MkdirAll(filepath.Join(f.root, "new"), 0o700)
	os.MkdirAll(filepath.Join(f.root, "cur"), 0o700)
	os.MkdirAll(filepath.Join(f.root, "tmp"), 0o700)
	if err := os.WriteFile(filepath.Join(f.root, "tmp", name), []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(f.root, "tmp", name), filepath.Join(f.root, "new", name)); err != nil {
		f.t.Fatal(err)
	}
}

// talk plays a dialogue: C lines are sent with CRLF, S lines are patterns of
// whole lines that the server says, in order; "S..." skips to the next that fits.
func (f *fixture) talk(c net.Conn, dialogue string) {
	f.t.Helper()
	r := bufio.NewReader(c)
	skip := false
	for _, line := range strings.Split(dialogue, "\n") {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		verb, text, _ := strings.Cut(line, " ")
		switch verb {
		case "C":
			text = strings.NewReplacer(`\r`, "\r", `\n`, "\n", `\0`, "\x00").Replace(text)
			fmt.Fprintf(c, "%s\r\n", text)
		case "S...":
			skip = true
		case "D":
			f.deliver(text, "Subject: new\n\nnew text\n")
		case "S":
			c.SetReadDeadline(time.Now().Add(10 * time.Second))
			for {
				got, err := r.ReadString('\n')
				got = strings.TrimSuffix(got, "\r\n")
				if err == nil && regexp.MustCompile("^"+text+"$").MatchString(got) {
					break
				}
				if err != nil || !skip {
					f.t.Fatalf("server said %q (%v), want %q", got, err, text)
				}
			}
			skip = false
		}
	}
}

const login = `
	S \* OK \[CAPABILITY .*\] .*
	C a LOGIN ann "open sesame"
	S a OK \[CAPABILITY .*\] logged in
`

func TestDialogues(t *testing.T) {
	for name, text := range map[string]string{
		"wrong passwords": `
			S \* OK .*
			C a LOGIN ann wrong
			S a NO \[AUTHENTICATIONFAILED\] .*
			C b AUTHENTICATE PLAIN AGFubgBvcGVuIHNlc2FtZQ==
			S b OK .*`,
		"nothing before the login": `
			S \* OK .*
			C a SELECT INBOX
			S a BAD .*
			C b NOOP
			S b OK .*`,
		"the literal of a refused command is no command": `
			S \* OK .*
			C a SELECT {12+}\r\nb LOGOUT\r\n\r\n
			S a BAD .*
			C c NOOP
			S c OK .*`,
		"SELECT": login + `
			D 1.M1.h
			D 2.M2.h
			C a SELECT INBOX
			S \* FLAGS \(.*\)
			S \* OK \[PERMANENTFLAGS \(.*\\\*\)\] .*
			S \* 2 EXISTS
			S \* 2 RECENT
			S \* OK \[UNSEEN 1\] .*
			S \* OK \[UIDVALIDITY \d+\] .*
			S \* OK \[UIDNEXT 3\] .*
			S a OK \[READ-WRITE\] .*
			C b UID FETCH 1:* (FLAGS)
			S \* 1 FETCH \(UID 1 FLAGS \(\\Recent\)\)
			S \* 2 FETCH \(UID 2 FLAGS \(\\Recent\)\)
			S b OK .*
			C c FETCH 3 FLAGS
			S c BAD no such sequence number`,
		"text and its parts": login + `
			D 1.M1.h
			C a SELECT INBOX
			S...
			S a OK .*
			C b FETCH 1 (BODY.PEEK[HEADER.FIELDS (SUBJECT)] BODY.PEEK[TEXT]<4.100> RFC822.SIZE)
			S \* 1 FETCH \(BODY\[HEADER.FIELDS \("SUBJECT"\)\] \{16\}
			S Subject: new
			S
			S  BODY\[TEXT\]<4> \{6\}
			S text
			S  RFC822.SIZE 26\)
			S b OK .*
			C c FETCH 1 BODY[1]
			S \* 1 FETCH \(BODY\[1\] \{10\}
			S new text
			S  FLAGS \(\\Seen \\Recent\)\)
			S c OK .*
			C d FETCH 1 (ENVELOPE BODY)
			S \* 1 FETCH \(ENVELOPE \(NIL "new" NIL NIL NIL NIL NIL NIL NIL NIL\) BODY \("TEXT" "PLAIN" \("CHARSET" "us-ascii"\) NIL NIL "7bit" 10 1\)\)
			S d OK .*
			C e FETCH 1 BODY[2]
			S \* 1 FETCH \(BODY\[2\] NIL\)
			S e OK .*`,
		"flags": login + `
			D 1.M1.h
			C a SELECT INBOX
			S...
			S a OK .*
			C b STORE 1 +FLAGS (\Flagged Work)
			S \* 1 FETCH \(FLAGS \(\\Flagged Work \\Recent\)\)
			S \* FLAGS \(.* Work\)
			S b OK .*
			C c UID STORE 1 -FLAGS.SILENT \Flagged
			S c OK .*
			C d STORE 1 FLAGS \Nonsense
			S d BAD .*
			C e FETCH 1 FLAGS
			S \* 1 FETCH \(FLAGS \(Work \\Recent\)\)
			S e OK .*`,
		"APPEND, COPY, MOVE and EXPUNGE tell UIDs": login + `
			C a CREATE Work
			S a OK .*
			C b APPEND Work (\Seen) "01-Jan-2026 10:00:00 +0000" {12+}\r\nSubject: a\r\n
			S b OK \[APPENDUID \d+ 1\] done
			C c APPEND None {1+}\r\nx
			S c NO \[TRYCREATE\] .*
			C d APPEND Work {3+}\r\na\0b
			S d NO \[UNKNOWN-CTE\] .*
			C e SELECT Work
			S...
			S e OK .*
			C f COPY 1 INBOX
			S f OK \[COPYUID \d+ 1 1\] done
			C g MOVE 1 INBOX
			S \* OK \[COPYUID \d+ 1 2\]
			S \* 1 EXPUNGE
			S g OK .*
			C h SELECT INBOX
			S...
			S h OK .*
			C i FETCH 2 INTERNALDATE
			S \* 2 FETCH \(INTERNALDATE " 1-Jan-2026 10:00:00 \+0000"\)
			S i OK .*
			C j STORE 1 +FLAGS.SILENT \Deleted
			S j OK .*
			C k UID EXPUNGE 2
			S k OK .*
			C l EXPUNGE
			S \* 1 EXPUNGE
			S l OK .*`,
		"SEARCH": login + `
			D 1.M1.h
			D 2.M2.h
			C a SELECT INBOX
			S...
			S a OK .*
			C b STORE 2 +FLAGS.SILENT (\Seen)
			S b OK .*
			C c SEARCH UNSEEN
			S \* SEARCH 1
			S c OK .*
			C d UID SEARCH RETURN (MIN MAX COUNT) OR SEEN SUBJECT "NEW"
			S \* ESEARCH \(TAG "d"\) UID MIN 1 MAX 2 COUNT 2
			S d OK .*
			C e SEARCH RETURN (SAVE) BODY "text" NOT SEEN
			S e OK .*
			C f FETCH $ UID
			S \* 1 FETCH \(UID 1\)
			S f OK .*
			C g SEARCH CHARSET KOI8-R ALL
			S g NO \[BADCHARSET .*
			C h SEARCH SENTSINCE 1-Jan-2020
			S \* SEARCH
			S h OK .*
			C i SEARCH NOT (NOT (1:* LARGER 10)) SMALLER 100
			S \* SEARCH 1 2
			S i OK .*`,
		"LIST": login + `
			C a CREATE Work/Old
			S a OK .*
			C b CREATE Sent
			S b OK .*
			C c SUBSCRIBE Work/Old
			S c OK .*
			C d LIST "" "%"
			S \* LIST \(\\HasNoChildren\) "/" "INBOX"
			S \* LIST \(\\HasNoChildren \\Sent\) "/" "Sent"
			S \* LIST \(.*\\HasChildren\) "/" "Work"
			S d OK .*
			C e LIST (SUBSCRIBED) "" (*) RETURN (STATUS (MESSAGES))
			S \* LIST \(\\HasNoChildren \\Subscribed\) "/" "Work/Old"
			S \* STATUS "Work/Old" \(MESSAGES 0\)
			S e OK .*
			C f LSUB "" *
			S \* LSUB \(\) "/" "Work/Old"
			S f OK .*
			C f2 LSUB "" %
			S \* LSUB \(\\Noselect\) "/" "Work"
			S f2 OK .*
			C g LIST "" ""
			S \* LIST \(\\Noselect\) "/" ""
			S g OK .*
			C h RENAME Work/Old Gr&APwA3w-e
			S h OK .*
			C i STATUS Gr&APwA3w-e (UIDNEXT UNSEEN SIZE)
			S \* STATUS "Gr&APwA3w-e" \(UIDNEXT 1 UNSEEN 0 SIZE 0\)
			S i OK .*
			C j DELETE INBOX
			S j NO \[CANNOT\] .*
			C k SELECT Nothing
			S k NO \[NONEXISTENT\] .*`,
		"IMAP4rev2": login + `
			D 1.M1.h
			C a ENABLE IMAP4rev2
			S \* ENABLED IMAP4rev2
			S a OK .*
			C b SELECT INBOX
			S \* FLAGS .*
			S \* OK \[PERMANENTFLAGS .*
			S \* 1 EXISTS
			S \* LIST \(\) "/" "INBOX"
			S...
			S b OK .*
			C c SEARCH ALL
			S \* ESEARCH \(TAG "c"\) ALL 1
			S c OK .*
			C d FETCH 1 (BINARY.SIZE[1] BINARY.PEEK[1])
			S \* 1 FETCH \(BINARY.SIZE\[1\] 10 BINARY\[1\] ~\{10\}
			S new text
			S \)
			S d OK .*`,
		"IDLE tells of new mail": login + `
			C a SELECT INBOX
			S...
			S a OK .*
			C b IDLE
			S \+ idling
			D 9.M1.h
			S \* 1 EXISTS
			S \* 1 RECENT
			C DONE
			S b OK .*
			C c LOGOUT
			S \* BYE .*
			S c OK .*`,
		"EXAMINE changes nothing": login + `
			D 1.M1.h
			C a EXAMINE INBOX
			S...
			S a OK \[READ-ONLY\] .*
			C b STORE 1 +FLAGS \Seen
			S b NO \[READ-ONLY\] .*
			C c FETCH 1 BODY[TEXT]
			S \* 1 FETCH \(BODY\[TEXT\] \{10\}
			S new text
			S \)
			S c OK .*
			C d EXPUNGE
			S d NO \[READ-ONLY\] .*
			C e UNSELECT
			S e OK .*
			C f FETCH 1 FLAGS
			S f BAD .*`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			f.talk(f.dial(), text)
		})
	}
}

func TestSequenceNumbersStayDuringFetch(t *testing.T) {
	f := newFixture(t)
	for i := range 3 {
		f.deliver(fmt.Sprintf("%d.M1.h", i+1), "Subject: x\n\ny\n")
	}
	a, b := f.dial(), f.dial()
	f.talk(a, login+"C a SELECT INBOX\nS...\nS a OK .*")
	f.talk(b, login+"C a SELECT INBOX\nS...\nS a OK .*\nC b STORE 1 +FLAGS.SILENT \\Deleted\nS b OK .*\nC c EXPUNGE\nS \\* 1 EXPUNGE\nS...\nS c OK .*")
	f.talk(a, `
		C b FETCH 3 UID
		S...
		S b OK .*
		C c NOOP
		S \* 1 EXPUNGE
		S...
		S c OK .*
		C d FETCH 2 UID
		S \* 2 FETCH \(UID 3\)
		S d OK .*`)
}

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		name, pattern string
		want          bool
	}{
		{"INBOX", "inbox", true}, {"INBOX", "%", true}, {"a/b", "%", false}, {"a/b", "*", true}, {"a/b", "%/%", true}, {"a/b/c", "a/*c", true},
		{"a/b/c", "a/%c", false}, {"a", "", false}, {"", "*", true}, {"ab", "a%b%", true}, {"a/b", "a%b", false}, {"x/ab/c", "*a%/c", true},
		{strings.Repeat("a", 1000), strings.Repeat("*a", 200) + "b", false},
	} {
		if got := match(c.name, c.pattern, '/'); got != c.want {
			t.Errorf("match(%.20q, %.20q) = %v", c.name, c.pattern, got)
		}
	}
}

// FuzzSession plays a session with one letter and whatever commands.
func FuzzSession(f *testing.F) {
	for _, s := range []string{
		"a NOOP\r\n", "a LOGOUT\r\n", "a FETCH 1 (BODY[1.2.MIME] ENVELOPE BODYSTRUCTURE BINARY[1]<0.5>)\r\n", "a SEARCH OR NOT (SEEN) HEADER x y 1:*\r\n",
		"a STORE 1 +FLAGS (\\Seen a)\r\n", "a APPEND INBOX () {3+}\r\nabc\r\nb COPY 1 INBOX\r\n", "a LIST (SUBSCRIBED) \"\" (% *) RETURN (STATUS (SIZE))\r\n",
		"a IDLE\r\nDONE\r\n", "a UID EXPUNGE $\r\n", "a AUTHENTICATE PLAIN =\r\n", "a SELECT {5}\r\nINBOX\r\n", "a ID (\"a\" NIL)\r\n", "a ENABLE IMAP4rev2\r\nb STATUS x (MESSAGES)\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		fx := newFixture(t)
		fx.deliver("1.M1.h", "Subject: x\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\ntext\n--b--\n")
		out := &bytes.Buffer{}
		c := &scriptConn{in: bytes.NewReader(append([]byte("0 LOGIN ann \"open sesame\"\r\n1 SELECT INBOX\r\n"), in...)), out: out}
		fx.server.Serve(t.Context(), c)
		if !bytes.HasSuffix(out.Bytes(), []byte("\r\n")) {
			t.Errorf("it ends in the middle of a line: %q", out.String())
		}
	})
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
func (c *scriptConn) WaitInput(<-chan struct{}) (bool, error) {
	return c.in.Len() > 0, map[bool]error{true: nil, false: io.EOF}[c.in.Len() > 0]
}
