// Package route says where mail for an address goes: a table of patterns with
// the hosts that take it.
//
//	PATTERN URL
//
// a line; # begins a comment. PATTERN is an address, a domain, .domain (what is
// below it) or *; an address beats a domain beats .domain beats *, and of several
// .domains the longest. URL is
//
//	smtp://HOST[:PORT]              that very host, TLS where it offers it
//	smtp+starttls://[USER@]HOST     STARTTLS with a right certificate
//	smtps://[USER@]HOST             TLS from the start
//	lmtp://HOST:PORT, lmtp:///PATH  LMTP
//	maildir:PATH                    a Maildir of this host
//	error:TEXT                      nobody: refused
//	mx:                             as the DNS says
//
// The package does no input or output of its own.
package route

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"postbag/internal/address"
)

// A Kind is a way of delivery.
type Kind string

// The ways of delivery.
const (
	MX      Kind = "mx"
	SMTP    Kind = "smtp"
	LMTP    Kind = "lmtp"
	Maildir Kind = "maildir"
	Error   Kind = "error"
)

// TLS of a route to a host.
type TLS int

// Kinds of TLS.
const (
	Opportunistic TLS = iota
	StartTLS
	Implicit
)

// A Route is where mail goes.
type Route struct {
	Kind Kind
	Host string
	Port int
	TLS  TLS
	User string // logs in
	Path string // of a Maildir, or of the socket of LMTP
	Text string // of error
	url  string
}

// String is the URL, without a password: there is none in it.
func (r Route) String() string { return r.url }

// A Table is a list of routes.
type Table struct {
	addresses, domains, below map[string]Route
	all                       *Route
}

// Parse reads a routes file. Errors have name and line.
func Parse(name, text string) (*Table, error) {
	t := &Table{addresses: map[string]Route{}, domains: map[string]Route{}, below: map[string]Route{}}
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		if err := t.add(line); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, i+1, err)
		}
	}
	return t, nil
}

func (t *Table) add(line string) error {
	at := strings.IndexAny(line, " \t")
	if at < 0 {
		return errors.New("is not PATTERN URL")
	}
	pattern, target := line[:at], strings.TrimSpace(line[at:])
	r, err := ParseURL(target)
	if err != nil {
		return err
	}
	return t.put(pattern, r)
}

func (t *Table) put(pattern string, r Route) error {
	into, key := t.domains, ""
	switch {
	case pattern == "*":
		if t.all != nil {
			return errors.New("pattern * is there twice")
		}
		t.all = &r
		return nil
	case strings.Contains(pattern, "@"):
		a, err := address.Parse(pattern)
		if err != nil {
			return err
		}
		into, key = t.addresses, a.Key()
	case strings.HasPrefix(pattern, "."):
		into, key = t.below, address.DomainUnicode(pattern[1:])
	default:
		key = address.DomainUnicode(pattern)
	}
	if _, err := address.DomainASCII(strings.TrimPrefix(pattern, ".")); into != nil && !strings.Contains(pattern, "@") && err != nil {
		return fmt.Errorf("pattern %q: %w", pattern, err)
	}
	if _, twice := into[key]; twice {
		return fmt.Errorf("pattern %s is there twice", pattern)
	}
	into[key] = r
	return nil
}

// Match finds the most specific route for an address.
func (t *Table) Match(a address.Address) (Route, bool) {
	if t == nil {
		return Route{}, false
	}
	if r, ok := t.addresses[a.Key()]; ok {
		return r, true
	}
	domain := address.DomainUnicode(a.Domain)
	if r, ok := t.domains[domain]; ok {
		return r, true
	}
	for {
		_, rest, ok := strings.Cut(domain, ".")
		if !ok {
			break
		}
		if r, ok := t.below[rest]; ok {
			return r, true
		}
		domain = rest
	}
	if t.all != nil {
		return *t.all, true
	}
	return Route{}, false
}

// ParseURL reads the URL of a route.
func ParseURL(s string) (Route, error) {
	scheme, rest, ok := strings.Cut(s, ":")
	if !ok {
		return Route{}, fmt.Errorf("%q is no URL of a route", s)
	}
	switch scheme {
	case "mx":
		if rest != "" {
			return Route{}, fmt.Errorf("%q: nothing may follow mx", s)
		}
		return Route{Kind: MX, url: s}, nil
	case "error":
		if strings.TrimSpace(rest) == "" {
			rest = "mail for this address is refused"
		}
		return Route{Kind: Error, Text: strings.TrimSpace(rest), url: s}, nil
	case "maildir":
		if !strings.HasPrefix(rest, "/") {
			return Route{}, fmt.Errorf("%q: the path of a Maildir begins with /", s)
		}
		return Route{Kind: Maildir, Path: rest, url: s}, nil
	case "pipe":
		return Route{}, fmt.Errorf("%q: routes to commands are not there yet", s)
	}
	return parseHost(s)
}

// hostSchemes are those with a host: kind, TLS and port.
var hostSchemes = map[string]Route{
	"smtp":          {Kind: SMTP, Port: 25},
	"smtp+starttls": {Kind: SMTP, Port: 587, TLS: StartTLS},
	"smtps":         {Kind: SMTP, Port: 465, TLS: Implicit},
	"lmtp":          {Kind: LMTP, Port: 24},
}

func parseHost(s string) (Route, error) {
	u, err := url.Parse(s)
	if err != nil {
		return Route{}, fmt.Errorf("%q is no URL of a route", s)
	}
	r, ok := hostSchemes[u.Scheme]
	if !ok {
		return Route{}, fmt.Errorf("%q: no such kind of route", s)
	}
	r.url = s
	if u.Scheme == "lmtp" && u.Host == "" && strings.HasPrefix(u.Path, "/") {
		r.Path = u.Path
		return r, nil
	}
	r.Host = strings.Trim(u.Hostname(), "[]")
	if r.Host == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		return Route{}, fmt.Errorf("%q has no HOST", s)
	}
	if u.Port() != "" {
		n, err := strconv.ParseUint(u.Port(), 10, 16)
		if err != nil || n == 0 {
			return Route{}, fmt.Errorf("%q has a bad port", s)
		}
		r.Port = int(n)
	}
	if u.User == nil {
		return r, nil
	}
	if _, has := u.User.Password(); has {
		return Route{}, errors.New("a password in a route: put it in the password file")
	}
	if r.TLS == Opportunistic {
		return Route{}, fmt.Errorf("%q: a login needs smtp+starttls:// or smtps://", s)
	}
	r.User = u.User.Username()
	return r, nil
}
