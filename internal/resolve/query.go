package resolve

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// errNoName is an authoritative "there is no such name" (NXDOMAIN).
var errNoName = errors.New("no such name")

// An answer is what the DNS said to one question; no records and no error means
// that the name exists without any of that type.
type answer struct {
	records   []dns.RR
	authentic bool
	owner     string // where its aliases have led to
	alias     string // where a CNAME leads to, when the server did not go there
}

// maxAliases bounds a chain of CNAME records; longer ones are loops.
const maxAliases = 8

var errAliases = errors.New("CNAME records lead in a circle")

// ask returns the answer to one question, behind aliases (RFC 1034 section
// 3.6.2). It is authentic if each step was.
func (r *Resolver) ask(ctx context.Context, name string, qtype uint16) (answer, error) {
	authentic := true
	for range maxAliases {
		ans, err := r.askOnce(ctx, name, qtype)
		authentic = authentic && ans.authentic
		if err != nil || ans.alias == "" {
			ans.authentic = authentic
			return ans, err
		}
		name = ans.alias // the server did not go on from there
	}
	return answer{}, errAliases
}

// askOnce answers from the cache or from the first server that has an answer.
func (r *Resolver) askOnce(ctx context.Context, name string, qtype uint16) (answer, error) {
	key := question{name, qtype}
	if ans, err, ok := r.cache.get(key); ok {
		return ans, err
	}
	servers, trustAD := r.source()
	var failed error = errors.New("no DNS server configured")
	for range attempts {
		for _, server := range servers {
			msg, err := exchange(ctx, server, name, qtype)
			if err == nil {
				ans, err := parse(key, msg)
				ans.authentic = ans.authentic && trustAD
				r.cache.put(key, ans, err, lifetime(msg))
				return ans, err
			}
			failed = err
			if ctx.Err() != nil {
				return answer{}, ctx.Err()
			}
		}
	}
	return answer{}, failed
}

// parse takes from a message what answers a question: records of that name, or of
// what its aliases in the message lead to. Whatever else it holds does not count.
func parse(key question, msg *dns.Msg) (answer, error) {
	ans := answer{authentic: msg.AuthenticatedData}
	owner := dns.Fqdn(key.name)
	for range maxAliases {
		next := ""
		for _, rr := range msg.Answer {
			if !strings.EqualFold(rr.Header().Name, owner) {
				continue
			}
			if rr.Header().Rrtype == key.qtype {
				ans.records = append(ans.records, rr)
			} else if alias, ok := rr.(*dns.CNAME); ok {
				next = alias.Target
			}
		}
		if next == "" || len(ans.records) > 0 {
			break
		}
		owner, ans.alias = next, hostName(next)
	}
	ans.owner = hostName(owner)
	switch {
	case msg.Rcode == dns.RcodeNameError:
		ans.alias = ""
		return ans, errNoName
	case len(ans.records) > 0 || hasSOA(msg):
		ans.alias = "" // that is all there is, or there is nothing
	}
	return ans, nil
}

// hasSOA tells that a server says there is no such record, RFC 2308 section 2.2.
func hasSOA(msg *dns.Msg) bool {
	return slices.ContainsFunc(msg.Ns, func(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypeSOA })
}

// exchange asks one server one question, by UDP and, if the answer did not fit,
// by TCP (RFC 7766 section 5). Only an answer and NXDOMAIN are no error.
func exchange(ctx context.Context, server, name string, qtype uint16) (*dns.Msg, error) {
	query := new(dns.Msg).SetQuestion(dns.Fqdn(name), qtype)
	// DO is not set: the AD bit of the query asks for AD in the answer
	// (RFC 6840 section 5.7) without the signatures.
	query.AuthenticatedData = true
	query.SetEdns0(1232, false)
	msg, err := exchangeOne(ctx, server, query)
	if err == nil && (msg.Rcode == dns.RcodeFormatError || msg.Rcode == dns.RcodeNotImplemented) {
		query.Extra = nil // it knows no EDNS (RFC 6891 section 7)
		msg, err = exchangeOne(ctx, server, query)
	}
	if err != nil {
		return nil, err
	}
	if msg.Rcode != dns.RcodeSuccess && msg.Rcode != dns.RcodeNameError {
		return nil, &serverError{server, msg.Rcode}
	}
	return msg, nil
}

func exchangeOne(ctx context.Context, server string, query *dns.Msg) (*dns.Msg, error) {
	client := dns.Client{Timeout: queryTimeout}
	msg, _, err := client.ExchangeContext(ctx, query, server)
	if err == nil && msg.Truncated {
		client.Net = "tcp"
		msg, _, err = client.ExchangeContext(ctx, query, server)
	}
	if err == nil && !answers(msg, query.Question[0]) {
		err = fmt.Errorf("%s answered another question", server)
	}
	return msg, err
}

// answers tells whether a message is the answer to a question.
func answers(msg *dns.Msg, q dns.Question) bool {
	return msg.Response && len(msg.Question) == 1 && msg.Question[0].Qtype == q.Qtype &&
		strings.EqualFold(msg.Question[0].Name, q.Name)
}

// sortMX orders hosts by preference; those of one preference in random order,
// which spreads the load over them (RFC 5321 section 5.1).
func sortMX(hosts []MX) {
	rand.Shuffle(len(hosts), func(i, j int) { hosts[i], hosts[j] = hosts[j], hosts[i] })
	slices.SortStableFunc(hosts, func(a, b MX) int { return int(a.Preference) - int(b.Preference) })
}
