package smtpsrv

import (
	"bytes"
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A patientConn gives each read its own time, as netserve does.
type patientConn struct {
	*fakeConn
	idle time.Duration
}

func (c *patientConn) SetIdleTimeout(d time.Duration) { c.idle = d }
func (c *patientConn) Read(p []byte) (int, error) {
	c.Conn.SetReadDeadline(time.Now().Add(c.idle))
	return c.fakeConn.Read(p)
}

// slowLine is what sendSlowly sends every two minutes: enough octets not to be
// too slow.
var slowLine = "LINE " + strings.Repeat("x", 1000) + "\r\n"

// sendSlowly sends a letter for ten minutes, never silent for more than two.
func sendSlowly(client net.Conn) (said string) {
	out := make(chan string)
	go func() {
		b, _ := io.ReadAll(client)
		out <- string(b)
	}()
	io.WriteString(client, start+"DATA\r\n")
	for range 5 {
		time.Sleep(2 * time.Minute)
		io.WriteString(client, strings.Repeat(slowLine, 10))
	}
	io.WriteString(client, ".\r\nQUIT\r\n")
	time.Sleep(time.Hour)
	client.Close()
	return <-out
}

// Defect 6 of the library: one deadline for the whole of DATA; after it the rest
// of the letter is read as commands.
func TestASlowSenderIsNotCut(t *testing.T) {
	const patience = 5 * time.Minute
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		b := &bareBackend{}
		srv := newBareServer(b)
		srv.ReadTimeout = patience
		ln := newOneListener(server)
		done := make(chan error, 1)
		go func() { done <- srv.Serve(ln) }()
		said := sendSlowly(client)
		srv.Close()
		<-done
		if len(b.letters) != 0 {
			t.Errorf("the library has changed: it takes %q, says %q", b.letters, said)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		s, in := newTestServer()
		s.IdleTimeout = patience
		go func() {
			s.Serve(context.Background(), &patientConn{fakeConn: newFakeConn(server, SMTP, "192.0.2.7")})
			server.Close()
		}()
		said := sendSlowly(client)
		if len(in.letters) != 1 || strings.Count(in.letters[0].text, "LINE") != 50 || !strings.HasSuffix(said, "queued as ID1\r\n221 2.0.0 Bye\r\n") {
			t.Errorf("we take %v, say %q", in.letters, said)
		}
	})
}

// What keeps a connection busy with an octet now and then is cut, in a command as
// in a letter, though no read takes too long.
func TestAClientThatDripsIsCut(t *testing.T) {
	for _, tt := range []struct{ name, said, drip, want string }{
		{"a command", "", "N", "421 4.4.2 mx.example.org timeout, closing connection\r\n"},
		{"a second command", "EHLO c\r\n", "N", "421 4.4.2 mx.example.org timeout, closing connection\r\n"},
		{"a command that is too long", "NOOP " + strings.Repeat("x", 3000), "x", "421 4.4.2 mx.example.org timeout, closing connection\r\n"},
		{"a letter", start + "DATA\r\n", "x\r\n", "421 4.4.2 mx.example.org error: message comes too slowly\r\n"},
		{"a chunk", start + "BDAT 1000 LAST\r\n", "x", "421 4.4.2 mx.example.org error: message comes too slowly\r\n"},
		{"a chunk that is refused", "EHLO c\r\nBDAT 1000 LAST\r\n", "x", "421 4.4.2 mx.example.org error: message comes too slowly\r\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, server := net.Pipe()
				s, in := newTestServer()
				go func() {
					s.Serve(context.Background(), &patientConn{fakeConn: newFakeConn(server, SMTP, "192.0.2.7")})
					server.Close()
				}()
				out := make(chan string, 1)
				go func() {
					b, _ := io.ReadAll(client)
					out <- string(b)
				}()
				began := time.Now()
				_, err := io.WriteString(client, tt.said+tt.drip)
				for err == nil {
					time.Sleep(20 * time.Second)
					_, err = io.WriteString(client, tt.drip)
				}
				if said := <-out; !strings.HasSuffix(said, tt.want) {
					t.Errorf("last words %q, want %q", said, tt.want)
				}
				if took := time.Since(began); took < defaultIdle || took > defaultIdle+time.Minute {
					t.Errorf("cut after %v", took)
				}
				if in.open != 0 || len(in.letters) != 0 {
					t.Errorf("%d letters are open, %d taken", in.open, len(in.letters))
				}
			})
		})
	}
}

// FuzzFramingAgainstTheLibrary holds where we see the end of DATA, and what we
// take off, against go-smtp's reader, but for bare CRs, which it gets wrong
// (defects 1 and 2), and lines that it refuses (defect 5).
func FuzzFramingAgainstTheLibrary(f *testing.F) {
	for _, seed := range []string{"a\r\n.\r\n", "..\r\n.x\r\n.\r\n", "\n.\n.\r\n.\r\n", ".\r\n", "a\r\n.\n\r\n.\r\nRSET\r\n", "a\x00\r\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, wire []byte) {
		if bytes.Count(wire, []byte("\r")) != bytes.Count(wire, []byte("\r\n")) || len(wire) > 1900 {
			return
		}
		client, server := net.Pipe()
		b := &bareBackend{}
		srv := newBareServer(b)
		ln := newOneListener(server)
		done := make(chan error, 1)
		go func() { done <- srv.Serve(ln) }()
		go io.Copy(io.Discard, client)
		io.WriteString(client, start+"DATA\r\n")
		client.Write(wire)
		client.Close()
		srv.Shutdown(context.Background())
		<-done
		u := &unpacker{dots: true}
		_, ended := unpackAll(u, wire, len(wire)+1)
		if ended != (len(b.letters) > 0) {
			t.Fatalf("%q: ended %v, the library takes %q", wire, ended, b.letters)
		}
		if !ended {
			return
		}
		_, text, _ := strings.Cut(b.letters[0], ":")
		if want := strings.ReplaceAll(text, "\r\n", "\n"); string(u.out) != want {
			t.Fatalf("%q: unpacked %q, the library %q", wire, u.out, want)
		}
	})
}
