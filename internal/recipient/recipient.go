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
	"os"
	"path/filepath"
	"strings"

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

// A System knows the accounts of this host; see SystemAccounts.
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

	sender address.Address // owner of the list that is being expanded
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
	for _, t := range targets {
		next := x.add
		if t.Key() == key {
			next = x.place
		}
		if err := next(t, depth+1); err != nil {
			return err
		}
	}
	return nil
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

// roles are names that must be there (RFC 2142, RFC 5321 section 4.5.1).
var roles = map[string]bool{"postmaster": true, "abuse": true, "mailer-daemon": true}

// local expands a name of this host: alias, account, the same without
// subaddress, then the roles.
func (x *expansion) local(a address.Address, depth int) error {
	if x.virtual(a.Domain) {
		return x.roles(a, depth)
	}
	for _, name := range x.forms(a) {
		targets, ok, err := x.alias(name)
		if err != nil {
			return status.Temp("resolve "+a.String(), "4.3.0", "aliases cannot be read", err)
		}
		if ok {
			return x.targets(name, targets, depth)
		}
		account, ok, err := x.account(name)
		if err != nil {
			return status.Temp("resolve "+a.String(), "4.3.0", "accounts cannot be read", err)
		}
		if ok {
			_, detail := a.Split(x.Delimiter)
			return x.mailbox(name, account, detail, depth)
		}
	}
	return x.roles(a, depth)
}

// roles finds names that are there though nobody has them; all others are
// unknown.
func (x *expansion) roles(a address.Address, depth int) error {
	for _, name := range x.forms(a) {
		if role := strings.ToLower(name.Local); roles[role] || role == "root" {
			return x.role(name, role, depth)
		}
	}
	// A target of an alias is completed as a name on a command line is.
	if a.Domain == "" && depth > 0 && x.Origin != "" {
		return x.add(address.Address{Local: a.Local, Domain: x.Origin}, depth+1)
	}
	return status.Perm("resolve "+a.String(), "5.1.1", "<"+x.asked.String()+">: no such user here", auth.ErrNoAccount)
}

// forms are the address itself and, where it has a subaddress, that without.
func (x *expansion) forms(a address.Address) []address.Address {
	base, _ := a.Split(x.Delimiter)
	if base == a {
		return []address.Address{a}
	}
	return []address.Address{a, base}
}

func (x *expansion) alias(a address.Address) ([]alias.Target, bool, error) {
	if x.Aliases == nil {
		return nil, false, nil
	}
	return x.Aliases.Lookup(a.Local)
}

// account finds an account. Names without domain serve every local one.
func (x *expansion) account(a address.Address) (auth.Account, bool, error) {
	if x.Accounts == nil {
		if x.System == nil {
			return auth.Account{}, false, nil
		}
		return x.System.Lookup(a.Local)
	}
	name := a
	if _, literal := address.IsLiteral(a.Domain); literal || a.Domain == "" {
		name.Domain = ""
	}
	account, err := x.Accounts.Lookup(x.ctx, name.String())
	if errors.Is(err, auth.ErrNoAccount) {
		return auth.Account{}, false, nil
	}
	return account, err == nil, err
}

// targets follows those of an alias. What a list sends comes from its owner.
func (x *expansion) targets(a address.Address, targets []alias.Target, depth int) error {
	before := x.sender
	defer func() { x.sender = before }()
	owner, ok, err := x.listOwner(a)
	if err != nil {
		return status.Temp("resolve "+a.String(), "4.3.0", "aliases cannot be read", err)
	}
	if ok {
		x.sender = owner
	}
	for _, t := range targets {
		if err := x.target(a, t, depth); err != nil {
			return err
		}
	}
	return nil
}

// target follows one target of the alias a. The account of the alias's own name
// is meant by that name, and an account by \name.
func (x *expansion) target(a address.Address, t alias.Target, depth int) error {
	if t.Kind != alias.Address {
		return x.other(a, t, nil)
	}
	own := t.Address.Domain == "" && strings.EqualFold(t.Address.Local, a.Local) || t.Address.Key() == a.Key()
	if !own && (!t.Final || !x.Local(t.Address)) {
		return x.add(t.Address, depth+1)
	}
	name := t.Address
	if own {
		name = a
	}
	account, ok, err := x.account(name)
	if err != nil {
		return status.Temp("resolve "+a.String(), "4.3.0", "accounts cannot be read", err)
	}
	switch {
	case ok && t.Final:
		return x.box(name, account)
	case ok:
		return x.mailbox(name, account, "", depth)
	}
	return x.add(t.Address, depth+1)
}

// other adds a command or a file that an alias leads to, or the .forward file of
// an account, which must have a uid of its own for that.
func (x *expansion) other(a address.Address, t alias.Target, of *auth.Account) error {
	d := Destination{Name: "pipe:" + t.Text, Address: a, Route: route.Command(t.Text), FromLine: true}
	if of == nil {
		d.UID, d.GID = x.Aliases.Owner()
	} else {
		d.Name, d.UID, d.GID, d.Home = "pipe:"+of.Name+":"+t.Text, of.UID, of.GID, of.Home
	}
	maildir, isMaildir := strings.CutSuffix(t.Text, "/")
	switch {
	case of != nil && of.UID <= 0 && t.Text != "/dev/null":
		return status.Temp("resolve "+a.String(), "4.3.5", "<"+x.asked.String()+"> cannot be delivered now",
			fmt.Errorf(".forward of %s leads to %q: the account has no uid of its own", of.Name, t.Text))
	case t.Kind == alias.Pipe:
	case t.Text == "/dev/null":
		d.Name, d.Route = "discard", route.Nowhere()
	case isMaildir && maildir != "":
		dir := filepath.Clean(maildir)
		d = Destination{Name: "maildir:" + dir, Address: a, Dir: dir, UID: d.UID, GID: d.GID, Shared: true}
	default:
		path := filepath.Clean(t.Text)
		d.Name, d.Route, d.FromLine = "mbox:"+path, route.File(path), false
	}
	if d.Address.Domain == "" {
		d.Address.Domain = x.Hostname
	}
	x.take(d)
	return nil
}

// role leads the names that must be there to root, and root without account to a
// Maildir of the spool.
func (x *expansion) role(a address.Address, role string, depth int) error {
	if role != "root" {
		return x.add(address.Address{Local: "root", Domain: ""}, depth+1)
	}
	return x.box(a, auth.Account{Name: "root", UID: -1, GID: -1, Maildir: inSpool})
}

// mailbox follows the .forward file of an account, or adds its Maildir. What leads
// from the file to the account itself means the Maildir.
func (x *expansion) mailbox(a address.Address, account auth.Account, detail string, depth int) error {
	if !x.owner.add(account.Name) {
		return x.box(a, account)
	}
	owner := alias.Owner{Home: account.Home, UID: account.UID, GID: account.GID}
	if account.UID < 0 {
		owner.UID, owner.GID = os.Geteuid(), os.Getegid()
	}
	targets, ok, err := alias.Forward(owner, x.Delimiter, detail)
	if err != nil {
		return status.Temp("resolve "+a.String(), "4.3.0", "<"+x.asked.String()+"> cannot be delivered now", err)
	}
	if !ok {
		return x.box(a, account)
	}
	for _, t := range targets {
		if t.Kind == alias.Address {
			err = x.target(a, t, depth+1)
		} else {
			err = x.other(a, t, &account)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// box adds the Maildir of an account.
func (x *expansion) box(a address.Address, account auth.Account) error {
	dir, err := x.Maildirs.Dir(account)
	if err != nil {
		return status.Temp("resolve "+a.String(), "4.3.5", "<"+x.asked.String()+"> cannot be delivered now", err)
	}
	final := address.Address{Local: account.Name, Domain: x.Hostname}
	parsed, err := address.ParseUnqualified(account.Name)
	if err == nil {
		final.Local = parsed.Local
	}
	if parsed.Domain != "" {
		final = parsed
	} else if a.Domain != "" {
		final.Domain = a.Domain
	} else if len(x.Domains) > 0 {
		final.Domain = x.Domains[0]
	}
	d := Destination{Name: "maildir:" + dir, Address: final, Dir: dir, UID: account.UID, GID: account.GID}
	if account.Maildir == inSpool && (account.UID == 0 || os.Geteuid() != 0) {
		d.UID, d.GID = -1, -1
	}
	x.take(d)
	return nil
}

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
