package address

import (
	"fmt"
	"strings"
)

// A Mailbox is an address with the name of its owner, as in a header.
type Mailbox struct {
	Name    string // unquoted, RFC 2047 words as they are
	Address Address
}

// maxList bounds the addresses of one list.
const maxList = 100_000

// ParseList reads an address list of a header field: mailboxes and groups (RFC
// 5322 section 3.4), with comments, folding, and the obsolete forms of section
// 4.4. Addresses may lack a domain. What comes before an error is returned with
// it.
func ParseList(s string) ([]Mailbox, error) {
	p := listParser{s: s}
	for {
		p.skip()
		if p.s == "" {
			return p.found, nil
		}
		if err := p.element(); err != nil {
			return p.found, fmt.Errorf("address list at %.40q: %w", p.s, err)
		}
		if len(p.found) > maxList {
			return p.found, fmt.Errorf("address list: %w", ErrTooLong)
		}
	}
}

type listParser struct {
	s       string
	comment string // the last one seen: an old place of the name
	group   bool   // between the colon and the semicolon of a group
	found   []Mailbox
}

// skip goes over blanks and comments.
func (p *listParser) skip() {
	for p.s != "" {
		switch p.s[0] {
		case ' ', '\t', '\r', '\n':
			p.s = p.s[1:]
		case '(':
			p.comment, p.s = comment(p.s)
		default:
			return
		}
	}
}

// comment takes a comment off, which may hold others. One that does not end
// goes to the end.
func comment(s string) (text, rest string) {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return strings.TrimSpace(s[1:i]), s[i+1:]
			}
		}
	}
	return strings.TrimSpace(s[1:]), ""
}

// element reads one mailbox, the beginning or end of a group, or a comma.
func (p *listParser) element() error {
	switch p.s[0] {
	case ',':
		p.s = p.s[1:] // empty elements are an obsolete form
		return nil
	case ';':
		if !p.group {
			return ErrSyntax
		}
		p.group, p.s = false, p.s[1:]
		return nil
	case '<':
		return p.angle("")
	}
	return p.phrase()
}

// phrase reads words until it shows what they are: a local part before "@", a
// name before "<" or ":", or an address without domain.
func (p *listParser) phrase() error {
	p.comment = ""
	var words []string
	joined := true // no blanks between the words so far
	for {
		word, ok := p.word()
		if !ok {
			return ErrSyntax
		}
		words = append(words, word)
		before := len(p.s)
		p.skip()
		switch {
		case p.s == "" || p.s[0] == ',' || p.s[0] == ';':
			return p.bare(words, joined)
		case p.s[0] == '@':
			return p.spec(strings.Join(words, ""))
		case p.s[0] == '<':
			return p.angle(strings.Join(words, " "))
		case p.s[0] == ':' && !p.group:
			p.group, p.s = true, p.s[1:]
			return nil
		}
		joined = joined && len(p.s) == before
	}
}

// word reads an atom with dots, or a quoted string.
func (p *listParser) word() (string, bool) {
	if p.s != "" && p.s[0] == '"' {
		return p.quoted()
	}
	end := strings.IndexFunc(p.s, func(r rune) bool { return notAtext(r) && r != '.' })
	if end < 0 {
		end = len(p.s)
	}
	word := p.s[:end]
	p.s = p.s[end:]
	return word, word != ""
}

// quoted reads a quoted string of a header, which may be empty or folded.
func (p *listParser) quoted() (string, bool) {
	var b strings.Builder
	for i := 1; i < len(p.s); i++ {
		switch c := p.s[i]; c {
		case '"':
			p.s = p.s[i+1:]
			return b.String(), true
		case '\r', '\n':
		case '\\':
			if i++; i < len(p.s) {
				b.WriteByte(p.s[i])
			}
		default:
			b.WriteByte(c)
		}
	}
	return "", false
}

// bare takes words that no "@" followed: an address without domain.
func (p *listParser) bare(words []string, joined bool) error {
	if !joined && len(words) > 1 {
		return ErrSyntax
	}
	return p.take("", Address{Local: strings.Join(words, "")})
}

// spec reads the domain after a local part.
func (p *listParser) spec(local string) error {
	a, err := p.domain(local)
	if err != nil {
		return err
	}
	p.skip()
	if p.s != "" && p.s[0] != ',' && p.s[0] != ';' {
		return ErrSyntax
	}
	return p.take(p.comment, a)
}

func (p *listParser) domain(local string) (Address, error) {
	p.s = p.s[1:] // the "@"
	p.skip()
	domain, rest, err := parseDomain(p.s)
	if err != nil {
		return Address{}, err
	}
	p.s = rest
	return Address{Local: local, Domain: domain}, nil
}

// angle reads an address in brackets.
func (p *listParser) angle(name string) error {
	route, err := dropRoute(p.s[1:])
	if err != nil {
		return err
	}
	p.s = route
	p.skip()
	if rest, ok := strings.CutPrefix(p.s, ">"); ok {
		p.s = rest // "<>": nobody
		return nil
	}
	local, ok := p.word()
	if !ok {
		return ErrSyntax
	}
	p.skip()
	a := Address{Local: local}
	if strings.HasPrefix(p.s, "@") {
		if a, err = p.domain(local); err != nil {
			return err
		}
	}
	p.skip()
	rest, ok := strings.CutPrefix(p.s, ">")
	if !ok {
		return ErrSyntax
	}
	p.s = rest
	p.skip()
	if p.s != "" && p.s[0] != ',' && p.s[0] != ';' {
		return ErrSyntax
	}
	return p.take(name, a)
}

func (p *listParser) take(name string, a Address) error {
	if a.Local == "" || len(a.Local) > maxLocal || len(a.Domain) > maxDomain {
		return ErrTooLong
	}
	for i := range len(a.Local) {
		if a.Local[i] < ' ' || a.Local[i] == 0x7f {
			return ErrSyntax
		}
	}
	p.found = append(p.found, Mailbox{Name: name, Address: a})
	return nil
}
