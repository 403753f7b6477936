package smtpout

import (
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"postbag/internal/status"
)

// A parrot is a host that says the same whatever it is told, and then hangs up.
type parrot struct {
	says io.Reader

	mu   sync.Mutex
	told strings.Builder
}

func (p *parrot) Read(b []byte) (int, error) { return p.says.Read(b) }

func (p *parrot) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.told.Write(b)
}

func (*parrot) Close() error                     { return nil }
func (*parrot) LocalAddr() net.Addr              { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }
func (*parrot) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }
func (*parrot) SetDeadline(time.Time) error      { return nil }
func (*parrot) SetReadDeadline(time.Time) error  { return nil }
func (*parrot) SetWriteDeadline(time.Time) error { return nil }

// FuzzSession speaks with hostile hosts. Whatever they say, each recipient has a
// result or the attempt an error, and nobody has a letter that was not sent whole.
func FuzzSession(f *testing.F) {
	const hello = "220 x\r\n250-x\r\n"
	for _, s := range []string{
		hello + "250-PIPELINING\r\n250 SIZE 10\r\n",
		hello + "250 PIPELINING\r\n250 ok\r\n250 ok\r\n550 5.1.1 no\r\n354 go\r\n250 ok\r\n",
		hello + "250 CHUNKING\r\n250 ok\r\n250 ok\r\n452 full\r\n250 ok\r\n250 ok\r\n250 ok\r\n",
		hello + "250-LIMITS RCPTMAX=1 MAILMAX=0\r\n250 AUTH=LOGIN PLAIN\r\n235 ok\r\n250 ok\r\n250 ok\r\n354 x\r\n250 x\r\n250 y\r\n250 y\r\n354 z\r\n421 z\r\n",
		"220 x\r\n500 what\r\n250 mx.example.org\r\n250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n554 no\r\n",
		hello + "250 STARTTLS\r\n220 go\r\n\x15\x03\x01\x00\x02\x02\x28",
		"554 no\r\n", "\r\n", "",
	} {
		f.Add(s, false, "")
		f.Add(s, true, "")
		f.Add(s, false, "ann")
	}
	f.Fuzz(func(t *testing.T, says string, lmtp bool, user string) {
		var hosts []*parrot
		c := &Client{Hostname: "mx.example.org", Dial: func(context.Context, string, string) (net.Conn, error) {
			p := &parrot{says: strings.NewReader(says)}
			hosts = append(hosts, p)
			return p, nil
		}}
		defer c.Close()
		hop := Hop{Host: "h.example", Port: 25, LMTP: lmtp, User: user, Password: "secret", Foreign: true}
		results, err := c.Deliver(t.Context(), hop, Mail{From: ann, Rcpts: to("bob", "carl")}, source("Subject: x\n\n.\nend-of-letter\n"))
		if (err == nil) != (len(results) == 2) {
			t.Fatalf("%d results, %v", len(results), err)
		}
		whole := false
		for _, p := range hosts {
			p.mu.Lock()
			whole = whole || strings.Contains(p.told.String(), "end-of-letter\r\n")
			p.mu.Unlock()
		}
		for _, r := range results {
			if r.Err == nil && (!whole || !strings.HasPrefix(r.Reply, "2")) {
				t.Fatalf("%+v, but the letter was not sent", r)
			}
			if r.Err == nil && r.Host == "" || strings.ContainsAny(r.Reply, "\r\n\x00\x1b") {
				t.Fatalf("%+v", r)
			}
		}
		if err != nil && status.ClassOf(err) == status.Permanent && !strings.HasPrefix(status.Code(err), "5.") {
			t.Fatal(err)
		}
	})
}
