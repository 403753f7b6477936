package resolve

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"postbag/internal/mailtest"
	"postbag/internal/status"
)

// start serves records and returns a Resolver that asks that server only.
func start(t *testing.T, records ...string) (*mailtest.DNS, *Resolver) {
	t.Helper()
	server, err := mailtest.StartDNS(records...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	return server, New(server.Addr)
}

func TestMX(t *testing.T) {
	server, r := start(t,
		"two.example. 60 IN MX 20 Backup.two.example.",
		"two.example. 60 IN MX 10 mx.two.example.",
		"plain.example. 60 IN A 192.0.2.1",
		"null.example. 60 IN MX 0 .",
		"halfnull.example. 60 IN MX 0 .",
		"halfnull.example. 60 IN MX 10 mx.two.example.",
		"twice.example. 60 IN MX 20 mx.two.example.",
		"twice.example. 60 IN MX 10 MX.two.example.",
		"alias.example. 60 IN CNAME two.example.",
		"far.example. 60 IN CNAME alias.example.",
		"circle.example. 60 IN CNAME round.example.",
		"round.example. 60 IN CNAME circle.example.",
		"dangling.example. 60 IN CNAME nowhere.example.",
		"xn--bcher-kva.example. 60 IN MX 5 mx.b.example.",
	)
	server.Fail("broken.example", dns.RcodeServerFailure)
	tests := []struct {
		name, domain string
		want         []MX
		class        status.Class
		code         string
	}{
		{"hosts come by preference, in lower case, without the dot", "two.example", []MX{{"mx.two.example", 10}, {"backup.two.example", 20}}, 0, ""},
		{"a domain without MX is its own host", "plain.example", []MX{{"plain.example", 0}}, 0, ""},
		{"a domain in UTF-8 is asked for by its A-label", "bücher.example", []MX{{"mx.b.example", 5}}, 0, ""},
		{"a null MX beside others means nothing", "halfnull.example", []MX{{"mx.two.example", 10}}, 0, ""},
		{"a host that is there twice is one", "twice.example", []MX{{"mx.two.example", 10}}, 0, ""},
		{"an alias is followed", "alias.example", []MX{{"mx.two.example", 10}, {"backup.two.example", 20}}, 0, ""},
		{"an alias of an alias too", "far.example", []MX{{"mx.two.example", 10}, {"backup.two.example", 20}}, 0, ""},
		{"aliases in a circle are trouble of the DNS", "circle.example", nil, status.Temporary, "4.4.3"},
		{"an alias of nothing does not exist", "dangling.example", nil, status.Permanent, "5.1.2"},
		{"a null MX takes no mail, for good", "null.example", nil, status.Permanent, "5.1.10"},
		{"a domain that does not exist is an error for good", "nowhere.example", nil, status.Permanent, "5.1.2"},
		{"a server that fails is a reason to wait", "broken.example", nil, status.Temporary, "4.4.3"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, _, err := r.MX(t.Context(), tt.domain)
			if !slices.Equal(got, tt.want) {
				t.Errorf("MX(%q) = %v, want %v", tt.domain, got, tt.want)
			}
			checkError(t, err, tt.class, tt.code)
		})
	}
}

func TestAddrs(t *testing.T) {
	server, r := start(t,
		"both.example. 60 IN A 192.0.2.1",
		"both.example. 60 IN AAAA 2001:db8::1",
		"four.example. 60 IN A 192.0.2.4",
		"none.example. 60 IN TXT \"no address\"",
	)
	server.Fail("broken.example", dns.RcodeServerFailure)
	tests := []struct {
		name, host, want string
		class            status.Class
		code             string
	}{
		{"IPv6 comes before IPv4", "both.example", "2001:db8::1 192.0.2.1", 0, ""},
		{"a host with IPv4 only", "four.example", "192.0.2.4", 0, ""},
		{"an address is its own answer", "192.0.2.9", "192.0.2.9", 0, ""},
		{"a literal is its own answer", "[IPv6:2001:db8::9]", "2001:db8::9", 0, ""},
		{"localhost never goes to the DNS", "localhost", "127.0.0.1", 0, ""},
		{"a host without address is an error for good", "none.example", "", status.Permanent, "5.4.4"},
		{"a failing server is a reason to wait", "broken.example", "", status.Temporary, "4.4.3"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, _, err := r.Addrs(t.Context(), tt.host)
			if text := join(got); !strings.HasPrefix(text, tt.want) || tt.want == "" && text != "" {
				t.Errorf("Addrs(%q) = %q, want %q", tt.host, text, tt.want)
			}
			checkError(t, err, tt.class, tt.code)
		})
	}
}

func join(addrs []netip.Addr) string {
	var texts []string
	for _, a := range addrs {
		texts = append(texts, a.String())
	}
	return strings.Join(texts, " ")
}

func checkError(t *testing.T, err error, class status.Class, code string) {
	t.Helper()
	if (err == nil) != (code == "") {
		t.Fatalf("error %v, want one with code %q", err, code)
	}
	if err == nil {
		return
	}
	if status.ClassOf(err) != class {
		t.Errorf("class of %v is %v, want %v", err, status.ClassOf(err), class)
	}
	if _, got, _ := status.Reply(err); got != code {
		t.Errorf("code of %v is %s, want %s", err, got, code)
	}
}

func TestAnAnswerIsAskedForOnce(t *testing.T) {
	server, r := start(t, "kept.example. 60 IN MX 10 mx.kept.example.", "brief.example. 0 IN MX 10 mx.brief.example.")
	for range 3 {
		for _, domain := range []string{"kept.example", "brief.example"} {
			if _, _, err := r.MX(t.Context(), domain); err != nil {
				t.Fatal(err)
			}
		}
	}
	if kept, brief := server.Asked("kept.example"), server.Asked("brief.example"); kept != 1 || brief != 3 {
		t.Errorf("asked %d and %d times, want 1 for a TTL of 60 s and 3 for a TTL of 0", kept, brief)
	}
}

func TestALongAnswerComesByTCP(t *testing.T) {
	var records []string
	for i := range 40 {
		records = append(records, "many.example. 60 IN MX 10 a-rather-long-name-of-a-host-number-"+string(rune('a'+i%26))+string(rune('a'+i/26))+".example.")
	}
	_, r := start(t, records...)
	hosts, _, err := r.MX(t.Context(), "many.example")
	if err != nil || len(hosts) != 40 {
		t.Errorf("MX = %d hosts, %v; want 40", len(hosts), err)
	}
}

func TestTheADBitCountsFromALoopbackResolver(t *testing.T) {
	_, r := start(t, "signed.example. 60 IN MX 10 mx.signed.example.")
	if _, authentic, err := r.MX(t.Context(), "signed.example"); !authentic || err != nil {
		t.Errorf("authentic = %v, %v; want true", authentic, err)
	}
	r.conf.trustAD, r.cache = false, newCache()
	if _, authentic, err := r.MX(t.Context(), "signed.example"); authentic || err != nil {
		t.Errorf("authentic = %v, %v from a resolver that is not trusted; want false", authentic, err)
	}
}

func TestTheServersOfTheSystem(t *testing.T) {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	for _, tt := range []struct {
		name, text, servers string
		trustAD             bool
	}{
		{"a file that is not there means the loopback", "", "127.0.0.1:53", true},
		{"so does one without servers", "search example\n", "127.0.0.1:53", true},
		{"all are asked", "nameserver 192.0.2.1\nnameserver 2001:db8::1\n", "192.0.2.1:53 [2001:db8::1]:53", false},
		{"the path to them may be safe", "nameserver 192.0.2.1\noptions edns0 trust-ad\n", "192.0.2.1:53", true},
		{"one that is elsewhere spoils it", "nameserver 127.0.0.53\nnameserver 192.0.2.1\n", "127.0.0.53:53 192.0.2.1:53", false},
	} {
		c := &conf{path: path}
		if tt.text != "" {
			if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		servers, trust := c.get()
		if got := strings.Join(servers, " "); got != tt.servers || trust != tt.trustAD {
			t.Errorf("%s: %s %v", tt.name, got, trust)
		}
	}
}

func TestAnswersToOtherQuestionsDoNotCount(t *testing.T) {
	key := question{"a.example", dns.TypeMX}
	msg := new(dns.Msg).SetQuestion("a.example.", dns.TypeMX)
	msg.Response = true
	for _, text := range []string{"b.example. 60 IN MX 10 evil.example.", "c.example. 60 IN CNAME a.example."} {
		rr, err := dns.NewRR(text)
		if err != nil {
			t.Fatal(err)
		}
		msg.Answer = append(msg.Answer, rr)
	}
	if ans, err := parse(key, msg); err != nil || len(ans.records) != 0 || ans.alias != "" {
		t.Errorf("parse = %+v, %v", ans, err)
	}
	if !answers(msg, msg.Question[0]) || answers(msg, dns.Question{Name: "b.example.", Qtype: dns.TypeMX}) {
		t.Error("a message answers the question that it holds, and no other")
	}
}

// FuzzAnswer gives messages of a hostile server to what reads them.
func FuzzAnswer(f *testing.F) {
	for _, records := range [][]string{
		{"a.example. 60 IN MX 10 mx.example.", "a.example. 60 IN MX 0 ."},
		{"a.example. 60 IN CNAME b.example.", "b.example. 60 IN CNAME a.example."},
		{"a.example. 4294967295 IN A 192.0.2.1", "a.example. 0 IN AAAA ::1"},
	} {
		msg := new(dns.Msg).SetQuestion("a.example.", dns.TypeMX)
		msg.Response = true
		for _, text := range records {
			rr, err := dns.NewRR(text)
			if err != nil {
				f.Fatal(err)
			}
			msg.Answer = append(msg.Answer, rr)
		}
		wire, err := msg.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(wire)
	}
	f.Fuzz(func(t *testing.T, wire []byte) {
		msg := new(dns.Msg)
		if msg.Unpack(wire) != nil {
			return
		}
		for _, qtype := range []uint16{dns.TypeMX, dns.TypeA, dns.TypeAAAA} {
			ans, err := parse(question{"a.example", qtype}, msg)
			if err != nil && !errors.Is(err, errNoName) {
				t.Fatal(err)
			}
			for _, rr := range ans.records {
				if rr.Header().Rrtype != qtype {
					t.Fatalf("%v answers a question for %d", rr, qtype)
				}
			}
			hosts := exchangers(ans.records)
			if len(hosts) > maxMX || !slices.IsSortedFunc(hosts, func(a, b MX) int { return int(a.Preference) - int(b.Preference) }) {
				t.Fatalf("hosts %v", hosts)
			}
			collect(ans)
			if ttl := lifetime(msg); ttl > maxTTL || ttl < 0 {
				t.Fatalf("lifetime %s", ttl)
			}
		}
	})
}

// RFC 7672 section 2.2.2: the records of what an alias leads to come first.
func TestTLSABehindAliases(t *testing.T) {
	server, r := start(t,
		"mx.example. 60 IN CNAME real.example.",
		"real.example. 60 IN A 192.0.2.1",
		"_25._tcp.real.example. 60 IN TLSA 3 1 1 aa",
		"_25._tcp.mx.example. 60 IN TLSA 3 1 1 bb",
		"only.example. 60 IN CNAME bare.example.",
		"bare.example. 60 IN A 192.0.2.1",
		"_25._tcp.only.example. 60 IN TLSA 3 1 1 cc",
		"plain.example. 60 IN A 192.0.2.1",
		"_25._tcp.plain.example. 60 IN TLSA 3 1 1 dd",
		"sad.example. 60 IN CNAME broken.example.",
		"broken.example. 60 IN A 192.0.2.1",
		"_25._tcp.sad.example. 60 IN TLSA 3 1 1 ee",
	)
	server.Fail("_25._tcp.broken.example", dns.RcodeServerFailure)
	for host, want := range map[string]string{
		"mx.example": "aa real.example", "only.example": "cc only.example", "plain.example": "dd plain.example",
	} {
		records, base, authentic, err := r.TLSA(t.Context(), host, 25)
		if err != nil || !authentic || len(records) != 1 || fmt.Sprintf("%x %s", records[0].Data, base) != want {
			t.Errorf("TLSA(%s) = %x at %s, %t, %v; want %s", host, records, base, authentic, err, want)
		}
	}
	if _, _, _, err := r.TLSA(t.Context(), "sad.example", 25); err == nil {
		t.Error("records that cannot be had count as none")
	}
}
