// Package popclient speaks POP3 as a client (RFC 1939, with RFC 2449, 2595,
// 3206, 5034, 6856).
//
// # Guarantees
//
//   - Every read and write has its own deadline: a server that vanishes is an
//     error after Timeout, however long the session has been.
//   - A letter that has not come to its end is io.ErrUnexpectedEOF, never a
//     short letter. Only CRLF.CRLF is an end.
//   - Nothing is deleted unless Quit says so.
package popclient

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxLine bounds a line of an answer, in octets. RFC 2449 section 4 allows 512;
// a challenge of SASL may have up to 12288 (RFC 4422 leaves it to us).
const maxLine = 16 << 10

// DefaultTimeout is how long a read or write may take.
const DefaultTimeout = time.Minute

// A Client is one session. Its methods must not be called concurrently.
type Client struct {
	Greeting string // after +OK

	conn net.Conn
	r    *bufio.Reader
	w    *bufio.Writer
	caps map[string][]string // nil until asked; empty when the server knows no CAPA
	err  error               // the connection is of no more use
}

// An Error is a server's -ERR.
type Error struct {
	Command string // without arguments
	Code    string // extended response code, in capitals: "AUTH", "IN-USE", "SYS/TEMP"; "" when there is none
	Text    string
}

func (e *Error) Error() string {
	return fmt.Sprintf("%s: server says: %s", strings.ToLower(e.Command), clean(e.Text))
}

// clean keeps what a server says from doing things to a terminal.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, s)
}

// New begins a session on a connection, which it owns from now on: it reads the
// greeting. A zero timeout means DefaultTimeout.
func New(conn net.Conn, timeout time.Duration) (*Client, error) {
	if timeout <= 0 {
		timeout = DefaultTimeout
	}
	c := &Client{conn: &timedConn{conn, timeout}}
	c.reset()
	text, err := c.answer("connect")
	if err != nil {
		c.Close()
		return nil, err
	}
	c.Greeting = text
	return c, nil
}

func (c *Client) reset() {
	c.r, c.w, c.caps = bufio.NewReaderSize(c.conn, maxLine), bufio.NewWriter(c.conn), nil
}

// A timedConn gives each Read and each Write its own deadline.
type timedConn struct {
	net.Conn
	timeout time.Duration
}

func (c *timedConn) Read(p []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.timeout)); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

func (c *timedConn) Write(p []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(c.timeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

// Close ends the connection without a word; nothing is deleted.
func (c *Client) Close() error {
	if c.err == nil {
		c.err = net.ErrClosed
	}
	return c.conn.Close()
}

// Capabilities lists what the server can do, in capitals, with arguments as
// given. A server without CAPA has none.
func (c *Client) Capabilities() (map[string][]string, error) {
	if c.caps != nil {
		return c.caps, nil
	}
	caps := map[string][]string{}
	err := c.multi("CAPA", "", func(line string) error {
		if f := strings.Fields(line); len(f) > 0 {
			caps[strings.ToUpper(f[0])] = f[1:]
		}
		return nil
	})
	var refused *Error
	if err != nil && !errors.As(err, &refused) {
		return nil, err
	}
	c.caps = caps
	return caps, nil
}

// Has reports whether the server has said that it can do that.
func (c *Client) Has(name string) bool {
	caps, err := c.Capabilities()
	_, ok := caps[name]
	return ok && err == nil
}

// Mechanisms lists the SASL mechanisms that the server offers, in capitals.
func (c *Client) Mechanisms() []string {
	caps, _ := c.Capabilities()
	var all []string
	for _, m := range caps["SASL"] {
		all = append(all, strings.ToUpper(m))
	}
	return all
}

// StartTLS begins TLS with STLS. Whatever the server sent before is forgotten
// (RFC 2595 section 4).
func (c *Client) StartTLS(config *tls.Config) error {
	if _, err := c.command("STLS", ""); err != nil {
		return err
	}
	if c.r.Buffered() > 0 {
		return c.fail(errors.New("stls: server sent plaintext after its answer"))
	}
	timed := c.conn.(*timedConn)
	// The deadline is below TLS, so that it counts for each part of a handshake.
	secure := tls.Client(timed, config)
	if err := secure.Handshake(); err != nil {
		return c.fail(fmt.Errorf("stls: %w", err))
	}
	c.conn = &timedConn{secure, timed.timeout}
	c.reset()
	return nil
}

// Stat tells how many letters there are, and their size in octets.
func (c *Client) Stat() (count int, size int64, err error) {
	text, err := c.command("STAT", "")
	if err != nil {
		return 0, 0, err
	}
	if _, err := fmt.Sscan(text, &count, &size); err != nil {
		return 0, 0, c.fail(fmt.Errorf("stat: strange answer %q", text))
	}
	return count, size, nil
}

// An Item is a letter in a listing: its number in this session, and its size or
// unique-id.
type Item struct {
	Number int
	Size   int64
	UIDL   string
}

// List lists letters with their sizes.
func (c *Client) List() ([]Item, error) {
	return c.items("LIST", func(it *Item, value string) (err error) {
		it.Size, err = strconv.ParseInt(value, 10, 64)
		return err
	})
}

// UIDL lists letters with their unique-ids.
func (c *Client) UIDL() ([]Item, error) {
	return c.items("UIDL", func(it *Item, value string) error {
		it.UIDL = value
		return nil
	})
}

func (c *Client) items(command string, set func(*Item, string) error) ([]Item, error) {
	var all []Item
	err := c.multi(command, "", func(line string) error {
		number, value, _ := strings.Cut(line, " ")
		value, _, _ = strings.Cut(strings.TrimSpace(value), " ")
		var it Item
		var err error
		if it.Number, err = strconv.Atoi(number); err != nil || it.Number < 1 || value == "" {
			return fmt.Errorf("%s: strange answer %q", strings.ToLower(command), clean(line))
		}
		if err := set(&it, value); err != nil {
			return fmt.Errorf("%s: strange answer %q", strings.ToLower(command), clean(line))
		}
		all = append(all, it)
		return nil
	})
	return all, err
}

// Delete marks letters to be deleted by Quit, and returns those that were. It
// does not wait for each answer when the server allows that.
func (c *Client) Delete(numbers ...int) (done []int, err error) {
	err = c.window("DELE", numbers, "", func(n int) error {
		_, err := c.answer("DELE")
		if err == nil {
			done = append(done, n)
		}
		return err
	})
	return done, err
}

// Noop asks for nothing but an answer.
func (c *Client) Noop() error { return c.simple("NOOP") }

// Reset takes back all Deletes.
func (c *Client) Reset() error { return c.simple("RSET") }

// UTF8 tells the server that letters may come with UTF-8 in their headers (RFC
// 6856). It must come before the login.
func (c *Client) UTF8() error { return c.simple("UTF8") }

// Quit deletes what Delete marked and ends the session. An error means that
// some or all may still be there.
func (c *Client) Quit() error {
	err := c.simple("QUIT")
	c.Close()
	return err
}

func (c *Client) simple(command string) error {
	_, err := c.command(command, "")
	return err
}

// command sends a line and takes the first line of the answer.
func (c *Client) command(name, args string) (string, error) {
	if err := c.send(name, args); err != nil {
		return "", err
	}
	return c.answer(name)
}

// send writes a line, without waiting for it to leave.
func (c *Client) send(name, args string) error {
	if c.err != nil {
		return c.err
	}
	if strings.ContainsAny(args, "\r\n\x00") {
		return fmt.Errorf("%s: argument with a line end", strings.ToLower(name))
	}
	line := name
	if args != "" {
		line += " " + args
	}
	if _, err := c.w.WriteString(line + "\r\n"); err != nil {
		return c.fail(fmt.Errorf("%s: %w", strings.ToLower(name), err))
	}
	return nil
}

// answer takes a status line. "+ text" of SASL is for Auth alone.
func (c *Client) answer(command string) (string, error) {
	line, err := c.line(command)
	if err != nil {
		return "", err
	}
	switch status, text, _ := strings.Cut(line, " "); strings.ToUpper(status) {
	case "+OK":
		return text, nil
	case "-ERR":
		return "", refusal(command, text)
	}
	return "", c.fail(fmt.Errorf("%s: strange answer %q", strings.ToLower(command), clean(line)))
}

func refusal(command, text string) *Error {
	e := &Error{Command: command, Text: text}
	if rest, ok := strings.CutPrefix(text, "["); ok {
		if code, rest, ok := strings.Cut(rest, "]"); ok {
			e.Code, e.Text = strings.ToUpper(code), strings.TrimSpace(rest)
		}
	}
	return e
}

// line reads a line without its end, after sending what waits to be sent.
func (c *Client) line(command string) (string, error) {
	if c.err != nil {
		return "", c.err
	}
	if err := c.w.Flush(); err != nil {
		return "", c.fail(fmt.Errorf("%s: %w", strings.ToLower(command), err))
	}
	line, err := c.r.ReadSlice('\n')
	if err != nil {
		return "", c.fail(fmt.Errorf("%s: %w", strings.ToLower(command), unexpected(err)))
	}
	return strings.TrimRight(string(line), "\r\n"), nil
}

// multi sends a command and takes each line of its answer.
func (c *Client) multi(name, args string, each func(line string) error) error {
	if _, err := c.command(name, args); err != nil {
		return err
	}
	var first error
	for {
		line, err := c.line(name)
		if err != nil {
			return err
		}
		if line == "." {
			return first
		}
		if first == nil {
			first = each(strings.TrimPrefix(line, "."))
		}
	}
}

// depth is how many commands may be on their way. Their lines fit into any
// buffer between here and there, so that both sides never wait to write.
const depth = 32

// window sends a command for each number, several at a time when the server
// allows (RFC 2449 section 6.6), and has take read each answer. When take fails,
// the answers of what was sent are lost, and so is the session, unless the
// failure was a refusal.
func (c *Client) window(name string, numbers []int, args string, take func(n int) error) error {
	ahead := 1
	if len(numbers) > 1 && c.Has("PIPELINING") {
		ahead = depth
	}
	var refused error
	for batch := range slices.Chunk(numbers, ahead) {
		for _, n := range batch {
			if err := c.send(name, strconv.Itoa(n)+args); err != nil {
				return err
			}
		}
		for i, n := range batch {
			err := take(n)
			var e *Error
			switch {
			case errors.As(err, &e):
				refused = errors.Join(refused, err)
			case err != nil && i+1 < len(batch):
				return c.fail(err)
			case err != nil:
				return err
			}
		}
	}
	return refused
}

// fail marks the session as of no more use: what comes next cannot be told.
func (c *Client) fail(err error) error {
	if c.err == nil {
		c.err = err
		c.conn.Close()
	}
	return err
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
