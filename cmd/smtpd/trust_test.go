package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"crypto/tls"

	"postbag/internal/mailtest"
)

// certificate writes a pair for names, signed by itself, and gives the hash of
// its key.
func certificate(t *testing.T, dir string, names ...string) (cert, key, sum string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: names[0]}, DNSNames: names,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	public, _ := x509.MarshalPKIXPublicKey(&private.PublicKey)
	secret, _ := x509.MarshalPKCS8PrivateKey(private)
	hash := sha256.Sum256(public)
	cert, key = filepath.Join(dir, names[0]+".pem"), filepath.Join(dir, names[0]+".key")
	for name, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key, hex.EncodeToString(hash[:])
}

// receiver starts a smtpd for some domains, and gives its port.
func receiver(t *testing.T, bin, cert, key string, domains ...string) string {
	t.Helper()
	k := newKiller(t, bin)
	k.hostname = "mx"
	k.args = []string{"--tls-cert", cert, "--tls-key", key, "--relay-from", "192.0.2.1"}
	for _, d := range domains {
		k.args = append(k.args, "--domain", d)
	}
	cmd, addr := k.start()
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return addr[strings.LastIndexByte(addr, ':')+1:]
}

// TestDANE sends to hosts whose TLSA records are right, wrong, forged, missing and
// unsigned, by the answers of a real validating resolver.
func TestDANE(t *testing.T) {
	bin, dir := build(t), t.TempDir()
	cert, key, sum := certificate(t, dir, "mx")
	port := receiver(t, bin, cert, key, "good.dane.postbag", "wrong.dane.postbag", "forged.dane.postbag", "none.dane.postbag", "unsigned.plain.postbag")
	wrong := strings.Repeat("00", 32)
	record := func(host, data string) string {
		return fmt.Sprintf("%s IN MX 10 mx.%s\nmx.%s IN A 127.0.0.1\n_%s._tcp.mx.%s IN TLSA 3 1 1 %s\n", host, host, host, port, host, data)
	}
	resolver := mailtest.StartUnbound(t,
		mailtest.Zone{Name: "dane.postbag", Signed: true, Records: record("good", sum) + record("wrong", wrong) + record("forged", strings.Repeat("ab", 32)) +
			"none IN MX 10 mx.none\nmx.none IN A 127.0.0.1\n",
			Tamper: func(text string) string { return strings.ReplaceAll(text, strings.Repeat("ab", 32), sum) }},
		mailtest.Zone{Name: "plain.postbag", Records: record("unsigned", wrong)},
	)
	s := newKiller(t, bin)
	s.args = []string{"--resolver", resolver, "--smtp-port", port}
	cmd, addr := s.start()
	defer cmd.Wait()
	defer cmd.Process.Kill()
	for domain, want := range map[string]string{
		"good.dane.postbag":      `msg=delivered .*ann@good.dane.postbag`,
		"wrong.dane.postbag":     `msg=deferred .*ann@wrong.dane.postbag.*status=4.7.5.*certificate is not the one`,
		"forged.dane.postbag":    `msg=deferred .*ann@forged.dane.postbag.*status=4.7.5.*TLSA`,
		"none.dane.postbag":      `msg=delivered .*ann@none.dane.postbag`,
		"unsigned.plain.postbag": `msg=delivered .*ann@unsigned.plain.postbag`,
	} {
		send(t, addr, []string{"ann@" + domain}, "x", "x\r\n")
		s.log.await(t, want)
	}
}

// TestMTASTS sends to domains with policies over real HTTPS.
func TestMTASTS(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.2:443")
	if err != nil {
		t.Skipf("port 443 cannot be had here: %v", err)
	}
	bin, dir := build(t), t.TempDir()
	cert, key, _ := certificate(t, dir, "mx.good.example", "mta-sts.good.example", "mta-sts.wrong.example", "mta-sts.other.example")
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	policies := map[string]string{"mta-sts.good.example": "mx.good.example", "mta-sts.wrong.example": "*.wrong.example", "mta-sts.other.example": "mx.elsewhere.example"}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		fmt.Fprintf(w, "version: STSv1\nmode: enforce\nmx: %s\nmax_age: 86400\n", policies[r.Host])
	})}
	go server.Serve(tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{pair}}))
	defer server.Close()
	var records []string
	for _, domain := range []string{"good.example", "wrong.example", "other.example", "none.example"} {
		records = append(records, domain+". 60 IN MX 10 mx."+domain+".", "mx."+domain+". 60 IN A 127.0.0.1")
		if domain != "none.example" {
			records = append(records, "mta-sts."+domain+". 60 IN A 127.0.0.2", "_mta-sts."+domain+`. 60 IN TXT "v=STSv1; id=1"`)
		}
	}
	dns, err := mailtest.StartDNS(records...)
	if err != nil {
		t.Fatal(err)
	}
	defer dns.Close()
	s := newKiller(t, bin)
	s.args = []string{"--resolver", dns.Addr, "--smtp-port", receiver(t, bin, cert, key, "good.example", "wrong.example", "other.example", "none.example"), "--tls-ca", cert}
	for round := range 2 { // the policies outlive the program and their host
		cmd, addr := s.start()
		for domain, want := range map[string]string{
			"good.example":  `msg=delivered .*ann.` + strconv.Itoa(round) + `@good.example`,
			"wrong.example": `msg=deferred .*ann.` + strconv.Itoa(round) + `@wrong.example.*status=4.7.5.*not mx.wrong.example`,
			"other.example": `msg=deferred .*ann.` + strconv.Itoa(round) + `@other.example.*status=4.7.10.*MTA-STS policy`,
			"none.example":  `msg=delivered .*ann.` + strconv.Itoa(round) + `@none.example`,
		} {
			send(t, addr, []string{"ann+" + strconv.Itoa(round) + "@" + domain}, "x", "x\r\n")
			s.log.await(t, want)
		}
		cmd.Process.Kill()
		cmd.Wait()
		server.Close()
	}
}
