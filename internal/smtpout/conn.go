package smtpout

import (
	"bufio"
	"context"
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
	raw  net.Conn // below TLS
	br   *bufio.Reader
	out  []byte // commands not yet written
	t    Timeouts
	ext  map[string]string // what EHLO offered: keyword to parameters
	peer string            // "mx.example.org[192.0.2.1]:25"
	tls  string            // version and cipher; "" without

	ip netip.Addr

	letters int  // sent before
	begun   bool // the host is in the middle of a transaction
	reused  bool // has been idle
	stale   bool // turned out to have been closed while idle
	broken  bool // cannot take another letter
}

// connect opens a session with a host at one of its addresses. Where TLS is not
// demanded and fails, it goes on without (RFC 7435).
func (c *Client) connect(ctx context.Context, h Hop, at endpoint) (*conn, error) {
	conn, err := c.open(ctx, h, at, h.TLS)
	if errors.Is(err, errTLS) && h.TLS == Opportunistic && ctx.Err() == nil {
		conn, err = c.open(ctx, h, at, None)
	}
	return conn, err
}

// An endpoint is what is dialled.
type endpoint struct {
	network, addr string
	name          string     // for messages
	ip            netip.Addr // zero where there is none, or it is not known
}

func endpoints(h Hop) []endpoint {
	if h.Socket != "" {
		return []endpoint{{network: "unix", addr: h.Socket, name: h.Socket}}
	}
	port := strconv.Itoa(h.Port)
	if len(h.Addrs) == 0 {
		return []endpoint{{network: "tcp", addr: net.JoinHostPort(h.Host, port), name: h.String()}}
	}
	var all []endpoint
	for _, a := range h.Addrs {
		name := fmt.Sprintf("%s[%s]:%s", strings.Trim(h.Host, "[]"), a, port)
		all = append(all, endpoint{"tcp", netip.AddrPortFrom(a, uint16(h.Port)).String(), name, a})
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
		op := "connect to " + at.name
		return nil, status.Temp(op, "4.4.1", op+": "+dialText(err), dialError{err})
	}
	conn := &conn{hop: h, nc: nc, raw: nc, t: t, peer: at.name, ip: at.ip}
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

// A dialError is one of the net package that says only why, where we know it.
type dialError struct{ err error }

func (e dialError) Error() string {
	if text := dialText(e.err); text != unknownFailure {
		return text
	}
	return e.err.Error()
}

func (e dialError) Unwrap() error { return e.err }

const unknownFailure = "connection failed"

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
	return unknownFailure
}

// bind makes the end of ctx end what the connection waits for. The function it
// returns takes that back and reports whether ctx has not ended.
func (c *conn) bind(ctx context.Context) func() bool {
	stop := context.AfterFunc(ctx, func() { c.raw.Close() })
	return func() bool { return stop() && ctx.Err() == nil }
}

func (c *conn) close() { c.nc.Close() }

// leave ends a session that takes no more letters: politely where the host still
// listens.
func (c *conn) leave() {
	if c.broken {
		c.close()
		return
	}
	c.quit()
}

// quit says goodbye and does not wait for the answer.
func (c *conn) quit() {
	c.nc.SetDeadline(time.Now().Add(time.Second))
	c.nc.Write([]byte("QUIT\r\n"))
	c.nc.Close()
}

// limit is a number of the keyword LIMITS, or 0 (RFC 9422 section 3).
func (c *conn) limit(name string) int {
	for _, word := range strings.Fields(c.ext["LIMITS"]) {
		if key, value, ok := strings.Cut(word, "="); ok && strings.EqualFold(key, name) {
			n, err := strconv.Atoi(value)
			if err == nil && n > 0 {
				return n
			}
		}
	}
	return 0
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
	return c.say(verb, line, limit)
}

// say sends a line that has another name in errors: answers of AUTH are secrets.
func (c *conn) say(what, line string, limit time.Duration) (reply, error) {
	c.queue(line)
	if err := c.flush(limit); err != nil {
		return reply{}, c.lost(what, err)
	}
	return c.read(what, limit)
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
