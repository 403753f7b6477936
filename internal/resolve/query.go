package resolve

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"

	"github.com/miekg/dns"
)

// errNoName is an authoritative "there is no such name" (NXDOMAIN).
var errNoName = errors.New("no such name")

// An answer is what the DNS said to one question; no records and no error means
// that the name exists without any of that type.
type answer struct {
	records   []dns.RR
	authentic bool
}

// ask returns the answer to one question, from the cache or from the first
// server that has one.
func (r *Resolver) ask(ctx context.Context, name string, qtype uint16) (answer, error) {
	key := question{name, qtype}
	if ans, err, ok := r.cache.get(key); ok {
		return ans, err
	}
	var failed error = errors.New("no DNS server configured")
	for range attempts {
		for _, server := range r.servers {
			msg, err := exchange(ctx, server, name, qtype)
			if err == nil {
				return r.take(key, msg)
			}
			failed = err
			if ctx.Err() != nil {
				return answer{}, ctx.Err()
			}
		}
	}
	return answer{}, failed
}

// take keeps a server's answer and returns it.
func (r *Resolver) take(key question, msg *dns.Msg) (answer, error) {
	ans := answer{authentic: msg.AuthenticatedData && r.trustAD}
	for _, rr := range msg.Answer {
		if rr.Header().Rrtype == key.qtype {
			ans.records = append(ans.records, rr)
		}
	}
	var err error
	if msg.Rcode == dns.RcodeNameError {
		err = errNoName
	}
	r.cache.put(key, ans, err, lifetime(msg))
	return ans, err
}

// exchange asks one server one question, by UDP and, if the answer did not fit,
// by TCP (RFC 7766 section 5). Only an answer and NXDOMAIN are no error.
func exchange(ctx context.Context, server, name string, qtype uint16) (*dns.Msg, error) {
	query := new(dns.Msg).SetQuestion(dns.Fqdn(name), qtype)
	// DO is not set: the AD bit of the query asks for AD in the answer
	// (RFC 6840 section 5.7) without the signatures.
	query.AuthenticatedData = true
	query.SetEdns0(1232, false)
	client := dns.Client{Timeout: queryTimeout}
	msg, _, err := client.ExchangeContext(ctx, query, server)
	if err == nil && msg.Truncated {
		client.Net = "tcp"
		msg, _, err = client.ExchangeContext(ctx, query, server)
	}
	if err != nil {
		return nil, err
	}
	if msg.Rcode != dns.RcodeSuccess && msg.Rcode != dns.RcodeNameError {
		return nil, &serverError{server, msg.Rcode}
	}
	return msg, nil
}

// sortMX orders hosts by preference; those of one preference in random order,
// which spreads the load over them (RFC 5321 section 5.1).
func sortMX(hosts []MX) []MX {
	rand.Shuffle(len(hosts), func(i, j int) { hosts[i], hosts[j] = hosts[j], hosts[i] })
	slices.SortStableFunc(hosts, func(a, b MX) int { return int(a.Preference) - int(b.Preference) })
	return hosts
}
