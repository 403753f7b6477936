package main

import (
	"context"
	"net/netip"

	"postbag/cmd/internal/wire"
	"postbag/internal/alias"
	"postbag/internal/auth"
	"postbag/internal/config"
	"postbag/internal/trust"
)

// own are the settings that only smtpd has.
var own = []config.Setting{
	{Name: "relay-from", Arg: "NET", Usage: "network that may relay without AUTH, repeated", Kind: config.List, Default: "127.0.0.0/8,::1/128", Valid: config.ValidNet},
	{Name: "xclient-from", Arg: "NET", Usage: "network of proxies that may tell by XCLIENT who the client is, repeated", Kind: config.List, Valid: config.ValidNet},
	{Name: "relay-recipients", Arg: "FILE", Usage: "addresses of relay domains that there are, one a line", File: true},
	{Name: "bind", Arg: "ADDRESS", Usage: "address to connect to other hosts from; one of each family", Kind: config.List, Valid: validAddress},
	{Name: "ip", Arg: "VERSION", Usage: "addresses of other hosts to use: any, 4 or 6", Default: "any", OneOf: []string{"any", "4", "6"}},
	{Name: "srs", Arg: "WHEN", Usage: "make the reverse-path of strangers ours (SRS) when an alias or .forward sends their mail on: on or off", Default: "on", OneOf: []string{"on", "off"}},
	{Name: "srs-secret-file", Arg: "FILE", Usage: "secrets for that, one a line; the first is used, all count (default: one of the spool)", File: true},
	{Name: "resolver", Arg: "HOST:PORT", Usage: "DNS server (default: those of /etc/resolv.conf)", Valid: config.ValidHostPort},
	{Name: "dkim-key", Arg: "DOMAIN:SELECTOR:FILE", Usage: "sign letters of our own from that domain, repeated; FILE is PEM", Kind: config.List},
	{Name: "resolver-trust-ad", Usage: "believe what the DNS server says it has verified (default: only one on the loopback)", Kind: config.Switch},
	{Name: "password-command", Arg: "COMMAND", Usage: "prints the password or token of USER@HOST; HOST is $1, USER $2"},
	{Name: "smtp-port", Arg: "N", Usage: "port of MX hosts", Kind: config.Number, Default: "25"},
	{Name: "tls-ca", Arg: "FILE", Usage: "certificates that other hosts are checked by, PEM (default: the system's)", File: true},
	{Name: "max-size", Arg: "SIZE", Usage: "largest message", Kind: config.Size, Default: "50M"},
	{Name: "mail-auth", Arg: "WHAT", Usage: "SPF, DKIM and DMARC of letters of strangers: off, verify (Authentication-Results), or enforce (what their policies say)", Default: "off", OneOf: []string{"off", "verify", "enforce"}},
	{Name: "min-free", Arg: "SIZE", Usage: "take no letter while the disk of the spool has less room; 0: never", Kind: config.Size, Default: "0"},
	{Name: "sender-login", Arg: "FILE", Usage: "who may write as which address: ADDRESS LOGIN,... a line", File: true},
	{Name: "max-recipients", Arg: "N", Usage: "recipients of a message", Kind: config.Number, Default: "1000"},
	{Name: "bare-newline", Arg: "WHAT", Usage: "a bare CR or LF from strangers: reject or normalize", Default: "reject", OneOf: []string{"reject", "normalize"}},
	{Name: "auth-on-mx", Usage: "offer AUTH to everybody on smtp:// too", Kind: config.Switch},
	{Name: "queue-lifetime", Arg: "TIME", Usage: "how long delivery is tried", Kind: config.Duration, Default: "5d"},
	{Name: "retry-min", Arg: "TIME", Usage: "shortest time between attempts", Kind: config.Duration, Default: "5m"},
	{Name: "retry-max", Arg: "TIME", Usage: "longest time between attempts", Kind: config.Duration, Default: "4h"},
	{Name: "delay-warning", Arg: "TIME", Usage: "tell the sender of a letter that waits so long; 0: never", Kind: config.Duration, Default: "4h"},
	{Name: "no-queue-runner", Usage: "only receive; somebody else runs the queue", Kind: config.Switch},
	{Name: "concurrency", Arg: "N", Usage: "connections to one destination at a time", Kind: config.Number, Default: "20"},
	{Name: "destination-delay", Arg: "TIME", Usage: "least time between two attempts at one destination", Kind: config.Duration, Default: "0s"},
	{Name: "destination-rate", Arg: "[DOMAIN=]N/TIME", Usage: "most letters that are tried in a time at one destination, or at that one, repeated", Kind: config.List, Valid: validRate},
	{Name: "tls-reports", Arg: "ADDRESS", Usage: "tell other domains, if they want it, how TLS with their hosts went, from that address (RFC 8460)", Valid: validSender},
	{Name: "run-queue", Arg: "ID,...", Usage: "make one attempt at these messages, or at all of the queue, and exit", Kind: config.Optional, OwnOnly: true},
}

func settings() []config.Setting {
	relay := config.Join(config.Relay)
	for i := range relay {
		if relay[i].Name == "smarthost" {
			relay[i].Valid = wire.ValidSmarthost
		}
	}
	return wire.Settings(protocols, config.Join(relay, config.Own, own, []config.Setting{wire.Quota})...)
}

// check is for --check.
func check(ctx context.Context, v *config.Values) []error {
	faults := wire.Check(ctx, v)
	accounts, err := wire.OpenAccounts(v, nil)
	if err != nil {
		return faults // told by wire.Check
	}
	e, err := wire.Recipients(v, accounts, auth.Template{Text: v.String("maildir"), Spool: v.String("spool")})
	if err != nil {
		return append(faults, err)
	}
	if err := e.Aliases.Check(); err != nil {
		faults = append(faults, err)
	}
	if e.Virtual != nil {
		faults = appendIf(faults, e.Virtual.Check())
	}
	if path := v.String("relay-recipients"); path != "" {
		faults = appendIf(faults, alias.OpenSet(path).Check())
	}
	if _, err := passwords(v); err != nil {
		faults = append(faults, err)
	}
	if _, err := trust.NewSigner(v.Strings("dkim-key")); err != nil {
		faults = append(faults, err)
	}
	if _, err := wire.Roots(v, "tls-ca"); err != nil {
		faults = append(faults, err)
	}
	if _, err := rewriter(v, nil); err != nil {
		faults = append(faults, err)
	}
	if path := v.String("sender-login"); path != "" {
		if _, err := readOwners(path); err != nil {
			faults = append(faults, err)
		}
	}
	return faults
}

func appendIf(faults []error, err error) []error {
	if err == nil {
		return faults
	}
	return append(faults, err)
}

func validAddress(s string) error {
	_, err := netip.ParseAddr(s)
	return err
}
