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
	"syscall"
	"time"

	"postbag/internal/durable"
)

// Certificates are a pair of certificate and key in files, read again when these
// change. A new pair is taken only when it parses and matches; else the old one
// stays. Report is told of each change, and why a pair was not taken.
type Certificates struct {
	Report func(err error) // nil: nobody

	config  *tls.Config
	clients *x509.CertPool // who vouches for clients; nil: nobody
	renew   func() error   // makes a self-signed pair anew, when it is time

	mu        sync.Mutex
	cert, key string
	looked    time.Time
	stamps    [2]stamp
	pair      *tls.Certificate
	broken    error
}

// A stamp changes when a file does.
type stamp struct {
	mtime time.Time
	size  int64
	inode uint64
}

// LoadCertificates reads a pair.
func LoadCertificates(cert, key string) (*Certificates, error) {
	c := &Certificates{cert: cert, key: key}
	c.config = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.current}
	if err := c.load(); err != nil {
		return nil, err
	}
	return c, nil
}

// lookEvery is how often files are asked whether they have changed: at a
// handshake, so that nobody gets an older pair than this.
const lookEvery = 2 * time.Second

// load reads the pair if the files have changed.
func (c *Certificates) load() error {
	var stamps [2]stamp
	for i, path := range []string{c.cert, c.key} {
		st, err := os.Stat(path)
		if err != nil {
			return c.settle(err)
		}
		stamps[i] = stamp{st.ModTime(), st.Size(), inode(st)}
	}
	if stamps == c.stamps {
		return c.broken
	}
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	c.stamps = stamps
	if err != nil {
		return c.settle(fmt.Errorf("certificate %s: %w", c.cert, err))
	}
	fresh := c.pair == nil
	c.pair, c.broken = &pair, nil
	if c.Report != nil && !fresh {
		c.Report(nil)
	}
	return nil
}

// settle notes that there is no new pair, and tells it once.
func (c *Certificates) settle(err error) error {
	news := c.broken == nil || c.broken.Error() != err.Error()
	c.broken = err
	if c.Report != nil && news {
		c.Report(err)
	}
	return err
}

func inode(st os.FileInfo) uint64 {
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		return sys.Ino
	}
	return 0
}

// Check reads the pair again if it has changed.
func (c *Certificates) Check() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.look()
}

func (c *Certificates) look() error {
	c.looked = time.Now()
	err := c.load() // another process may have made a new one
	if c.renew == nil || !c.ending() {
		return err
	}
	if err := c.renew(); err != nil {
		return c.settle(err)
	}
	return c.load()
}

// ending says that the certificate should be replaced.
func (c *Certificates) ending() bool {
	return c.pair.Leaf == nil || time.Until(c.pair.Leaf.NotAfter) <= renewBefore
}

// Move takes the pair from other files; if it is not good, all stays.
func (c *Certificates) Move(cert, key string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if cert == c.cert && key == c.key {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return fmt.Errorf("certificate %s: %w", cert, err)
	}
	c.cert, c.key, c.pair, c.stamps, c.renew = cert, key, &pair, [2]stamp{}, nil
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

// Config is for servers. There is one for all connections, so that sessions can
// be resumed.
func (c *Certificates) Config() *tls.Config { return c.config }

// current gives the pair for one handshake.
func (c *Certificates) current(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.looked) > lookEvery {
		_ = c.look() // the old pair stays; Report has told of it
	}
	if hello != nil {
		if conn, ok := hello.Conn.(*shownConn); ok {
			conn.pair = c.pair
		}
	}
	return c.pair, nil
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
	renew := func() error { return writeSelfSigned(fs, path, hostname) }
	c, err := LoadCertificates(path, path)
	if err != nil || c.ending() || c.pair.Leaf.VerifyHostname(hostname) != nil {
		if err := renew(); err != nil {
			return nil, err
		}
		if c, err = LoadCertificates(path, path); err != nil {
			return nil, err
		}
	}
	c.renew = renew
	return c, nil
}

func writeSelfSigned(fs *durable.FS, path, hostname string) error {
	text, err := makeSelfSigned(hostname)
	if err == nil {
		err = fs.MkdirAll(filepath.Dir(path), 0o700)
	}
	if err == nil {
		err = fs.WriteFile(path, text, 0o600)
	}
	if err != nil {
		return fmt.Errorf("make certificate: %w", err)
	}
	return nil
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
