// Package recipient says where mail for an address leads to: through aliases and
// routes to Maildirs of this host and to other hosts.
//
// It is asked at RCPT, and anew at each attempt to deliver, for aliases, routes
// and accounts change. Nothing here needs the DNS.
//
// An address leads to each Destination once, however often aliases name it.
package recipient

import (
	"context"
	"errors"
	"fmt"

	"postbag/internal/address"
	"postbag/internal/alias"
	"postbag/internal/auth"
	"postbag/internal/route"
	"postbag/internal/srs"
	"postbag/internal/status"
)

// A Destination is where a letter is brought.
type Destination struct {
	Name    string          // the same at each attempt: the key of what is remembered
	Address address.Address // final: behind aliases and subaddress
	Dir     string          // the Maildir of this host; "" for another host
	UID     int             // in whose name Dir is written, or a command runs; -1: no account's
	GID     int             // -1: the first group of UID
	Shared  bool            // Dir is no account's, nor the spool's: root does not write there
	Home    string          // where a command runs
	Route   route.Route     // to another host or a command

	FromLine bool // the command wants the line "From " before the letter

	Sender    address.Address // reverse-path of list mail, whose alias has an owner; zero: the letter's
	Forwarded string          // domain of ours on whose behalf it goes on to another host; "": it was sent there
}

// Local reports whether it is a Maildir of this host.
func (d Destination) Local() bool { return d.Dir != "" }

// An Expander knows where addresses lead to. Its fields must not change in use.
type Expander struct {
	Hostname     string
	Origin       string
	Domains      []string // local ones
	RelayDomains []string
	RelayKnown   *alias.Set     // addresses of those that there are; nil: all
	Accounts     auth.Directory // nil: the accounts of the system
	System       System
	Aliases      *alias.File    // nil: none
	Virtual      *alias.Virtual // nil: none
	Routes       *route.Table   // nil: none
	Senders      *route.Table   // for what somebody sends and no route names the recipient of; nil: none
	Smarthost    *route.Route   // for all that no route is for
	Maildirs     auth.Template
	Delimiter    string
	SRS          *srs.Rewriter // takes back addresses of bounces; nil: nothing was rewritten
}

// A System knows the accounts of this host; see auth.HostAccounts.
type System interface {
	Lookup(name string) (account auth.Account, ok bool, err error)
}

// maxDepth bounds aliases that lead to aliases.
const maxDepth = 20

// maxExpansion bounds what one address may lead to.
const maxExpansion = 10_000

// Local reports whether the domain of a is ours, or missing.
func (e *Expander) Local(a address.Address) bool {
	if a.Domain == "" {
		return true
	}
	if ip, ok := address.IsLiteral(a.Domain); ok && ip.IsLoopback() {
		return true
	}
	return among(a.Domain, e.Domains) || e.virtual(a.Domain)
}

// virtual reports whether a domain has only the addresses of the virtual file.
func (e *Expander) virtual(domain string) bool {
	return e.Virtual != nil && e.Virtual.Domain(domain) && !among(domain, e.Domains)
}

// Relay reports whether mail for the domain of a is taken from anybody.
func (e *Expander) Relay(a address.Address) bool { return among(a.Domain, e.RelayDomains) }

func among(domain string, list []string) bool {
	domain = address.DomainUnicode(domain)
	for _, d := range list {
		if address.DomainUnicode(d) == domain {
			return true
		}
	}
	return false
}

// Check tells whether mail from somebody for a can be taken.
func (e *Expander) Check(ctx context.Context, from, a address.Address) error {
	if e.rewritten(a) && !from.IsNull() {
		return status.Perm("look up "+a.String(), "5.7.1", "<"+a.String()+">: takes only bounces", nil)
	}
	found, err := e.Resolve(ctx, from, a)
	if err != nil || e.RelayKnown == nil || !e.Relay(a) || len(found) != 1 || found[0].Address.Key() != a.Key() {
		return err // a virtual address stands for others
	}
	known, err := e.RelayKnown.Has(a, e.Delimiter)
	if err != nil {
		return status.Temp("look up "+a.String(), "4.3.0", "relay recipients cannot be read", err)
	}
	if !known {
		return status.Perm("look up "+a.String(), "5.1.1", "<"+a.String()+">: no such user there", auth.ErrNoAccount)
	}
	return nil
}

// expand is Resolve without a memo.
func (e *Expander) expand(ctx context.Context, from, a address.Address) ([]Destination, error) {
	x := &expansion{Expander: e, ctx: ctx, from: from, asked: a}
	if err := x.add(a, 0); err != nil {
		return nil, err
	}
	if len(x.found) == 0 {
		return nil, status.Perm("resolve "+a.String(), "5.4.6", "aliases of <"+a.String()+"> lead nowhere", errLoop)
	}
	if err := x.nobody(); err != nil {
		return nil, err
	}
	return x.found, nil
}

var errLoop = errors.New("alias loop")

// An expansion is one call of Resolve.
type expansion struct {
	*Expander
	ctx   context.Context
	from  address.Address
	asked address.Address
	seen  set // addresses that have been expanded
	names set // destinations found
	owner set // accounts whose .forward has been followed
	found []Destination

	refusal error           // why a member of a list is not there; nil: all are
	sender  address.Address // owner of the list that is being expanded
}

func (x *expansion) take(d Destination) {
	if x.names.add(d.Name) {
		d.Sender = x.sender
		x.found = append(x.found, d)
	}
}

// add expands one address. What has been seen is a loop or named twice; both add
// nothing.
func (x *expansion) add(a address.Address, depth int) error {
	if depth > maxDepth || len(x.found) > maxExpansion {
		return status.Perm("resolve "+x.asked.String(), "5.4.6", "aliases of <"+x.asked.String()+"> are nested too deep", errLoop)
	}
	key := a.Key()
	if !x.seen.add(key) {
		return nil
	}
	if depth == 0 && x.rewritten(a) {
		return x.bounce(a)
	}
	if x.Virtual == nil {
		return x.place(a, depth)
	}
	targets, ok, err := x.Virtual.Lookup(a, x.Delimiter)
	if err != nil {
		return status.Temp("resolve "+a.String(), "4.3.0", "virtual addresses cannot be read", err)
	}
	if !ok {
		return x.place(a, depth)
	}
	var all []member
	for _, t := range targets {
		next := x.add
		if t.Key() == key {
			next = x.place
		}
		all = append(all, member{t, func() error { return next(t, depth+1) }})
	}
	return x.members(all)
}

// place finds where an address lies that no other stands for.
func (x *expansion) place(a address.Address, depth int) error {
	// The pattern * is for other hosts: it takes no local mail away.
	if r, ok := x.Routes.MatchNamed(a); ok {
		return x.byRoute(a, r)
	}
	if x.Local(a) {
		return x.local(a, depth)
	}
	if r, ok := x.Senders.MatchNamed(x.from); ok {
		return x.byRoute(a, r)
	}
	if r, ok := x.Routes.Match(a); ok {
		return x.byRoute(a, r)
	}
	if x.Smarthost != nil {
		return x.byRoute(a, *x.Smarthost)
	}
	return x.byRoute(a, route.Route{Kind: route.MX})
}

// byRoute adds what a route says.
func (x *expansion) byRoute(a address.Address, r route.Route) error {
	switch r.Kind {
	case route.Error:
		return status.Perm("resolve "+a.String(), r.Code, r.Text, errRoute)
	case route.Maildir:
		x.take(Destination{Name: "maildir:" + r.Path, Address: a, Dir: r.Path, UID: -1, GID: -1, Shared: true})
		return nil
	case route.MX:
		if _, literal := address.IsLiteral(a.Domain); !literal {
			if _, err := address.DomainASCII(a.Domain); err != nil {
				return status.Perm("resolve "+a.String(), "5.1.2", "bad domain in <"+a.String()+">", err)
			}
		}
	}
	d := Destination{Name: "remote:" + a.Canonical().String(), Address: a, UID: -1, GID: -1, Route: r}
	if (r.Kind == route.MX || r.Kind == route.SMTP) && a.Key() != x.asked.Key() {
		d.Forwarded = x.asked.Domain
		if !x.Local(x.asked) || d.Forwarded == "" {
			d.Forwarded = x.Hostname
		}
	}
	x.take(d)
	return nil
}

var errRoute = errors.New("refused by route")

// Where tells in words where mail from somebody for an address leads to, for people.
func (e *Expander) Where(ctx context.Context, from, a address.Address) ([]string, error) {
	found, err := e.Resolve(ctx, from, a)
	if err != nil {
		return nil, err
	}
	var all []string
	for _, d := range found {
		switch {
		case d.Local():
			all = append(all, fmt.Sprintf("<%s> into %s", d.Address, d.Dir))
		case d.Route.Kind == route.MX:
			all = append(all, fmt.Sprintf("<%s> to the MX hosts of %s", d.Address, d.Address.Domain))
		default:
			all = append(all, fmt.Sprintf("<%s> by %s", d.Address, d.Route))
		}
	}
	return all, nil
}
