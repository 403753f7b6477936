package fetch

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"postbag/internal/popclient"
	"postbag/internal/status"
)

// TLSMode says how a connection becomes secret.
type TLSMode string

// The ways. By default imaps and pop3s are TLSOn, imap and pop3 TLSStart.
const (
	TLSDefault TLSMode = ""
	TLSOn      TLSMode = "on"       // TLS from the start
	TLSStart   TLSMode = "starttls" // STARTTLS or STLS, or nothing
	TLSOff     TLSMode = "off"
)

// ParseTLSMode reads a flag's value.
func ParseTLSMode(s string) (TLSMode, error) {
	switch m := TLSMode(s); m {
	case TLSDefault, TLSOn, TLSStart, TLSOff:
		return m, nil
	}
	return "", status.Exit(status.ExUsage, "tls", errors.New("must be on, starttls or off"))
}

func (r *run) mode() TLSMode {
	switch {
	case r.TLS != TLSDefault:
		return r.TLS
	case r.Source.implicit():
		return TLSOn
	}
	return TLSStart
}

func (r *run) tlsConfig() *tls.Config {
	config := &tls.Config{}
	if r.TLSConfig != nil {
		config = r.TLSConfig.Clone()
	}
	if config.ServerName == "" {
		config.ServerName = r.Source.Host
	}
	return config
}

func (r *run) timeout() time.Duration {
	if r.Timeout > 0 {
		return r.Timeout
	}
	return popclient.DefaultTimeout
}

// dial connects, with TLS if it is to be there from the start.
func (r *run) dial() (net.Conn, error) {
	ctx, cancel := context.WithTimeout(r.ctx, r.timeout())
	defer cancel()
	dial := r.Dial
	if dial == nil {
		dial = (&net.Dialer{KeepAlive: 30 * time.Second}).DialContext
	}
	conn, err := dial(ctx, "tcp", r.Source.addr())
	if err != nil {
		return nil, r.failed("connect to", err)
	}
	r.release = context.AfterFunc(r.ctx, func() { conn.Close() }) // ends whatever waits for the server
	if r.mode() != TLSOn {
		return conn, nil
	}
	secure := tls.Client(conn, r.tlsConfig())
	if err := secure.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, r.failed("TLS with", err)
	}
	return secure, nil
}

// failed classifies an error of the network or of the protocol.
func (r *run) failed(what string, err error) error {
	if err == nil || hasCode(err) {
		return err
	}
	return status.Exit(networkCode(err), r.op(what), err)
}

// hasCode reports whether somebody has said already how to end.
func hasCode(err error) bool {
	var s *status.Error
	return errors.As(err, &s) && s.Exit != 0
}

func networkCode(err error) int {
	var dns *net.DNSError
	var op *net.OpError
	var pop *popclient.Error
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		return status.ExNoHost
	case errors.As(err, &dns):
		return status.ExTempFail
	case badCertificate(err):
		return status.ExProtocol
	case errors.As(err, &pop) && (pop.Code == "AUTH"):
		return status.ExNoPerm
	case errors.As(err, &pop) && (pop.Code == "IN-USE" || strings.HasPrefix(pop.Code, "SYS/TEMP")):
		return status.ExTempFail
	case errors.As(err, &pop):
		return status.ExProtocol
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return status.ExUnavailable
	case errors.As(err, &op) && op.Op == "dial", errors.Is(err, syscall.ECONNREFUSED):
		return status.ExUnavailable
	case errors.As(err, &op), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return status.ExTempFail
	}
	return status.ExProtocol
}

func badCertificate(err error) bool {
	var verify *tls.CertificateVerificationError
	var unknown x509.UnknownAuthorityError
	var host x509.HostnameError
	var header tls.RecordHeaderError
	return errors.As(err, &verify) || errors.As(err, &unknown) || errors.As(err, &host) || errors.As(err, &header)
}

// A watchedConn gives each read its own deadline while an answer is awaited.
// The IMAP client's own deadlines, which it takes off between responses, are
// not used: with them a server that vanishes holds a command for ever.
type watchedConn struct {
	net.Conn
	timeout time.Duration

	mu      sync.Mutex
	waiting bool
	sasl    bool  // an exchange of SASL is under way
	broken  error // of the first read that failed
}

// cause is why reading failed, which the IMAP client tells as text alone.
func (c *watchedConn) cause() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.broken
}

// await tells whether an answer is awaited from now on.
func (c *watchedConn) await(waiting bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting = waiting
	c.arm()
}

// arm sets the deadline; the caller holds the lock.
func (c *watchedConn) arm() {
	var t time.Time
	if c.waiting {
		t = time.Now().Add(c.timeout)
	}
	c.Conn.SetReadDeadline(t)
}

func (c *watchedConn) Read(p []byte) (int, error) {
	c.mu.Lock()
	c.arm()
	c.mu.Unlock()
	n, err := c.Conn.Read(p)
	if err != nil {
		c.mu.Lock()
		c.broken = cmp.Or(c.broken, err)
		c.mu.Unlock()
	}
	return n, err
}

func (c *watchedConn) Write(p []byte) (int, error) {
	if err := c.Conn.SetWriteDeadline(time.Now().Add(c.timeout)); err != nil {
		return 0, err
	}
	c.mu.Lock()
	sasl := c.sasl
	c.mu.Unlock()
	if sasl && string(p) == "=\r\n" {
		// The client writes an empty response so. That is right for an initial
		// one alone (RFC 4959); Dovecot does not take it.
		n, err := io.WriteString(c.Conn, "\r\n")
		return min(len(p), n+1), err
	}
	return c.Conn.Write(p)
}

// login tells whether an exchange of SASL is under way.
func (c *watchedConn) login(begins bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sasl = begins
}

// The deadlines of others have no effect.
func (c *watchedConn) SetDeadline(time.Time) error      { return nil }
func (c *watchedConn) SetReadDeadline(time.Time) error  { return nil }
func (c *watchedConn) SetWriteDeadline(time.Time) error { return nil }

// noTLS is the error of a server that does not offer TLS where it must.
func (r *run) noTLS(command string) error {
	return status.Exit(status.ExProtocol, r.op("TLS with"),
		fmt.Errorf("server does not offer %s; --tls off would send the password in the clear", command))
}
