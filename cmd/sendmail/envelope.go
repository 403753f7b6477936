package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"postbag/internal/address"
	"postbag/internal/alias"
	"postbag/internal/config"
	"postbag/internal/message"
	"postbag/internal/spool"
	"postbag/internal/status"
)

// A naming completes addresses without a domain.
type naming struct {
	origin  string
	local   []string // our domains
	aliases *alias.File
}

func newNaming(v *config.Values) naming {
	return naming{v.String("origin"), v.Strings("domain"), alias.Open(v.String("aliases"))}
}

// sender completes a reverse-path.
func (n naming) sender(a address.Address) address.Address {
	if a.Unqualified() {
		a.Domain = n.origin
	}
	return a
}

// recipient completes a forward-path. A name that is an alias here is one though
// the origin is another host.
func (n naming) recipient(a address.Address) address.Address {
	if !a.Unqualified() {
		return a
	}
	for _, d := range n.local {
		if address.EqualDomain(d, n.origin) {
			return n.sender(a)
		}
	}
	if _, ok, err := n.aliases.Lookup(a.Local); ok && err == nil {
		return a
	}
	return n.sender(a)
}

// A submission is a letter's envelope while it is being made.
type submission struct {
	env   *spool.Envelope
	names naming
	me    person
	seen  map[string]bool // recipients
}

// begin makes an envelope of the command line, before anything is read.
func (r *request) begin(ctx context.Context, v *config.Values) (*submission, error) {
	u := &submission{names: newNaming(v), me: whoRuns(ctx), seen: map[string]bool{}}
	from, err := r.sender(u.names, u.me)
	if err != nil {
		return nil, err
	}
	u.env = &spool.Envelope{
		From: message.Masquerade(v.Strings("masquerade")).Address(from), Body: r.body, SMTPUTF8: r.utf8,
		Ret: r.ret, EnvID: r.envID, Proto: "local", UID: os.Getuid(),
	}
	for _, operand := range r.line.operands {
		list, err := r.operand(operand)
		if err != nil {
			return nil, err
		}
		u.add(list, r.notify)
	}
	return u, nil
}

// add takes recipients, each once.
func (u *submission) add(list []address.Mailbox, notify string) {
	for _, m := range list {
		a := u.names.recipient(m.Address)
		if key := a.Canonical().String(); !u.seen[key] {
			u.seen[key] = true
			u.env.To = append(u.env.To, spool.Recipient{Address: a, Notify: notify})
		}
	}
}

// extract adds those that the header names, with -t.
func (u *submission) extract(r *request, h *message.Header) error {
	if r.extract {
		list, err := message.Recipients(h)
		if err != nil {
			return status.Exit(status.ExDataErr, "recipients", err)
		}
		u.add(list, r.notify)
	}
	if len(u.env.To) == 0 {
		return status.Exit(status.ExUsage, "recipients", errNobody)
	}
	return nil
}

// alwaysBCC is who gets a copy of each letter; null when there is nobody.
func alwaysBCC(v *config.Values) (address.Address, error) {
	text := v.String("always-bcc")
	if text == "" {
		return address.Address{}, nil
	}
	a, err := address.ParseUnqualified(text)
	if err != nil {
		return a, status.Exit(status.ExConfig, "--always-bcc", err)
	}
	return a, nil
}

// addCopy adds who gets a copy, unseen.
func (u *submission) addCopy(v *config.Values) error {
	a, err := alwaysBCC(v)
	if err == nil && !a.IsNull() {
		u.add([]address.Mailbox{{Address: a}}, "NEVER")
	}
	return err
}

// sender is that of -f, else the user.
func (r *request) sender(n naming, me person) (address.Address, error) {
	if r.from == nil {
		return n.sender(address.Address{Local: me.login}), nil
	}
	text := strings.TrimSpace(*r.from)
	if text == "" || text == "<>" {
		return address.Address{}, nil
	}
	list, err := address.ParseList(text)
	if err == nil && len(list) != 1 {
		err = fmt.Errorf("%d addresses", len(list))
	}
	if err != nil {
		return address.Address{}, status.Exit(status.ExUsage, "-f "+text, err)
	}
	return n.sender(list[0].Address), nil
}

// operand reads one argument, which may be a list of addresses. What looks like
// an option is one that somebody put in the wrong place.
func (r *request) operand(s string) ([]address.Mailbox, error) {
	if strings.HasPrefix(s, "-") && !r.line.dashes {
		return nil, status.Exit(status.ExUsage, s, errLikeOption)
	}
	list, err := address.ParseList(s)
	if err != nil {
		return nil, status.Exit(status.ExUsage, "recipient "+s, err)
	}
	return list, nil
}
