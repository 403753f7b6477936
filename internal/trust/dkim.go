package trust

import (
	"bufio"
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/emersion/go-msgauth/dkim"

	"postbag/internal/address"
	"postbag/internal/message"
)

// A Signer signs letters of some domains (DKIM, RFC 6376).
type Signer struct {
	keys map[string][]key // by domain
}

type key struct {
	domain, selector string
	private          crypto.Signer
}

// minRSA is the least number of bits of a key that others take (RFC 8301 section
// 3.2).
const minRSA = 1024

// NewSigner reads keys, each DOMAIN:SELECTOR:FILE. A file is PEM: RSA or Ed25519
// (RFC 8463). A domain may have several, and is signed with each.
func NewSigner(specs []string) (*Signer, error) {
	s := &Signer{keys: map[string][]key{}}
	for _, spec := range specs {
		k, err := readKey(spec)
		if err != nil {
			return nil, fmt.Errorf("dkim key %s: %w", spec, err)
		}
		s.keys[k.domain] = append(s.keys[k.domain], k)
	}
	return s, nil
}

func readKey(spec string) (key, error) {
	parts := strings.SplitN(spec, ":", 3)
	if len(parts) != 3 || parts[1] == "" || parts[2] == "" {
		return key{}, errors.New("is not DOMAIN:SELECTOR:FILE")
	}
	domain, err := address.DomainASCII(parts[0])
	if err != nil {
		return key{}, err
	}
	selector, err := address.DomainASCII(parts[1])
	if err != nil {
		return key{}, err
	}
	text, err := os.ReadFile(parts[2])
	if err != nil {
		return key{}, err
	}
	private, err := parseKey(text)
	return key{domain, selector, private}, err
}

func parseKey(text []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("no PEM in it")
	}
	any, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if block.Type == "RSA PRIVATE KEY" {
		any, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	}
	if err != nil {
		return nil, err
	}
	switch k := any.(type) {
	case *rsa.PrivateKey:
		if k.N.BitLen() < minRSA {
			return nil, fmt.Errorf("%d bits are too few", k.N.BitLen())
		}
		return k, nil
	case ed25519.PrivateKey:
		return k, nil
	}
	return nil, errors.New("is neither RSA nor Ed25519")
}

// signed are the fields that a signature holds, where a letter has them (RFC 6376
// section 5.4.1). From stands there once more, so that nobody can add another.
var signed = []string{"From", "Sender", "Reply-To", "To", "Cc", "Subject", "Date", "Message-ID", "In-Reply-To", "References",
	"MIME-Version", "Content-Type", "Content-Transfer-Encoding", "List-Id", "List-Unsubscribe", "List-Unsubscribe-Post"}

const maxHeader = 1 << 20

// Sign gives the DKIM-Signature fields for a letter in disk form, to stand before
// it; none where we have no key for the domain of its author.
func (s *Signer) Sign(open func() (io.ReadCloser, error)) ([]byte, error) {
	r, err := open()
	if err != nil {
		return nil, err
	}
	header, err := message.ReadHeader(bufio.NewReader(r), maxHeader)
	r.Close()
	if err != nil {
		return nil, err
	}
	var fields bytes.Buffer
	for _, k := range s.keysFor(header) {
		field, err := k.sign(header, open)
		if err != nil {
			return nil, err
		}
		fields.WriteString(strings.ReplaceAll(field, "\r\n", "\n"))
	}
	return fields.Bytes(), nil
}

// keysFor finds the keys of the author's domain, or of the nearest one above it:
// both are aligned for DMARC (RFC 7489 section 3.1.1).
func (s *Signer) keysFor(header *message.Header) []key {
	list, err := address.ParseList(header.Get("From"))
	if err != nil || len(list) != 1 {
		return nil
	}
	domain, err := address.DomainASCII(list[0].Address.Domain)
	for ok := err == nil; ok; _, domain, ok = strings.Cut(domain, ".") {
		if keys := s.keys[domain]; keys != nil {
			return keys
		}
	}
	return nil
}

func (k key) sign(header *message.Header, open func() (io.ReadCloser, error)) (string, error) {
	names := slices.DeleteFunc(slices.Clone(signed), func(name string) bool { return !header.Has(name) })
	signer, err := dkim.NewSigner(&dkim.SignOptions{
		Domain: k.domain, Selector: k.selector, Signer: k.private, Hash: crypto.SHA256,
		HeaderCanonicalization: dkim.CanonicalizationRelaxed, BodyCanonicalization: dkim.CanonicalizationRelaxed,
		HeaderKeys: append(names, "From"),
	})
	if err != nil {
		return "", err
	}
	r, err := open()
	if err != nil {
		signer.Close()
		return "", err
	}
	defer r.Close()
	_, err = io.Copy(signer, message.ToWire(r))
	if cerr := signer.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return "", fmt.Errorf("sign for %s: %w", k.domain, err)
	}
	return signer.Signature(), nil
}
