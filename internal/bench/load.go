package main

import (
	"bytes"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// letterSize is the size of a letter on the wire.
const letterSize = 4096

// letterText is a letter of letterSize octets, with CRLF.
func letterText() []byte {
	b := []byte("From: Ann <ann@example.org>\r\nTo: bob@bench.test\r\nSubject: a letter like many\r\n" +
		"Date: Wed, 25 Nov 2026 18:00:00 +0000\r\nMessage-ID: <bench@example.org>\r\n\r\n")
	line := strings.Repeat("the quick brown fox jumps over it ", 2) + "\r\n"
	for len(b) < letterSize-2*len(line) {
		b = append(b, line...)
	}
	b = append(b, bytes.Repeat([]byte{'x'}, letterSize-2-len(b))...)
	return append(b, "\r\n"...)
}

// A load sends letters to an SMTP server over several connections at the same
// time. Each pipelines as RFC 2920 says: MAIL, RCPT and DATA in one write, then
// the letter. It takes little processor time, and none that counts.
type load struct {
	addr     string
	sessions int
	letters  int
	rcpt     func(n int) string

	next atomic.Int64
}

// run connects all, and then measures from the first letter to the last reply.
func (l *load) run() (time.Duration, error) {
	conns := make([]*sender, l.sessions)
	for i := range conns {
		c, err := dialSMTP(l.addr)
		if err != nil {
			return 0, err
		}
		defer c.nc.Close()
		conns[i] = c
	}
	var wg sync.WaitGroup
	errs := make([]error, len(conns))
	text := append(letterText(), ".\r\n"...)
	start := time.Now()
	for i, c := range conns {
		wg.Go(func() { errs[i] = l.send(c, text) })
	}
	wg.Wait()
	elapsed := time.Since(start)
	for _, err := range errs {
		if err != nil {
			return 0, err
		}
	}
	return elapsed, nil
}

// send sends letters until there are no more to be sent.
func (l *load) send(c *sender, text []byte) error {
	for {
		n := int(l.next.Add(1))
		if n > l.letters {
			return nil
		}
		c.out = fmt.Appendf(c.out[:0], "MAIL FROM:<ann@example.org>\r\nRCPT TO:<%s>\r\nDATA\r\n", l.rcpt(n))
		if err := c.ask(c.out, "250", "250", "354"); err != nil {
			return err
		}
		if err := c.ask(text, "250"); err != nil {
			return err
		}
	}
}

// A sender is one connection.
type sender struct {
	nc  net.Conn
	out []byte
	in  [4096]byte
}

func dialSMTP(addr string) (*sender, error) {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	c := &sender{nc: nc}
	if err := c.ask(nil, "220"); err != nil {
		return nil, err
	}
	return c, c.ask([]byte("EHLO client.example.org\r\n"), "250")
}

// ask writes p and reads one reply for each code.
func (c *sender) ask(p []byte, codes ...string) error {
	if _, err := c.nc.Write(p); err != nil {
		return err
	}
	have := 0
	for {
		n, err := c.nc.Read(c.in[have:])
		if err != nil {
			return fmt.Errorf("wait for reply %v: %w", codes, err)
		}
		have += n
		if done, err := replies(c.in[:have], codes); done || err != nil {
			return err
		}
	}
}

// replies reports whether p holds a whole reply for each code.
func replies(p []byte, codes []string) (bool, error) {
	for _, code := range codes {
		for {
			i := bytes.IndexByte(p, '\n')
			if i < 0 {
				return false, nil
			}
			line := p[:i]
			p = p[i+1:]
			if !bytes.HasPrefix(line, []byte(code)) {
				return false, fmt.Errorf("%q, want %s", line, code)
			}
			if len(line) < 4 || line[3] != '-' {
				break
			}
		}
	}
	return true, nil
}
