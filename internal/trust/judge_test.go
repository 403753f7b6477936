package trust

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"io"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"postbag/internal/address"
	"postbag/internal/message"
	"postbag/internal/resolve"
	"postbag/internal/status"
)

// records is a DNS of some names; those that are broken cannot be asked for.
type records struct {
	txt    map[string]string
	mx     map[string]string
	addrs  map[string]string
	names  map[string]string
	broken map[string]bool
}

func (r records) check(name string) error {
	if r.broken[name] {
		return status.Temp("look up "+name, "4.4.3", "DNS look-up failed", errors.New("servfail"))
	}
	return nil
}

func (r records) TXT(_ context.Context, name string) ([]string, error) {
	if text, ok := r.txt[name]; ok {
		return []string{text}, r.check(name)
	}
	return nil, r.check(name)
}

func (r records) Exchangers(_ context.Context, domain string) (hosts []resolve.MX, err error) {
	if host, ok := r.mx[domain]; ok {
		hosts = append(hosts, resolve.MX{Host: host, Preference: 10})
	}
	return hosts, r.check(domain)
}

func (r records) Addrs(_ context.Context, host string) ([]netip.Addr, bool, error) {
	a, err := netip.ParseAddr(r.addrs[host])
	if err != nil {
		return nil, false, status.Perm("look up "+host, "5.4.4", "host has no address", err)
	}
	return []netip.Addr{a}, false, r.check(host)
}

func (r records) Names(_ context.Context, a netip.Addr) ([]string, error) {
	return strings.Fields(r.names[a.String()]), nil
}

func parseAddr(t *testing.T, s string) address.Address {
	t.Helper()
	if s == "" {
		return address.Address{}
	}
	a, err := address.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestJudge(t *testing.T) {
	dir := t.TempDir()
	_, key, _ := ed25519.GenerateKey(rand.Reader)
	_, other, _ := ed25519.GenerateKey(rand.Reader)
	dns := records{
		txt: map[string]string{
			"k._domainkey.good.example":    writeKey(t, filepath.Join(dir, "good"), key),
			"k._domainkey.sub.org.example": writeKey(t, filepath.Join(dir, "sub"), key),
			"k._domainkey.wrong.example":   writeKey(t, filepath.Join(dir, "wrong"), other),
			"k._domainkey.list.example":    writeKey(t, filepath.Join(dir, "list"), key),
			"good.example":                 "v=spf1 ip4:192.0.2.1 -all",
			"mx.example":                   "v=spf1 mx -all",
			"ptr.example":                  "v=spf1 ptr -all",
			"list.example":                 "v=spf1 ip4:192.0.2.1 -all",
			"bounces.good.example":         "v=spf1 ip4:192.0.2.1 -all",
			"_dmarc.good.example":          "v=DMARC1; p=reject",
			"_dmarc.mx.example":            "v=DMARC1; p=quarantine",
			"_dmarc.ptr.example":           "v=DMARC1; p=quarantine",
			"_dmarc.strict.example":        "v=DMARC1; p=reject; aspf=s; adkim=s",
			"sub.strict.example":           "v=spf1 ip4:192.0.2.1 -all",
			"_dmarc.org.example":           "v=DMARC1; p=reject; sp=quarantine",
			"_dmarc.none.example":          "v=DMARC1; p=none",
			"_dmarc.part.example":          "v=DMARC1; p=reject; pct=0",
			"_dmarc.bad.example":           "v=DMARC1; p=perhaps",
			"_dmarc.ill.example":           "v=DMARC1; p=reject",
			"_dmarc.köln.example":          "v=DMARC1; p=reject",
			"_dmarc.xn--kln-sna.example":   "v=DMARC1; p=reject",
		},
		mx: map[string]string{"mx.example": "host.mx.example"}, addrs: map[string]string{"host.mx.example": "192.0.2.1", "host.ptr.example": "192.0.2.1"},
		names:  map[string]string{"192.0.2.1": "host.ptr.example."},
		broken: map[string]bool{"_dmarc.sick.example": true, "ill.example": true, "k._domainkey.ill.example": true},
	}
	sign := func(domain, text string) string {
		s, err := NewSigner([]string{domain + ":k:" + filepath.Join(dir, "good")})
		if err != nil {
			t.Fatal(err)
		}
		fields, err := s.Sign(func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil })
		if err != nil || len(fields) == 0 {
			t.Fatalf("not signed: %v", err)
		}
		return string(fields) + text
	}
	letter := func(author string) string { return "From: Ann <ann@" + author + ">\nSubject: x\n\nbody\n" }
	for _, tt := range []struct {
		name, ip, from, text string
		want                 Disposition
		says                 string // of the field, blanks as one
	}{
		{"SPF is right and of the author's domain", "192.0.2.1", "b@good.example", letter("good.example"), NoDisposition, "spf=pass smtp.mailfrom=b@good.example; dkim=none; dmarc=pass header.from=good.example"},
		{"of one below it", "192.0.2.1", "b@bounces.good.example", letter("good.example"), NoDisposition, "dmarc=pass"},
		{"SPF fails", "192.0.2.9", "b@good.example", letter("good.example"), Reject, "spf=fail smtp.mailfrom=b@good.example; dkim=none; dmarc=fail header.from=good.example"},
		{"SPF is right for another domain", "192.0.2.1", "b@list.example", letter("good.example"), Reject, "spf=pass smtp.mailfrom=b@list.example; dkim=none; dmarc=fail"},
		{"by MX", "192.0.2.1", "b@mx.example", letter("mx.example"), NoDisposition, "spf=pass"},
		{"by PTR", "192.0.2.1", "b@ptr.example", letter("ptr.example"), NoDisposition, "spf=pass"},
		{"not by MX", "192.0.2.9", "b@mx.example", letter("mx.example"), Quarantine, "spf=fail"},
		{"a signature that is right", "192.0.2.9", "b@good.example", sign("good.example", letter("good.example")), NoDisposition, "dkim=pass header.d=good.example; dmarc=pass"},
		{"of a list, too", "192.0.2.1", "b@list.example", strings.Replace(sign("good.example", letter("good.example")), "body", "body and more", 1), Reject, "dkim=fail"},
		{"a key that is another", "192.0.2.9", "b@wrong.example", sign("wrong.example", letter("wrong.example")), NoDisposition, "dkim=fail"},
		{"a key that cannot be asked for", "192.0.2.9", "", sign("ill.example", letter("ill.example")), NoDisposition, "dkim=temperror"},
		{"SPF that cannot be asked for", "192.0.2.9", "b@ill.example", letter("ill.example"), NoDisposition, "spf=temperror smtp.mailfrom=b@ill.example; dkim=none; dmarc=temperror"},
		{"a policy that cannot be asked for", "192.0.2.9", "b@sick.example", letter("sick.example"), NoDisposition, "dmarc=temperror"},
		{"a policy that means nothing", "192.0.2.9", "b@bad.example", letter("bad.example"), NoDisposition, "dmarc=permerror"},
		{"no policy", "192.0.2.9", "b@free.example", letter("free.example"), NoDisposition, "spf=none smtp.mailfrom=b@free.example; dkim=none; dmarc=none"},
		{"a policy that wants nothing", "192.0.2.9", "b@none.example", letter("none.example"), NoDisposition, "dmarc=fail"},
		{"of the organization, for what is below", "192.0.2.9", "b@x.org.example", letter("x.org.example"), Quarantine, "dmarc=fail header.from=x.org.example"},
		{"what is below has signed", "192.0.2.9", "", sign("sub.org.example", letter("sub.org.example")), NoDisposition, "dmarc=pass"},
		{"strict, and only near", "192.0.2.1", "b@sub.strict.example", letter("strict.example"), Reject, "spf=pass smtp.mailfrom=b@sub.strict.example; dkim=none; dmarc=fail"},
		{"a percentage leaves it out", "192.0.2.9", "b@part.example", letter("part.example"), Quarantine, "dmarc=fail"},
		{"the strictest of two authors", "192.0.2.1", "b@mx.example", "From: a@mx.example, b@good.example\n\nx\n", Reject, "dmarc=pass header.from=mx.example; dmarc=fail header.from=good.example"},
		{"of two fields", "192.0.2.9", "", "From: a@free.example\nFrom: b@mx.example\n\nx\n", Quarantine, "dmarc=fail header.from=mx.example"},
		{"no author", "192.0.2.9", "b@good.example", "Subject: x\n\nx\n", NoDisposition, `dmarc=permerror reason="no author"`},
		{"a bounce", "192.0.2.1", "", letter("good.example"), NoDisposition, "spf=pass smtp.helo=good.example; dkim=none; dmarc=pass"},
		{"a domain that is not ASCII", "192.0.2.9", "b@köln.example", letter("köln.example"), Reject, "dmarc=fail header.from=xn--kln-sna.example"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			j := &Judge{DNS: dns, Hostname: "mx.here.example"}
			header, _ := message.Parse([]byte(tt.text))
			v, err := j.Judge(t.Context(), Stranger{
				IP: netip.MustParseAddr(tt.ip), HELO: "good.example", From: parseAddr(t, tt.from), Header: header,
				Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(tt.text)), nil },
			})
			if err != nil {
				t.Fatal(err)
			}
			field := strings.Join(strings.Fields(string(v.Field.Raw)), " ")
			if v.Disposition != tt.want || !strings.Contains(field, tt.says) || !strings.HasPrefix(field, "Authentication-Results: mx.here.example; spf=") {
				t.Errorf("%s, %q; want %s, %q", v.Disposition, field, tt.want, tt.says)
			}
		})
	}
}

func TestForgedResultsAreRemoved(t *testing.T) {
	j := &Judge{Hostname: "mx.here.example"}
	h, _ := message.Parse([]byte("Authentication-Results: mx.here.example; dmarc=pass header.from=good.example\n" +
		"Authentication-Results:\n MX.here.example 1;\n spf=pass smtp.mailfrom=x\n" +
		"Authentication-Results: mx.other.example; none\n" +
		"authentication-results: (comment) mx.here.example; none\n" +
		"Authentication-Results: ((a;) b) \"mx.here.example\"(c); none\n" +
		"Authentication-Results: ;;;\n" +
		"Subject: x\n\n"))
	j.RemoveForged(h)
	if got, want := string(h.Bytes()), "Authentication-Results: mx.other.example; none\nAuthentication-Results: ;;;\nSubject: x\n\n"; got != want {
		t.Errorf("left: %q, want %q", got, want)
	}
}
