package trust

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/emersion/go-msgauth/dkim"

	"postbag/internal/message"
)

// writeKey writes a private key and gives the record of the public one.
func writeKey(t *testing.T, path string, private any) (record string) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	switch k := private.(type) {
	case *rsa.PrivateKey:
		public, _ := x509.MarshalPKIXPublicKey(&k.PublicKey)
		return "v=DKIM1; k=rsa; p=" + base64.StdEncoding.EncodeToString(public)
	case ed25519.PrivateKey:
		return "v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(k.Public().(ed25519.PublicKey))
	}
	return ""
}

func TestSign(t *testing.T) {
	dir := t.TempDir()
	rsaKey, _ := rsa.GenerateKey(rand.Reader, 2048)
	_, edKey, _ := ed25519.GenerateKey(rand.Reader)
	records := map[string]string{
		"r._domainkey.example.org": writeKey(t, filepath.Join(dir, "r"), rsaKey),
		"e._domainkey.example.org": writeKey(t, filepath.Join(dir, "e"), edKey),
	}
	s, err := NewSigner([]string{"example.org:r:" + dir + "/r", "Example.org:e:" + dir + "/e"})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, text string
		valid      int
		change     func(string) string
	}{
		{"a letter of the domain", "From: Ann <ann@example.org>\nSubject:  a\n b\n\nbody \n\n\n", 2, nil},
		{"one from below it", "From: ann@news.example.org\n\nbody\n", 2, nil},
		{"dots, eight bits, no line end", "From: ann@example.org\n\n.\n..\n\xc3\xbc", 2, nil},
		{"one of another domain", "From: ann@example.com\n\nbody\n", 0, nil},
		{"one with two authors", "From: ann@example.org, bob@example.com\n\nbody\n", 0, nil},
		{"one without author", "Subject: x\n\nbody\n", 0, nil},
		{"a changed body", "From: ann@example.org\n\nbody\n", -2, func(s string) string { return strings.Replace(s, "body", "booty", 1) }},
		{"another author before", "From: ann@example.org\n\nbody\n", -2, func(s string) string { return "From: eve@example.com\n" + s }},
		{"trace fields before", "From: ann@example.org\n\nbody\n", 2, func(s string) string { return "Received: x\n" + s }},
	} {
		fields, err := s.Sign(func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(tt.text)), nil })
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		text := string(fields) + tt.text
		if tt.change != nil {
			text = tt.change(text)
		}
		wire, _ := io.ReadAll(message.ToWire(strings.NewReader(text)))
		found, err := dkim.VerifyWithOptions(bytes.NewReader(wire), &dkim.VerifyOptions{LookupTXT: func(name string) ([]string, error) {
			return []string{records[name]}, nil
		}})
		if err != nil && len(found) == 0 && tt.valid != 0 {
			t.Errorf("%s: %v", tt.name, err)
		}
		valid := 0
		for _, v := range found {
			if v.Err == nil {
				valid++
			} else {
				valid--
			}
		}
		if valid != tt.valid {
			t.Errorf("%s: %d valid, want %d\n%s", tt.name, valid, tt.valid, text)
		}
	}
	broken := func() (io.ReadCloser, error) {
		return io.NopCloser(io.MultiReader(strings.NewReader("From: ann@example.org\n\nx"), failing{})), nil
	}
	if fields, err := s.Sign(broken); err == nil {
		t.Errorf("a letter that cannot be read is signed: %s", fields)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("damaged") }

func TestKeysThatAreNone(t *testing.T) {
	dir := t.TempDir()
	os.WriteFile(dir+"/text", []byte("x"), 0o600)
	ec := issue(t, nil, "x", false, x509.Certificate{}.NotAfter)
	writeKey(t, dir+"/ec", ec.key)
	for spec, want := range map[string]string{
		"example.org:" + dir + "/text":   "is not DOMAIN:SELECTOR:FILE",
		"a..b:s:" + dir + "/text":        "bad address syntax",
		"example.org:s:" + dir + "/none": "no such file",
		"example.org:s:" + dir + "/text": "no PEM in it",
		"example.org:s:" + dir + "/ec":   "is neither RSA nor Ed25519",
	} {
		if _, err := NewSigner([]string{spec}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("NewSigner(%s): %v, want %s", spec, err, want)
		}
	}
}
