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
	"path"
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
	if pattern == "*" {
		if t.all != nil {
			return errTwice(pattern)
		}
		t.all = &r
		return nil
	}
	into, key, err := t.place(pattern)
	if err != nil {
		return fmt.Errorf("pattern %q: %w", pattern, err)
	}
	if _, twice := into[key]; twice {
		return errTwice(pattern)
	}
	into[key] = r
	return nil
}

func errTwice(pattern string) error { return fmt.Errorf("pattern %s is there twice", pattern) }

// place tells in which map and under which key a pattern stands.
func (t *Table) place(pattern string) (into map[string]Route, key string, err error) {
	if strings.Contains(pattern, "@") {
		a, err := address.Parse(pattern)
		return t.addresses, a.Key(), err
	}
	domain, below := strings.CutPrefix(pattern, ".")
	into = t.domains
	if below {
		into = t.below
	}
	if _, literal := address.IsLiteral(domain); !literal || below {
		_, err = address.DomainASCII(domain)
	}
	return into, address.DomainUnicode(domain), err
}

// Match finds the most specific route for an address.
func (t *Table) Match(a address.Address) (Route, bool) {
	if r, ok := t.MatchNamed(a); ok {
		return r, true
	}
	if t != nil && t.all != nil {
		return *t.all, true
	}
	return Route{}, false
}

// MatchNamed is Match without the pattern *: a route that somebody has written
// for this very address or its domain.
func (t *Table) MatchNamed(a address.Address) (Route, bool) {
	if t == nil || a.Domain == "" {
		return Route{}, false
	}
	if r, ok := t.addresses[a.Key()]; ok {
		return r, true
	}
	domain := address.DomainUnicode(a.Domain)
	if r, ok := t.domains[domain]; ok {
		return r, true
	}
	_, parent, ok := strings.Cut(domain, ".")
	for ; ok; _, parent, ok = strings.Cut(parent, ".") {
		if r, found := t.below[parent]; found {
			return r, true
		}
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
		return parseError(s, strings.TrimSpace(rest))
	case "maildir":
		if !strings.HasPrefix(rest, "/") {
			return Route{}, fmt.Errorf("%q: the path of a Maildir begins with /", s)
		}
		return Route{Kind: Maildir, Path: path.Clean(rest), url: s}, nil
	case "pipe":
		return Route{}, fmt.Errorf("%q: routes to commands are not there yet", s)
	}
	return parseHost(s)
}

func parseError(s, text string) (Route, error) {
	if text == "" {
		text = "mail for this address is refused"
	}
	return Route{Kind: Error, Text: text, url: s}, nil
}

// hostScheme gives what a scheme says of a host: kind, TLS and port.
func hostScheme(scheme string) (Route, bool) {
	switch scheme {
	case "smtp":
		return Route{Kind: SMTP, Port: 25}, true
	case "smtp+starttls":
		return Route{Kind: SMTP, Port: 587, TLS: StartTLS}, true
	case "smtps":
		return Route{Kind: SMTP, Port: 465, TLS: Implicit}, true
	case "lmtp":
		return Route{Kind: LMTP, Port: 24}, true
	}
	return Route{}, false
}

func parseHost(s string) (Route, error) {
	u, err := url.Parse(s)
	if err != nil {
		return Route{}, fmt.Errorf("%q is no URL of a route", s)
	}
	r, ok := hostScheme(u.Scheme)
	if !ok {
		return Route{}, fmt.Errorf("%q: no such kind of route", s)
	}
	r.url = s
	if r.Kind == LMTP && u.Host == "" && len(u.Path) > 1 {
		r.Path, r.Port = u.Path, 0
		return r, nil
	}
	r.Host = u.Hostname()
	if r.Host == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return Route{}, fmt.Errorf("%q is not SCHEME://HOST", s)
	}
	if r.Port, err = port(u, r.Port); err == nil {
		r.User, err = user(u, r.TLS)
	}
	if err != nil {
		return Route{}, fmt.Errorf("route to %s: %w", r.Host, err)
	}
	return r, nil
}

func port(u *url.URL, usual int) (int, error) {
	if u.Port() == "" {
		return usual, nil
	}
	n, err := strconv.ParseUint(u.Port(), 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("bad port %s", u.Port())
	}
	return int(n), nil
}

// user gives the login; %40 stands for @ in it.
func user(u *url.URL, tls TLS) (string, error) {
	if u.User == nil {
		return "", nil
	}
	if _, has := u.User.Password(); has {
		return "", errors.New("a password has no place here: put it into the password file")
	}
	if tls == Opportunistic {
		return "", errors.New("a login needs smtp+starttls:// or smtps://")
	}
	return u.User.Username(), nil
}
