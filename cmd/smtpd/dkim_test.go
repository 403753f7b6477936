package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/emersion/go-msgauth/dkim"
)

// TestSignaturesHoldAfterTheWay sends each letter to another host, and verifies
// there what smtpd has signed.
func TestSignaturesHoldAfterTheWay(t *testing.T) {
	bin, dir := build(t), t.TempDir()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, text []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	far := newKiller(t, bin)
	far.hostname = "far.example.net"
	far.args = []string{"--domain", "local.test"}
	if err := os.WriteFile(far.dir+"/users", []byte("user:{PLAIN}x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	farCmd, farAddr := far.start()
	defer farCmd.Wait()
	defer farCmd.Process.Kill()
	near := newKiller(t, bin)
	near.args = []string{"--dkim-key", "example.org:s1:" + write("key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
		"--routes", write("routes", []byte("* smtp://"+farAddr+"\n")), "--resolver", "127.0.0.1:1"}
	cmd, addr := near.start()
	defer cmd.Wait()
	defer cmd.Process.Kill()
	for subject, body := range letters {
		send(t, addr, []string{"user@local.test"}, subject, body)
	}
	record := "v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(public)
	for _, text := range await(t, filepath.Join(far.spool, "mail/user/new"), len(letters), isLetter) {
		wire := strings.ReplaceAll(text, "\n", "\r\n")
		found, err := dkim.VerifyWithOptions(bytes.NewReader([]byte(wire)), &dkim.VerifyOptions{LookupTXT: func(name string) ([]string, error) {
			if name != "s1._domainkey.example.org" {
				t.Errorf("asked for %s", name)
			}
			return []string{record}, nil
		}})
		if err != nil || len(found) != 1 || found[0].Err != nil {
			t.Errorf("%v, %d signatures: %.600s", err, len(found), text)
			if len(found) > 0 {
				t.Error(found[0].Err)
			}
		}
	}
}
