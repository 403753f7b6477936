package netserve

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"sync"
	"time"

	"postbag/internal/durable"
)

// Certificates are a pair of certificate and key in files, read again when these
// change. A new pair is taken only when it parses and matches; else the old one
// stays, and Check says why.
type Certificates struct {
	cert, key string

	mu     sync.Mutex
	looked time.Time
	stamps [2]time.Time
	pair   *tls.Certificate
	broken error
}

// LoadCertificates reads a pair.
func LoadCertificates(cert, key string) (*Certificates, error) {
	c := &Certificates{cert: cert, key: key}
	if err := c.load(); err != nil {
		return nil, err
	}
	return c, nil
}

// lookEvery is how often files are asked whether they have changed.
const lookEvery = 2 * time.Second

// load reads the pair if the files have changed.
func (c *Certificates) load() error {
	var stamps [2]time.Time
	for i, path := range []string{c.cert, c.key} {
		st, err := os.Stat(path)
		if err != nil {
			return err
		}
		stamps[i] = st.ModTime()
	}
	if stamps == c.stamps {
		return c.broken
	}
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	c.stamps = stamps
	if err != nil {
		c.broken = fmt.Errorf("certificate %s: %w", c.cert, err)
		return c.broken
	}
	c.pair, c.broken = &pair, nil
	return nil
}

// Check reads the pair again if it has changed.
func (c *Certificates) Check() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.looked = time.Now()
	return c.load()
}

// Expires is when the certificate ends.
func (c *Certificates) Expires() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pair.Leaf == nil {
		return time.Time{}
	}
	return c.pair.Leaf.NotAfter
}

// Config is for servers.
func (c *Certificates) Config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			c.mu.Lock()
			defer c.mu.Unlock()
			if time.Since(c.looked) > lookEvery {
				c.looked = time.Now()
				_ = c.load() // the old pair stays; Check tells of it
			}
			return c.pair, nil
		},
	}
}

// Life of a self-signed certificate, and how long before its end it is made anew.
const (
	selfSignedLife = 365 * 24 * time.Hour
	renewBefore    = 30 * 24 * time.Hour
)

// SelfSigned gives a pair for hostname and localhost, kept in one file below dir
// and made anew before it ends. Clients that check it have to be told to trust
// it; those that do not are better off than without TLS.
func SelfSigned(fs *durable.FS, dir, hostname string) (*Certificates, error) {
	path := filepath.Join(dir, "selfsigned.pem")
	if c, err := LoadCertificates(path, path); err == nil && c.fits(hostname) {
		return c, nil
	}
	text, err := makeSelfSigned(hostname)
	if err == nil {
		err = fs.MkdirAll(dir, 0o700)
	}
	if err == nil {
		err = fs.WriteFile(path, text, 0o600)
	}
	if err != nil {
		return nil, fmt.Errorf("make certificate: %w", err)
	}
	return LoadCertificates(path, path)
}

func (c *Certificates) fits(hostname string) bool {
	leaf := c.pair.Leaf
	return leaf != nil && leaf.VerifyHostname(hostname) == nil && time.Until(leaf.NotAfter) > renewBefore
}

// makeSelfSigned gives certificate and key in PEM.
func makeSelfSigned(hostname string) ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	names := []string{hostname}
	if hostname != "localhost" {
		names = append(names, "localhost")
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: hostname}, DNSNames: names,
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(selfSignedLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, errors.Join(errors.New("encode key"), err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return append(text, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})...), nil
}
