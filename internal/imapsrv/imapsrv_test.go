package imapsrv

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
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
	wake  chan struct{}
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
func (c *testConn) Write(p []byte) (int, error)                   { return c.w.Write(p) }
func (c *testConn) Flush() error                                  { return c.w.Flush() }
func (c *testConn) Proto() string                                 { return "imap" }
func (c *testConn) Peer() netip.AddrPort                          { return netip.MustParseAddrPort("192.0.2.7:1") }
func (c *testConn) Certificates() (own, client *x509.Certificate) { return nil, nil }
func (c *testConn) TLS() *tls.ConnectionState                     { return nil }
func (c *testConn) StartTLS(context.Context) error                { return nil }
func (c *testConn) PlaintextOK(string) bool                       { return c.plain }
func (c *testConn) SetIdleTimeout(time.Duration)                  {}
func (c *testConn) Busy(bool)                                     {}
func (c *testConn) Draining() <-chan struct{}                     { return c.drain }

func (c *testConn) Wake() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (c *testConn) WaitInput() (bool, error) {
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
	case <-c.wake:
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
	server *Server
	heard  map[net.Conn]*bufio.Reader // what the server has said, of each session
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	f := &fixture{t: t, root: filepath.Join(t.TempDir(), "Maildir"), heard: map[net.Conn]*bufio.Reader{}}
	users := filepath.Join(t.TempDir(), "users")
	os.WriteFile(users, []byte("ann:{PLAIN}open sesame\n"), 0o600)
	accounts, err := auth.OpenFile(users, nil)
	if err != nil {
		t.Fatal(err)
	}
	f.server = &Server{Accounts: accounts, StartTLS: true, Version: "test"}
	f.process()
	return f
}

// process has the sessions that begin from now on be of another process.
func (f *fixture) process() {
	store, server := mailbox.NewStore(durable.New(), mailbox.Options{}), *f.server
	f.t.Cleanup(func() { store.Close() })
	server.Open = func(ctx context.Context, _ auth.Account) (*account.Tree, error) {
		return account.Open(ctx, store, f.root, account.Options{})
	}
	f.server = &server
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
	serve := f.server.Serve
	go func() {
		defer close(done)
		serve(context.Background(), &testConn{Conn: server, w: bufio.NewWriter(server), plain: true, drain: make(chan struct{}), wake: make(chan struct{}, 1)})
		server.Close()
	}()
	f.t.Cleanup(func() { client.Close(); <-done })
	f.heard[client] = bufio.NewReader(client)
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

// talk plays a dialogue. Its lines are
//
//	C text       sent, with CRLF; \r \n \0 and \xFF stand for octets,
//	             [[text]] for a literal that is not asked for
//	S pattern    the next line that the server says fits
//	S...         skip to the next line that fits
//	D name       a letter is delivered; with a file after the name it is that of testdata
//	login        log in as ann
func (f *fixture) talk(c net.Conn, dialogue string) {
	f.t.Helper()
	dialogue = strings.ReplaceAll("\n"+dialogue, "\nlogin\n", login)
	r := f.heard[c]
	skip := false
	for _, line := range strings.Split(dialogue, "\n") {
		verb, text, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch verb {
		case "", "#":
		case "C":
			fmt.Fprintf(c, "%s\r\n", unescape(text))
		case "S...":
			skip = true
		case "D":
			f.deliverFile(text)
		case "S":
			f.expect(c, r, text, skip)
			skip = false
		default:
			f.t.Fatalf("no such line: %q", line)
		}
	}
}

var escape = regexp.MustCompile(`\\(r|n|0|x[0-9A-F]{2})`)

var braced = regexp.MustCompile(`\[\[(.*?)\]\]`)

func unescape(s string) string {
	s = braced.ReplaceAllStringFunc(s, func(l string) string {
		text := unescape(l[2 : len(l)-2])
		return fmt.Sprintf("{%d+}\r\n%s", len(text), text)
	})
	return escape.ReplaceAllStringFunc(s, func(e string) string {
		switch e[1] {
		case 'r':
			return "\r"
		case 'n':
			return "\n"
		case '0':
			return "\x00"
		}
		n, _ := strconv.ParseUint(e[2:], 16, 8)
		return string([]byte{byte(n)})
	})
}

// deliverFile delivers a letter of testdata, or a short one.
func (f *fixture) deliverFile(text string) {
	f.t.Helper()
	name, file, ok := strings.Cut(text, " ")
	if !ok {
		f.deliver(name, "Subject: new\n\nnew text\n")
		return
	}
	b, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		f.t.Fatal(err)
	}
	f.deliver(name, string(b))
}

// expect reads a line that fits, with skip after any others.
func (f *fixture) expect(c net.Conn, r *bufio.Reader, pattern string, skip bool) {
	f.t.Helper()
	re := regexp.MustCompile("^(?:" + pattern + ")$")
	c.SetReadDeadline(time.Now().Add(time.Minute))
	for {
		got, err := r.ReadString('\n')
		got = strings.TrimSuffix(got, "\r\n")
		if err == nil && re.MatchString(got) {
			return
		}
		if err != nil || !skip {
			f.t.Fatalf("server said %q (%v), want %q", got, err, pattern)
		}
	}
}

// login stands for these lines in a dialogue.
const login = `
	S \* OK \[CAPABILITY .*\] .*
	C a LOGIN ann "open sesame"
	S a OK \[CAPABILITY .*\] logged in
`

// TestDialogues plays the dialogues of testdata: each begins with "== what it
// shows", and is played on a fresh account. For the lines see talk.
func TestDialogues(t *testing.T) {
	files, _ := filepath.Glob("testdata/*.talk")
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range strings.Split("\n"+string(b), "\n== ")[1:] {
			name, text, _ := strings.Cut(part, "\n")
			t.Run(strings.TrimSuffix(filepath.Base(file), ".talk")+"/"+name, func(t *testing.T) {
				t.Parallel()
				f := newFixture(t)
				f.talk(f.dial(), text)
			})
		}
	}
}

func TestSequenceNumbersStayDuringFetch(t *testing.T) {
	f := newFixture(t)
	for i := range 3 {
		f.deliver(fmt.Sprintf("%d.M1.h", i+1), "Subject: x\n\ny\n")
	}
	a, b := f.dial(), f.dial()
	f.talk(a, "login\nC a SELECT INBOX\nS...\nS a OK .*")
	f.talk(b, "login\nC a SELECT INBOX\nS...\nS a OK .*\nC b STORE 1 +FLAGS.SILENT \\Deleted\nS b OK .*\nC c EXPUNGE\nS \\* 1 EXPUNGE\nS...\nS c OK .*")
	f.talk(a, `
		C b FETCH 3 UID
		S...
		S b OK .*
		C b2 COPY 1:2 INBOX
		S b2 NO \[EXPUNGEISSUED\] .*
		C b3 FETCH 1 BODY.PEEK[TEXT]
		S \* 1 FETCH \(BODY\[TEXT\] \{3\}
		S y
		S \)
		S b3 OK .*
		C c NOOP
		S \* 1 EXPUNGE
		S...
		S c OK .*
		C d FETCH 2 UID
		S \* 2 FETCH \(UID 3\)
		S d OK .*`)
}

// A clearConn is one over which no password may go.
type clearConn struct{ scriptConn }

func (*clearConn) PlaintextOK(string) bool { return false }

func TestNoPasswordsInTheClear(t *testing.T) {
	f := newFixture(t)
	c := &clearConn{scriptConn{in: bytes.NewReader([]byte("a LOGIN ann \"open sesame\"\r\nb AUTHENTICATE PLAIN AGFubgBvcGVuIHNlc2FtZQ==\r\nc SELECT INBOX\r\n")), out: &bytes.Buffer{}}}
	f.server.Serve(t.Context(), c)
	got := c.out.String()
	for _, want := range []string{" LOGINDISABLED]", "\r\na NO [PRIVACYREQUIRED] ", "\r\nb NO ", "\r\nc BAD "} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in %q", want, got)
		}
	}
	if strings.Contains(got, "AUTH=PLAIN") || strings.Contains(got, "AUTH=LOGIN") {
		t.Errorf("it asks for passwords: %q", got)
	}
}

func TestPreauth(t *testing.T) {
	f := newFixture(t)
	f.server.Preauth = &auth.Account{Name: "ann"}
	f.talk(f.dial(), "S \\* PREAUTH \\[CAPABILITY .*\\] logged in as ann\nC a LOGIN ann x\nS a BAD .*\nC b UNAUTHENTICATE\nS b BAD .*\nC c SELECT INBOX\nS...\nS c OK .*")
}

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		name, pattern string
		want          bool
	}{
		{"INBOX", "inbox", true}, {"INBOX", "%", true}, {"INBOX/a", "inb*", true}, {"INBOX/a", "inbox/A", false}, {"INBOXES", "inboxes", false}, {"a/b", "%", false}, {"a/b", "*", true}, {"a/b", "%/%", true}, {"a/b/c", "a/*c", true},
		{"a/b/c", "a/%c", false}, {"a", "", false}, {"", "*", true}, {"ab", "a%b%", true}, {"a/b", "a%b", false}, {"x/ab/c", "*a%/c", true},
		{strings.Repeat("a", 1000), strings.Repeat("*a", 200) + "b", false},
	} {
		if got := match(c.name, c.pattern, '/'); got != c.want {
			t.Errorf("match(%.20q, %.20q) = %v", c.name, c.pattern, got)
		}
	}
}
