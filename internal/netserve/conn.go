package netserve

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/pires/go-proxyproto"
)

// A Conn is one connection with a client. Its methods are for the goroutine of
// its session.
type Conn struct {
	proto    string
	nc       net.Conn
	certs    *Certificates
	peer     netip.AddrPort
	local    netip.AddrPort
	proxied  bool // a PROXY header told the peer
	tls      *tls.Conn
	draining chan struct{}

	out     []byte // not yet written
	pending []byte // read and not yet given, by WaitInput

	mu       sync.Mutex
	idle     time.Duration
	busy     bool
	stopAt   time.Time // end of a draining server's patience; zero while it runs
	awakened bool      // a read was interrupted by WaitInput's channel
	aborted  bool
}

const (
	defaultIdle = 5 * time.Minute
	// writeTimeout bounds one write: a client that takes nothing for so long
	// is gone.
	writeTimeout = 2 * time.Minute
	// handshakeTimeout bounds TLS and PROXY headers.
	handshakeTimeout = 30 * time.Second
	// flushSize is when output is written although more may come.
	flushSize = 32 << 10
)

func newConn(s *server, nc net.Conn, proto string) *Conn {
	return &Conn{proto: proto, nc: nc, certs: s.TLS, draining: s.draining, idle: defaultIdle}
}

// wrap makes a Conn of a connection, behind its PROXY header if one must come.
func (s *server) wrap(nc net.Conn, proto string) (*Conn, error) {
	c := newConn(s, nc, proto)
	c.peer, c.local = addrPort(nc.RemoteAddr()), addrPort(nc.LocalAddr())
	if !contains(s.ProxyFrom, c.peer.Addr()) {
		return c, nil
	}
	p := proxyproto.NewConn(nc, proxyproto.WithPolicy(proxyproto.REQUIRE))
	p.SetReadDeadline(time.Now().Add(handshakeTimeout))
	h := p.ProxyHeader()
	if h == nil {
		return nil, errors.New("no PROXY header")
	}
	p.SetReadDeadline(time.Time{})
	c.nc, c.proxied = p, true
	if !h.Command.IsLocal() {
		c.peer = addrPort(h.SourceAddr)
	}
	return c, nil
}

func contains(nets []netip.Prefix, a netip.Addr) bool {
	for _, n := range nets {
		if n.Contains(a) {
			return true
		}
	}
	return false
}

func addrPort(a net.Addr) netip.AddrPort {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := t.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port())
}

// Proto is the protocol of the listener.
func (c *Conn) Proto() string { return c.proto }

// Peer is the address of the client; zero when it is unknown.
func (c *Conn) Peer() netip.AddrPort { return c.peer }

// PeerString is the address for logs.
func (c *Conn) PeerString() string {
	if !c.peer.IsValid() {
		return "unknown"
	}
	return c.peer.Addr().String()
}

// Local is our address.
func (c *Conn) Local() netip.AddrPort { return c.local }

// Loopback reports whether both ends are loopback addresses and nobody is in
// between. A Unix socket is on this host too.
func (c *Conn) Loopback() bool {
	if c.proxied {
		return false
	}
	if _, ok := c.nc.(*net.UnixConn); ok {
		return true
	}
	return c.peer.Addr().IsLoopback() && c.local.Addr().IsLoopback()
}

// network is what limits per address count; false for those that are not
// limited.
func (c *Conn) network() (netip.Prefix, bool) {
	a := c.peer.Addr()
	if !a.IsValid() || a.IsLoopback() && !c.proxied {
		return netip.Prefix{}, false
	}
	bits := 32
	if a.Is6() {
		bits = 64
	}
	p, err := a.Prefix(bits)
	return p, err == nil
}

// PlaintextOK reports whether a password may be sent in the clear: never,
// loopback or always; under TLS it is not in the clear.
func (c *Conn) PlaintextOK(policy string) bool {
	return c.tls != nil || policy == "always" || policy == "loopback" && c.Loopback()
}

// TLS describes the encryption; nil without.
func (c *Conn) TLS() *tls.ConnectionState {
	if c.tls == nil {
		return nil
	}
	s := c.tls.ConnectionState()
	return &s
}

// StartTLS goes over to TLS. What the client sent before is forgotten: it was
// not protected (RFC 3207 section 4.2).
func (c *Conn) StartTLS(ctx context.Context) error {
	if c.certs == nil {
		return errors.New("start TLS: no certificate")
	}
	if err := c.Flush(); err != nil {
		return err
	}
	c.pending = nil
	t := tls.Server(c.nc, c.certs.Config())
	c.nc.SetDeadline(time.Now().Add(handshakeTimeout))
	defer c.nc.SetDeadline(time.Time{})
	if err := t.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("start TLS: %w", err)
	}
	c.nc, c.tls = t, t
	return nil
}

// SetIdleTimeout sets how long a read may wait.
func (c *Conn) SetIdleTimeout(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.idle = d
}

// Busy says whether the session is in the middle of something, and is to be
// given time when the server stops.
func (c *Conn) Busy(busy bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy = busy
}

// Draining is closed when the server stops.
func (c *Conn) Draining() <-chan struct{} { return c.draining }

// Read writes what is to be written and waits for input: at most the idle
// timeout, then os.ErrDeadlineExceeded. So it also ends when the server stops
// and the session is not busy.
func (c *Conn) Read(p []byte) (int, error) {
	if len(c.pending) > 0 {
		n := copy(p, c.pending)
		c.pending = c.pending[n:]
		return n, nil
	}
	if err := c.Flush(); err != nil {
		return 0, err
	}
	if err := c.armRead(); err != nil {
		return 0, err
	}
	return c.nc.Read(p)
}

// armRead sets the deadline of the next read. It and drain hold the lock, so
// that neither undoes what the other has set.
func (c *Conn) armRead() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	until := time.Now().Add(c.idle)
	switch {
	case c.aborted, !c.stopAt.IsZero() && !c.busy:
		return os.ErrDeadlineExceeded
	case !c.stopAt.IsZero() && c.stopAt.Before(until):
		until = c.stopAt
	}
	return c.nc.SetReadDeadline(until)
}

// Write keeps output until the next Read or Flush, or until it is much.
func (c *Conn) Write(p []byte) (int, error) {
	if len(c.out)+len(p) > flushSize {
		if err := c.Flush(); err != nil {
			return 0, err
		}
		if len(p) > flushSize {
			return len(p), c.write(p)
		}
	}
	c.out = append(c.out, p...)
	return len(p), nil
}

// Flush writes what is kept.
func (c *Conn) Flush() error {
	if len(c.out) == 0 {
		return nil
	}
	out := c.out
	c.out = c.out[:0]
	if cap(out) > flushSize {
		c.out = nil
	}
	return c.write(out)
}

func (c *Conn) write(p []byte) error {
	if err := c.nc.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	_, err := c.nc.Write(p)
	return err
}

// WaitInput waits until the client has sent something (true) or wake has
// something or is closed (false). The server's stop and the idle timeout are
// os.ErrDeadlineExceeded.
func (c *Conn) WaitInput(wake <-chan struct{}) (bool, error) {
	if len(c.pending) > 0 {
		return true, nil
	}
	if err := c.Flush(); err != nil {
		return false, err
	}
	if err := c.armRead(); err != nil {
		return false, err
	}
	done, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		select {
		case <-wake:
			c.awake()
		case <-done:
		}
	}()
	buf := make([]byte, 512)
	n, err := c.nc.Read(buf)
	close(done)
	<-gone
	woken := c.wasAwakened()
	if n > 0 {
		c.pending = buf[:n]
		return true, nil
	}
	if woken && errors.Is(err, os.ErrDeadlineExceeded) {
		return false, nil
	}
	return false, err
}

// awake interrupts a read.
func (c *Conn) awake() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.awakened = true
	c.nc.SetReadDeadline(time.Unix(1, 0))
}

func (c *Conn) wasAwakened() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	was := c.awakened
	c.awakened = false
	return was
}

// drain ends a session that waits, and gives a busy one until stopAt.
func (c *Conn) drain(stopAt time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopAt = stopAt
	if !c.busy {
		c.nc.SetReadDeadline(time.Unix(1, 0))
	}
}

// abort ends whatever the session does.
func (c *Conn) abort() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.aborted = true
	c.nc.SetDeadline(time.Unix(1, 0))
}

// Close writes what is kept and closes the connection.
func (c *Conn) Close() error {
	err := c.Flush()
	return errors.Join(err, c.nc.Close())
}
