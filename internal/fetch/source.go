package fetch

import (
	"errors"
	"net"
	"net/url"
	"strings"

	"postbag/internal/status"
)

// A Source is a mailbox on a server.
type Source struct {
	Proto  string // imap, imaps, pop3, pop3s
	User   string
	Host   string // name or address
	Port   string
	Folder string // with IMAP; "INBOX" by default
}

var defaultPort = map[string]string{"imap": "143", "imaps": "993", "pop3": "110", "pop3s": "995"}

// ParseURL reads PROTO://USER@HOST[:PORT][/FOLDER]. Errors are of usage (exit
// code 64), and never show what may be a password.
func ParseURL(s string) (Source, error) {
	fail := func(why string) (Source, error) {
		return Source{}, status.Exit(status.ExUsage, "URL "+redact(s), errors.New(why))
	}
	u, err := url.Parse(s)
	if err != nil {
		return fail("not a URL")
	}
	src := Source{Proto: strings.ToLower(u.Scheme), Host: u.Hostname(), Port: u.Port(), User: u.User.Username()}
	if _, secret := u.User.Password(); secret {
		return fail("a password does not belong there: use --password-command, netrc or $POSTBAG_FETCH_PASSWORD")
	}
	switch {
	case defaultPort[src.Proto] == "":
		return fail("the protocol must be imaps, imap, pop3s or pop3")
	case src.Host == "":
		return fail("no host")
	case src.User == "":
		return fail("no user: " + src.Proto + "://USER@HOST")
	case strings.ContainsFunc(src.User, isControl) || u.RawQuery != "" || u.Fragment != "":
		return fail("a character that cannot stand there (write %3F for ?, %23 for #)")
	}
	if src.Port == "" {
		src.Port = defaultPort[src.Proto]
	}
	src.Folder = strings.TrimPrefix(u.Path, "/")
	if src.isPOP() && src.Folder != "" {
		return fail("POP3 has no folders")
	}
	if !src.isPOP() && (src.Folder == "" || strings.EqualFold(src.Folder, "INBOX")) {
		src.Folder = "INBOX"
	}
	return src, nil
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }

// redact takes out what stands where a password would.
func redact(s string) string {
	s = strings.Map(func(r rune) rune {
		if isControl(r) {
			return '?'
		}
		return r
	}, s)
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok {
		scheme, rest = "", s
	} else {
		scheme += "://"
	}
	at := strings.LastIndexByte(rest, '@')
	if at < 0 {
		return s
	}
	if colon := strings.IndexByte(rest[:at], ':'); colon >= 0 {
		return scheme + rest[:colon] + ":***" + rest[at:]
	}
	return s
}

func (s Source) isPOP() bool    { return strings.HasPrefix(s.Proto, "pop3") }
func (s Source) implicit() bool { return s.Proto == "imaps" || s.Proto == "pop3s" }

func (s Source) addr() string { return net.JoinHostPort(s.Host, s.Port) }

// String is the URL, without a folder that is the inbox.
func (s Source) String() string {
	u := url.URL{Scheme: s.Proto, User: url.User(s.User), Host: s.Host}
	if strings.Contains(s.Host, ":") {
		u.Host = "[" + s.Host + "]"
	}
	if s.Port != defaultPort[s.Proto] {
		u.Host = s.addr()
	}
	if s.Folder != "" && s.Folder != "INBOX" {
		u.Path = "/" + s.Folder
	}
	return u.String()
}

// Account names the account in the journal: with or without TLS it is the same.
func (s Source) Account() string {
	family := "imap"
	if s.isPOP() {
		family = "pop3"
	}
	name := family + "-" + s.User + "@" + strings.ToLower(s.Host)
	if s.Port != defaultPort[family] && s.Port != defaultPort[family+"s"] {
		name += "-" + s.Port
	}
	return name
}
