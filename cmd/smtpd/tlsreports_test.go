package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"postbag/internal/mailtest"
)

// What was counted three days ago is reported at once, by mail over the way of all
// letters; what is counted now lies in the spool when the program has ended, and
// the report is no part of it.
func TestTLSReports(t *testing.T) {
	bin, dir := build(t), t.TempDir()
	cert, key, _ := certificate(t, dir, "mx")
	dns, err := mailtest.StartDNS(
		"peer.example. 60 IN MX 10 mx.peer.example.", "mx.peer.example. 60 IN A 127.0.0.1",
		`_smtp._tls.peer.example. 60 IN TXT "v=TLSRPTv1; rua=mailto:ann@peer.example"`,
		"other.example. 60 IN MX 10 mx.other.example.", "mx.other.example. 60 IN A 127.0.0.1",
	)
	if err != nil {
		t.Fatal(err)
	}
	defer dns.Close()
	s := newKiller(t, bin)
	state := filepath.Join(s.spool, "state", "tlsrpt")
	if err := os.MkdirAll(state, 0o700); err != nil {
		t.Fatal(err)
	}
	old := filepath.Join(state, time.Now().UTC().Add(-72*time.Hour).Format("2006-01-02")+".json")
	counted := `{"peer.example":{"policies":[{"policy":{"policy-type":"no-policy-found","policy-domain":"peer.example"},` +
		`"summary":{"total-successful-session-count":7,"total-failure-session-count":0}}]}}`
	if err := os.WriteFile(old, []byte(counted), 0o600); err != nil {
		t.Fatal(err)
	}
	s.args = []string{"--resolver", dns.Addr, "--tls-reports", "tls@example.org",
		"--smtp-port", receiver(t, bin, cert, key, "peer.example", "other.example")}
	cmd, addr := s.start()
	defer cmd.Process.Kill()
	s.log.await(t, `msg=delivered .*to=<ann@peer.example>`)
	send(t, addr, []string{"ann@other.example"}, "x", "x\r\n")
	s.log.await(t, `msg=delivered .*to=<ann@other.example>`)
	cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	files, err := filepath.Glob(filepath.Join(state, "*.json"))
	if err != nil || len(files) != 1 || files[0] == old {
		t.Fatalf("in the spool: %q, %v", files, err)
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"other.example":{"policies":[{"policy":{"policy-type":"no-policy-found","policy-domain":"other.example"},"summary":{"total-successful-session-count":1,"total-failure-session-count":0}}]}}`
	if got := strings.TrimSpace(string(text)); got != want {
		t.Errorf("counted %s", got)
	}
}
