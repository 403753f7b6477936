// Package smtpout sends letters to other hosts: SMTP (RFC 5321) and LMTP (RFC
// 2033), as a client.
//
// # What it promises
//
// Deliver returns one Result for each recipient, or an error when nothing was
// decided about any of them, so that the next host may be tried. A recipient is
// told to be taken only after the host's 250 to the end of the letter. When the
// connection is lost between the end of the letter and the reply, each of them
// has a temporary failure: the letter may arrive twice then, never not at all
// (RFC 1047).
//
// Only what a host says about a letter, its sender or a recipient is a failure
// for good. That a host is dead, wants no mail at all, wants a login, or does not
// understand us is temporary: each of them can be mended.
//
// A letter whose source ends in an error is never completed: the connection is
// closed in the middle of it instead.
//
// # What it speaks
//
// PIPELINING (RFC 2920), SIZE, 8BITMIME, DSN, SMTPUTF8, CHUNKING (RFC 3030),
// DELIVERBY (RFC 2852), STARTTLS (RFC 3207), AUTH (RFC 4954), MT-PRIORITY (RFC 6710), REQUIRETLS (RFC
// 8689). Each read and each write has a deadline of RFC 5321 section 4.5.3.2; ctx
// ends all of them. For hosts without 8BITMIME a letter is encoded, unless it is
// signed.
//
// A bare CR or LF in a letter is sent as CRLF (RFC 5321 section 2.3.8), so that
// nobody behind us can see an end of the letter where we see none.
package smtpout

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"postbag/internal/address"
)

// A Policy says how a connection is secured.
type Policy int

// The zero Policy is Opportunistic.
const (
	Opportunistic Policy = iota // STARTTLS where offered, any certificate, else without
	None                        // never TLS
	StartTLS                    // STARTTLS with a certificate that is right for Hop.Host
	Implicit                    // TLS from the start, the same certificate (RFC 8314)
	Encrypt                     // STARTTLS, any certificate
)

// A Hop is one host that letters are given to.
type Hop struct {
	Host       string       // its name, for TLS and messages
	Addrs      []netip.Addr // tried in this order; none: Host is looked up by the dialler
	Port       int
	Socket     string // path of a Unix socket instead
	LMTP       bool
	TLS        Policy
	Verify     func(tls.ConnectionState) error // checks the certificate instead of authorities and names
	ServerName string                          // whose certificate is asked for; "": Host's
	Proof      string                          // tells what Verify wants from what others want
	User       string                          // logs in when it is not ""
	Password   string                          // or the token of XOAUTH2 and OAUTHBEARER
	Mechanism  string                          // the only one to log in with; "": the best that is offered
	Told       func(Handshake)                 // told how TLS went with each new connection that was to have it; nil: nobody is
	Watch      bool                            // tell, too, whether the certificate is right for Host, though any will do
	Foreign    bool                            // it is another host for sure: one that greets with our own name is a loop
}

// A Handshake tells how agreeing on TLS went.
type Handshake struct {
	From, To netip.Addr // ours and the host's; zero where they are not known
	Err      error      // nil: TLS was agreed on, with what the host had to prove; ErrNoTLS: it offers none
}

// String names the hop in messages.
func (h Hop) String() string {
	if h.Socket != "" {
		return h.Socket
	}
	return net.JoinHostPort(h.Host, strconv.Itoa(h.Port))
}

// key is what connections are kept by: the host and all that was agreed with it,
// not the address, for that changes its place from answer to answer of the DNS.
func (h Hop) key() string {
	words := []string{h.String(), strconv.FormatBool(h.LMTP), strconv.Itoa(int(h.TLS)), h.User, h.Password, h.Mechanism, h.Proof}
	return strings.Join(words, "\x00")
}

// A Mail is the envelope of a letter.
type Mail struct {
	From       address.Address // reverse-path; zero is the null one
	Rcpts      []Rcpt
	UTF8       bool   // the letter needs SMTPUTF8 (RFC 6531)
	RequireTLS bool   // only under TLS, and to a host that offers REQUIRETLS (RFC 8689)
	Ret        string // RFC 3461: "FULL", "HDRS" or ""
	EnvID      string // RFC 3461, decoded
	Priority   int    // -9 to 9, RFC 6710

	By     time.Time // when it shall be delivered (RFC 2852); ByMode "" is no wish
	ByMode string    // "R": not given to a host that does not promise it; "N"; with "T" or without
}

// An Rcpt is one forward-path with its parameters of RFC 3461.
type Rcpt struct {
	Address address.Address
	Orig    string // ORCPT, "rfc822;..." decoded
	Notify  string
}

// A Result tells how one recipient went.
type Result struct {
	Err   error  // nil: the host has the letter; else a *status.Error
	Host  string // who said so, with its address
	Reply string // what it said, with its code
	DSN   bool   // it has taken over to report on delivery (RFC 3461 section 5.2.1)

	Timely bool // it knows by when the letter shall be delivered, or has delivered it (RFC 2852)

	TLS string // version and cipher of the connection, "TLS 1.3 TLS_AES_128_GCM_SHA256"; "" without
}

// A Client sends letters and keeps connections for a moment, for the next one.
// It is safe for concurrent use; its fields must not change in use.
type Client struct {
	Hostname string                                                            // for EHLO
	Dial     func(ctx context.Context, network, addr string) (net.Conn, error) // nil: net.Dialer
	RootCAs  *x509.CertPool                                                    // nil: the system's
	Timeouts Timeouts
	Keep     time.Duration // how long an idle connection is kept; 0: 2 seconds

	mu   sync.Mutex
	idle map[string][]*kept
}

// Timeouts bound what a host lets us wait for. Those that are zero are the ones
// of RFC 5321 section 4.5.3.2.
type Timeouts struct {
	Connect  time.Duration // 30 s; the system's own is minutes
	Greeting time.Duration // 5 m, EHLO and TLS too
	Command  time.Duration // 5 m
	Data     time.Duration // 2 m, until the 354
	Block    time.Duration // 3 m for each write of the letter
	End      time.Duration // 10 m, until the reply to its end
}

func or(d, def time.Duration) time.Duration {
	if d == 0 {
		return def
	}
	return d
}

func (t Timeouts) orDefaults() Timeouts {
	return Timeouts{
		Connect:  or(t.Connect, 30*time.Second),
		Greeting: or(t.Greeting, 5*time.Minute),
		Command:  or(t.Command, 5*time.Minute),
		Data:     or(t.Data, 2*time.Minute),
		Block:    or(t.Block, 3*time.Minute),
		End:      or(t.End, 10*time.Minute),
	}
}

func (c *Client) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if c.Dial != nil {
		return c.Dial(ctx, network, addr)
	}
	return new(net.Dialer).DialContext(ctx, network, addr)
}

func (c *Client) tlsConfig(h Hop) *tls.Config {
	cfg := &tls.Config{ServerName: asciiName(strings.Trim(h.Host, "[]")), RootCAs: c.RootCAs}
	if h.ServerName != "" {
		cfg.ServerName = h.ServerName
	}
	switch {
	case h.TLS == Opportunistic:
		// Any certificate, any version: all are better than none (RFC 7435).
		cfg.InsecureSkipVerify, cfg.MinVersion = true, tls.VersionTLS10
	case h.TLS == Encrypt || h.Verify != nil:
		cfg.InsecureSkipVerify, cfg.VerifyConnection = true, h.verified()
	}
	return cfg
}

// verified is Verify; what it refuses is the certificate, and no trouble on the way.
func (h Hop) verified() func(tls.ConnectionState) error {
	if h.Verify == nil {
		return nil
	}
	return func(cs tls.ConnectionState) error {
		if err := h.Verify(cs); err != nil {
			return fmt.Errorf("%w: %w", errCertificate, err)
		}
		return nil
	}
}

// Close ends the connections that are kept.
func (c *Client) Close() {
	c.mu.Lock()
	all := c.idle
	c.idle = nil
	c.mu.Unlock()
	for _, list := range all {
		for _, k := range list {
			k.timer.Stop()
			k.conn.quit()
		}
	}
}
