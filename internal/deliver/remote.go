package deliver

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"strings"

	"postbag/internal/address"
	"postbag/internal/recipient"
	"postbag/internal/resolve"
	"postbag/internal/route"
	"postbag/internal/smtpout"
	"postbag/internal/spool"
	"postbag/internal/status"
)

// An Outcome tells how one recipient of an attempt went.
type Outcome struct {
	Err   error  // nil: the next hop has the letter
	Host  string // who decided
	Reply string // what it said
	DSN   bool   // it reports on delivery itself
}

// A Resolver answers what the DNS is asked; see package resolve.
type Resolver interface {
	MX(ctx context.Context, domain string) (hosts []resolve.MX, authentic bool, err error)
	Addrs(ctx context.Context, host string) (addrs []netip.Addr, authentic bool, err error)
}

// A Sender speaks to one host; see package smtpout.
type Sender interface {
	Deliver(ctx context.Context, h smtpout.Hop, m smtpout.Mail, open func() (io.ReadCloser, error)) ([]smtpout.Result, error)
}

// Remote brings letters to other hosts.
type Remote struct {
	Sender   Sender
	Resolver Resolver
	Hostname string // ours: an MX that is we is none to send to
	Port     int    // of MX hosts; 0: 25
	// Password finds the password of a login at a host.
	Password func(host, user string) (string, bool)
}

// Key names what limits on concurrency count as one destination: the domain, or
// the host of a route.
func (r *Remote) Key(d recipient.Destination) string {
	if d.Route.Kind == route.MX {
		return "mx:" + address.DomainUnicode(d.Address.Domain)
	}
	return d.Route.String()
}

// Send makes one attempt for recipients that share a Key.
func (r *Remote) Send(ctx context.Context, d recipient.Destination, m Mail, to []spool.Recipient) []Outcome {
	outcomes := make([]Outcome, len(to))
	hops, err := r.hops(ctx, d)
	if err != nil {
		for i := range outcomes {
			outcomes[i].Err = err
		}
		return outcomes
	}
	mail := smtpMail(m, to)
	for _, next := range hops {
		hop, herr := next(ctx)
		if herr == nil {
			var results []smtpout.Result
			if results, herr = r.Sender.Deliver(ctx, hop, mail, m.Open); herr == nil {
				for i, res := range results {
					outcomes[i] = Outcome(res)
				}
				return outcomes
			}
		}
		err = worse(err, herr)
		if ctx.Err() != nil {
			break
		}
	}
	for i := range outcomes {
		outcomes[i].Err = err
	}
	return outcomes
}

// worse keeps of the errors of several hosts one that may pass: then trying
// again can help.
func worse(before, now error) error {
	if before != nil && status.ClassOf(before) == status.Temporary && status.ClassOf(now) == status.Permanent {
		return before
	}
	return now
}

func smtpMail(m Mail, to []spool.Recipient) smtpout.Mail {
	mail := smtpout.Mail{From: m.From, Size: m.Size, EightBit: m.Body == "8BITMIME", UTF8: false, Ret: m.Ret, EnvID: m.EnvID}
	mail.UTF8 = m.SMTPUTF8
	for _, rcpt := range to {
		mail.Rcpts = append(mail.Rcpts, smtpout.Rcpt{Address: rcpt.Address, Orig: rcpt.Orig, Notify: rcpt.Notify})
	}
	return mail
}

// A nextHop finds the addresses of a host when its turn has come.
type nextHop func(ctx context.Context) (smtpout.Hop, error)

// hops gives the hosts to try, in order.
func (r *Remote) hops(ctx context.Context, d recipient.Destination) ([]nextHop, error) {
	if d.Route.Kind == route.MX {
		return r.exchangers(ctx, d.Address.Domain)
	}
	hop := smtpout.Hop{Host: d.Route.Host, Port: d.Route.Port, LMTP: d.Route.Kind == route.LMTP, TLS: policy(d.Route), User: d.Route.User}
	if hop.LMTP && d.Route.Path != "" {
		hop.Socket, hop.TLS = d.Route.Path, smtpout.None
		return []nextHop{func(context.Context) (smtpout.Hop, error) { return hop, nil }}, nil
	}
	if hop.User != "" {
		var ok bool
		if hop.Password, ok = r.password(hop.Host, hop.User); !ok {
			return nil, status.Temp("send by "+d.Route.String(), "4.7.8", "no password for "+hop.User+" at "+hop.Host, errNoPassword)
		}
	}
	return []nextHop{r.addressed(hop)}, nil
}

var errNoPassword = errors.New("not in the password file")

func (r *Remote) password(host, user string) (string, bool) {
	if r.Password == nil {
		return "", false
	}
	return r.Password(host, user)
}

func policy(r route.Route) smtpout.Policy {
	switch {
	case r.Kind == route.LMTP:
		return smtpout.Opportunistic
	case r.TLS == route.StartTLS:
		return smtpout.StartTLS
	case r.TLS == route.Implicit:
		return smtpout.Implicit
	}
	return smtpout.Opportunistic
}

// addressed looks the addresses of a host up when it is tried.
func (r *Remote) addressed(hop smtpout.Hop) nextHop {
	return func(ctx context.Context) (smtpout.Hop, error) {
		addrs, _, err := r.Resolver.Addrs(ctx, hop.Host)
		hop.Addrs = addrs
		return hop, err
	}
}

// exchangers are the MX hosts of a domain (RFC 5321 section 5.1).
func (r *Remote) exchangers(ctx context.Context, domain string) ([]nextHop, error) {
	port := r.Port
	if port == 0 {
		port = 25
	}
	if ip, ok := address.IsLiteral(domain); ok {
		hop := smtpout.Hop{Host: ip.String(), Addrs: []netip.Addr{ip}, Port: port}
		return []nextHop{func(context.Context) (smtpout.Hop, error) { return hop, nil }}, nil
	}
	hosts, _, err := r.Resolver.MX(ctx, domain)
	if err != nil {
		return nil, err
	}
	var all []nextHop
	for _, mx := range r.better(hosts) {
		all = append(all, r.addressed(smtpout.Hop{Host: mx.Host, Port: port}))
	}
	if len(all) == 0 {
		return nil, status.Perm("send to "+domain, "5.4.6", "mail for "+domain+" loops back to this host", errOurselves)
	}
	return all, nil
}

var errOurselves = errors.New("we are its best MX, but the domain is not one of ours")

// better drops ourselves and every host that is no better: mail would come back
// to us (RFC 5321 section 5.1).
func (r *Remote) better(hosts []resolve.MX) []resolve.MX {
	for _, h := range hosts {
		if !strings.EqualFold(h.Host, r.Hostname) {
			continue
		}
		var kept []resolve.MX
		for _, other := range hosts {
			if other.Preference < h.Preference {
				kept = append(kept, other)
			}
		}
		return kept
	}
	return hosts
}
