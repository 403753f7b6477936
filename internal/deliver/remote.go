package deliver

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"slices"
	"strings"

	"postbag/internal/address"
	"postbag/internal/recipient"
	"postbag/internal/resolve"
	"postbag/internal/route"
	"postbag/internal/smtpout"
	"postbag/internal/spool"
	"postbag/internal/status"
	"postbag/internal/trust"
)

// An Outcome tells how one recipient went at another host.
type Outcome struct {
	Err     error  // nil: the host has the letter; else a *status.Error
	Host    string // who said so
	Reply   string // what it said
	Reports bool   // it has taken over to report on delivery (RFC 3461 section 5.2.1)
	Timely  bool   // it knows by when the letter shall be delivered (RFC 2852)
	Way     string // what the DNS said, and what was demanded of the hosts that were tried
}

// A Sender gives letters to one host: *smtpout.Client. An error means that
// nothing is decided about any recipient.
type Sender interface {
	Deliver(ctx context.Context, h smtpout.Hop, m smtpout.Mail, open func() (io.ReadCloser, error)) ([]smtpout.Result, error)
}

// A Resolver answers from the DNS: *resolve.Resolver.
type Resolver interface {
	MX(ctx context.Context, domain string) (hosts []resolve.MX, authentic bool, err error)
	Addrs(ctx context.Context, host string) (addrs []netip.Addr, authentic bool, err error)
}

// Remote brings messages to other hosts. Sender, Resolver and Hostname must be
// set; fields must not change in use.
type Remote struct {
	Sender   Sender
	Resolver Resolver
	Hostname string
	Names    []string // others by which this host may stand among the MX hosts
	Port     int      // of MX hosts; 0: 25
	IP       string   // "4" or "6": only addresses of that version
	Password func(ctx context.Context, host, user string) (string, error)
	Commands Commander
	Files    Files
	TLSA     trust.TLSAResolver // nil: no DANE
	STS      Policies           // nil: no MTA-STS
	Reports  TLSReports         // told how TLS with MX hosts goes; nil: nobody is

	ReportFrom address.Address // the reverse-path of these reports, of which nothing is told

	Signer  *trust.Signer  // nil: nothing is signed
	OurNets []netip.Prefix // whose letters are signed as if we had written them
}

// Limits of one attempt, so that a domain with many dead hosts does not keep a
// slot for hours. The order changes with every look-up among equals.
const (
	maxHosts = 5
	maxAddrs = 5 // of a host
)

// errRefused is why there is no attempt: the recipient is not there.
var errRefused = errors.New("a member of a list who is not there")

// Key names the destination that a limit on concurrency is for; recipients with
// the same one share an attempt.
func (r *Remote) Key(d recipient.Destination) string {
	if d.Route.Kind == route.MX {
		return "mx:" + strings.ToLower(address.DomainUnicode(d.Address.Domain))
	}
	return d.Route.String()
}

// Send makes one attempt for recipients of one destination, host after host
// until one decides.
func (r *Remote) Send(ctx context.Context, d recipient.Destination, m Mail, to []spool.Recipient) []Outcome {
	switch d.Route.Kind {
	case route.Pipe:
		return each(d, to, func(d recipient.Destination, to spool.Recipient) Outcome { return r.Commands.run(ctx, d, m, to) })
	case route.Mbox:
		return each(d, to, func(d recipient.Destination, to spool.Recipient) Outcome { return r.Files.append(ctx, d, m, to) })
	case route.Discard:
		return same(len(to), Outcome{Reply: "thrown away as an alias says"})
	case route.Error:
		return same(len(to), Outcome{Err: status.Perm("deliver to "+d.Address.String(), d.Route.Code, d.Route.Text, errRefused)})
	}
	var w way
	all := r.send(ctx, d, m, to, &w)
	for i := range all {
		all[i].Way = w.String()
	}
	return all
}

// send is Send to other hosts; w is told what it finds.
func (r *Remote) send(ctx context.Context, d recipient.Destination, m Mail, to []spool.Recipient, w *way) []Outcome {
	hops, err := r.hops(ctx, d, w)
	if err == nil {
		m, err = r.sign(m)
	}
	if err != nil {
		return same(len(to), Outcome{Err: err})
	}
	mail, err := envelope(m, to)
	if err != nil {
		return same(len(to), Outcome{Err: err})
	}
	all := r.tryAll(ctx, hops, d, m, mail, w)
	if m.RequireTLS && m.From.IsNull() && lacksTLS(all[0]) {
		// RFC 8689 section 5: a bounce that cannot be protected is better than none.
		m.RequireTLS, mail.RequireTLS = false, false
		all = r.tryAll(ctx, hops, d, m, mail, w)
	}
	return all
}

// lacksTLS says that no host took a letter because of TLS.
func lacksTLS(o Outcome) bool {
	return o.Err != nil && o.Host == "" && slices.Contains([]string{"5.7.10", "5.7.30", "4.7.4", "4.7.5", "4.7.10"}, status.Code(o.Err))
}

// tryAll goes through the hosts until one decides.
func (r *Remote) tryAll(ctx context.Context, hops func(yield func(candidate) bool), d recipient.Destination, m Mail, mail smtpout.Mail, w *way) []Outcome {
	var failed failures
	for next := range hops {
		results, err := r.try(ctx, next, d, m, mail, w)
		if err == nil {
			return outcomes(results)
		}
		failed.add(err)
		if ctx.Err() != nil || errors.Is(err, smtpout.ErrLoop) {
			break // hosts behind ourselves would bring the letter back
		}
	}
	return same(len(mail.Rcpts), failed.outcome(d))
}

// try makes an attempt at one host.
func (r *Remote) try(ctx context.Context, c candidate, d recipient.Destination, m Mail, mail smtpout.Mail, w *way) ([]smtpout.Result, error) {
	hop, err := r.complete(ctx, d, m, c)
	if err == nil && m.RequireTLS {
		hop, err = requireTLS(hop, c.authentic)
		mail.RequireTLS = !onHost(hop)
	}
	w.tried(hop)
	var results []smtpout.Result
	if err == nil {
		results, err = r.Sender.Deliver(ctx, hop, mail, m.Open)
	}
	if err != nil {
		w.failed(err)
		return nil, err
	}
	w.secured(results)
	return results, nil
}

// each makes an attempt of its own for each recipient.
func each(d recipient.Destination, to []spool.Recipient, attempt func(recipient.Destination, spool.Recipient) Outcome) []Outcome {
	all := make([]Outcome, len(to))
	for i := range to {
		d.Address = to[i].Address
		all[i] = attempt(d, to[i])
	}
	return all
}

func same(n int, o Outcome) []Outcome { return slices.Repeat([]Outcome{o}, n) }

func outcomes(results []smtpout.Result) []Outcome {
	all := make([]Outcome, len(results))
	for i, r := range results {
		all[i] = Outcome{Err: r.Err, Host: r.Host, Reply: r.Reply, Reports: r.DSN, Timely: r.Timely}
	}
	return all
}

// failures are those of the hosts that were tried. Only if each of them refuses
// for good the destination does (RFC 5321 section 5.1): one that may come back
// may take the letter.
type failures struct{ worst error }

func (f *failures) add(err error) {
	if f.worst == nil || status.ClassOf(err) == status.Temporary || status.ClassOf(f.worst) == status.Permanent {
		f.worst = err
	}
}

func (f *failures) outcome(d recipient.Destination) Outcome {
	if f.worst == nil {
		f.worst = status.Temp("send to "+d.Address.Domain, "4.4.1", "no host to send to", errNoHost)
	}
	return Outcome{Err: f.worst}
}

var errNoHost = errors.New("no host")

// A candidate is a host to try, and whether it is known for sure to be one of the
// destination.
type candidate struct {
	hop       smtpout.Hop
	authentic bool
}

// hops gives the hosts to try, in order, without their addresses.
func (r *Remote) hops(ctx context.Context, d recipient.Destination, w *way) (func(yield func(candidate) bool), error) {
	if d.Route.Kind != route.MX {
		return hopsOf(d.Route), nil
	}
	hosts, authentic, err := r.exchangers(ctx, d.Address.Domain)
	if err != nil {
		return nil, err
	}
	w.exchangers(hosts, authentic)
	port := r.Port
	if port == 0 {
		port = 25
	}
	return func(yield func(candidate) bool) {
		for _, h := range hosts {
			hop := smtpout.Hop{Host: h.Host, Port: port, TLS: smtpout.Opportunistic, Foreign: true}
			if !yield(candidate{hop, authentic}) {
				return
			}
		}
	}, nil
}

// hopsOf are the hosts of a route, in turn.
func hopsOf(t route.Route) func(yield func(candidate) bool) {
	return func(yield func(candidate) bool) {
		for r := &t; r != nil; r = r.Next {
			if !yield(candidate{hopOf(*r), true}) { // we have named it ourselves
				return
			}
		}
	}
}

// hopOf is the host of a route that names one: there is no look-up of MX then.
func hopOf(t route.Route) smtpout.Hop {
	hop := smtpout.Hop{Host: t.Host, Port: t.Port, LMTP: t.Kind == route.LMTP, User: t.User, Mechanism: t.Auth}
	if hop.LMTP && t.Path != "" {
		hop.Socket, hop.TLS = t.Path, smtpout.None
	}
	switch t.TLS {
	case route.StartTLS:
		hop.TLS = smtpout.StartTLS
	case route.Implicit:
		hop.TLS = smtpout.Implicit
	}
	return hop
}

// exchangers gives the MX hosts of a domain that are nearer to it than we are.
func (r *Remote) exchangers(ctx context.Context, domain string) (hosts []resolve.MX, authentic bool, err error) {
	if _, literal := address.IsLiteral(domain); literal {
		return []resolve.MX{{Host: domain}}, false, nil
	}
	hosts, authentic, err = r.Resolver.MX(ctx, domain)
	if err != nil {
		return nil, false, err
	}
	// RFC 5321 section 5.1: where we are on the list ourselves, hosts of our
	// preference and above would only bring the letter back.
	for _, h := range hosts {
		if r.isUs(h.Host) {
			limit := h.Preference
			hosts = slices.DeleteFunc(slices.Clone(hosts), func(h resolve.MX) bool { return h.Preference >= limit })
			break
		}
	}
	if len(hosts) == 0 {
		return nil, false, status.Perm("send to "+domain, "5.4.6", "mail for "+domain+" loops back to this host", errLoop)
	}
	return hosts[:min(len(hosts), maxHosts)], authentic, nil
}

var errLoop = errors.New("this host is its best mail exchanger, and does not take its mail")

func (r *Remote) isUs(host string) bool {
	return address.EqualDomain(r.Hostname, host) || slices.ContainsFunc(r.Names, func(name string) bool { return address.EqualDomain(name, host) })
}

// complete adds to a hop what is needed to speak to it.
func (r *Remote) complete(ctx context.Context, d recipient.Destination, m Mail, c candidate) (smtpout.Hop, error) {
	hop := c.hop
	if hop.Socket != "" {
		return hop, nil
	}
	addrs, authentic, err := r.Resolver.Addrs(ctx, hop.Host)
	if err != nil && !hop.Foreign {
		// The host of a route was named by us: a mistake there is ours.
		return hop, status.Temp("look up "+hop.Host, "4.4.4", "host "+hop.Host+" has no address now", err)
	}
	if err != nil {
		return hop, err
	}
	addrs = r.usable(addrs)
	if len(addrs) == 0 {
		return hop, status.Perm("send to "+hop.Host, "5.4.4", "host "+hop.Host+" has no address of the wanted kind", errNoHost)
	}
	hop.Addrs = addrs
	if hop.TLS == smtpout.Opportunistic {
		if hop, err = r.securing(ctx, d, m, hop, c.authentic && authentic); err != nil {
			return hop, err
		}
	}
	if hop.User != "" {
		hop.Password, err = r.password(ctx, hop)
	}
	return hop, err
}

func (r *Remote) usable(addrs []netip.Addr) []netip.Addr {
	addrs = slices.DeleteFunc(slices.Clone(addrs), func(a netip.Addr) bool {
		return r.IP == "4" && !a.Is4() || r.IP == "6" && a.Is4()
	})
	if len(addrs) <= maxAddrs {
		return addrs
	}
	// Of many, some of each family: one of them may have no way out.
	v4 := slices.IndexFunc(addrs, netip.Addr.Is4)
	if v4 >= maxAddrs {
		addrs = slices.Concat(addrs[:maxAddrs-1], addrs[v4:])
	}
	return addrs[:maxAddrs]
}

func (r *Remote) password(ctx context.Context, hop smtpout.Hop) (string, error) {
	err := errNoPassword
	if r.Password != nil {
		var password string
		if password, err = r.Password(ctx, hop.Host, hop.User); err == nil {
			return password, nil
		}
	}
	return "", status.Temp("log in at "+hop.Host, "4.7.0", "no password for host "+hop.Host, err)
}

var errNoPassword = errors.New("there is no password file")

// envelope is what a host is told of a message.
func envelope(m Mail, to []spool.Recipient) (smtpout.Mail, error) {
	mail := smtpout.Mail{
		From: m.From, Ret: m.Ret, EnvID: m.EnvID, Priority: m.Priority, By: m.By, ByMode: m.ByMode, Rcpts: make([]smtpout.Rcpt, len(to)),
	}
	for i, t := range to {
		mail.Rcpts[i] = smtpout.Rcpt{Address: t.Address, Orig: t.Orig, Notify: t.Notify}
	}
	var err error
	if m.SMTPUTF8 {
		mail.UTF8, err = hasUTF8Address(m)
	}
	return mail, err
}

// addressFields are those of RFC 5322 that hold addresses.
var addressFields = []string{"From", "Sender", "Reply-To", "To", "Cc", "Bcc",
	"Resent-From", "Resent-Sender", "Resent-To", "Resent-Cc", "Resent-Bcc"}

// hasUTF8Address reports whether the header of a letter for which SMTPUTF8 was
// declared needs it: many clients declare it always, and few hosts offer it.
func hasUTF8Address(m Mail) (bool, error) {
	header, err := m.header()
	if err != nil {
		return false, err
	}
	for _, name := range addressFields {
		for _, value := range header.Values(name) {
			if strings.ContainsFunc(value, func(c rune) bool { return c > 0x7f }) {
				return true, nil
			}
		}
	}
	return false, nil
}
