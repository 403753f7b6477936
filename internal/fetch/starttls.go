package fetch

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// startTLS speaks IMAP up to STARTTLS and the handshake (RFC 9051 section 6.2.1)
// and gives the secret connection. The IMAP client could do that too, but has
// its connection below TLS then, where nobody can mend what it writes.
func (r *run) startTLS(nc net.Conn) (net.Conn, error) {
	if err := nc.SetDeadline(time.Now().Add(r.timeout())); err != nil {
		return nil, err
	}
	greeting, err := plainLine(nc)
	if err != nil {
		return nil, r.failed("connect to", err)
	}
	if !hasPrefixFold(greeting, "* OK") { // PREAUTH and BYE leave no way to TLS
		return nil, r.noTLS("STARTTLS")
	}
	if _, err := io.WriteString(nc, "s STARTTLS\r\n"); err != nil {
		return nil, r.failed("TLS with", err)
	}
	for line := ""; !hasPrefixFold(line, "s "); {
		if line, err = plainLine(nc); err != nil {
			return nil, r.failed("TLS with", err)
		}
		if hasPrefixFold(line, "s ") && !hasPrefixFold(line, "s OK") {
			return nil, r.noTLS("STARTTLS")
		}
	}
	secure := tls.Client(nc, r.tlsConfig())
	if err := secure.HandshakeContext(r.ctx); err != nil {
		return nil, r.failed("TLS with", err)
	}
	if err := nc.SetDeadline(time.Time{}); err != nil {
		return nil, err
	}
	// The client waits for a greeting; the server's has been heard.
	return &greeted{Conn: secure, rest: "* OK TLS\r\n"}, nil
}

// maxPlain bounds a line before TLS.
const maxPlain = 8 << 10

// plainLine reads a line octet by octet: what follows it belongs to TLS, and what
// somebody has put in between fails there.
func plainLine(r io.Reader) (string, error) {
	var b strings.Builder
	one := make([]byte, 1)
	for b.Len() < maxPlain {
		if _, err := io.ReadFull(r, one); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return "", err
		}
		if one[0] == '\n' {
			return strings.TrimSuffix(b.String(), "\r"), nil
		}
		b.WriteByte(one[0])
	}
	return "", fmt.Errorf("line of more than %d octets", maxPlain)
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

// greeted is a connection with a line before what comes from it.
type greeted struct {
	net.Conn
	rest string
}

func (g *greeted) Read(p []byte) (int, error) {
	if g.rest != "" {
		n := copy(p, g.rest)
		g.rest = g.rest[n:]
		return n, nil
	}
	return g.Conn.Read(p)
}
