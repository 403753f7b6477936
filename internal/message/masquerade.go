package message

import (
	"bytes"
	"strings"

	"postbag/internal/address"
)

// A Masquerade hides hosts behind their domains, as masquerade_domains of
// Postfix: of each address below one of the domains only that is left. The first
// that matches decides; with ! before it all below it stays as it is.
type Masquerade []string

// Domain is what is shown instead of a domain.
func (m Masquerade) Domain(domain string) string {
	d := address.DomainUnicode(domain)
	for _, entry := range m {
		shown, not := strings.CutPrefix(entry, "!")
		top := address.DomainUnicode(shown)
		if d != top && !strings.HasSuffix(d, "."+top) {
			continue
		}
		if not || d == top {
			return domain
		}
		return shown
	}
	return domain
}

// Address is what is shown instead of an address.
func (m Masquerade) Address(a address.Address) address.Address {
	if a.Domain != "" {
		a.Domain = m.Domain(a.Domain)
	}
	return a
}

// text does it to an address as it stands in a header.
func (m Masquerade) text(word string) string {
	at := strings.LastIndexByte(word, '@')
	if at < 0 || len(m) == 0 {
		return word
	}
	return word[:at+1] + m.Domain(word[at+1:])
}

// readdress puts each address of a field through change, which gets it without
// blanks behind it, and leaves every other octet alone.
func readdress(f Field, change func(word string) string) Field {
	name, value, ok := bytes.Cut(f.Raw, []byte(":"))
	if !ok {
		return f
	}
	var b strings.Builder
	for _, p := range splitAddresses(string(value)) {
		if p.kind == addr {
			word := strings.TrimRight(p.text, " \t\n")
			p.text = change(word) + p.text[len(word):]
		}
		b.WriteString(p.text)
	}
	if b.String() == string(value) {
		return f
	}
	return Field{Name: f.Name, Raw: append(append(append([]byte{}, name...), ':'), b.String()...)}
}
