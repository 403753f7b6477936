package address

import (
	"fmt"
	"net/netip"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// parseDomain reads a domain or an address literal at the start of s. Of a
// domain it asks little: labels of letters, digits, hyphens, underscores and
// octets above ASCII. What is not in the DNS shows when it is looked up.
func parseDomain(s string) (domain, rest string, err error) {
	if strings.HasPrefix(s, "[") {
		end := strings.IndexByte(s, ']')
		if end < 0 {
			return "", s, ErrSyntax
		}
		if _, ok := IsLiteral(s[:end+1]); !ok {
			return "", s, ErrSyntax
		}
		return s[:end+1], s[end+1:], nil
	}
	end := strings.IndexFunc(s, notInDomain)
	if end < 0 {
		end = len(s)
	}
	domain = strings.TrimSuffix(s[:end], ".") // absolute, as DNS people write it
	if !isDomain(domain) {
		return "", s, ErrSyntax
	}
	return domain, s[end:], nil
}

func notInDomain(r rune) bool {
	return r != '.' && r != '-' && r != '_' && r < 0x80 && !isAlnum(r)
}

func isAlnum(r rune) bool {
	return r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
}

func isDomain(s string) bool {
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || label[0] == '-' || strings.HasSuffix(label, "-") || len(label) > 4*63 {
			return false
		}
	}
	return utf8.ValidString(s)
}

// IsLiteral reads an address literal: "[192.0.2.1]" or "[IPv6:2001:db8::1]"
// (RFC 5321 section 4.1.3).
func IsLiteral(s string) (netip.Addr, bool) {
	inner, ok := strings.CutPrefix(s, "[")
	if !ok || !strings.HasSuffix(inner, "]") {
		return netip.Addr{}, false
	}
	inner = inner[:len(inner)-1]
	six := len(inner) > 5 && strings.EqualFold(inner[:5], "IPv6:")
	if six {
		inner = inner[5:]
	}
	ip, err := netip.ParseAddr(inner)
	if err != nil || ip.Zone() != "" || six != ip.Is6() {
		return netip.Addr{}, false
	}
	return ip, true
}

// lookup is lenient: names with underscores are in the DNS.
var lookup = idna.New(idna.MapForLookup(), idna.BidiRule(), idna.Transitional(false), idna.StrictDomainName(false))

// DomainASCII gives a domain as it stands in the DNS: A-labels (RFC 5890), in
// lower case, without a final dot.
func DomainASCII(s string) (string, error) {
	ascii, err := lookup.ToASCII(strings.TrimSuffix(s, "."))
	if err != nil {
		return "", fmt.Errorf("domain %q: %w", s, err)
	}
	if ascii == "" || len(ascii) > 253 || !isDomain(ascii) || strings.IndexFunc(ascii, notInDomain) >= 0 {
		return "", fmt.Errorf("domain %q: %w", s, ErrSyntax)
	}
	return ascii, nil
}

// DomainUnicode gives a domain in the form that is compared and shown: U-labels
// in lower case. What cannot be converted is only made lower-case.
func DomainUnicode(s string) string {
	s = strings.TrimSuffix(s, ".")
	if strings.HasPrefix(s, "[") {
		return strings.ToLower(s)
	}
	if isASCII(s) && !strings.Contains(strings.ToLower(s), "xn--") {
		return strings.ToLower(s)
	}
	u, err := lookup.ToUnicode(s)
	if err != nil || u == "" {
		return strings.ToLower(s)
	}
	return u
}

// EqualDomain compares domains, whatever their case and form.
func EqualDomain(a, b string) bool { return DomainUnicode(a) == DomainUnicode(b) }

// Canonical brings the domain into the form that is compared. The local part
// belongs to its host alone and stays (RFC 5321 section 2.4).
func (a Address) Canonical() Address {
	if a.Domain == "" {
		return a
	}
	return Address{a.Local, DomainUnicode(a.Domain)}
}

// Key identifies an address of this host, where case counts in neither part.
func (a Address) Key() string {
	c := a.Canonical()
	return Address{strings.ToLower(c.Local), c.Domain}.String()
}

// ASCII brings the domain into A-labels. A local part that is not ASCII has no
// such form: ErrSyntax.
func (a Address) ASCII() (Address, error) {
	if !isASCII(a.Local) {
		return Address{}, fmt.Errorf("address %q in ASCII: %w", a.String(), ErrSyntax)
	}
	if isASCII(a.Domain) {
		return a, nil
	}
	domain, err := DomainASCII(a.Domain)
	if err != nil {
		return Address{}, err
	}
	return Address{a.Local, domain}, nil
}
