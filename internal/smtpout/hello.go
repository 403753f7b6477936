package smtpout

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"postbag/internal/address"
	"postbag/internal/status"
)

// hello goes from the greeting to EHLO under TLS.
func (c *conn) hello(cl *Client, policy Policy) error {
	if policy == Implicit {
		if err := c.handshake(cl); err != nil {
			return err
		}
	}
	c.br = bufio.NewReader(c.nc)
	greeting, err := c.read("greet", c.t.Greeting)
	if err != nil {
		return err
	}
	if greeting.code != 220 {
		return c.unwilling("greet", greeting)
	}
	name := asciiName(cl.Hostname)
	if err := c.ehlo(name); err != nil {
		return err
	}
	return c.startTLS(cl, name, policy)
}

// unwilling is a host that wants nothing of us. It says nothing about the
// recipients, so it is temporary whatever its code: the next host may think
// otherwise (Postfix: smtp_skip_5xx_greeting).
func (c *conn) unwilling(what string, r reply) error {
	return &status.Error{Op: what + " " + c.peer, Class: status.Temporary, Code: "4.3.2", Text: c.said(r)}
}

// said is a reply with the name of who gave it.
func (c *conn) said(r reply) string { return "host " + c.peer + " said: " + r.text() }

// asciiName is a host name as it stands on the wire and in certificates.
func asciiName(name string) string {
	if ascii, err := address.DomainASCII(name); err == nil {
		return ascii
	}
	return name
}

// ehlo says hello, with HELO to hosts that do not know EHLO (RFC 5321 section
// 3.2).
func (c *conn) ehlo(hostname string) error {
	verb := "EHLO "
	if c.hop.LMTP {
		verb = "LHLO "
	}
	r, err := c.command(verb+hostname, c.t.Greeting)
	if err == nil && r.code/100 == 5 && !c.hop.LMTP {
		r, err = c.command("HELO "+hostname, c.t.Greeting)
		r.lines = r.lines[:min(len(r.lines), 1)] // of HELO nothing else means anything
	}
	if err != nil {
		return err
	}
	if !r.ok() {
		return c.unwilling("greet", r)
	}
	if c.hop.Foreign && strings.EqualFold(firstWord(r), hostname) {
		return status.Perm("greet "+c.peer, "5.4.6", "mail loops back to this host", ErrLoop)
	}
	c.ext = extensions(r)
	return nil
}

// ErrLoop says that a host turned out to be ourselves.
var ErrLoop = errors.New("host greets with our own name")

func firstWord(r reply) string {
	word, _, _ := strings.Cut(r.lines[0], " ")
	return word
}

// extensions are the keywords of a reply to EHLO with their parameters.
func extensions(r reply) map[string]string {
	ext := map[string]string{}
	for _, line := range r.lines[1:] {
		word, params, _ := strings.Cut(line, " ")
		word = strings.ToUpper(word)
		// Old hosts say "AUTH=LOGIN" for old clients, and some say nothing else.
		if first, ok := strings.CutPrefix(word, "AUTH="); ok {
			word, params = "AUTH", first+" "+params+" "+ext["AUTH"]
		}
		ext[word] = params
	}
	return ext
}

func (c *conn) offers(keyword string) bool {
	_, ok := c.ext[keyword]
	return ok
}

// startTLS follows the policy, and says EHLO again under TLS (RFC 3207 section
// 4.2: what was said before is forgotten).
func (c *conn) startTLS(cl *Client, name string, policy Policy) error {
	if policy == None || policy == Implicit {
		return nil
	}
	if !c.offers("STARTTLS") {
		c.told(ErrNoTLS)
		if policy == Opportunistic {
			return nil
		}
		return status.Temp("secure "+c.peer, "4.7.4", "host "+c.peer+" does not offer STARTTLS", ErrNoTLS)
	}
	r, err := c.command("STARTTLS", c.t.Greeting)
	if err != nil {
		return err
	}
	if r.code != 220 || c.br.Buffered() > 0 {
		// Octets that came with the reply were not said under TLS: somebody in
		// between may have put them there.
		c.told(errors.New(r.text()))
		return c.tlsFailed(errors.New(r.text()))
	}
	if err := c.handshake(cl); err != nil {
		return err
	}
	c.told(c.watched(cl))
	c.br = bufio.NewReader(c.nc)
	err = c.ehlo(name)
	if err != nil && c.broken && policy == Opportunistic {
		err = fmt.Errorf("%w: %w", errTLS, err) // a handshake that succeeds and nothing after it
	}
	return err
}

func (c *conn) handshake(cl *Client) error {
	c.nc.SetDeadline(time.Now().Add(c.t.Greeting))
	t := tls.Client(c.raw, cl.tlsConfig(c.hop))
	if err := t.Handshake(); err != nil {
		c.told(err)
		return c.tlsFailed(err)
	}
	cs := t.ConnectionState()
	c.nc, c.tls = t, tls.VersionName(cs.Version)+" "+tls.CipherSuiteName(cs.CipherSuite)
	return nil
}

func (c *conn) tlsFailed(cause error) error {
	return status.Temp("secure "+c.peer, "4.7.5", "TLS with host "+c.peer+" failed", fmt.Errorf("%w: %w", errTLS, cause))
}

// ErrNoTLS says that a host does not offer TLS.
var ErrNoTLS = errors.New("no STARTTLS")

// told tells who wants to know how TLS went.
func (c *conn) told(err error) {
	if c.hop.Told == nil {
		return
	}
	h := Handshake{To: c.ip, Err: err}
	if local, lerr := netip.ParseAddrPort(c.raw.LocalAddr().String()); lerr == nil {
		h.From = local.Addr().Unmap()
	}
	c.hop.Told(h)
}

// watched checks the certificate of a host that may have any.
func (c *conn) watched(cl *Client) error {
	t, ok := c.nc.(*tls.Conn)
	if !c.hop.Watch || !ok {
		return nil
	}
	chain := t.ConnectionState().PeerCertificates
	if len(chain) == 0 {
		return errNoCertificate
	}
	between := x509.NewCertPool()
	for _, cert := range chain[1:] {
		between.AddCert(cert)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{DNSName: asciiName(c.hop.Host), Roots: cl.RootCAs, Intermediates: between})
	return err
}

var errNoCertificate = errors.New("no certificate")
