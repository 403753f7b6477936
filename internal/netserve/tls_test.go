package netserve

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"postbag/internal/durable"
)

// served is the name in the certificate that a handshake gets.
func served(t *testing.T, c *Certificates) string {
	t.Helper()
	leaf := servedLeaf(t, c)
	return leaf.Subject.CommonName
}

func servedLeaf(t *testing.T, c *Certificates) *x509.Certificate {
	t.Helper()
	pair, err := c.Config().GetCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	return pair.Leaf
}

// writePair writes a new pair of that name, as two files.
func writePair(t *testing.T, cert, key, name string) {
	t.Helper()
	text, err := makeSelfSigned(name)
	if err != nil {
		t.Fatal(err)
	}
	at := strings.Index(string(text), "-----BEGIN PRIVATE KEY")
	write(t, cert, text[:at])
	write(t, key, text[at:])
}

func write(t *testing.T, path string, text []byte) {
	t.Helper()
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// A bubble has its own time, but files have that of the system: what tells one
// version from another here is their size or inode too.
func TestANewPairIsServedWithin4Seconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		cert, key := filepath.Join(dir, "cert"), filepath.Join(dir, "key")
		writePair(t, cert, key, "one.example")
		c, err := LoadCertificates(cert, key)
		if err != nil {
			t.Fatal(err)
		}
		var reports []error
		c.Report = func(err error) { reports = append(reports, err) }
		time.Sleep(time.Hour)
		if got := served(t, c); got != "one.example" {
			t.Fatal(got)
		}
		old, _ := os.ReadFile(key)
		writePair(t, cert, key, "the.second.example")
		fresh, _ := os.ReadFile(key)
		write(t, key, old) // the certificate is there before its key
		time.Sleep(4 * time.Second)
		if got := served(t, c); got != "one.example" || len(reports) != 1 || reports[0] == nil {
			t.Fatalf("half a pair: %s, reports %v", got, reports)
		}
		time.Sleep(4 * time.Second)
		served(t, c)
		if len(reports) != 1 {
			t.Fatalf("the same is told again: %v", reports)
		}
		os.Remove(key)
		write(t, key, append(fresh, '\n'))
		time.Sleep(4 * time.Second)
		if got := served(t, c); got != "the.second.example" || len(reports) != 2 || reports[1] != nil {
			t.Fatalf("the whole pair: %s, reports %v", got, reports)
		}
		write(t, cert, []byte("no certificate"))
		if err := c.Check(); err == nil || served(t, c) != "the.second.example" {
			t.Fatalf("a broken file: %v, %s", err, served(t, c))
		}
		os.Remove(cert)
		if err := c.Check(); err == nil || served(t, c) != "the.second.example" {
			t.Fatalf("no file: %v, %s", err, served(t, c))
		}
	})
}

func TestMoveTakesOnlyAGoodPair(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	writePair(t, a, a+"k", "a.example")
	writePair(t, b, b+"k", "b.example")
	c, err := LoadCertificates(a, a+"k")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Move(b, a+"k"); err == nil || served(t, c) != "a.example" {
		t.Errorf("a pair that does not match: %v, %s", err, served(t, c))
	}
	if err := c.Move(b, b+"k"); err != nil || served(t, c) != "b.example" {
		t.Errorf("a good one: %v, %s", err, served(t, c))
	}
}

func TestTheSelfSignedPair(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	c, err := SelfSigned(durable.New(), dir, "mx.example.org")
	if err != nil {
		t.Fatal(err)
	}
	leaf := servedLeaf(t, c)
	for _, name := range []string{"mx.example.org", "localhost"} {
		if err := leaf.VerifyHostname(name); err != nil {
			t.Error(err)
		}
	}
	if st, err := os.Stat(filepath.Join(dir, "selfsigned.pem")); err != nil || st.Mode() != 0o600 {
		t.Errorf("%v %v, want mode 0600", st.Mode(), err)
	}
	again, err := SelfSigned(durable.New(), dir, "mx.example.org")
	if err != nil || !servedLeaf(t, again).Equal(leaf) {
		t.Errorf("a second program makes another pair: %v", err)
	}
	other, err := SelfSigned(durable.New(), dir, "new.example.org")
	if err != nil || served(t, other) != "new.example.org" {
		t.Errorf("the host has another name now: %v", err)
	}
}

func TestTheSelfSignedPairIsMadeAnewBeforeItEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		c, err := SelfSigned(durable.New(), dir, "mx.example.org")
		if err != nil {
			t.Fatal(err)
		}
		first := servedLeaf(t, c)
		time.Sleep(selfSignedLife - renewBefore - time.Hour)
		if !servedLeaf(t, c).Equal(first) {
			t.Error("made anew too early")
		}
		time.Sleep(2 * time.Hour)
		second := servedLeaf(t, c)
		if second.Equal(first) || time.Until(second.NotAfter) < selfSignedLife-time.Hour {
			t.Errorf("served until %v", second.NotAfter)
		}
	})
}

func TestTLS(t *testing.T) {
	certs, err := SelfSigned(durable.New(), t.TempDir(), "mx.example.org")
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(servedLeaf(t, certs))
	config := &tls.Config{RootCAs: pool, ServerName: "mx.example.org", ClientSessionCache: tls.NewLRUClientSessionCache(1)}

	t.Run("from the start", func(t *testing.T) {
		s := launch(t, Options{TLS: certs, Listen: []string{"submissions://127.0.0.1:0"}})
		for _, resumed := range []bool{false, true} {
			nc := tls.Client(dial(t, "tcp", s.addr), config)
			c := newClient(t, nc)
			c.hears("hello submissions from 127.0.0.1 loopback=true tls=true")
			if nc.ConnectionState().DidResume != resumed {
				t.Errorf("resumed %v, want %v", !resumed, resumed)
			}
			c.say("quit")
			c.hears("")
		}
	})
	t.Run("whose certificates", func(t *testing.T) {
		pairs := map[string]tls.Certificate{"ann": clientPair(t, "ann", x509.ExtKeyUsageClientAuth), "eve": clientPair(t, "eve", x509.ExtKeyUsageClientAuth), "host": clientPair(t, "host", x509.ExtKeyUsageServerAuth)}
		clients := x509.NewCertPool()
		clients.AddCert(pairs["ann"].Leaf)
		clients.AddCert(pairs["host"].Leaf)
		asking, err := SelfSigned(durable.New(), t.TempDir(), "mx.example.org")
		if err != nil {
			t.Fatal(err)
		}
		asking.TrustClients(clients)
		s := launch(t, Options{TLS: asking, Listen: []string{"submissions://127.0.0.1:0"}, Handle: tellCertificates})
		for name, want := range map[string]string{"": "own mx.example.org client none", "ann": "own mx.example.org client ann", "eve": "own mx.example.org client none", "host": "own mx.example.org client none"} {
			config := &tls.Config{InsecureSkipVerify: true}
			if name != "" {
				config.Certificates = []tls.Certificate{pairs[name]}
			}
			newClient(t, tls.Client(dial(t, "tcp", s.addr), config)).hears(want)
		}
		resuming := &tls.Config{InsecureSkipVerify: true, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
		newClient(t, tls.Client(dial(t, "tcp", s.addr), resuming)).hears("own mx.example.org client none")
		newClient(t, tls.Client(dial(t, "tcp", s.addr), resuming)).hears("own none client none") // none is shown again
	})
	t.Run("after STARTTLS, without what was said before", func(t *testing.T) {
		s := launch(t, Options{TLS: certs})
		c := dial(t, "tcp", s.addr)
		c.hears("hello smtp from 127.0.0.1 loopback=true tls=false")
		c.say("tls")
		c.hears("go")
		c = newClient(t, tls.Client(c.Conn, config))
		c.say("one")
		c.hears("one")
		s.signals <- syscall.SIGTERM
		c.hears("bye")
		c.hears("")
		s.end(t)
	})
	t.Run("a server that stops does not wait for a handshake", func(t *testing.T) {
		s := launch(t, Options{TLS: certs, Listen: []string{"submissions://127.0.0.1:0"}})
		dial(t, "tcp", s.addr)
		s.signals <- syscall.SIGTERM
		s.end(t)
	})
	t.Run("text instead of a handshake ends the connection", func(t *testing.T) {
		s := launch(t, Options{TLS: certs, Listen: []string{"submissions://127.0.0.1:0"}})
		c := dial(t, "tcp", s.addr)
		c.say("EHLO there")
		if line, _ := c.r.ReadString('\n'); strings.HasPrefix(line, "hello") {
			t.Errorf("%q", line)
		}
		s.log.await(t, "msg=lost client=127.0.0.1 where=TLS")
	})
}

// clientPair makes a certificate for a client.
func clientPair(t *testing.T, name string, use x509.ExtKeyUsage) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, ExtKeyUsage: []x509.ExtKeyUsage{use},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// tellCertificates is a protocol that says whose certificates there are.
func tellCertificates(_ context.Context, c *Conn) error {
	name := func(cert *x509.Certificate) string {
		if cert == nil {
			return "none"
		}
		return cert.Subject.CommonName
	}
	own, client := c.Certificates()
	fmt.Fprintf(c, "own %s client %s\r\n", name(own), name(client))
	return nil
}

func TestHandshakesDuringAChange(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	writePair(t, cert, key, "one.example")
	certs, err := LoadCertificates(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	s := launch(t, Options{TLS: certs, Listen: []string{"submissions://127.0.0.1:0"}})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			nc, err := net.Dial("tcp", s.addr)
			if err != nil {
				t.Error(err)
				return
			}
			defer nc.Close()
			if err := tls.Client(nc, &tls.Config{InsecureSkipVerify: true}).Handshake(); err != nil {
				t.Errorf("handshake %d: %v", i, err)
			}
		})
		writePair(t, cert, key, "one.example")
		certs.Check() // of half a pair, too
	}
	wg.Wait()
}
