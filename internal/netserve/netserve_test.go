package netserve

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"postbag/internal/maillog"
	"postbag/internal/status"
)

// greet is the protocol of the tests: it says who the client is, repeats lines,
// and says bye. "work" makes the session busy until the next line.
func greet(ctx context.Context, c *Conn) error {
	fmt.Fprintf(c, "hello %s from %s loopback=%v tls=%v\r\n", c.Proto(), c.PeerString(), c.Loopback(), c.TLS() != nil)
	in := bufio.NewReader(c)
	for {
		line, err := in.ReadString('\n')
		if errors.Is(err, os.ErrDeadlineExceeded) {
			fmt.Fprint(c, "bye\r\n")
			return nil
		}
		if err != nil {
			return nil
		}
		switch strings.TrimSpace(line) {
		case "quit":
			return nil
		case "work":
			c.Busy(true)
		case "tls":
			fmt.Fprint(c, "go\r\n")
			if err := c.StartTLS(ctx); err != nil {
				return err
			}
			in.Reset(c)
			continue
		default:
			c.Busy(false)
		}
		fmt.Fprint(c, line)
	}
}

// A log collects what a server writes down.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// await waits for a line and gives its submatches.
func (l *logBuffer) await(t *testing.T, pattern string) []string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		l.mu.Lock()
		m := re.FindStringSubmatch(l.b.String())
		l.mu.Unlock()
		if m != nil {
			return m
		}
	}
	t.Fatalf("%q is not in the log: %s", pattern, l.b.String())
	return nil
}

// A server of the tests.
type testServer struct {
	addr    string
	log     *logBuffer
	signals chan os.Signal
	ended   chan error
}

// launch runs a server with one listener at 127.0.0.1, unless o says otherwise.
func launch(t *testing.T, o Options) *testServer {
	t.Helper()
	s := &testServer{log: &logBuffer{}, signals: make(chan os.Signal, 4), ended: make(chan error, 1)}
	log, err := maillog.New(s.log, maillog.Form{Level: "debug", Format: "text"})
	if err != nil {
		t.Fatal(err)
	}
	o.Log, o.Signals = log, s.signals
	if o.Protocols == nil {
		o.Protocols = []string{"smtp", "submissions", "lmtp"}
	}
	if o.Listen == nil {
		o.Listen = []string{"smtp://127.0.0.1:0"}
	}
	if o.StopTimeout == 0 {
		o.StopTimeout = time.Hour
	}
	if o.Handle == nil {
		o.Handle = greet
	}
	over := make(chan struct{})
	go func() { defer close(over); s.ended <- Run(context.Background(), o) }()
	s.addr = s.log.await(t, `msg=listening proto=\S+ addr=(\S+)`)[1]
	t.Cleanup(func() {
		s.signals <- syscall.SIGTERM
		s.signals <- syscall.SIGTERM
		<-over // what it says at its end is not for the next test
	})
	return s
}

// end waits until the server has ended well.
func (s *testServer) end(t *testing.T) {
	t.Helper()
	select {
	case err := <-s.ended:
		if err != nil {
			t.Errorf("Run = %v", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("the server does not end")
	}
}

// A client of the tests.
type client struct {
	net.Conn
	t *testing.T
	r *bufio.Reader
}

func newClient(t *testing.T, c net.Conn) *client {
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(time.Minute))
	return &client{c, t, bufio.NewReader(c)}
}

func dial(t *testing.T, network, addr string) *client {
	t.Helper()
	c, err := net.Dial(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	return newClient(t, c)
}

func (c *client) say(line string) {
	c.t.Helper()
	if _, err := io.WriteString(c, line+"\r\n"); err != nil {
		c.t.Fatal(err)
	}
}

// hears wants a line, or the end for "".
func (c *client) hears(want string) {
	c.t.Helper()
	line, err := c.r.ReadString('\n')
	if got := strings.TrimSpace(line); got != want {
		c.t.Fatalf("server says %q (%v), want %q", got, err, want)
	}
}

func TestSessionsOverTCP(t *testing.T) {
	s := launch(t, Options{})
	c := dial(t, "tcp", s.addr)
	c.hears("hello smtp from 127.0.0.1 loopback=true tls=false")
	c.say("one")
	c.hears("one")
	c.say("quit")
	c.hears("")
}

func TestAConnectionTooManyIsToldSo(t *testing.T) {
	busy := func(proto string, ofAddress bool) string {
		return fmt.Sprintf("too many for %s %v\r\n", proto, ofAddress)
	}
	s := launch(t, Options{MaxConns: 2, Busy: busy})
	a, b := dial(t, "tcp", s.addr), dial(t, "tcp", s.addr)
	a.hears("hello smtp from 127.0.0.1 loopback=true tls=false")
	b.hears("hello smtp from 127.0.0.1 loopback=true tls=false")
	c := dial(t, "tcp", s.addr)
	c.hears("too many for smtp false")
	c.hears("")
	a.say("quit")
	a.hears("") // its place is free a moment later
	for {
		c := dial(t, "tcp", s.addr)
		if line, _ := c.r.ReadString('\n'); strings.HasPrefix(line, "hello") {
			break
		}
	}
}

// The loopback is not counted, so the clients come from elsewhere by PROXY.
func TestConnectionsOfOneAddressAreLimited(t *testing.T) {
	s := launch(t, Options{MaxPerAddress: 1, ProxyFrom: prefixes("127.0.0.0/8"), Busy: func(_ string, ofAddress bool) string { return fmt.Sprintf("too many %v\r\n", ofAddress) }})
	from := func(addr string) *client {
		c := dial(t, "tcp", s.addr)
		family := "TCP4"
		if strings.Contains(addr, ":") {
			family = "TCP6"
		}
		c.say("PROXY " + family + " " + addr + " " + map[string]string{"TCP4": "192.0.2.1", "TCP6": "2001:db8::1"}[family] + " 4711 25")
		return c
	}
	first := from("192.0.2.7")
	first.hears("hello smtp from 192.0.2.7 loopback=false tls=false")
	from("192.0.2.7").hears("too many true")
	from("192.0.2.8").hears("hello smtp from 192.0.2.8 loopback=false tls=false")
	from("2001:db8::1").hears("hello smtp from 2001:db8::1 loopback=false tls=false")
	from("2001:db8::ffff:2").hears("too many true") // the same /64
	from("2001:db8:0:1::1").hears("hello smtp from 2001:db8:0:1::1 loopback=false tls=false")
	for range 3 {
		dial(t, "tcp", s.addr) // without a header they count for nobody
	}
}

func prefixes(s string) []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix(s)} }

func TestSIGTERMEndsIdleSessionsAtOnceAndLetsOthersFinish(t *testing.T) {
	s := launch(t, Options{})
	idle, busy := dial(t, "tcp", s.addr), dial(t, "tcp", s.addr)
	idle.hears("hello smtp from 127.0.0.1 loopback=true tls=false")
	busy.hears("hello smtp from 127.0.0.1 loopback=true tls=false")
	busy.say("work")
	busy.hears("work")
	s.signals <- syscall.SIGTERM
	idle.hears("bye")
	idle.hears("")
	if c, err := net.Dial("tcp", s.addr); err == nil {
		c.SetReadDeadline(time.Now().Add(time.Minute))
		if line, _ := io.ReadAll(c); strings.Contains(string(line), "hello") {
			t.Errorf("a server that stops takes a session: %q", line)
		}
	}
	s.signals <- syscall.SIGHUP // means nothing now
	busy.say("done")
	busy.hears("done")
	busy.hears("bye")
	s.end(t)
	s.log.await(t, "msg=stopping why=terminated")
}

func TestASecondSIGTERMEndsAllAtOnce(t *testing.T) {
	s := launch(t, Options{})
	busy := dial(t, "tcp", s.addr)
	busy.hears("hello smtp from 127.0.0.1 loopback=true tls=false")
	busy.say("work")
	busy.hears("work")
	s.signals <- syscall.SIGTERM
	s.signals <- syscall.SIGTERM
	busy.hears("bye")
	s.end(t)
}

func TestASecondSIGTERMEndsOneWhoDoesNotRead(t *testing.T) {
	flood := func(_ context.Context, c *Conn) error {
		c.Busy(true)
		for {
			if _, err := c.Write(make([]byte, 64<<10)); err != nil {
				return err
			}
		}
	}
	s := launch(t, Options{Handle: flood})
	dial(t, "tcp", s.addr).r.Peek(1)
	s.signals <- syscall.SIGTERM
	s.signals <- syscall.SIGTERM
	s.end(t)
}

func TestSIGHUPReadsAnew(t *testing.T) {
	broken := make(chan error, 2)
	broken <- nil
	broken <- errors.New("line 3: no such key")
	s := launch(t, Options{Reload: func() error { return <-broken }})
	s.signals <- syscall.SIGHUP
	s.log.await(t, "msg=reloaded what=configuration")
	s.signals <- syscall.SIGHUP
	s.log.await(t, `msg=reload-failed what=configuration why="line 3: no such key"`)
	c := dial(t, "tcp", s.addr)
	c.hears("hello smtp from 127.0.0.1 loopback=true tls=false")
}

func TestErrorsOfTheStartHaveTheirCodes(t *testing.T) {
	used, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer used.Close()
	for name, c := range map[string]struct {
		listen []string
		code   int
	}{
		"a port in use":          {[]string{"smtp://127.0.0.1:0", "smtp://" + used.Addr().String()}, status.ExUnavailable},
		"another protocol":       {[]string{"imap://127.0.0.1:0"}, status.ExConfig},
		"nothing":                {nil, status.ExConfig},
		"no such address here":   {[]string{"smtp://192.0.2.1:0"}, status.ExUnavailable},
		"a path for another one": {[]string{"smtp:///tmp/x"}, status.ExConfig},
		"no such directory":      {[]string{"lmtp:///nonexistent/x"}, status.ExUnavailable},
	} {
		err := Run(t.Context(), Options{Protocols: []string{"smtp", "lmtp"}, Listen: c.listen, Handle: greet})
		if status.ExitCode(err) != c.code {
			t.Errorf("%s: %v, code %d, want %d", name, err, status.ExitCode(err), c.code)
		}
	}
}

func TestUnixSockets(t *testing.T) {
	path := t.TempDir() + "/lmtp"
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	dead.Close() // as a killed process leaves it
	s := launch(t, Options{Listen: []string{"lmtp://" + path}})
	if st, err := os.Stat(path); err != nil || st.Mode() != os.ModeSocket|0o660 {
		t.Errorf("%v, %v; want a socket of mode 0660", st.Mode(), err)
	}
	dial(t, "unix", path).hears("hello lmtp from unknown loopback=true tls=false")
	err = Run(t.Context(), Options{Protocols: []string{"lmtp"}, Listen: []string{"lmtp://" + path}, Handle: greet})
	if status.ExitCode(err) != status.ExUnavailable {
		t.Errorf("a second server at a living socket: %v", err)
	}
	dial(t, "unix", path).hears("hello lmtp from unknown loopback=true tls=false")
	s.signals <- syscall.SIGTERM
	s.end(t)
	if _, err := os.Stat(path); err == nil {
		t.Error("the socket stays behind")
	}
	os.WriteFile(path, nil, 0o600)
	err = Run(t.Context(), Options{Protocols: []string{"lmtp"}, Listen: []string{"lmtp://" + path}, Handle: greet})
	if status.ExitCode(err) != status.ExUnavailable {
		t.Errorf("a file in its place: %v", err)
	}
}

func TestDefaultListen(t *testing.T) {
	for _, c := range []struct {
		private bool
		want    string
	}{
		{false, "smtp://:25 submission://:587 submissions://:465"},
		{true, "smtp://127.0.0.1:2525 submission://127.0.0.1:1587 submissions://127.0.0.1:1465"},
	} {
		got := DefaultListen([]string{"smtp", "submission", "submissions", "lmtp"}, c.private)
		if strings.Join(got, " ") != c.want {
			t.Errorf("%v, want %s", got, c.want)
		}
	}
	if got := DefaultListen([]string{"imap", "imaps"}, true); strings.Join(got, " ") != "imap://127.0.0.1:1143 imaps://127.0.0.1:1993" {
		t.Error(got)
	}
	if got := DefaultListen([]string{"pop3", "pop3s"}, false); strings.Join(got, " ") != "pop3://:110 pop3s://:995" {
		t.Error(got)
	}
}
