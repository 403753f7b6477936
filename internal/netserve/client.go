package netserve

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/netip"
	"time"
)

// A Client is the connection of a session as protocols see it: a *Conn, or what
// stands for one in tests. Writes may wait until the next Read or Flush.
type Client interface {
	Read([]byte) (int, error)
	Write([]byte) (int, error)
	Flush() error
	Proto() string
	Peer() netip.AddrPort      // zero when unknown
	TLS() *tls.ConnectionState // nil without TLS
	StartTLS(ctx context.Context) error
	// Certificates are ours that the client was shown, and that of the client if
	// it is believed; each may be nil.
	Certificates() (own, client *x509.Certificate)
	PlaintextOK(policy string) bool // passwords may be sent in the clear
	SetIdleTimeout(time.Duration)
	Busy(bool)                 // a busy session is given time when draining
	Draining() <-chan struct{} // closed when the server stops
}

// Ending reports whether the server of a client stops.
func Ending(c Client) bool {
	select {
	case <-c.Draining():
		return true
	default:
		return false
	}
}
