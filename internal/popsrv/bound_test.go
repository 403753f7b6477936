package popsrv

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"net"
	"net/http/httptest"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/xdg-go/scram"

	"postbag/internal/auth"
)

// A boundConn is a Conn under TLS.
type boundConn struct {
	*pipeConn
	tls         *tls.Conn
	own, client *x509.Certificate
}

func (c *boundConn) Certificates() (own, client *x509.Certificate) { return c.own, c.client }

func (c *boundConn) TLS() *tls.ConnectionState {
	state := c.tls.ConnectionState()
	return &state
}

// underTLS serves ann a session under TLS, and gives the client's end. The client's
// certificate is the server's own.
func underTLS(t *testing.T) (*textproto.Conn, tls.ConnectionState) {
	t.Helper()
	users := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(users, []byte("ann:{PLAIN}open sesame\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	accounts, err := auth.OpenFile(users, nil)
	if err != nil {
		t.Fatal(err)
	}
	f := newFixture(t, "Subject: one\n\nx\n")
	f.server.Accounts = accounts
	site := httptest.NewTLSServer(nil)
	t.Cleanup(site.Close)
	a, b := net.Pipe()
	secure := tls.Server(b, &tls.Config{Certificates: site.TLS.Certificates})
	client := *site.Certificate()
	client.Subject.CommonName = "ann"
	conn := &boundConn{&pipeConn{Conn: secure, w: bufio.NewWriter(secure), secret: true, drain: make(chan struct{})}, secure, site.Certificate(), &client}
	done := make(chan error, 1)
	go func() { done <- f.server.Serve(t.Context(), conn) }()
	outer := tls.Client(a, &tls.Config{InsecureSkipVerify: true})
	if err := outer.Handshake(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); <-done; b.Close() })
	return textproto.NewConn(outer), outer.ConnectionState()
}

// says sends a line and gives the answer to it.
func says(t *testing.T, c *textproto.Conn, line string) string {
	t.Helper()
	if err := c.PrintfLine("%s", line); err != nil {
		t.Fatal(err)
	}
	answer, err := c.ReadLine()
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

func TestScramIsBoundToTLS(t *testing.T) {
	c, state := underTLS(t)
	if _, err := c.ReadLine(); err != nil {
		t.Fatal(err)
	}
	says(t, c, "CAPA")
	offer, err := c.ReadDotLines()
	if err != nil || !strings.Contains(strings.Join(offer, "\n"), "SASL EXTERNAL SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN") {
		t.Errorf("offers %q, %v", offer, err)
	}
	client, err := scram.SHA256.NewClient("ann", "open sesame", "")
	if err != nil {
		t.Fatal(err)
	}
	binding, err := scram.NewTLSServerEndpointBinding(&state)
	if err != nil {
		t.Fatal(err)
	}
	conv := client.NewConversationWithChannelBinding(binding)
	challenge, line := "", "AUTH SCRAM-SHA-256-PLUS "
	for !conv.Done() {
		response, err := conv.Step(challenge)
		if err != nil {
			t.Fatal(err)
		}
		answer := says(t, c, line+base64.StdEncoding.EncodeToString([]byte(response)))
		text, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(answer, "+ "))
		if err != nil {
			t.Fatalf("%q: %v", answer, err)
		}
		challenge, line = string(text), ""
		if strings.HasPrefix(challenge, "v=") {
			if _, err := conv.Step(challenge); err != nil {
				t.Fatal(err)
			}
		}
	}
	if answer := says(t, c, ""); !strings.HasPrefix(answer, "+OK logged in") || !conv.Valid() {
		t.Errorf("%q, and it has proved itself: %v", answer, conv.Valid())
	}
}

func TestCertificateOfTheClient(t *testing.T) {
	c, _ := underTLS(t)
	if _, err := c.ReadLine(); err != nil {
		t.Fatal(err)
	}
	if answer := says(t, c, "AUTH EXTERNAL "+b64("bob")); !strings.HasPrefix(answer, "-ERR [AUTH]") {
		t.Errorf("somebody else: %q", answer)
	}
	if answer := says(t, c, "AUTH EXTERNAL ="); !strings.HasPrefix(answer, "+OK logged in") {
		t.Errorf("%q", answer)
	}
}
