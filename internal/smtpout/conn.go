package smtpout

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"postbag/internal/status"
)

// A conn is a session with a host, past its greeting.
type conn struct {
	hop  Hop
	nc   net.Conn
	br   *bufio.Reader
	out  []byte // commands not yet written
	t    Timeouts
	ext  map[string]string // what EHLO offered: keyword to parameters
	peer string            // "mx.example.org[192.0.2.1]:25"
	tls  bool

	letters int  // sent before
	reused  bool // has been idle
	stale   bool // turned out to have been closed while idle
	broken  bool // cannot take another letter
}

// connect tries the addresses of a hop until one greets us.
func (c *Client) connect(ctx context.Context, h Hop) (*conn, error) {
	var last error
	for _, addr := range dialAddrs(h) {
		conn, err := c.open(ctx, h, addr, h.TLS)
		if errors.Is(err, errTLS) && h.TLS == Opportunistic {
			conn, err = c.open(ctx, h, addr, None)
		}
		if err == nil {
			return conn, nil
		}
		last = err
		if ctx.Err() != nil {
			break
		}
	}
	return nil, last
}

// An endpoint is what is dialled.
type endpoint struct {
	network, addr string
	name          string // for messages
}

func dialAddrs(h Hop) []endpoint {
	if h.Socket != "" {
		return []endpoint{{"unix", h.Socket, h.Socket}}
	}
	port := strconv.Itoa(h.Port)
	if len(h.Addrs) == 0 {
		return []endpoint{{"tcp", net.JoinHostPort(h.Host, port), h.String()}}
	}
	var all []endpoint
	for _, a := range h.Addrs {
		all = append(all, endpoint{"tcp", netip.AddrPortFrom(a, uint16(h.Port)).String(), fmt.Sprintf("%s[%s]:%s", h.Host, a, port)})
	}
	return all
}

// errTLS says that TLS could not be agreed on.
var errTLS = errors.New("TLS failed")

// open connects to one address and goes through greeting, EHLO, TLS and AUTH.
func (c *Client) open(ctx context.Context, h Hop, at endpoint, policy Policy) (*conn, error) {
	t := c.Timeouts.orDefaults()
	dctx, cancel := context.WithTimeout(ctx, t.Connect)
	defer cancel()
	nc, err := c.dial(dctx, at.network, at.addr)
	if err != nil {
		return nil, status.Temp("connect to "+at.name, "4.4.1", "connect to "+at.name+": "+dialText(err), err)
	}
	conn := &conn{hop: h, nc: nc, t: t, peer: at.name}
	release := conn.bind(ctx)
	err = conn.hello(c, policy)
	if err == nil && h.User != "" {
		err = conn.login()
	}
	if !release() && err == nil {
		err = conn.lost("greet", ctx.Err())
	}
	if err != nil {
		conn.close()
		return nil, err
	}
	return conn, nil
}

// dialText says why without the words of the net package.
func dialText(err error) string {
	var dns *net.DNSError
	var op *net.OpError
	switch {
	case errors.As(err, &dns):
		return "host not found"
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return "connection timed out"
	case errors.As(err, &op) && op.Err != nil:
		var sys *os.SyscallError
		if errors.As(op.Err, &sys) {
			return sys.Err.Error()
		}
	}
	return "connection failed"
}

// bind makes the end of ctx end what the connection waits for. The function it
// returns takes that back and reports whether ctx has not ended.
func (c *conn) bind(ctx context.Context) func() bool {
	stop := context.AfterFunc(ctx, func() { c.nc.Close() })
	return func() bool { return stop() && ctx.Err() == nil }
}

func (c *conn) close() { c.nc.Close() }

// quit says goodbye and does not wait for the answer.
func (c *conn) quit() {
	c.nc.SetDeadline(time.Now().Add(time.Second))
	c.nc.Write([]byte("QUIT\r\n"))
	c.nc.Close()
}

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
	if err := c.ehlo(cl.Hostname); err != nil {
		return err
	}
	return c.startTLS(cl, policy)
}

// unwilling is a host that wants nothing of us. It says nothing about the
// recipients, so it is temporary whatever its code: the next host may think
// otherwise (Postfix: smtp_skip_5xx_greeting).
func (c *conn) unwilling(what string, r reply) error {
	return &status.Error{Op: what + " " + c.peer, Class: status.Temporary, Code: "4.3.2", Text: c.said(r)}
}

// said is a reply with the name of who gave it.
func (c *conn) said(r reply) string { return "host " + c.peer + " said: " + r.text() }

// ehlo says hello, with HELO to hosts that do not know EHLO.
func (c *conn) ehlo(hostname string) error {
	verb := "EHLO "
	if c.hop.LMTP {
		verb = "LHLO "
	}
	r, err := c.command(verb+hostname, c.t.Greeting)
	if err == nil && r.code/100 == 5 && !c.hop.LMTP {
		c.ext = nil
		r, err = c.command("HELO "+hostname, c.t.Greeting)
		if err == nil && r.ok() {
			return nil
		}
	}
	if err != nil {
		return err
	}
	if !r.ok() {
		return c.unwilling("greet", r)
	}
	c.ext = map[string]string{}
	for _, line := range r.lines[1:] {
		word, params, _ := strings.Cut(line, " ")
		c.ext[strings.ToUpper(word)] = params
	}
	return nil
}

func (c *conn) offers(keyword string) bool {
	_, ok := c.ext[keyword]
	return ok
}

// startTLS follows the policy, and says EHLO again under TLS (RFC 3207 section
// 4.2: what was said before is forgotten).
func (c *conn) startTLS(cl *Client, policy Policy) error {
	if policy == None || policy == Implicit {
		return nil
	}
	if !c.offers("STARTTLS") {
		if policy == Opportunistic {
			return nil
		}
		return status.Temp("secure "+c.peer, "4.7.4", "host "+c.peer+" does not offer STARTTLS", nil)
	}
	r, err := c.command("STARTTLS", c.t.Greeting)
	if err != nil {
		return err
	}
	if r.code != 220 || c.br.Buffered() > 0 {
		// Octets that came with the reply were not said under TLS: somebody in
		// between may have put them there.
		return c.tlsFailed(errors.New(r.text()))
	}
	if err := c.handshake(cl); err != nil {
		return err
	}
	c.br = bufio.NewReader(c.nc)
	return c.ehlo(cl.Hostname)
}

func (c *conn) handshake(cl *Client) error {
	c.nc.SetDeadline(time.Now().Add(c.t.Greeting))
	t := tls.Client(c.nc, cl.tlsConfig(c.hop))
	if err := t.Handshake(); err != nil {
		return c.tlsFailed(err)
	}
	c.nc, c.tls = t, true
	return nil
}

func (c *conn) tlsFailed(cause error) error {
	return status.Temp("secure "+c.peer, "4.7.5", "TLS with host "+c.peer+" failed", fmt.Errorf("%w: %w", errTLS, cause))
}

// queue adds a command to those of the next flush.
func (c *conn) queue(line string) { c.out = append(append(c.out, line...), '\r', '\n') }

func (c *conn) flush(limit time.Duration) error {
	c.nc.SetWriteDeadline(time.Now().Add(limit))
	_, err := c.nc.Write(c.out)
	c.out = c.out[:0]
	return err
}

// command sends one command and reads its reply.
func (c *conn) command(line string, limit time.Duration) (reply, error) {
	verb, _, _ := strings.Cut(line, " ")
	c.queue(line)
	if err := c.flush(limit); err != nil {
		return reply{}, c.lost(verb, err)
	}
	return c.read(verb, limit)
}

// read reads a reply. 421 means that the host is about to close (RFC 5321
// section 3.8).
func (c *conn) read(what string, limit time.Duration) (reply, error) {
	c.nc.SetReadDeadline(time.Now().Add(limit))
	r, err := readReply(c.br)
	if err != nil {
		return r, c.lost(what, err)
	}
	if r.code == 421 {
		c.broken = true
		return r, c.unwilling(what, r)
	}
	return r, nil
}

// lost is a connection that failed.
func (c *conn) lost(what string, err error) error {
	c.broken = true
	text := "lost connection with " + c.peer
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		text = "conversation with " + c.peer + " timed out"
	case errors.Is(err, errNoReply), errors.Is(err, errReplyTooLong):
		text = "host " + c.peer + " does not speak SMTP"
	}
	return status.Temp(what+" "+c.peer, "4.4.2", text+" ("+what+")", err)
}
