package netserve

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/pires/go-proxyproto"
)

// A Conn is one connection with a client. Its methods are for the goroutine of
// its session.
type Conn struct {
	proto    string
	certs    *Certificates
	peer     netip.AddrPort
	local    netip.AddrPort
	onHost   bool // a Unix socket of ours: whoever is there is on this host
	proxied  bool // a PROXY header told the peer
	counted  bool // against the limit per address
	draining chan struct{}
	counts   *Counts

	out     *[flushSize]byte // what is not yet written; nil: nothing
	kept    int              // so many octets
	pending []byte           // read and not yet given, by WaitInput
	room    []byte           // for that; nil before the first

	mu        sync.Mutex
	nc        net.Conn // changes once, when TLS begins
	tls       *tls.Conn
	shown     *shownConn // below tls
	idle      time.Duration
	busy      bool
	stopAt    time.Time // end of a draining server's patience; zero while it runs
	expired   bool      // the client was silent for too long already
	waits     bool      // WaitInput does
	woken     bool      // WaitInput is to be told, or has been interrupted
	abortedAt time.Time // zero: not
}

const (
	defaultIdle = 5 * time.Minute
	// writeTimeout bounds one write: a client that takes nothing for so long
	// is gone.
	writeTimeout = 2 * time.Minute
	// handshakeTimeout bounds TLS and PROXY headers.
	handshakeTimeout = 30 * time.Second
	// farewell is how long an aborted session has for its last words.
	farewell = 2 * time.Second
	// waitRoom is how much WaitInput reads at once.
	waitRoom = 128
	// flushSize is when output is written although more may come.
	flushSize = 32 << 10
)

// newConn makes a Conn of a connection. A PROXY header may still have to come.
func newConn(s *server, nc net.Conn, proto string) *Conn {
	_, unix := nc.(*net.UnixConn)
	return &Conn{
		proto: proto, nc: nc, certs: s.TLS, draining: s.draining, counts: &s.Counts, idle: defaultIdle, onHost: unix,
		peer: addrPort(nc.RemoteAddr()), local: addrPort(nc.LocalAddr()),
	}
}

// readProxyHeader reads the header that must come from peers in ProxyFrom. Only
// they may say who somebody is, and they never say it of themselves.
func (s *server) readProxyHeader(c *Conn) error {
	if !contains(s.ProxyFrom, c.peer.Addr()) {
		return nil
	}
	if err := c.armHandshake(); err != nil {
		return err
	}
	p := proxyproto.NewConn(c.nc, proxyproto.WithPolicy(proxyproto.REQUIRE), proxyproto.SetReadHeaderTimeout(0))
	h := p.ProxyHeader()
	if h == nil {
		return errors.New("no PROXY header")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nc, c.proxied = p, true
	// LOCAL is the proxy itself; UNKNOWN of version 1 is anybody.
	if h.Version == 1 || !h.Command.IsLocal() {
		c.peer, c.local = addrPort(h.SourceAddr), addrPort(h.DestinationAddr)
	}
	return nil
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
// between. A Unix socket that we listen at is on this host too.
func (c *Conn) Loopback() bool {
	return !c.proxied && (c.onHost || c.peer.Addr().IsLoopback() && c.local.Addr().IsLoopback())
}

// network is what the limit per address counts: an address of IPv4, a /64 of
// IPv6; false for those that are not limited.
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
	shown := &shownConn{Conn: c.nc}
	t := tls.Server(shown, c.certs.Config())
	if err := c.armHandshake(); err != nil {
		return fmt.Errorf("start TLS: %w", err)
	}
	err := t.HandshakeContext(ctx)
	c.counts.handshake(t, err)
	if err != nil {
		return fmt.Errorf("start TLS: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nc, c.tls, c.shown = t, t, shown
	return nil
}
