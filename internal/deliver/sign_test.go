package deliver

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/emersion/go-msgauth/dkim"

	"postbag/internal/message"
	"postbag/internal/trust"
)

// aSigner signs for example.org, with what the DNS has to say of its key.
func aSigner(t *testing.T) (s *trust.Signer, record string) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err = trust.NewSigner([]string{"example.org:s1:" + path}); err != nil {
		t.Fatal(err)
	}
	return s, "v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(public)
}

// RFC 6376 section 5.3: what a host on the way may change is changed before.
func TestWhatIsSignedHasSevenBits(t *testing.T) {
	s, record := aSigner(t)
	const head = "From: ann@example.org\nSubject: x\n"
	const mime = "MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: "
	for _, tt := range []struct {
		name, text, has string
		eight           bool // stays in it
	}{
		{"text in eight bits", head + mime + "8bit\n\nGrüße\n", "Gr=C3=BC=C3=9Fe", false},
		{"text that is encoded already", head + mime + "quoted-printable\n\nGr=C3=BC=C3=9Fe\n", "Gr=C3=BC=C3=9Fe", false},
		{"what is no MIME stays", head + "\nGrüße\n", "Grüße", true},
		{"what somebody else has signed stays", head + "DKIM-Signature: v=1; a=x\n" + mime + "8bit\n\nGrüße\n", "Grüße", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := mail(tt.text)
			m.Ours = true
			m, err := (&Remote{Signer: s}).sign(m)
			if err != nil {
				t.Fatal(err)
			}
			r, err := m.Open()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			wire, err := io.ReadAll(message.ToWire(r))
			if err != nil {
				t.Fatal(err)
			}
			eight := bytes.ContainsFunc(wire, func(c rune) bool { return c > 127 })
			if eight != tt.eight || !strings.Contains(string(wire), tt.has) || !strings.HasPrefix(string(wire), "DKIM-Signature: ") {
				t.Errorf("8 bits: %v; %q", eight, wire)
			}
			found, err := dkim.VerifyWithOptions(bytes.NewReader(wire), &dkim.VerifyOptions{LookupTXT: func(string) ([]string, error) { return []string{record}, nil }})
			if err != nil || len(found) == 0 || found[0].Err != nil {
				t.Errorf("%v, %+v", err, found)
			}
		})
	}
}
