package main

import (
	"crypto/tls"
	"encoding/base64"
	"net"
	"net/textproto"
	"strings"
	"testing"

	"github.com/xdg-go/scram"
)

// underTLS greets a smtpd and goes over to TLS, and gives what it offers then.
func underTLS(t *testing.T, addr string, certs ...tls.Certificate) (*textproto.Conn, tls.ConnectionState, string) {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	c := textproto.NewConn(nc)
	expect(t, c, 220, "")
	expect(t, c, 250, "EHLO me")
	expect(t, c, 220, "STARTTLS")
	secure := tls.Client(nc, &tls.Config{InsecureSkipVerify: true, Certificates: certs})
	if err := secure.Handshake(); err != nil {
		t.Fatal(err)
	}
	c = textproto.NewConn(secure)
	return c, secure.ConnectionState(), expect(t, c, 250, "EHLO me")
}

// expect says a line, if there is one, and wants a reply.
func expect(t *testing.T, c *textproto.Conn, code int, line string) string {
	t.Helper()
	if line != "" {
		if err := c.PrintfLine("%s", line); err != nil {
			t.Fatal(err)
		}
	}
	_, text, err := c.ReadResponse(code)
	if err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	return text
}

func TestLoginsThatAreBoundToTLS(t *testing.T) {
	dir := t.TempDir()
	cert, key, _ := certificate(t, dir, "ann")
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	s := newKiller(t, build(t))
	s.args = []string{"--client-ca", cert}
	cmd, addr := s.start()
	defer cmd.Wait()
	defer cmd.Process.Kill()

	c, _, offer := underTLS(t, addr, pair)
	if !strings.Contains(offer, "AUTH EXTERNAL SCRAM-SHA-256-PLUS ") {
		t.Errorf("with a certificate: %s", offer)
	}
	expect(t, c, 535, "AUTH EXTERNAL "+base64.StdEncoding.EncodeToString([]byte("bob")))
	expect(t, c, 235, "AUTH EXTERNAL =")
	s.log.await(t, "msg=login .*user=ann.*EXTERNAL")

	c, state, offer := underTLS(t, addr)
	if strings.Contains(offer, "EXTERNAL") {
		t.Errorf("without a certificate: %s", offer)
	}
	expect(t, c, 504, "AUTH EXTERNAL =")
	client, err := scram.SHA256.NewClient("bob", "x", "")
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
		line += base64.StdEncoding.EncodeToString([]byte(response))
		if conv.Done() {
			break
		}
		text, err := base64.StdEncoding.DecodeString(expect(t, c, 334, line))
		if err != nil {
			t.Fatal(err)
		}
		challenge, line = string(text), ""
	}
	if err := c.PrintfLine(""); err != nil { // our empty answer to its proof
		t.Fatal(err)
	}
	expect(t, c, 235, "")
	if !conv.Valid() {
		t.Error("smtpd has not proved to know the password")
	}
}
