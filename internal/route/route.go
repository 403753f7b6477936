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
//	pipe:COMMAND                    standard input of a command of sh(1)
//	error:TEXT                      nobody: refused; TEXT may begin with a code, "5.7.1 no"
//	mx:                             as the DNS says
//
// Of URLs with a host several may stand in a line: the next is tried when the one
// before decides about nobody. USER may be USER;AUTH=MECHANISM (as in RFC 5092),
// which demands that mechanism.
//
// The package does no input or output of its own.
package route

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"slices"
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
	Pipe    Kind = "pipe"
	Discard Kind = "discard" // no URL has it: an alias to /dev/null
	Mbox    Kind = "mbox"    // no URL has it: an alias to a mailbox file
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
	Auth string // with this mechanism of SASL; "": the best that is offered
	Path string // of a Maildir, or of the socket of LMTP
	Text string // of error; the command of pipe
	Code string // of error: an enhanced status code of class 5
	Next *Route // tried when this host decides about nobody
	url  string
}

// String is the URL, without a password: there is none in it. Those of further
// hosts follow.
func (r Route) String() string {
	if r.Next != nil {
		return r.url + " " + r.Next.String()
	}
	return r.url
}

// IsHost reports whether the route names a host to speak to.
func (r Route) IsHost() bool { return r.Kind == SMTP || r.Kind == LMTP }

// Command is the route to a command.
func Command(text string) Route { return Route{Kind: Pipe, Text: text, url: "pipe:" + text} }

// Nowhere is the route of mail that is thrown away.
func Nowhere() Route { return Route{Kind: Discard, url: "discard:"} }

// Refusal is the route of mail that fails for good, with an enhanced status code.
func Refusal(code, text string) Route {
	return Route{Kind: Error, Code: code, Text: text, url: "error:" + code + " " + text}
}

// File is the route to a mailbox file.
func File(path string) Route { return Route{Kind: Mbox, Path: path, url: "mbox:" + path} }

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
	r, err := ParseTarget(target)
	if err != nil {
		return err
	}
	return t.put(pattern, r)
}

// ParseTarget reads the URL of a route, or several of hosts.
func ParseTarget(s string) (Route, error) {
	first, rest, more := strings.Cut(s, " ")
	if r, err := ParseURL(first); !more || err != nil || !r.IsHost() {
		return ParseURL(s) // commands and texts may hold blanks
	}
	return ParseHosts(append([]string{first}, strings.Fields(rest)...))
}

// ParseHosts reads the URLs of hosts that are tried in turn.
func ParseHosts(urls []string) (Route, error) {
	var next *Route
	for _, url := range slices.Backward(urls) {
		r, err := ParseURL(url)
		if err == nil && !r.IsHost() {
			err = fmt.Errorf("%q is not a host", url)
		}
		if err != nil {
			return Route{}, err
		}
		r.Next, next = next, &r
	}
	if next == nil {
		return Route{}, errors.New("no URL of a host")
	}
	return *next, nil
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

// ParseSenders reads a file of routes for what somebody sends: only to hosts. The
// pattern <> is the null reverse-path.
func ParseSenders(name, text string) (*Table, error) {
	t, err := Parse(name, text)
	if err != nil {
		return nil, err
	}
	for _, routes := range []map[string]Route{t.addresses, t.domains, t.below} {
		for _, r := range routes {
			if r.Kind != SMTP && r.Kind != MX {
				return nil, fmt.Errorf("%s: %q: what somebody sends goes by SMTP or mx: only", name, r)
			}
		}
	}
	if t.all != nil {
		return nil, fmt.Errorf("%s: the pattern * is for recipients, or is a smarthost", name)
	}
	return t, nil
}

// place tells in which map and under which key a pattern stands.
func (t *Table) place(pattern string) (into map[string]Route, key string, err error) {
	if pattern == "<>" {
		return t.addresses, address.Address{}.Key(), nil
	}
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
	if t == nil || a.Domain == "" && !a.IsNull() {
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
		command := strings.TrimSpace(rest)
		if command == "" {
			return Route{}, fmt.Errorf("%q: the command is missing", s)
		}
		return Command(command), nil
	}
	return parseHost(s)
}

func parseError(s, text string) (Route, error) {
	if text == "" {
		text = "mail for this address is refused"
	}
	code := "5.1.1"
	if word, rest, ok := strings.Cut(text, " "); ok && isCode(word) {
		code, text = word, strings.TrimSpace(rest)
	}
	return Route{Kind: Error, Text: text, Code: code, url: s}, nil
}

// isCode tells an enhanced status code of failure (RFC 3463 section 2).
func isCode(s string) bool {
	rest, ok := strings.CutPrefix(s, "5.")
	subject, detail, dot := strings.Cut(rest, ".")
	_, serr := strconv.ParseUint(subject, 10, 10)
	_, derr := strconv.ParseUint(detail, 10, 10)
	return ok && dot && serr == nil && derr == nil
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
		r.User, r.Auth, err = user(u, r.TLS)
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

// mechanisms are those that a route may demand.
var mechanisms = []string{"PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256", "XOAUTH2", "OAUTHBEARER"}

// user gives the login and its mechanism; %40 stands for @ in it.
func user(u *url.URL, tls TLS) (name, mechanism string, err error) {
	if u.User == nil {
		return "", "", nil
	}
	if _, has := u.User.Password(); has {
		return "", "", errors.New("a password has no place here: put it into the password file")
	}
	if tls == Opportunistic {
		return "", "", errors.New("a login needs smtp+starttls:// or smtps://")
	}
	name, mechanism, given := strings.Cut(u.User.Username(), ";AUTH=")
	mechanism = strings.ToUpper(mechanism)
	switch {
	case name == "":
		return "", "", errors.New("the name of a user is missing")
	case given && !slices.Contains(mechanisms, mechanism):
		return "", "", fmt.Errorf("unknown mechanism %q", mechanism)
	}
	return name, mechanism, nil
}
