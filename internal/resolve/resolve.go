// Package resolve answers the questions that a mail system puts to the DNS:
// which hosts take the mail of a domain, and at which addresses.
//
// It speaks to a recursive resolver, keeps answers as long as their TTL allows,
// and says of each whether that resolver vouched for it (the AD bit, RFC 4035
// section 3.2.3), which counts only from a resolver that is trusted to set it.
//
// Errors are *status.Error. That a name does not exist, or that its domain
// takes no mail, is permanent; everything else that can go wrong with the DNS
// is temporary, so trouble with a resolver delays mail and never bounces it.
package resolve

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"

	"postbag/internal/address"
	"postbag/internal/status"
)

// Limits of one look-up.
const (
	// queryTimeout bounds one exchange with one server.
	queryTimeout = 5 * time.Second
	// attempts is how often the list of servers is gone through.
	attempts = 2
	// maxMX bounds the hosts taken from one answer; a domain with more is
	// misconfigured or hostile.
	maxMX = 50
)

// An MX is a host that takes mail for a domain.
type MX struct {
	Host       string // without the final dot
	Preference uint16 // lower is tried first
}

// A Resolver asks recursive resolvers and keeps their answers. Make one with
// New; it is safe for concurrent use.
type Resolver struct {
	hosts map[string][]netip.Addr // /etc/hosts
	conf  *conf
	cache *cache
}

// New returns a Resolver that asks server, HOST or HOST:PORT; if server is
// empty it asks those of /etc/resolv.conf, which is read again when it changes.
func New(server string) *Resolver {
	r := &Resolver{cache: newCache(), hosts: readHosts("/etc/hosts"), conf: &conf{path: "/etc/resolv.conf"}}
	if server != "" {
		server = withPort(server)
		r.conf = &conf{servers: []string{server}, trustAD: loopback(server)}
	}
	return r
}

// TrustAD says that the path to the servers is safe, so that their AD bit counts
// wherever they are.
func (r *Resolver) TrustAD() { r.conf.trust = true }

// source gives the servers to ask and whether their AD bit counts.
func (r *Resolver) source() (servers []string, trustAD bool) { return r.conf.get() }

// MX returns the hosts that take mail for domain, by ascending preference, and
// whether the answer is authentic. A domain without MX records is its own only
// host (RFC 5321 section 5.1); that it has an address is not checked here.
//
// The error is permanent when the domain does not exist (5.1.2) or says that it
// takes no mail (5.1.10, RFC 7505 section 3).
func (r *Resolver) MX(ctx context.Context, domain string) (hosts []MX, authentic bool, err error) {
	op := "look up mx of " + domain
	name, err := address.DomainASCII(domain)
	if err != nil {
		return nil, false, status.Perm(op, "5.1.2", "bad domain name", err)
	}
	if name == "localhost" || len(r.hosts[name]) > 0 && !strings.Contains(name, ".") {
		return []MX{{Host: name}}, false, nil
	}
	ans, err := r.ask(ctx, name, dns.TypeMX)
	if err != nil {
		return nil, false, lookupError(op, err)
	}
	if len(ans.records) == 0 {
		return []MX{{Host: name}}, ans.authentic, nil
	}
	hosts = exchangers(ans.records)
	if len(hosts) == 0 {
		return nil, ans.authentic, status.Perm(op, "5.1.10", "the domain takes no mail (null MX)", errNullMX)
	}
	return hosts, ans.authentic, nil
}

// exchangers are the hosts of MX records, each once with its best preference. The
// name "." is no host; beside others it means nothing (RFC 7505 section 3).
func exchangers(records []dns.RR) []MX {
	best := map[string]uint16{}
	for _, rr := range records {
		mx, ok := rr.(*dns.MX)
		if !ok || hostName(mx.Mx) == "" {
			continue
		}
		name := hostName(mx.Mx)
		if p, there := best[name]; !there || mx.Preference < p {
			best[name] = mx.Preference
		}
	}
	var hosts []MX
	for name, preference := range best {
		hosts = append(hosts, MX{name, preference})
	}
	sortMX(hosts)
	return hosts[:min(len(hosts), maxMX)]
}

var errNullMX = errors.New("null MX")

// Addrs returns the addresses of host, those of IPv6 first, and whether every
// answer is authentic. An address, plain or as a literal of RFC 5321 section
// 4.1.3, is its own answer.
//
// The error is permanent when the host does not exist or has no address.
func (r *Resolver) Addrs(ctx context.Context, host string) (addrs []netip.Addr, authentic bool, err error) {
	if ip, ok := literal(host); ok {
		return []netip.Addr{ip}, false, nil
	}
	op := "look up address of " + host
	name, err := address.DomainASCII(host)
	if err != nil {
		return nil, false, status.Perm(op, "5.1.2", "bad host name", err)
	}
	if local := r.local(name); local != nil {
		return local, false, nil
	}
	var v4 answer
	var err4 error
	var both sync.WaitGroup
	both.Go(func() { v4, err4 = r.ask(ctx, name, dns.TypeA) })
	v6, err6 := r.ask(ctx, name, dns.TypeAAAA)
	both.Wait()
	addrs = append(collect(v6), collect(v4)...)
	if len(addrs) > 0 {
		return addrs, err6 == nil && err4 == nil && v6.authentic && v4.authentic, nil
	}
	// Only if both answered that there is nothing, there is nothing: a failed
	// question about one family may hide the only address.
	for _, err := range []error{err6, err4} {
		if err != nil && !errors.Is(err, errNoName) {
			return nil, false, lookupError(op, err)
		}
	}
	return nil, false, status.Perm(op, "5.4.4", "host has no address", errNoAddress)
}

var errNoAddress = errors.New("no A or AAAA record")

// local answers for the names that never go to the DNS: localhost (RFC 6761
// section 6.3) and those of /etc/hosts.
func (r *Resolver) local(name string) []netip.Addr {
	if found := r.hosts[name]; len(found) > 0 {
		return found
	}
	if name == "localhost" || strings.HasSuffix(name, ".localhost") {
		return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}
	}
	return nil
}

func collect(a answer) []netip.Addr {
	var addrs []netip.Addr
	for _, rr := range a.records {
		var ip net.IP
		switch rr := rr.(type) {
		case *dns.A:
			ip = rr.A
		case *dns.AAAA:
			ip = rr.AAAA
		}
		if addr, ok := netip.AddrFromSlice(ip); ok {
			addrs = append(addrs, addr.Unmap())
		}
	}
	return addrs
}

// literal reads an address, bare or in brackets with or without "IPv6:".
func literal(host string) (netip.Addr, bool) {
	if ip, ok := address.IsLiteral(host); ok {
		return ip, true
	}
	ip, err := netip.ParseAddr(host)
	return ip, err == nil
}

func lookupError(op string, err error) error {
	if errors.Is(err, errNoName) {
		return status.Perm(op, "5.1.2", "domain does not exist", err)
	}
	return status.Temp(op, "4.4.3", "DNS look-up failed", err)
}

func hostName(name string) string {
	return strings.ToLower(strings.TrimSuffix(name, "."))
}

func withPort(server string) string {
	if _, _, err := net.SplitHostPort(server); err == nil {
		return server
	}
	return net.JoinHostPort(strings.Trim(server, "[]"), "53")
}

func loopback(hostport string) bool {
	ap, err := netip.ParseAddrPort(hostport)
	return err == nil && ap.Addr().IsLoopback()
}

// serverError is a DNS answer that is none.
type serverError struct {
	server string
	rcode  int
}

func (e *serverError) Error() string {
	return fmt.Sprintf("%s answered %s", e.server, dns.RcodeToString[e.rcode])
}
