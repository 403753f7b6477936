package trust

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"crypto/tls"

	"postbag/internal/durable"
)

func TestParsePolicy(t *testing.T) {
	good := "version: STSv1\r\nmode: enforce\r\nmx: mail.example.com\r\nmx: *.Example.net\r\nmax_age: 604800\r\n"
	for _, tt := range []struct{ name, text, want string }{
		{"one of the RFC", good, "ok"},
		{"LF alone, no end, unknown keys", "version:STSv1\nfuture: x\nmode:testing\nmx:a\nmax_age:1", "ok"},
		{"none needs no host", "version: STSv1\nmode: none\nmax_age: 86400\n", "ok"},
		{"no version", "mode: none\nmax_age: 1\n", "version is missing"},
		{"another version", "version: STSv2\nmode: none\nmax_age: 1\n", `version "STSv2" is not known`},
		{"another mode", "version: STSv1\nmode: hope\nmax_age: 1\n", `mode "hope" is not known`},
		{"no age", "version: STSv1\nmode: none\n", "max_age is missing"},
		{"an age that is no number", "version: STSv1\nmode: none\nmax_age: -1\n", `max_age "-1" is no number of seconds`},
		{"no hosts", "version: STSv1\nmode: enforce\nmax_age: 1\n", "mx is missing"},
		{"a page of HTML", "<html>\n", `line "<html>" has no colon`},
	} {
		got := "ok"
		if _, err := ParsePolicy(tt.text); err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
	p, _ := ParsePolicy(good)
	for host, want := range map[string]bool{
		"mail.example.com": true, "MAIL.example.com.": true, "x.example.net": true,
		"x.y.example.net": false, "example.net": false, "mail.example.org": false, "": false,
	} {
		if p.Matches(host) != want {
			t.Errorf("Matches(%s) = %v", host, !want)
		}
	}
	if p, _ := ParsePolicy("version: STSv1\nmode: none\nmax_age: 4294967295\n"); p.MaxAge != maxPolicyAge {
		t.Errorf("MaxAge %s", p.MaxAge)
	}
}

func TestRecordID(t *testing.T) {
	for text, want := range map[string]string{
		"v=STSv1; id=20160831085700Z;":        "20160831085700Z",
		"v=STSv1;id=a":                        "a",
		"v=STSv1; id=a b;":                    "",
		"v=STSv1;":                            "",
		"v=spf1 -all":                         "",
		"v=STSv1; id=a;\x00v=STSv1; id=b;":    "",
		"v=spf1 -all\x00v=STSv1; id=a; x=y; ": "a",
	} {
		if got, ok := recordID(strings.Split(text, "\x00")); ok != (want != "") || ok && got != want {
			t.Errorf("%q: %q %v", text, got, ok)
		}
	}
}

func FuzzParsePolicy(f *testing.F) {
	f.Add("version: STSv1\nmode: enforce\nmx: *.a\nmax_age: 1\n", "b.a")
	f.Fuzz(func(t *testing.T, text, host string) {
		p, err := ParsePolicy(text)
		if err != nil {
			return
		}
		if p.MaxAge > maxPolicyAge || p.MaxAge < 0 || p.Mode != NoMode && len(p.MX) == 0 {
			t.Errorf("%+v", p)
		}
		p.Matches(host)
	})
}

// names is a resolver with texts; all hosts are on the loopback.
type names struct {
	txt string
	err error
}

func (n *names) TXT(context.Context, string) ([]string, error) { return []string{n.txt}, n.err }

func (n *names) Addrs(context.Context, string) ([]netip.Addr, bool, error) {
	return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, false, nil
}

// policyHost serves a policy for mta-sts.example.org.
type policyHost struct {
	*httptest.Server
	text, kind string
	status     int
	asked      int
}

func startPolicyHost(t *testing.T) (*policyHost, *STS, *names) {
	t.Helper()
	h := &policyHost{text: "version: STSv1\nmode: enforce\nmx: mx.example.org\nmax_age: 86400\n", kind: "text/plain; charset=utf-8", status: 200}
	h.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.asked++
		if r.URL.Path != "/.well-known/mta-sts.txt" || r.Host != "mta-sts.example.org" {
			t.Errorf("asked for %s of %s", r.URL.Path, r.Host)
		}
		w.Header().Set("Content-Type", h.kind)
		w.Header().Set("Location", "https://mta-sts.example.org/.well-known/mta-sts.txt")
		w.WriteHeader(h.status)
		w.Write([]byte(h.text))
	}))
	ca := issue(t, nil, "mta-sts.example.org", true, time.Now().Add(time.Hour))
	h.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{ca.cert.Raw}, PrivateKey: ca.key}}}
	h.StartTLS()
	t.Cleanup(h.Close)
	_, port, _ := net.SplitHostPort(h.Listener.Addr().String())
	n, _ := strconv.Atoi(port)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.cert.Raw}))
	dns := &names{txt: "v=STSv1; id=1;"}
	return h, &STS{Resolver: dns, FS: durable.New(), Dir: filepath.Join(t.TempDir(), "state", "mta-sts"), Roots: roots, Port: n}, dns
}

// again is the same STS after a restart.
func again(s *STS) *STS {
	return &STS{Resolver: s.Resolver, FS: s.FS, Dir: s.Dir, Roots: s.Roots, Port: s.Port}
}

func TestAPolicyIsFetchedAndKept(t *testing.T) {
	host, s, dns := startPolicyHost(t)
	check := func(what string, want Mode, asked int) {
		t.Helper()
		s = again(s)
		p, ok := s.Policy(t.Context(), "Example.org")
		if ok != (want != "") || p.Mode != want || host.asked != asked {
			t.Errorf("%s: %v %v, asked %d times, want %d", what, p, ok, host.asked, asked)
		}
	}
	check("the first time it is fetched", Enforce, 1)
	check("then it is kept", Enforce, 1)
	dns.err = errors.New("servfail")
	check("though the DNS fails", Enforce, 1)
	dns.err = nil
	dns.txt = "v=spf1 -all"
	check("and though the record is gone", Enforce, 1)
	dns.txt, host.text = "v=STSv1; id=2;", "broken"
	check("and though the new one is broken", Enforce, 2)
	host.text = "version: STSv1\nmode: none\nmax_age: 86400\n"
	check("a new record brings another", "", 3)
	check("which is kept too", "", 3)
}

func TestPoliciesThatDoNotCount(t *testing.T) {
	for name, change := range map[string]func(h *policyHost, s *STS, n *names){
		"no record":                   func(_ *policyHost, _ *STS, n *names) { n.txt = "hello" },
		"the DNS fails":               func(_ *policyHost, _ *STS, n *names) { n.err = errors.New("x") },
		"a redirect":                  func(h *policyHost, _ *STS, _ *names) { h.status = 301 },
		"not found":                   func(h *policyHost, _ *STS, _ *names) { h.status = 404 },
		"another type":                func(h *policyHost, _ *STS, _ *names) { h.kind = "text/html" },
		"too long":                    func(h *policyHost, _ *STS, _ *names) { h.text += strings.Repeat("x: y\n", 20000) },
		"a certificate of a stranger": func(_ *policyHost, s *STS, _ *names) { s.Roots = x509.NewCertPool() },
	} {
		h, s, n := startPolicyHost(t)
		change(h, s, n)
		if p, ok := s.Policy(t.Context(), "example.org"); ok {
			t.Errorf("%s: %v", name, p)
		}
		asked := h.asked
		s.Policy(t.Context(), "example.org")
		if h.asked != asked {
			t.Errorf("%s: a host that failed is asked again at once", name)
		}
	}
}

func TestAPolicyRunsOut(t *testing.T) {
	h, s, n := startPolicyHost(t)
	h.text = strings.Replace(h.text, "86400", "1", 1)
	if _, ok := s.Policy(t.Context(), "example.org"); !ok {
		t.Fatal("no policy")
	}
	n.err = errors.New("servfail")
	k := s.load("example.org")
	k.Fetched = k.Fetched.Add(-time.Minute)
	if err := s.store("example.org", k); err != nil {
		t.Fatal(err)
	}
	if p, ok := s.Policy(t.Context(), "example.org"); ok {
		t.Errorf("%v has run out", p)
	}
}

func TestADomainIsNoPath(t *testing.T) {
	_, s, _ := startPolicyHost(t)
	for _, domain := range []string{"../x", ".", "..", "a/b", "", "[192.0.2.1]"} {
		if _, ok := s.Policy(t.Context(), domain); ok {
			t.Errorf("%q has a policy", domain)
		}
	}
	if files, _ := os.ReadDir(s.Dir); len(files) > 0 {
		t.Error(files)
	}
}

func TestDemand(t *testing.T) {
	p := Policy{Mode: Enforce, MX: []string{"mx.example.org"}}
	if d, ok, err := p.Demand("mx.example.org"); !ok || err != nil || !d.Usual {
		t.Error(d, ok, err)
	}
	if _, _, err := p.Demand("evil.example"); err == nil {
		t.Error("a host that is not named may have the mail")
	}
	p.Mode = Testing
	if _, ok, err := p.Demand("evil.example"); ok || err != nil {
		t.Error("a policy that is tested demands something")
	}
}
