package main

import (
	"bytes"
	"compress/flate"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// An imapClient is one connection that reads as fast as it can and understands
// as little as it can.
type imapClient struct {
	nc   net.Conn
	n    int
	in   []byte
	tail []byte // the end of what was read of the last response
}

func dialIMAP(addr, user, password string) (*imapClient, error) {
	c, err := greetIMAP(addr)
	if err != nil {
		return nil, err
	}
	_, err = c.do("LOGIN " + user + " " + password)
	return c, err
}

// greetIMAP connects and reads the greeting.
func greetIMAP(addr string) (*imapClient, error) {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	c := &imapClient{nc: nc, in: make([]byte, 64<<10)}
	return c, c.readTo("* OK")
}

// startTLS goes over to TLS; whose certificate it is does not matter here.
func (c *imapClient) startTLS() error {
	if _, err := c.do("STARTTLS"); err != nil {
		return err
	}
	secure := tls.Client(c.nc, &tls.Config{InsecureSkipVerify: true})
	c.nc = secure
	return secure.Handshake()
}

// compress goes over to COMPRESS (RFC 4978).
func (c *imapClient) compress() error {
	if _, err := c.do("COMPRESS DEFLATE"); err != nil {
		return err
	}
	c.nc = &deflated{c.nc, flate.NewReader(c.nc)}
	return nil
}

// A deflated connection says what it says in stored blocks (RFC 1951 section 3.2.4).
type deflated struct {
	net.Conn
	r io.Reader
}

func (d *deflated) Read(p []byte) (int, error) { return d.r.Read(p) }

func (d *deflated) Write(p []byte) (int, error) {
	block := binary.LittleEndian.AppendUint16([]byte{0}, uint16(len(p)))
	block = binary.LittleEndian.AppendUint16(block, ^uint16(len(p)))
	_, err := d.Conn.Write(append(block, p...))
	return len(p), err
}

// readTo reads until a line that begins so has come.
func (c *imapClient) readTo(start string) error {
	var seen []byte
	c.nc.SetReadDeadline(time.Now().Add(patience))
	for {
		n, err := c.nc.Read(c.in)
		if err != nil {
			return fmt.Errorf("wait for %q: %w", start, err)
		}
		seen = append(seen, c.in[:n]...)
		if bytes.HasPrefix(seen, []byte(start)) || bytes.Contains(seen, []byte("\n"+start)) {
			c.tail = seen
			return nil
		}
	}
}

// do sends a command and waits for its end. It gives the time from sending to
// the last octet.
func (c *imapClient) do(command string) (time.Duration, error) {
	c.n++
	tag := "bench" + strconv.Itoa(c.n)
	start := time.Now()
	if _, err := c.nc.Write([]byte(tag + " " + command + "\r\n")); err != nil {
		return 0, err
	}
	return c.finish(command, tag, start)
}

// maxTail is more than the line that ends a response.
const maxTail = 4 << 10

// finish reads until the last line that has come begins with the tag.
func (c *imapClient) finish(command, tag string, start time.Time) (time.Duration, error) {
	c.tail = c.tail[:0]
	c.nc.SetReadDeadline(time.Now().Add(5 * patience))
	for {
		n, err := c.nc.Read(c.in)
		if err != nil {
			return 0, fmt.Errorf("%.60s: %w", command, err)
		}
		c.tail = append(c.tail, c.in[:n]...)
		if over := len(c.tail) - maxTail; over > 0 {
			c.tail = append(c.tail[:0], c.tail[over:]...)
		}
		if line, ok := lastLine(c.tail); ok && strings.HasPrefix(line, tag+" ") {
			took := time.Since(start)
			if !strings.HasPrefix(line, tag+" OK") {
				return took, fmt.Errorf("%.60s: %s", command, line)
			}
			return took, nil
		}
	}
}

// lastLine is the last line of p, if p ends with one.
func lastLine(p []byte) (string, bool) {
	text, whole := bytes.CutSuffix(p, []byte("\r\n"))
	return string(text[bytes.LastIndexByte(text, '\n')+1:]), whole
}

// upload appends a letter by a literal that waits for nobody (LITERAL+).
func (c *imapClient) upload(folder string, text []byte) error {
	c.n++
	tag := "bench" + strconv.Itoa(c.n)
	head := fmt.Sprintf("%s APPEND %s (\\Seen) {%d+}\r\n", tag, folder, len(text))
	if _, err := c.nc.Write(append(append([]byte(head), text...), "\r\n"...)); err != nil {
		return err
	}
	_, err := c.finish("APPEND", tag, time.Now())
	return err
}

func (c *imapClient) close() {
	c.do("LOGOUT")
	c.nc.Close()
}
