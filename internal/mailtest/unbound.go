package mailtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// A Zone is one that an Unbound answers for.
type Zone struct {
	Name    string
	Records string // without SOA and NS, which it gets
	Signed  bool
	Tamper  func(signed string) string // changes the zone after it was signed
}

// StartUnbound starts a validating resolver of the system's package that trusts
// the keys of the signed zones, and gives its address. The test is skipped where
// it or ldns is not installed.
func StartUnbound(t testing.TB, zones ...Zone) string {
	t.Helper()
	for _, program := range []string{"unbound", "ldns-keygen", "ldns-signzone"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not installed", program)
		}
	}
	dir := t.TempDir()
	port := FreePort(t)
	conf := fmt.Sprintf(`server:
	interface: 127.0.0.1
	port: %d
	do-daemonize: no
	username: ""
	chroot: ""
	directory: "%s"
	pidfile: "%s/pid"
	use-syslog: no
	logfile: "%s/log"
	module-config: "validator iterator"
	num-threads: 1
`, port, dir, dir, dir)
	for i, z := range zones {
		file, anchor := z.write(t, filepath.Join(dir, fmt.Sprint("zone", i)))
		if anchor != "" {
			conf = strings.Replace(conf, "\tnum-threads", fmt.Sprintf("\ttrust-anchor-file: \"%s\"\n\tnum-threads", anchor), 1)
		}
		conf += fmt.Sprintf("auth-zone:\n\tname: %q\n\tzonefile: %q\n\tfor-downstream: no\n\tfor-upstream: yes\n\tfallback-enabled: no\n", z.Name, file)
	}
	check(t, os.WriteFile(dir+"/unbound.conf", []byte(conf), 0o600))
	cmd := exec.Command("unbound", "-d", "-c", dir+"/unbound.conf")
	check(t, cmd.Start())
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	for range 100 {
		msg, err := dns.Exchange(new(dns.Msg).SetQuestion(dns.Fqdn(zones[0].Name), dns.TypeSOA), addr)
		if err == nil && len(msg.Answer) > 0 {
			return addr
		}
		time.Sleep(50 * time.Millisecond)
	}
	log, _ := os.ReadFile(dir + "/log")
	t.Fatalf("unbound does not answer: %s", log)
	return ""
}

// write makes the file of a zone and, if it is signed, that of its key.
func (z Zone) write(t testing.TB, dir string) (file, anchor string) {
	t.Helper()
	check(t, os.Mkdir(dir, 0o700))
	file = filepath.Join(dir, "zone")
	text := fmt.Sprintf("$ORIGIN %s.\n$TTL 60\n@ IN SOA ns hostmaster 1 3600 600 86400 60\n@ IN NS ns\nns IN A 127.0.0.1\n%s", z.Name, z.Records)
	check(t, os.WriteFile(file, []byte(text), 0o600))
	if !z.Signed {
		return file, ""
	}
	key := strings.TrimSpace(run(t, dir, "ldns-keygen", "-a", "ECDSAP256SHA256", "-k", z.Name))
	run(t, dir, "ldns-signzone", "-o", z.Name, "zone", key)
	signed, err := os.ReadFile(file + ".signed")
	check(t, err)
	if z.Tamper != nil {
		check(t, os.WriteFile(file+".signed", []byte(z.Tamper(string(signed))), 0o600))
	}
	return file + ".signed", filepath.Join(dir, key+".ds")
}

func run(t testing.TB, dir, program string, args ...string) string {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", program, err, out)
	}
	return string(out)
}
