package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"postbag/internal/address"
	"postbag/internal/alias"
	"postbag/internal/auth"
	"postbag/internal/config"
	"postbag/internal/recipient"
	"postbag/internal/route"
	"postbag/internal/spool"
	"postbag/internal/status"
)

// expander knows where addresses lead to, as smtpd will with these settings.
func expander(v *config.Values) (*recipient.Expander, error) {
	x := &recipient.Expander{
		Hostname: v.String("hostname"), Origin: v.String("origin"),
		Domains: v.Strings("domain"), RelayDomains: v.Strings("relay-domain"),
		Maildirs: auth.Template{Text: v.String("maildir"), Spool: v.String("spool")}, Delimiter: v.String("recipient-delimiter"),
		Aliases: alias.Open(v.String("aliases")), System: auth.OfHost(v.Given("maildir"), v.String("spool")),
	}
	all, err := accounts(v, x.Domains)
	if err != nil {
		return nil, err
	}
	if auth.KnowsWho(all) {
		x.Accounts = all
	}
	return x, routes(v, x)
}

// accounts are those of the users file, where there is one, and of --auth.
func accounts(v *config.Values, domains []string) (auth.Several, error) {
	var all auth.Several
	file, err := auth.OpenFile(v.String("users"), domains)
	switch {
	case err == nil:
		all = append(all, file)
	case !errors.Is(err, fs.ErrNotExist):
		return nil, status.Exit(status.ExConfig, "users", err)
	}
	for _, spec := range v.Strings("auth") {
		d, err := auth.OpenSource(spec, domains, auth.OfHost(v.Given("maildir"), v.String("spool")))
		if err != nil {
			return nil, v.Unusable("auth", err)
		}
		all = append(all, d)
	}
	return all, nil
}

func routes(v *config.Values, x *recipient.Expander) error {
	if path := v.String("virtual"); path != "" {
		x.Virtual = alias.OpenVirtual(path)
	}
	for name, t := range map[string]struct {
		into  **route.Table
		parse func(name, text string) (*route.Table, error)
	}{"routes": {&x.Routes, route.Parse}, "sender-routes": {&x.Senders, route.ParseSenders}} {
		path := v.String(name)
		if path == "" {
			continue
		}
		text, err := os.ReadFile(path)
		if err == nil {
			*t.into, err = t.parse(path, string(text))
		}
		if err != nil {
			return status.Exit(status.ExConfig, name, err)
		}
	}
	if urls := v.Strings("smarthost"); len(urls) > 0 {
		r, err := route.ParseHosts(urls)
		if err != nil {
			return status.Exit(status.ExConfig, "smarthost", err)
		}
		x.Smarthost = &r
	}
	return nil
}

// verify tells of each address whether it can be delivered (-bv). The exit code
// is that of the first which cannot.
func verify(ctx context.Context, v *config.Values, r *request) error {
	x, err := expander(v)
	if err != nil {
		return err
	}
	names, code := newNaming(v), 0
	var from address.Address
	if r.from != nil {
		if from, err = r.sender(names, person{}); err != nil {
			return err
		}
	}
	for _, operand := range r.line.operands {
		list, err := r.operand(operand)
		if err != nil {
			return err
		}
		for _, m := range list {
			if c := verifyOne(ctx, v, x, from, names.recipient(m.Address)); code == 0 {
				code = c
			}
		}
	}
	if code != 0 {
		return config.Silent(code)
	}
	return nil
}

// testAddresses tells where the addresses lead to that stand on standard input
// (-bt): one a line, behind the numbers of rule sets if one likes, as for
// Sendmail. Its other commands and comments are passed over.
func testAddresses(ctx context.Context, v *config.Values) error {
	x, err := expander(v)
	if err != nil {
		return err
	}
	names := newNaming(v)
	for lines := bufio.NewScanner(v.Stdin); lines.Scan(); {
		line := strings.TrimLeft(lines.Text(), "0123456789, \t")
		if line == "" || strings.ContainsRune("#.=-/$?", rune(line[0])) {
			continue
		}
		list, err := address.ParseList(line)
		if err != nil {
			fmt.Fprintf(v.Stdout, "%s... %v\n", line, err)
			continue
		}
		for _, m := range list {
			verifyOne(ctx, v, x, address.Address{}, names.recipient(m.Address))
		}
	}
	return nil
}

func verifyOne(ctx context.Context, v *config.Values, x *recipient.Expander, from, a address.Address) int {
	where, err := x.Where(ctx, from, a)
	if err != nil {
		_, _, text := status.Reply(err)
		fmt.Fprintf(v.Stdout, "%s... undeliverable: %s\n", a, text)
		return status.ExitCode(err)
	}
	for _, w := range where {
		fmt.Fprintf(v.Stdout, "%s... deliverable: %s\n", a, w)
	}
	return 0
}

// checkAliases reads the aliases (-bi): they need no rebuilding.
func checkAliases(v *config.Values) error {
	if err := alias.Open(v.String("aliases")).Check(); err != nil {
		return status.Exit(status.ExConfig, "aliases", err)
	}
	return nil
}

// check is for --check.
func check(_ context.Context, v *config.Values) []error {
	var faults []error
	if err := checkAliases(v); err != nil {
		faults = append(faults, err)
	}
	if _, err := expander(v); err != nil {
		faults = append(faults, err)
	}
	if _, err := openSpool(v); err != nil {
		faults = append(faults, err)
	}
	return faults
}

// explain prints what would be done with the command line and the letter, and
// does none of it.
func explain(ctx context.Context, v *config.Values, r *request) error {
	fmt.Fprintf(v.Stdout, "mode: %s\n", r.mode)
	for _, o := range r.line.options {
		fmt.Fprintf(v.Stdout, "option: %s\n", o)
	}
	for _, o := range r.line.operands {
		fmt.Fprintf(v.Stdout, "operand: %s\n", o)
	}
	fmt.Fprintf(v.Stdout, "spool: %s (%s)\n", v.String("spool"), v.Where("spool"))
	if r.mode != deliverMode && r.mode != verifyMode {
		return nil
	}
	u, err := r.begin(ctx, v)
	if err != nil {
		return err
	}
	if r.extract {
		_, header, err := readHeader(interruptible(ctx, v.Stdin), r.dots)
		if err == nil {
			err = u.extract(r, header)
		}
		if err != nil {
			return err
		}
	}
	return explainEnvelope(ctx, v, u.env)
}

func explainEnvelope(ctx context.Context, v *config.Values, env *spool.Envelope) error {
	x, err := expander(v)
	if err != nil {
		return err
	}
	fmt.Fprintf(v.Stdout, "sender: <%s>\n", env.From)
	for _, rcpt := range env.To {
		where, err := x.Where(ctx, env.From, rcpt.Address)
		if err != nil {
			_, _, text := status.Reply(err)
			where = []string{"nowhere: " + text}
		}
		fmt.Fprintf(v.Stdout, "recipient: <%s> leads to %s\n", rcpt.Address, strings.Join(where, ", "))
	}
	return nil
}
