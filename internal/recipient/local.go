package recipient

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"postbag/internal/address"
	"postbag/internal/alias"
	"postbag/internal/auth"
	"postbag/internal/route"
	"postbag/internal/status"
)

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
	var all []member
	for _, t := range targets {
		all = append(all, member{t.Address, func() error { return x.target(a, t, depth) }})
	}
	return x.members(all)
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
	return x.box(a, auth.Account{Name: "root", UID: -1, GID: -1, Maildir: auth.InSpool})
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
	var all []member
	for _, t := range targets {
		follow := func() error { return x.target(a, t, depth+1) }
		if t.Kind != alias.Address {
			follow = func() error { return x.other(a, t, &account) }
		}
		all = append(all, member{t.Address, follow})
	}
	return x.members(all)
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
	if account.Maildir == auth.InSpool && (account.UID == 0 || os.Geteuid() != 0) {
		d.UID, d.GID = -1, -1
	}
	x.take(d)
	return nil
}
