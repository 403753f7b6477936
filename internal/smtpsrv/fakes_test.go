package smtpsrv

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"postbag/internal/address"
	"postbag/internal/spool"
	"postbag/internal/status"
)

// fakeConn is a Conn on any net.Conn.
type fakeConn struct {
	net.Conn
	w        *bufio.Writer
	proto    string
	peer     netip.AddrPort
	loopback bool
	tls      *tls.ConnectionState
	own, who *x509.Certificate
	draining chan struct{}
}

func newFakeConn(c net.Conn, proto, peer string) *fakeConn {
	f := &fakeConn{Conn: c, w: bufio.NewWriterSize(c, 64<<10), proto: proto, draining: make(chan struct{})}
	if peer != "" {
		f.peer = netip.AddrPortFrom(netip.MustParseAddr(peer), 4711)
		f.loopback = f.peer.Addr().IsLoopback()
	}
	return f
}

func (f *fakeConn) Read(p []byte) (int, error) {
	if err := f.w.Flush(); err != nil {
		return 0, err
	}
	return f.Conn.Read(p)
}
func (f *fakeConn) Write(p []byte) (int, error) { return f.w.Write(p) }
func (f *fakeConn) Flush() error                { return f.w.Flush() }
func (f *fakeConn) Proto() string               { return f.proto }
func (f *fakeConn) Peer() netip.AddrPort        { return f.peer }
func (f *fakeConn) Loopback() bool              { return f.loopback }
func (f *fakeConn) TLS() *tls.ConnectionState   { return f.tls }
func (f *fakeConn) Certificates() (own, client *x509.Certificate) {
	return f.own, f.who
}
func (f *fakeConn) PlaintextOK(policy string) bool { return f.tls != nil || f.loopback }
func (f *fakeConn) SetIdleTimeout(time.Duration)   {}
func (f *fakeConn) Busy(bool)                      {}
func (f *fakeConn) Draining() <-chan struct{}      { return f.draining }
func (f *fakeConn) StartTLS(context.Context) error {
	state := fakeTLS()
	f.tls = &state
	return nil
}

// fakeTLS is the state of some connection, with one name for its cipher.
var fakeTLS = sync.OnceValue(func() tls.ConnectionState {
	site := httptest.NewTLSServer(nil)
	defer site.Close()
	client, server := net.Pipe()
	defer client.Close()
	go tls.Client(client, &tls.Config{InsecureSkipVerify: true}).Handshake()
	inner := tls.Server(server, &tls.Config{Certificates: site.TLS.Certificates})
	if err := inner.Handshake(); err != nil {
		panic(err)
	}
	state := inner.ConnectionState()
	state.CipherSuite = tls.TLS_AES_128_GCM_SHA256
	return state
})

// memConn is a net.Conn that says what was recorded and then ends.
type memConn struct {
	net.Conn
	in  *bytes.Reader
	cut int // most octets of one Read; 0 for no limit
	out bytes.Buffer
}

func (m *memConn) Read(p []byte) (int, error) {
	if m.cut > 0 && len(p) > m.cut {
		p = p[:m.cut]
	}
	return m.in.Read(p)
}
func (m *memConn) Write(p []byte) (int, error) { return m.out.Write(p) }

// fakeIntake keeps letters in memory.
type fakeIntake struct {
	mu        sync.Mutex
	n         int
	open      int // begun and neither committed nor discarded
	letters   []fakeLetter
	full      bool             // Begin fails as on a full disk
	writeErr  error            // Write fails
	commitErr error            // Commit fails
	perRcpt   map[string]error // by local part
}

type fakeLetter struct {
	env  *spool.Envelope
	text string
}

func (f *fakeIntake) Begin(_ context.Context, env *spool.Envelope) (Transaction, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.full {
		return nil, fmt.Errorf("create file: %w", syscall.ENOSPC)
	}
	f.n++
	f.open++
	env.ID = spool.ID(fmt.Sprintf("ID%d", f.n))
	return &fakeTx{f: f, env: env}, nil
}

type fakeTx struct {
	f   *fakeIntake
	env *spool.Envelope
	buf bytes.Buffer
}

func (t *fakeTx) Write(p []byte) (int, error) {
	if t.f.writeErr != nil {
		return 0, t.f.writeErr
	}
	return t.buf.Write(p)
}

func (t *fakeTx) Commit(context.Context) ([]error, error) {
	t.f.mu.Lock()
	defer t.f.mu.Unlock()
	t.f.open--
	if t.f.commitErr != nil {
		return nil, t.f.commitErr
	}
	t.f.letters = append(t.f.letters, fakeLetter{t.env, t.buf.String()})
	errs := make([]error, len(t.env.To))
	for i, r := range t.env.To {
		errs[i] = t.f.perRcpt[r.Address.Local]
	}
	return errs, nil
}

func (t *fakeTx) Discard() {
	t.f.mu.Lock()
	defer t.f.mu.Unlock()
	t.f.open--
}

// fakeRecipients knows ann and bob at example.org and relays for example.net.
type fakeRecipients struct{}

func (fakeRecipients) Local(a address.Address) bool {
	return a.Domain == "" || strings.EqualFold(a.Domain, "example.org")
}
func (fakeRecipients) Relay(a address.Address) bool {
	return strings.EqualFold(a.Domain, "example.net")
}
func (r fakeRecipients) Check(_ context.Context, _, a address.Address) error {
	if !r.Local(a) {
		return nil
	}
	switch strings.ToLower(a.Local) {
	case "ann", "bob", "carl", "postmaster", "a b@x", "jörg":
		return nil
	case "broken":
		return status.Temp("look up broken", "4.3.0", "aliases cannot be read", syscall.EIO)
	}
	return status.Perm("look up "+a.String(), "5.1.1", "<"+a.String()+">: no such user here", errRefused)
}

var testTime = time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC)

func newTestServer() (*Server, *fakeIntake) {
	in := &fakeIntake{perRcpt: map[string]error{"carl": &status.Error{Op: "deliver", Code: "4.2.2", Reply: 452, Text: "mailbox full", Err: errRefused}}}
	return &Server{
		Hostname:   "mx.example.org",
		Intake:     in,
		Recipients: fakeRecipients{},
		RelayFrom:  []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8")},
		MaxSize:    1 << 20,
		StartTLS:   true,
		UID:        1000,
		Now:        func() time.Time { return testTime },
	}, in
}

// converse gives a session the whole input at once and returns all it said.
func converse(t testing.TB, s *Server, proto, peer, input string) string {
	t.Helper()
	c := &memConn{in: bytes.NewReader([]byte(input))}
	if err := s.Serve(context.Background(), newFakeConn(c, proto, peer)); err != nil {
		t.Errorf("Serve: %v", err)
	}
	return c.out.String()
}

// nullIntake throws letters away.
type nullIntake struct{}

func (nullIntake) Begin(_ context.Context, env *spool.Envelope) (Transaction, error) {
	env.ID = "ID"
	return nullTx{}, nil
}

type nullTx struct{}

func (nullTx) Write(p []byte) (int, error)             { return len(p), nil }
func (nullTx) Commit(context.Context) ([]error, error) { return nil, nil }
func (nullTx) Discard()                                {}
