package config

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"postbag/internal/address"
)

// Common are the settings of all six programs.
var Common = []Setting{
	{Name: "spool", Arg: "DIR", Usage: "the spool (default: /var/spool/postbag, or one of the user's own)"},
	{Name: "hostname", Arg: "NAME", Usage: "full name of this host (default: the system's)", Valid: validDomain},
	{Name: "origin", Arg: "NAME", Usage: "domain appended to names without one (default: /etc/mailname, else the hostname)", Valid: validDomain},
	{Name: "log-level", Arg: "LEVEL", Usage: "debug, info, warn or error", Default: "info", OneOf: []string{"debug", "info", "warn", "error"}},
	{Name: "log-format", Arg: "FORMAT", Usage: "text, json or postfix", Default: "text", OneOf: []string{"text", "json", "postfix"}},
}

// Recipients are those of programs that know recipients.
var Recipients = []Setting{
	{Name: "domain", Arg: "NAME", Usage: "local domain, repeated (default: the hostname and localhost)", Kind: List, Valid: validDomain},
	{Name: "users", Arg: "FILE", Usage: "accounts and passwords (default: /etc/postbag/users)", File: true},
	{Name: "auth", Arg: "SPEC", Usage: "further source of accounts and passwords, repeated: file:PATH, checkpassword:PROGRAM, dovecot:SOCKET, pam:SERVICE, system or oauth:COMMAND", Kind: List},
	{Name: "aliases", Arg: "FILE", Usage: "aliases(5)", Default: "/etc/aliases", File: true},
	{Name: "maildir", Arg: "TEMPLATE", Usage: "where the mail of an account is: %u name, %n its local part, %d domain, %h home, %s spool", Default: "%s/mail/%u"},
	{Name: "recipient-delimiter", Arg: "CHARS", Usage: "what separates a subaddress", Default: "+"},
}

// Daemon are those of smtpd, popd and imapd.
var Daemon = []Setting{
	{Name: "listen", Arg: "URL", Usage: "listen at PROTOCOL://HOST:PORT, repeated", Kind: List, OwnOnly: true},
	{Name: "inetd", Usage: "serve one session on standard input and output", Kind: Switch, OwnOnly: true},
	{Name: "log-to", Arg: "WHERE", Usage: "log to stderr or syslog", Default: "stderr", OneOf: []string{"stderr", "syslog"}},
	{Name: "metrics", Arg: "HOST:PORT", Usage: "tell metrics in Prometheus's text format at http://HOST:PORT/metrics", OwnOnly: true, Valid: validListenHost},
	{Name: "tls-cert", Arg: "FILE", Usage: "certificate, PEM (default: a self-signed one in the spool)", File: true},
	{Name: "tls-key", Arg: "FILE", Usage: "its key, PEM", File: true},
	{Name: "client-ca", Arg: "FILE", Usage: "certificates that vouch for those of clients, PEM: logins by EXTERNAL", File: true},
	{Name: "proxy-protocol-from", Arg: "NET", Usage: "network of proxies that send a PROXY header, repeated", Kind: List, Valid: validNet},
	{Name: "plaintext-auth", Arg: "WHEN", Usage: "take passwords without TLS: never, loopback or always", Default: "loopback", OneOf: []string{"never", "loopback", "always"}},
	{Name: "stop-timeout", Arg: "TIME", Usage: "time that running work has after SIGTERM", Kind: Duration, Default: "60s"},
	{Name: "idle-timeout", Arg: "TIME", Usage: "time that a client may be silent", Kind: Duration},
	{Name: "max-connections", Arg: "N", Usage: "connections at a time", Kind: Number, Default: "10000"},
	{Name: "max-per-address", Arg: "N", Usage: "connections of one address at a time; the loopback is not counted", Kind: Number, Default: "50"},
}

// Relay are the settings of delivery, of smtpd and of those who say where a
// letter would go.
var Relay = []Setting{
	{Name: "relay-domain", Arg: "NAME", Usage: "domain whose mail is taken from anybody and sent on, repeated", Kind: List, Valid: validDomain},
	{Name: "virtual", Arg: "FILE", Usage: "virtual addresses and domains: ADDRESS TARGETS a line", File: true},
	{Name: "smarthost", Arg: "URL", Usage: "host that takes all mail for elsewhere; of several the next is tried when one does not answer", Kind: List},
	{Name: "routes", Arg: "FILE", Usage: "where mail goes: PATTERN URL a line", File: true},
	{Name: "sender-routes", Arg: "FILE", Usage: "where mail goes that comes from PATTERN and has no route of its own: PATTERN URL a line", File: true},
	{Name: "password-file", Arg: "FILE", Usage: "passwords of USER@HOST in routes, as netrc(5)", File: true},
}

// Own are the settings of those who take letters of our own: smtpd and sendmail.
var Own = []Setting{
	{Name: "masquerade", Arg: "DOMAIN", Usage: "show this domain instead of hosts below it, in letters of our own; !DOMAIN: not below that; repeated", Kind: List, Valid: validMasquerade},
	{Name: "always-bcc", Arg: "ADDRESS", Usage: "gets a copy of each letter that comes by SMTP, submission or sendmail", Valid: validMailAddress},
}

func validMasquerade(s string) error { return validDomain(strings.TrimPrefix(s, "!")) }

func validMailAddress(s string) error {
	_, err := address.ParseUnqualified(s)
	return err
}

func validDomain(s string) error {
	if _, ok := address.IsLiteral(s); ok {
		return nil
	}
	if _, err := address.DomainASCII(s); err != nil {
		return fmt.Errorf("%q is no domain", s)
	}
	return nil
}

func validNet(s string) error {
	_, err := ParseNet(s)
	return err
}

// ValidNet checks a network or address.
func ValidNet(s string) error { return validNet(s) }

// ParseNet reads a network, or an address that stands for itself.
func ParseNet(s string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p.Masked(), nil
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q is neither NETWORK/BITS nor an address", s)
	}
	return netip.PrefixFrom(a, a.BitLen()), nil
}

// validListenHost checks HOST:PORT, where HOST may be missing.
func validListenHost(s string) error {
	_, port, err := net.SplitHostPort(s)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return fmt.Errorf("%q is not HOST:PORT", s)
	}
	return nil
}

// ValidHostPort checks HOST or HOST:PORT.
func ValidHostPort(s string) error {
	if _, _, err := net.SplitHostPort(s); err == nil {
		return nil
	}
	if _, err := netip.ParseAddr(s); err == nil {
		return nil
	}
	return validDomain(s)
}
