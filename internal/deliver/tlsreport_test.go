package deliver

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"testing"
	"time"

	"postbag/internal/resolve"
	"postbag/internal/smtpout"
	"postbag/internal/spool"
	"postbag/internal/tlsreport"
	"postbag/internal/trust"
)

// told are the sessions that were noted, in short.
type told struct{ all []string }

func (t *told) Note(s tlsreport.Session) {
	text := s.Domain + " " + s.Policy.Kind + " of " + s.Policy.Domain
	if f := s.Failure; f != nil {
		text += fmt.Sprintf(": %s %s %s>%s %s", f.Result, f.MX, f.From, f.To, f.Reason)
	}
	t.all = append(t.all, text)
}

// A shaker is a sender that tells of a handshake.
type shaker struct {
	sender
	err error
}

func (s *shaker) Deliver(ctx context.Context, h smtpout.Hop, m smtpout.Mail, open func() (io.ReadCloser, error)) ([]smtpout.Result, error) {
	if h.Told != nil {
		h.Told(smtpout.Handshake{From: netip.MustParseAddr("198.51.100.1"), To: h.Addrs[0], Err: s.err})
	}
	return s.sender.Deliver(ctx, h, m, open)
}

// policyOf is a policy for each domain.
type policyOf trust.Policy

func (p policyOf) Policy(context.Context, string) (trust.Policy, bool) { return trust.Policy(p), true }

// records are the TLSA records of all hosts.
type records struct {
	all []resolve.TLSA
	err error
}

func (r records) TLSA(_ context.Context, host string, _ int) ([]resolve.TLSA, string, bool, error) {
	return r.all, host, true, r.err
}

// authentic is names whose every answer is.
type authentic struct{ names }

func (a authentic) MX(ctx context.Context, domain string) ([]resolve.MX, bool, error) {
	hosts, _, err := a.names.MX(ctx, domain)
	return hosts, true, err
}

func (a authentic) Addrs(ctx context.Context, host string) ([]netip.Addr, bool, error) {
	addrs, _, err := a.names.Addrs(ctx, host)
	return addrs, true, err
}

func TestHowTLSWentIsTold(t *testing.T) {
	wrong := x509.HostnameError{Certificate: &x509.Certificate{}, Host: "mx1"}
	enforced := trust.Policy{Mode: trust.Enforce, MX: []string{"mx1"}, MaxAge: time.Hour}
	tested, elsewhere := enforced, enforced
	tested.Mode, elsewhere.MX = trust.Testing, []string{"mx9"}
	testedElsewhere := elsewhere
	testedElsewhere.Mode = trust.Testing
	ee := resolve.TLSA{Usage: 3, Selector: 1, Matching: 1, Data: make([]byte, 32)}
	for _, tt := range []struct {
		name string
		sts  *trust.Policy
		tlsa *records
		by   string
		err  error
		want []string
	}{
		{"without a policy", nil, nil, "mx:", nil, []string{"a.example no-policy-found of a.example"}},
		{"without STARTTLS", nil, nil, "mx:", smtpout.ErrNoTLS, []string{"a.example no-policy-found of a.example: starttls-not-supported mx1 198.51.100.1>192.0.2.1 "}},
		{"by a policy", &enforced, nil, "mx:", nil, []string{"a.example sts of a.example"}},
		{"another certificate than the policy wants", &enforced, nil, "mx:", wrong, []string{"a.example sts of a.example: certificate-host-mismatch mx1 198.51.100.1>192.0.2.1 "}},
		{"hosts that the policy does not name", &elsewhere, nil, "mx:", nil, []string{
			"a.example sts of a.example: validation-failure mx1 > mx-not-in-policy", "a.example sts of a.example: validation-failure mx2 > mx-not-in-policy"}},
		{"a policy that is tested", &tested, nil, "mx:", nil, []string{"a.example sts of a.example"}},
		{"one that does not name the host", &testedElsewhere, nil, "mx:", nil, []string{"a.example sts of a.example: validation-failure mx1 > mx-not-in-policy"}},
		{"by DANE", &enforced, &records{all: []resolve.TLSA{ee}}, "mx:", nil, []string{"a.example tlsa of mx1"}},
		{"records that nobody can use", nil, &records{all: []resolve.TLSA{{Usage: 1, Selector: 1, Matching: 1, Data: make([]byte, 32)}}}, "mx:", nil, []string{
			"a.example tlsa of mx1: tlsa-invalid mx1 198.51.100.1>192.0.2.1 "}},
		{"records that cannot be had", nil, &records{err: errors.New("servfail")}, "mx:", nil, []string{
			"a.example tlsa of mx1: dnssec-invalid mx1 > servfail", "a.example tlsa of mx2: dnssec-invalid mx2 > servfail"}},
		{"a route of ours", nil, nil, "smtp://smart", nil, nil},
	} {
		var noted told
		s := &shaker{err: tt.err}
		r := &Remote{Sender: s, Resolver: dns, Hostname: "us.example", Reports: &noted, ReportFrom: addr("tls@us.example")}
		if tt.sts != nil {
			r.STS = policyOf(*tt.sts)
		}
		if tt.tlsa != nil {
			r.TLSA, r.Resolver = tt.tlsa, authentic{dns}
		}
		r.Send(ctx, destination(t, "x@a.example", tt.by), mail("x\n"), []spool.Recipient{{Address: addr("x@a.example")}})
		if !slices.Equal(noted.all, tt.want) {
			t.Errorf("%s: told %q, want %q", tt.name, noted.all, tt.want)
		}
		watched := len(s.hops) > 0 && s.hops[0].Watch
		if watched != (tt.name == "a policy that is tested") {
			t.Errorf("%s: certificate watched: %t", tt.name, watched)
		}
		noted.all = nil
		m := mail("x\n")
		m.From = r.ReportFrom
		r.Send(ctx, destination(t, "x@a.example", tt.by), m, []spool.Recipient{{Address: addr("x@a.example")}})
		if noted.all != nil {
			t.Errorf("%s: of a report is told %q", tt.name, noted.all)
		}
	}
}

// RFC 8689 section 5, and RFC 8460 section 5.3 for reports.
func TestALetterMayGoWhateverItsHostsProve(t *testing.T) {
	elsewhere := trust.Policy{Mode: trust.Enforce, MX: []string{"mx9"}, MaxAge: time.Hour}
	here := trust.Policy{Mode: trust.Enforce, MX: []string{"mx1", "mx2"}, MaxAge: time.Hour}
	const no = "Subject: x\nTLS-Required: No\n\nx\n"
	for _, tt := range []struct {
		name, text string
		policy     trust.Policy
		required   bool
		tls        smtpout.Policy
		sent       bool
	}{
		{"a host that its policy does not name", no, elsewhere, false, smtpout.Opportunistic, true},
		{"one that it names", no, here, false, smtpout.Opportunistic, true},
		{"in other letters", "tls-required:  no \n\nx\n", here, false, smtpout.Opportunistic, true},
		{"a letter that says something else", "TLS-Required: Yes\n\nx\n", elsewhere, false, 0, false},
		{"one that says it twice", "TLS-Required: No\nTLS-Required: No\n\nx\n", elsewhere, false, 0, false},
		{"one that says it in its text", "Subject: x\n\nTLS-Required: No\n", here, false, smtpout.StartTLS, true},
		{"one that requires TLS", no, here, true, smtpout.StartTLS, true},
		{"one that requires it elsewhere", no, elsewhere, true, 0, false},
	} {
		s := &sender{}
		r := &Remote{Sender: s, Resolver: dns, Hostname: "us.example", STS: policyOf(tt.policy)}
		m := mail(tt.text)
		m.RequireTLS = tt.required
		got := r.Send(ctx, destination(t, "x@a.example", "mx:"), m, []spool.Recipient{{Address: addr("x@a.example")}})
		if (got[0].Err == nil) != tt.sent || tt.sent && s.hops[0].TLS != tt.tls {
			t.Errorf("%s: %v, to %+v", tt.name, got[0].Err, s.hops)
		}
	}
	r := &Remote{Sender: &sender{}, Resolver: authentic{dns}, Hostname: "us.example", TLSA: records{err: errors.New("servfail")}}
	if got := r.Send(ctx, destination(t, "x@a.example", "mx:"), mail(no), []spool.Recipient{{Address: addr("x@a.example")}}); got[0].Err != nil {
		t.Errorf("without TLSA records: %v", got[0].Err)
	}
}
