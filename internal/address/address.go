// Package address parses, compares and prints addresses and domains of mail:
// the paths of SMTP (RFC 5321 section 4.1.2, with RFC 6531), and the address
// lists of headers (RFC 5322 section 3.4).
//
// An Address holds its local part unquoted and its domain as it was written.
// Parse(a.String()) gives a again. The limits of RFC 5321 section 4.5.3.1 hold:
// 64 octets of local part, 255 of domain.
package address

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// An Address is a mailbox's name. The zero Address is the null reverse-path.
// Addresses can be compared with ==, which is exact; see Key.
type Address struct {
	Local  string // unquoted
	Domain string // "" when it has none; a literal has its brackets
}

// Limits of RFC 5321 section 4.5.3.1, in octets.
const (
	maxLocal  = 64
	maxDomain = 255
)

// Errors that callers tell apart.
var (
	ErrSyntax   = errors.New("bad address syntax")
	ErrTooLong  = errors.New("address is too long")
	ErrNoDomain = errors.New("address has no domain")
)

// IsNull reports whether a is the null reverse-path.
func (a Address) IsNull() bool { return a == Address{} }

// Unqualified reports whether a has no domain.
func (a Address) Unqualified() bool { return a.Domain == "" && a.Local != "" }

// IsASCII reports whether a can be sent without SMTPUTF8.
func (a Address) IsASCII() bool { return isASCII(a.Local) && isASCII(a.Domain) }

// String prints the address as it stands between the brackets of a path, quoted
// where it must be; "" for the null one.
func (a Address) String() string {
	local := a.Local
	if !isDotString(local) && !a.IsNull() {
		local = quote(local)
	}
	if a.Domain == "" {
		return local
	}
	return local + "@" + a.Domain
}

// quote makes a quoted string of RFC 5321 section 4.1.2.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(s) {
		if s[i] == '"' || s[i] == '\\' {
			b.WriteByte('\\')
		}
		b.WriteByte(s[i])
	}
	b.WriteByte('"')
	return b.String()
}

// isDotString tells whether a local part needs no quotes.
func isDotString(s string) bool {
	dot := true // at the start, and behind a dot, there must be an atom
	for i := range len(s) {
		if s[i] != '.' && notAtext(rune(s[i])) || dot && s[i] == '.' {
			return false
		}
		dot = s[i] == '.'
	}
	return !dot && utf8.ValidString(s)
}

// notAtext is what may not stand in an atom; octets above ASCII may (RFC 6531
// section 3.3).
func notAtext(r rune) bool {
	switch r {
	case '(', ')', '<', '>', '[', ']', ':', ';', '@', '\\', ',', '.', '"', 0x7f:
		return true
	}
	return r <= ' '
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// Parse reads local-part@domain.
func Parse(s string) (Address, error) {
	a, err := ParseUnqualified(s)
	if err == nil && a.Domain == "" {
		err = fmt.Errorf("address %q: %w", s, ErrNoDomain)
	}
	if err != nil {
		return Address{}, err
	}
	return a, nil
}

// ParseUnqualified reads an address whose domain may be missing.
func ParseUnqualified(s string) (Address, error) {
	a, rest, err := parseMailbox(s)
	if err == nil && rest != "" {
		err = ErrSyntax
	}
	if err != nil {
		return Address{}, fmt.Errorf("address %q: %w", s, err)
	}
	return a, nil
}

// parseMailbox reads an address at the start of s.
func parseMailbox(s string) (a Address, rest string, err error) {
	if a.Local, rest, err = parseLocal(s); err != nil {
		return Address{}, s, err
	}
	if domain, ok := strings.CutPrefix(rest, "@"); ok {
		if a.Domain, rest, err = parseDomain(domain); err != nil {
			return Address{}, s, err
		}
	}
	if len(a.Local) > maxLocal || len(a.Domain) > maxDomain {
		return Address{}, s, ErrTooLong
	}
	return a, rest, nil
}

func parseLocal(s string) (local, rest string, err error) {
	if strings.HasPrefix(s, `"`) {
		return parseQuoted(s)
	}
	end := strings.IndexFunc(s, func(r rune) bool { return notAtext(r) && r != '.' })
	if end < 0 {
		end = len(s)
	}
	local = s[:end]
	if !isLenientDotString(local) {
		return "", s, ErrSyntax
	}
	return local, s[end:], nil
}

// isLenientDotString lets dots stand where the grammar does not: at an end and
// in a row. Japanese carriers gave such addresses away, and Postfix takes them;
// they are printed in quotes.
func isLenientDotString(s string) bool {
	return strings.Trim(s, ".") != "" && utf8.ValidString(s)
}

// parseQuoted reads a quoted string (RFC 5321 section 4.1.2).
func parseQuoted(s string) (text, rest string, err error) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '"':
			if b.Len() == 0 || !utf8.ValidString(b.String()) {
				return "", s, ErrSyntax
			}
			return b.String(), s[i+1:], nil
		case c == '\\' && i+1 < len(s):
			i++
			c = s[i]
		}
		if c < ' ' || c == 0x7f {
			return "", s, ErrSyntax
		}
		b.WriteByte(c)
	}
	return "", s, ErrSyntax
}

// ParsePath reads a path in brackets at the start of s and gives what follows
// it. A source route is read and dropped (RFC 5321 section 4.1.1.3); "<>" is the
// null path; "<postmaster>" has no domain.
func ParsePath(s string) (a Address, rest string, err error) {
	fail := func(err error) (Address, string, error) {
		return Address{}, s, fmt.Errorf("path %q: %w", s, err)
	}
	inner, ok := strings.CutPrefix(s, "<")
	if !ok {
		return fail(ErrSyntax)
	}
	if rest, ok := strings.CutPrefix(inner, ">"); ok {
		return Address{}, trimBlanks(rest), nil
	}
	if inner, err = dropRoute(inner); err != nil {
		return fail(err)
	}
	a, inner, err = parseMailbox(inner)
	if err != nil {
		return fail(err)
	}
	rest, ok = strings.CutPrefix(inner, ">")
	if !ok || rest != "" && rest[0] != ' ' && rest[0] != '\t' {
		return fail(ErrSyntax)
	}
	return a, trimBlanks(rest), nil
}

func trimBlanks(s string) string { return strings.TrimLeft(s, " \t") }

// dropRoute removes "@one,@two:".
func dropRoute(s string) (string, error) {
	for strings.HasPrefix(s, "@") {
		_, rest, err := parseDomain(s[1:])
		if err != nil || rest == "" {
			return "", ErrSyntax
		}
		if rest[0] == ':' {
			return rest[1:], nil
		}
		if rest[0] != ',' {
			return "", ErrSyntax
		}
		s = rest[1:]
	}
	return s, nil
}

// Split takes the subaddress off: with "+", ann+lists@d is ann@d and "lists".
// delims are the characters that may separate it; the first of them in the
// local part counts, and the base is never empty.
func (a Address) Split(delims string) (base Address, detail string) {
	if i := strings.IndexAny(a.Local, delims); i > 0 {
		return Address{a.Local[:i], a.Domain}, a.Local[i+1:]
	}
	return a, ""
}

// ParseXText decodes xtext (RFC 3461 section 4).
func ParseXText(s string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '+' {
			if i+2 >= len(s) || !isHex(s[i+1]) || !isHex(s[i+2]) {
				return "", fmt.Errorf("xtext %q: %w", s, ErrSyntax)
			}
			c = unhex(s[i+1])<<4 | unhex(s[i+2])
			i += 2
		} else if c <= ' ' || c == '=' || c == 0x7f {
			return "", fmt.Errorf("xtext %q: %w", s, ErrSyntax)
		}
		b.WriteByte(c)
	}
	return b.String(), nil
}

func isHex(c byte) bool { return c >= '0' && c <= '9' || c >= 'A' && c <= 'F' }

func unhex(c byte) byte {
	if c >= 'A' {
		return c - 'A' + 10
	}
	return c - '0'
}

// XText encodes s as xtext.
func XText(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == '+' || c == '=' {
			fmt.Fprintf(&b, "+%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}
