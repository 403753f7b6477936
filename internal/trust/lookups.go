package trust

import (
	"context"
	"net"
	"net/netip"
	"strings"

	"golang.org/x/net/publicsuffix"

	"github.com/emersion/go-msgauth/dmarc"

	"postbag/internal/address"
	"postbag/internal/resolve"
	"postbag/internal/status"
)

// Lookups are what a Judge asks the DNS: *resolve.Resolver. That there is no such
// record is no error, or a permanent one.
type Lookups interface {
	TXT(ctx context.Context, name string) ([]string, error)
	Exchangers(ctx context.Context, domain string) ([]resolve.MX, error)
	Addrs(ctx context.Context, host string) (addrs []netip.Addr, authentic bool, err error)
	Names(ctx context.Context, addr netip.Addr) ([]string, error)
}

// lookups are Lookups with the errors of package net, which the libraries know.
type lookups struct{ dns Lookups }

// netError says why there is no answer.
func netError(name string, err error) error {
	if err == nil || status.ClassOf(err) == status.Permanent {
		return &net.DNSError{Err: "no such record", Name: name, IsNotFound: true}
	}
	return &net.DNSError{Err: "look-up failed", Name: name, IsTemporary: true}
}

// txt is LookupTXT with a context.
func (l lookups) txt(ctx context.Context) func(string) ([]string, error) {
	return func(name string) ([]string, error) { return l.LookupTXT(ctx, name) }
}

func (l lookups) LookupTXT(ctx context.Context, name string) ([]string, error) {
	texts, err := l.dns.TXT(ctx, strings.TrimSuffix(name, "."))
	if err != nil || len(texts) == 0 {
		return nil, netError(name, err)
	}
	return texts, nil
}

func (l lookups) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	hosts, err := l.dns.Exchangers(ctx, strings.TrimSuffix(name, "."))
	if err != nil || len(hosts) == 0 {
		return nil, netError(name, err)
	}
	all := make([]*net.MX, len(hosts))
	for i, h := range hosts {
		all[i] = &net.MX{Host: h.Host, Pref: h.Preference}
	}
	return all, nil
}

func (l lookups) LookupIPAddr(ctx context.Context, host string) ([]net.IPAddr, error) {
	addrs, _, err := l.dns.Addrs(ctx, strings.TrimSuffix(host, "."))
	if err != nil || len(addrs) == 0 {
		return nil, netError(host, err)
	}
	all := make([]net.IPAddr, len(addrs))
	for i, a := range addrs {
		all[i] = net.IPAddr{IP: a.AsSlice()}
	}
	return all, nil
}

func (l lookups) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	ip, err := netip.ParseAddr(addr)
	if err != nil {
		return nil, err
	}
	names, err := l.dns.Names(ctx, ip)
	if err != nil || len(names) == 0 {
		return nil, netError(addr, err)
	}
	return names, nil
}

// organization is the domain that somebody has registered (RFC 7489 section 3.2).
func organization(domain string) string {
	org, err := publicsuffix.EffectiveTLDPlusOne(domain)
	if err != nil {
		return domain
	}
	return org
}

// aligned says whether what was proved belongs to the domain of the author (RFC
// 7489 section 3.1).
func aligned(author, proved string, mode dmarc.AlignmentMode) bool {
	proved, err := address.DomainASCII(proved)
	if err != nil {
		return false
	}
	if mode == dmarc.AlignmentStrict {
		return author == proved
	}
	return organization(author) == organization(proved)
}
