package trust

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"testing"
	"time"

	"postbag/internal/resolve"
)

// An issuer makes certificates.
type issuer struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// issue makes a certificate for a name, by from or by itself.
func issue(t *testing.T, from *issuer, name string, ca bool, ends time.Time) *issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: ends, IsCA: ca, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if ca {
		template.KeyUsage = x509.KeyUsageCertSign
	}
	parent, signer := template, key
	if from != nil {
		parent, signer = from.cert, from.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &issuer{cert, key}
}

func sum256(b []byte) []byte { s := sha256.Sum256(b); return s[:] }
func sum512(b []byte) []byte { s := sha512.Sum512(b); return s[:] }

func rec(usage, selector, matching uint8, data []byte) resolve.TLSA {
	return resolve.TLSA{Usage: usage, Selector: selector, Matching: matching, Data: data}
}

// tlsa is a resolver with some records.
type tlsa struct {
	records   []resolve.TLSA
	authentic bool
	err       error
}

func (r tlsa) TLSA(context.Context, string, int) ([]resolve.TLSA, string, bool, error) {
	return r.records, "base.example", r.authentic, r.err
}

func TestDANE(t *testing.T) {
	soon := time.Now().Add(time.Hour)
	ca := issue(t, nil, "ca", true, soon)
	leaf := issue(t, ca, "mx.example.org", false, soon)
	old := issue(t, ca, "mx.example.org", false, time.Now().Add(-time.Hour))
	stranger := issue(t, nil, "mx.example.org", false, soon)
	chain := []*x509.Certificate{leaf.cert, ca.cert}
	key, cert := leaf.cert.RawSubjectPublicKeyInfo, leaf.cert.Raw
	for _, tt := range []struct {
		name    string
		records []resolve.TLSA
		chain   []*x509.Certificate
		want    bool
	}{
		{"the key by SHA-256", []resolve.TLSA{rec(3, 1, 1, sum256(key))}, chain, true},
		{"the key by SHA-512", []resolve.TLSA{rec(3, 1, 2, sum512(key))}, chain, true},
		{"the key itself", []resolve.TLSA{rec(3, 1, 0, key)}, chain, true},
		{"the certificate", []resolve.TLSA{rec(3, 0, 1, sum256(cert))}, chain, true},
		{"one of two records is enough", []resolve.TLSA{rec(3, 1, 1, sum256([]byte("x"))), rec(3, 1, 1, sum256(key))}, chain, true},
		{"a usage that is not for mail counts for nothing", []resolve.TLSA{rec(1, 1, 1, sum256(key)), rec(3, 1, 1, sum256([]byte("x")))}, chain, false},
		{"another key", []resolve.TLSA{rec(3, 1, 1, sum256(key))}, []*x509.Certificate{stranger.cert}, false},
		{"the date of a host's own certificate does not count", []resolve.TLSA{rec(3, 0, 1, sum256(old.cert.Raw))}, []*x509.Certificate{old.cert}, true},
		{"the authority in the chain", []resolve.TLSA{rec(2, 0, 1, sum256(ca.cert.Raw))}, chain, true},
		{"the authority's key", []resolve.TLSA{rec(2, 1, 1, sum256(ca.cert.RawSubjectPublicKeyInfo))}, chain, true},
		{"the authority in the record alone", []resolve.TLSA{rec(2, 0, 0, ca.cert.Raw)}, chain[:1], true},
		{"the authority is not there", []resolve.TLSA{rec(2, 0, 1, sum256(ca.cert.Raw))}, chain[:1], false},
		{"the date counts under an authority", []resolve.TLSA{rec(2, 0, 1, sum256(ca.cert.Raw))}, []*x509.Certificate{old.cert, ca.cert}, false},
		{"an authority that did not sign it", []resolve.TLSA{rec(2, 0, 1, sum256(ca.cert.Raw))}, []*x509.Certificate{stranger.cert, ca.cert}, false},
	} {
		d, ok, err := DANE(t.Context(), tlsa{tt.records, true, nil}, "mx.example.org", 25, "mx.example.org")
		if !ok || err != nil || d.Verify == nil {
			t.Errorf("%s: %v %v", tt.name, ok, err)
			continue
		}
		if err := d.Verify(tls.ConnectionState{PeerCertificates: tt.chain}); (err == nil) != tt.want || err != nil && !errors.Is(err, errMismatch) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	d, _, _ := DANE(t.Context(), tlsa{[]resolve.TLSA{rec(2, 0, 1, sum256(ca.cert.Raw))}, true, nil}, "other.example", 25, "other.example", "example.com")
	if d.Verify(tls.ConnectionState{PeerCertificates: chain}) == nil {
		t.Error("under an authority the name counts")
	}
	if d.Verify(tls.ConnectionState{}) == nil {
		t.Error("no certificate is none that fits")
	}
}

func TestRecordsThatDoNotCount(t *testing.T) {
	record := []resolve.TLSA{rec(3, 1, 1, make([]byte, 32))}
	for _, tt := range []struct {
		name   string
		r      tlsa
		ok     bool
		verify bool
		fails  bool
	}{
		{"those of an unsigned zone", tlsa{record, false, nil}, false, false, false},
		{"none", tlsa{nil, true, nil}, false, false, false},
		{"those that cannot be had stop the mail", tlsa{nil, false, errors.New("servfail")}, false, false, true},
		{"those that nobody can use still demand TLS", tlsa{[]resolve.TLSA{rec(3, 1, 1, []byte("short")), rec(0, 0, 1, make([]byte, 32)), rec(3, 2, 1, make([]byte, 32))}, true, nil}, true, false, false},
		{"a good one is checked", tlsa{record, true, nil}, true, true, false},
	} {
		d, ok, err := DANE(t.Context(), tt.r, "h", 25)
		if ok != tt.ok || (d.Verify != nil) != tt.verify || (err != nil) != tt.fails {
			t.Errorf("%s: %+v %v %v", tt.name, d, ok, err)
		}
	}
}
