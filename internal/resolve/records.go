package resolve

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/miekg/dns"

	"postbag/internal/address"
	"postbag/internal/status"
)

// A TLSA is a record of RFC 6698: what a certificate must be or hold.
type TLSA struct {
	Usage, Selector, Matching uint8
	Data                      []byte
}

// TLSA returns the records for a service at host, the name that they stand at,
// and whether they are authentic. Where the host's name is an alias that is what
// it leads to, if there are any, else the alias (RFC 7672 section 2.2.2). None is
// no error; that they could not be asked for is one.
func (r *Resolver) TLSA(ctx context.Context, host string, port int) (records []TLSA, base string, authentic bool, err error) {
	name, err := address.DomainASCII(host)
	if err != nil {
		return nil, host, false, nil // an address has no records
	}
	if target := r.target(ctx, name); target != name {
		records, authentic, err := r.tlsaAt(ctx, target, port)
		if err != nil || authentic && len(records) > 0 {
			return records, target, authentic, err
		}
	}
	records, authentic, err = r.tlsaAt(ctx, name, port)
	return records, name, authentic, err
}

// target is where the aliases of a host lead to, if that is authentic. Its
// addresses have been asked for before, so this asks nobody.
func (r *Resolver) target(ctx context.Context, name string) string {
	for _, qtype := range []uint16{dns.TypeA, dns.TypeAAAA} {
		ans, err := r.ask(ctx, name, qtype)
		if err == nil && ans.authentic && ans.owner != "" {
			return ans.owner
		}
	}
	return name
}

func (r *Resolver) tlsaAt(ctx context.Context, name string, port int) (records []TLSA, authentic bool, err error) {
	ans, err := r.ask(ctx, fmt.Sprintf("_%d._tcp.%s", port, name), dns.TypeTLSA)
	if errors.Is(err, errNoName) {
		return nil, ans.authentic, nil
	}
	if err != nil {
		return nil, false, lookupError("look up tlsa of "+name, err)
	}
	for _, rr := range ans.records {
		t, ok := rr.(*dns.TLSA)
		if !ok {
			continue
		}
		data, err := hex.DecodeString(t.Certificate)
		if err == nil {
			records = append(records, TLSA{t.Usage, t.Selector, t.MatchingType, data})
		}
	}
	return records, ans.authentic, nil
}

// TXT returns the texts of a name, each in one piece (RFC 7208 section 3.3). None
// is no error.
func (r *Resolver) TXT(ctx context.Context, name string) (texts []string, err error) {
	records, err := r.list(ctx, name, dns.TypeTXT)
	for _, rr := range records {
		if t, ok := rr.(*dns.TXT); ok {
			texts = append(texts, strings.Join(t.Txt, ""))
		}
	}
	return texts, err
}

// Exchangers returns the MX records of a domain, as they are. None is no error.
func (r *Resolver) Exchangers(ctx context.Context, domain string) ([]MX, error) {
	records, err := r.list(ctx, domain, dns.TypeMX)
	if err != nil {
		return nil, err
	}
	return exchangers(records), nil
}

// list returns the records of a name; none is no error.
func (r *Resolver) list(ctx context.Context, name string, qtype uint16) ([]dns.RR, error) {
	op := "look up " + strings.ToLower(dns.TypeToString[qtype]) + " of " + name
	ascii, err := address.DomainASCII(name)
	if err != nil {
		return nil, status.Perm(op, "5.1.2", "bad domain name", err)
	}
	ans, err := r.ask(ctx, ascii, qtype)
	if errors.Is(err, errNoName) {
		return nil, nil
	}
	if err != nil {
		return nil, lookupError(op, err)
	}
	return ans.records, nil
}

// Names returns what an address is called (PTR). None is no error; that a name has
// the address is not checked.
func (r *Resolver) Names(ctx context.Context, addr netip.Addr) ([]string, error) {
	name, err := dns.ReverseAddr(addr.Unmap().String())
	if err != nil {
		return nil, status.Perm("look up name of "+addr.String(), "5.1.2", "bad address", err)
	}
	ans, err := r.ask(ctx, strings.TrimSuffix(name, "."), dns.TypePTR)
	if errors.Is(err, errNoName) {
		return nil, nil
	}
	if err != nil {
		return nil, lookupError("look up name of "+addr.String(), err)
	}
	var names []string
	for _, rr := range ans.records {
		if p, ok := rr.(*dns.PTR); ok {
			names = append(names, p.Ptr)
		}
	}
	return names, nil
}
