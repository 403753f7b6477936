package popsrv

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
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

	"postbag/internal/auth"
	"postbag/internal/durable"
	"postbag/internal/mailbox"
	"postbag/internal/maillog"
)

// oneUser knows ann, whose password is "open sesame".
type oneUser struct{ auth.Directory }

func (oneUser) Verify(_ context.Context, login, password string) (auth.Account, error) {
	if login != "ann" || password != "open sesame" {
		return auth.Account{}, auth.ErrBadCredentials
	}
	return auth.Account{Name: "ann"}, nil
}

func (oneUser) SCRAMPossible() bool  { return false }
func (oneUser) TokensPossible() bool { return true }

// Token knows the token of ann, and trouble.
func (oneUser) Token(_ context.Context, login, token string) (auth.Account, error) {
	switch token {
	case goodToken:
		return auth.Account{Name: "ann"}, nil
	case "trouble":
		return auth.Account{}, errors.New("no answer")
	}
	return auth.Account{}, &auth.TokenError{Status: "invalid_token", Scope: "mail"}
}

// goodToken is one as some providers have them: of 10 KiB.
var goodToken = strings.Repeat("token.10KiB", 931)

// pipeConn is a Conn over net.Pipe.
type pipeConn struct {
	net.Conn
	w         *bufio.Writer
	secret    bool
	drain     chan struct{}
	plaintext bool
}

func (c *pipeConn) Read(p []byte) (int, error) {
	if err := c.w.Flush(); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

func (c *pipeConn) Write(p []byte) (int, error)  { return c.w.Write(p) }
func (c *pipeConn) Flush() error                 { return c.w.Flush() }
func (c *pipeConn) Proto() string                { return "pop3" }
func (c *pipeConn) Peer() netip.AddrPort         { return netip.MustParseAddrPort("192.0.2.7:1") }
func (c *pipeConn) PlaintextOK(string) bool      { return c.plaintext || c.secret }
func (c *pipeConn) SetIdleTimeout(time.Duration) {}
func (c *pipeConn) Busy(bool)                    {}
func (c *pipeConn) Draining() <-chan struct{}    { return c.drain }
func (c *pipeConn) StartTLS(context.Context) error {
	c.secret = true
	return nil
}
func (c *pipeConn) Certificates() (own, client *x509.Certificate) { return nil, nil }
func (c *pipeConn) TLS() *tls.ConnectionState {
	if c.secret {
		return &tls.ConnectionState{}
	}
	return nil
}

// A fixture is a Maildir and a server for it.
type fixture struct {
	dir    string
	store  *mailbox.Store
	server *Server
	events []maillog.Session
}

func newFixture(t testing.TB, letters ...string) *fixture {
	t.Helper()
	f := &fixture{dir: filepath.Join(t.TempDir(), "Maildir"), store: mailbox.NewStore(durable.New(), mailbox.Options{NoWatch: true})}
	t.Cleanup(func() { f.store.Close() })
	for _, sub := range []string{"new", "cur", "tmp"} {
		if err := os.MkdirAll(filepath.Join(f.dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for i, l := range letters {
		f.deliver(t, i, l)
	}
	f.server = &Server{Hostname: "mx.example.org", Accounts: oneUser{}, StartTLS: true,
		Open:   func(ctx context.Context, _ auth.Account) (*mailbox.Folder, error) { return f.store.Open(ctx, f.dir) },
		Report: func(e maillog.Session) { f.events = append(f.events, e) }}
	return f
}

func (f *fixture) deliver(t testing.TB, i int, text string) {
	t.Helper()
	name := fmt.Sprintf("%s/new/100%d.M1P1.host", f.dir, i)
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (f *fixture) left(t *testing.T) []string {
	t.Helper()
	names, err := filepath.Glob(f.dir + "/new/*")
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// play runs a session by a script: "C: " the client says, "S: " the server must
// say (as a regular expression, whole), "hang up" the client goes away.
func (f *fixture) play(t *testing.T, conn *pipeConn, script string) {
	t.Helper()
	client, server := net.Pipe()
	conn.Conn, conn.w = server, bufio.NewWriterSize(server, 1<<20)
	if conn.drain == nil {
		conn.drain = make(chan struct{})
	}
	done := make(chan error, 1)
	go func() {
		err := f.server.Serve(t.Context(), conn)
		server.Close()
		done <- err
	}()
	r := bufio.NewReader(client)
	for _, line := range strings.Split(strings.TrimSpace(script), "\n") {
		line = strings.TrimSpace(line)
		switch {
		case line == "hang up":
			client.Close()
		case strings.HasPrefix(line, "C:"):
			io.WriteString(client, strings.ReplaceAll(strings.TrimPrefix(line[2:], " "), `\r\n`, "\r\n")+"\r\n")
		case strings.HasPrefix(line, "S:"):
			want := strings.TrimPrefix(line[2:], " ")
			got, err := r.ReadString('\n')
			if ok, _ := regexp.MatchString("^(?:"+want+")\r\n$", got); !ok {
				t.Errorf("server said %q, %v, want %q", got, err, want)
				client.Close()
			}
		}
	}
	if rest, _ := io.ReadAll(io.LimitReader(r, 1000)); len(rest) > 0 {
		t.Errorf("server said more: %q", rest)
	}
	client.Close()
	if err := <-done; err != nil && !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("Serve = %v", err)
	}
}

const login = `
	S: \+OK mx.example.org POP3 server ready
	C: USER ann
	S: \+OK
	C: PASS open sesame
	S: \+OK logged in, .*
	`

func TestDialogues(t *testing.T) {
	tests := []struct {
		name, script string
		clear        bool // passwords may go in the clear
		left         int
	}{
		{"a whole session", login + `
			C: STAT
			S: \+OK 3 63
			C: LIST
			S: \+OK 3 letters \(63 octets\)
			S: 1 25
			S: 2 17
			S: 3 21
			S: \.
			C: LIST 2
			S: \+OK 2 17
			C: RETR 2
			S: \+OK 17 octets
			S: Subject: two
			S:
			S: x
			S: \.
			C: RETR 1
			S: \+OK 25 octets
			S: Subject: one
			S:
			S: \.\.dot
			S: \.\.
			S: \.
			C: TOP 1 1
			S: \+OK .*
			S: Subject: one
			S:
			S: \.\.dot
			S: \.
			C: TOP 1 0
			S: \+OK .*
			S: Subject: one
			S:
			S: \.
			C: DELE 1
			S: \+OK marked
			C: DELE 1
			S: -ERR no such letter
			C: STAT
			S: \+OK 2 38
			C: RETR 1
			S: -ERR no such letter
			C: QUIT
			S: \+OK bye, 1 letters deleted`, true, 2},
		{"a dropped connection deletes nothing", login + "C: DELE 1\nS: \\+OK marked\nhang up", true, 3},
		{"RSET takes back", login + "C: DELE 1\nS: \\+OK marked\nC: RSET\nS: \\+OK\nC: QUIT\nS: \\+OK bye, 0 letters deleted", true, 3},
		{"unique-ids", login + `
			C: UIDL
			S: \+OK
			S: 1 00000001[0-9a-f]{8}
			S: 2 00000002[0-9a-f]{8}
			S: 3 00000003[0-9a-f]{8}
			S: \.
			C: UIDL 3
			S: \+OK 3 00000003[0-9a-f]{8}
			C: UIDL 4
			S: -ERR no such letter
			C: UIDL x
			S: -ERR .*
			C: QUIT
			S: \+OK .*`, true, 3},
		{"pipelining", `
			S: \+OK .*
			C: USER ann\r\nPASS open sesame\r\nDELE 1\r\nNOOP\r\nQUIT
			S: \+OK
			S: \+OK logged in.*
			S: \+OK marked
			S: \+OK
			S: \+OK bye, 1 letters deleted`, true, 2},
		{"a password in the clear is not taken", `
			S: \+OK .*
			C: CAPA
			S: \+OK .*
			S: TOP
			S: UIDL
			S: RESP-CODES
			S: AUTH-RESP-CODE
			S: PIPELINING
			S: UTF8 USER
			S: LANG
			S: EXPIRE NEVER
			S: STLS
			S: IMPLEMENTATION postbag
			S: \.
			C: USER ann
			S: -ERR \[AUTH\] .*
			C: PASS open sesame
			S: -ERR \[AUTH\] .*
			C: AUTH PLAIN AGFubgBvcGVuIHNlc2FtZQ==
			S: -ERR \[AUTH\] .*
			C: STLS
			S: \+OK begin TLS
			C: STLS
			S: -ERR .*
			C: USER ann
			S: \+OK
			C: PASS open sesame
			S: \+OK logged in.*
			C: QUIT
			S: \+OK .*`, false, 3},
		{"what was pipelined after STLS counts for nothing", `
			S: \+OK .*
			C: STLS\r\nUSER mallory
			S: \+OK begin TLS
			C: PASS open sesame
			S: -ERR USER first
			C: QUIT
			S: \+OK bye`, false, 3},
		{"a bad login says [AUTH], and a few end the session", `
			S: \+OK .*
			C: USER eve
			S: \+OK
			C: PASS x
			S: -ERR \[AUTH\] authentication failed
			C: USER ann
			S: \+OK
			C: PASS x
			S: -ERR \[AUTH\] authentication failed
			C: AUTH PLAIN AGFubgB4
			S: -ERR \[AUTH\] authentication failed
			C: AUTH PLAIN
			S: \+\s
			C: AGFubgB4
			S: -ERR \[AUTH\] authentication failed
			C: AUTH PLAIN AGFubgB4
			S: -ERR \[AUTH\] authentication failed`, true, 3},
		{"AUTH", `
			S: \+OK .*
			C: AUTH
			S: \+OK
			S: PLAIN
			S: LOGIN
			S: OAUTHBEARER
			S: XOAUTH2
			S: \.
			C: AUTH NONE
			S: -ERR there is no such mechanism here
			C: AUTH PLAIN !
			S: -ERR .*
			C: AUTH PLAIN
			S: \+\s
			C: *
			S: -ERR given up
			C: AUTH PLAIN AGFubgBvcGVuIHNlc2FtZQ==
			S: \+OK logged in.*
			C: AUTH PLAIN AGFubgBvcGVuIHNlc2FtZQ==
			S: -ERR .*
			C: QUIT
			S: \+OK .*`, true, 3},
		{"commands of the wrong state", "S: .*\nC: STAT\nS: -ERR .*\nC: DELE 1\nS: -ERR .*\nC: PASS x\nS: -ERR USER first\nC: FOO\nS: -ERR .*\nC: UTF8\nS: \\+OK .*\nC: QUIT\nS: \\+OK bye", true, 3},
		{"a line that is too long is refused whole", "S: .*\nC: USER " + strings.Repeat("x", 20000) + "\nS: -ERR line too long\nC: QUIT\nS: \\+OK bye", true, 3},
		{"capabilities after the login are the same but STLS", login + `
			C: CAPA
			S: \+OK .*
			S: TOP
			S: UIDL
			S: RESP-CODES
			S: AUTH-RESP-CODE
			S: PIPELINING
			S: UTF8 USER
			S: LANG
			S: EXPIRE NEVER
			S: USER
			S: SASL PLAIN LOGIN OAUTHBEARER XOAUTH2
			S: IMPLEMENTATION postbag
			S: \.
			C: STLS
			S: -ERR .*
			C: UTF8
			S: -ERR .*
			C: QUIT
			S: \+OK .*`, true, 3},
		{"languages", `
			S: \+OK .*
			C: LANG
			S: \+OK .*
			S: en English
			S: i-default .*
			S: \.
			C: LANG *
			S: \+OK i-default .*
			C: LANG EN-gb
			S: \+OK en .*
			C: LANG uga
			S: -ERR .*
			C: QUIT
			S: \+OK bye`, true, 3},
		{"a browser is sent away", "S: .*\nC: GET / HTTP/1.1\nS: -ERR this is a mail server", true, 3},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t, "Subject: one\n\n.dot\n.\n", "Subject: two\n\nx", "Subject: three\n\nx\n")
			f.play(t, &pipeConn{plaintext: tt.clear}, tt.script)
			if left := f.left(t); len(left) != tt.left {
				t.Errorf("%d letters are left in new/, want %d", len(left), tt.left)
			}
		})
	}
}

func TestOthersChangesDoNotDisturb(t *testing.T) {
	f := newFixture(t, "Subject: one\n\nx\n", "Subject: two\n\ny\n")
	other, err := f.store.Open(t.Context(), f.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	f.server.Open = func(ctx context.Context, _ auth.Account) (*mailbox.Folder, error) { return f.store.Open(ctx, f.dir) }
	client, server := net.Pipe()
	conn := &pipeConn{Conn: server, w: bufio.NewWriterSize(server, 1<<20), drain: make(chan struct{}), plaintext: true}
	done := make(chan error, 1)
	go func() { done <- f.server.Serve(t.Context(), conn); server.Close() }()
	r := bufio.NewReader(client)
	say := func(command, want string) {
		t.Helper()
		if command != "" {
			io.WriteString(client, command+"\r\n")
		}
		if got, _ := r.ReadString('\n'); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %q, want %q", command, got, want)
		}
	}
	say("", "+OK")
	say("USER ann", "+OK")
	say("PASS open sesame", "+OK logged in, 2")
	if err := other.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := other.Expunge(t.Context(), []uint32{1}); err != nil {
		t.Fatal(err)
	}
	f.deliver(t, 7, "Subject: three\n\nz\n")
	say("STAT", "+OK 2 ")
	say("LIST 2", "+OK 2 ")
	say("DELE 1", "+OK")
	say("QUIT", "+OK")
	if err := <-done; err != nil {
		t.Error(err)
	}
	client.Close()
}

func TestDraining(t *testing.T) {
	f := newFixture(t, "Subject: one\n\nx\n")
	drain := make(chan struct{})
	close(drain)
	f.play(t, &pipeConn{plaintext: true, drain: drain}, "S: \\+OK .*\nS: -ERR \\[SYS/TEMP\\] .*")
}

func TestPreauthAndEvents(t *testing.T) {
	f := newFixture(t, "Subject: one\n\nx\n")
	f.server.Preauth = &auth.Account{Name: "ann"}
	f.play(t, &pipeConn{}, "S: \\+OK logged in.*\nC: RETR 1\nS: \\+OK .*\nS: Subject: one\nS:\nS: x\nS: \\.\nC: DELE 1\nS: .*\nC: QUIT\nS: .*")
	if len(f.events) != 2 || f.events[0].Kind != maillog.LoggedIn || f.events[0].Method != "preauth" || f.events[1].Kind != maillog.LoggedOut ||
		f.events[1].Retrieved != 1 || f.events[1].Deleted != 1 || !f.events[1].Clean {
		t.Errorf("events %+v", f.events)
	}
}

func TestStuffer(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"nothing", "", ".\r\n"},
		{"dots", ".\r\n..\r\na.\r\n", "..\r\n...\r\na.\r\n.\r\n"},
		{"no line end", "a", "a\r\n.\r\n"},
		{"a dot after a bare LF", "a\n.\r\n", "a\n..\r\n.\r\n"},
		{"a CR at the end", "a\r", "a\r\n.\r\n"},
	}
	for _, tt := range tests {
		for size := 1; size <= len(tt.in)+1; size++ {
			var out bytes.Buffer
			s := &stuffer{w: &out, start: true}
			for rest := tt.in; rest != ""; {
				n := min(size, len(rest))
				io.WriteString(s, rest[:n])
				rest = rest[n:]
			}
			if err := s.finish(); err != nil || out.String() != tt.want {
				t.Errorf("%s, %d at a time: %q, want %q", tt.name, size, out.String(), tt.want)
			}
		}
	}
}

func TestTopper(t *testing.T) {
	const letter = "A: b\r\nC: d\r\n\r\none\r\ntwo\r\nthree"
	for lines, want := range []string{"A: b\r\nC: d\r\n\r\n", "A: b\r\nC: d\r\n\r\none\r\n", "A: b\r\nC: d\r\n\r\none\r\ntwo\r\n", letter, letter} {
		for size := 1; size <= len(letter); size++ {
			var out bytes.Buffer
			w := &topper{w: &out, left: lines, start: true}
			var err error
			for rest := letter; rest != "" && err == nil; {
				n := min(size, len(rest))
				_, err = io.WriteString(w, rest[:n])
				rest = rest[n:]
			}
			if out.String() != want {
				t.Errorf("%d lines, %d at a time: %q, want %q", lines, size, out.String(), want)
			}
		}
	}
}

func FuzzSession(f *testing.F) {
	f.Add("USER ann\r\nPASS open sesame\r\nSTAT\r\nRETR 1\r\nTOP 1 1\r\nDELE 1\r\nLIST\r\nUIDL\r\nRSET\r\nQUIT\r\n")
	f.Add("AUTH PLAIN\r\nAGFubgBvcGVuIHNlc2FtZQ==\r\nSTLS\r\nCAPA\r\n")
	f.Add("AUTH OAUTHBEARER " + bearer("x") + "\r\nAQ==\r\nAUTH XOAUTH2\r\n" + xoauth2(goodToken) + "\r\nDELE 1\r\n")
	f.Fuzz(func(t *testing.T, says string) {
		fx := newFixture(t, "Subject: one\n\n.x\n")
		client, server := net.Pipe()
		go func() { io.WriteString(client, says); client.Close() }()
		go io.Copy(io.Discard, client)
		conn := &pipeConn{Conn: server, w: bufio.NewWriter(server), drain: make(chan struct{}), plaintext: true}
		fx.server.Serve(t.Context(), conn)
		server.Close()
		quit := false
		for _, e := range fx.events {
			quit = quit || e.Clean
		}
		if !quit && len(fx.left(t)) != 1 {
			t.Fatal("a letter is gone without QUIT")
		}
	})
}
