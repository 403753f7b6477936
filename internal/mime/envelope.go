package mime

import "strings"

// An Envelope is what IMAP's ENVELOPE says of a letter (RFC 9051 section
// 7.5.2). Texts are as they stand in the header, unfolded but not decoded; nil
// means that the field is not there.
type Envelope struct {
	Date, Subject                      *string
	From, Sender, ReplyTo, To, Cc, Bcc []Address
	InReplyTo, MessageID               *string
}

// An Address is a member of an address list, or one of the two marks that stand
// around the members of a group.
type Address struct {
	Kind          AddressKind
	Name          string // display name, or that of the group; "" when there is none
	Route         string // "@a,@b", obsolete
	Mailbox, Host string // unquoted; Host is "" when the address has none
}

// AddressKind tells addresses from marks of groups.
type AddressKind uint8

// The kinds of Address.
const (
	Mailbox    AddressKind = iota
	GroupStart             // has a Name
	GroupEnd               // has nothing
)

// Envelope tells the letter's ENVELOPE. Sender and ReplyTo are From's where the
// field is missing or has no address.
func (p *Part) Envelope() *Envelope {
	h := p.Header
	e := &Envelope{
		Date: h.find("Date"), Subject: h.find("Subject"),
		From: addresses(h, "From"), Sender: addresses(h, "Sender"), ReplyTo: addresses(h, "Reply-To"),
		To: addresses(h, "To"), Cc: addresses(h, "Cc"), Bcc: addresses(h, "Bcc"),
		InReplyTo: h.find("In-Reply-To"), MessageID: h.find("Message-ID"),
	}
	if len(e.Sender) == 0 {
		e.Sender = e.From
	}
	if len(e.ReplyTo) == 0 {
		e.ReplyTo = e.From
	}
	return e
}

// addresses reads all fields of that name as one list: though RFC 5322 allows
// one, lists are also split over several.
func addresses(h Header, name string) []Address {
	var all []Address
	for i := range h {
		if h[i].is(name) {
			all = append(all, ParseAddresses(h[i].Value)...)
		}
	}
	return all
}

// ParseAddresses reads an address list (RFC 5322 section 3.4, and its obsolete
// forms). What cannot be an address becomes the Mailbox of one without Host, so
// that nothing of the field is lost.
func ParseAddresses(s string) []Address {
	l := addressLexer{lexer: lexer{rest: s}}
	var all []Address
	group := false
	for {
		a, stop := l.address(group)
		if a.Kind == GroupStart {
			all, group = append(all, a), true
			continue
		}
		if a.Mailbox != "" || a.Host != "" {
			all = append(all, a)
		}
		if group && (stop == ';' || stop == 0) {
			all, group = append(all, Address{Kind: GroupEnd}), false
		}
		if stop == 0 {
			return all
		}
	}
}

// An addressLexer reads one address after the other.
type addressLexer struct {
	lexer
	comment string // the last one passed
}

// address reads up to a comma, a semicolon or the end, and says which; or past
// a group's name and colon.
func (l *addressLexer) address(inGroup bool) (a Address, stop byte) {
	l.comment = ""
	var words phrase
	for {
		c := l.peek()
		switch {
		case c == 0, c == ',', c == ';':
			if c != 0 {
				l.rest = l.rest[1:]
			}
			a := words.bare()
			a.Name = l.comment
			return a, c
		case c == '<':
			return l.angle(words.text())
		case c == ':' && !inGroup:
			l.rest = l.rest[1:]
			return Address{Kind: GroupStart, Name: words.text()}, c
		case c == '@':
			l.rest = l.rest[1:]
			a := Address{Mailbox: words.local(), Host: l.domain()}
			if l.anotherFollows() {
				a.Name = l.comment
				return a, ' '
			}
			stop := l.skip()
			a.Name = l.comment
			return a, stop
		default:
			words = append(words, l.word())
		}
	}
}

// angle reads "<route:local@domain>" and up to what ends the address.
func (l *addressLexer) angle(name string) (Address, byte) {
	l.rest = l.rest[1:]
	a := Address{Name: name, Route: l.route()}
	var words phrase
	for {
		c := l.peek()
		if c == 0 || c == '>' || c == '@' {
			break
		}
		words = append(words, l.word())
	}
	a.Mailbox = words.local()
	if l.peek() == '@' {
		l.rest = l.rest[1:]
		a.Host = l.domain()
	}
	l.comment = ""
	stop := l.skip()
	if a.Name == "" {
		a.Name = l.comment
	}
	return a, stop
}

// maxRoute bounds how far is looked for the end of a route.
const maxRoute = 1000

// route reads the obsolete source route, "@a,@b:".
func (l *addressLexer) route() string {
	if l.peek() != '@' {
		return ""
	}
	end := strings.IndexAny(l.rest[:min(len(l.rest), maxRoute)], ":>")
	if end < 0 || l.rest[end] != ':' {
		return ""
	}
	route := strings.Join(strings.Fields(l.rest[:end]), "")
	l.rest = l.rest[end+1:]
	return route
}

// anotherFollows reports whether another address comes next, though no comma does.
func (l *addressLexer) anotherFollows() bool {
	if l.peek() == 0 || strings.IndexByte(specials, l.rest[0]) >= 0 {
		return false
	}
	end := strings.IndexAny(l.rest, specials)
	return end > 0 && l.rest[end] == '@'
}

// domain reads a domain or a literal. Blanks are part of it around dots only (RFC
// 5322 section 4.4).
func (l *addressLexer) domain() string {
	var b strings.Builder
	for {
		before := len(l.rest)
		c := l.peek()
		if b.Len() > 0 && len(l.rest) < before && c != '.' && !strings.HasSuffix(b.String(), ".") {
			return b.String()
		}
		switch c {
		case 0, ',', ';', '>', '<', ':':
			return b.String()
		case '@':
			b.WriteByte(c)
			l.rest = l.rest[1:]
		case '[':
			end := strings.IndexByte(l.rest, ']')
			if end < 0 {
				end = len(l.rest) - 1
			}
			b.WriteString(l.rest[:end+1])
			l.rest = l.rest[end+1:]
		default:
			b.WriteString(l.word().text)
		}
	}
}

// skip goes past what does not belong to an address that is complete, and
// returns the octet that ends it.
func (l *addressLexer) skip() byte {
	for {
		switch c := l.peek(); c {
		case 0:
			return 0
		case ',', ';':
			l.rest = l.rest[1:]
			return c
		case '>', '<', ':', '@':
			l.rest = l.rest[1:]
		default:
			l.word()
		}
	}
}

// peek skips white space and comments, of which it remembers the last, and
// returns the next octet, 0 at the end.
func (l *addressLexer) peek() byte {
	for l.rest != "" {
		switch c := l.rest[0]; c {
		case ' ', '\t', '\r', '\n':
			l.rest = l.rest[1:]
		case '(':
			if text := l.lexer.comment(); text != "" {
				l.comment = text
			}
		default:
			return c
		}
	}
	return 0
}

// A word is an atom with its dots, or a quoted string.
type word struct {
	text   string
	quoted bool
	blank  bool // before it
}

const specials = " \t\r\n(<>,;:@\""

// word takes the next word; there is one, as peek gave none of the marks.
func (l *addressLexer) word() word {
	if l.rest[0] == '"' {
		return word{l.quoted(), true, true}
	}
	end := strings.IndexAny(l.rest, specials)
	switch {
	case end < 0:
		end = len(l.rest)
	case end == 0: // a mark where it makes no sense
		end = 1
	}
	w := word{text: l.rest[:end]}
	l.rest = l.rest[end:]
	return w
}

// A phrase is words in a row.
type phrase []word

// text is a display name.
func (p phrase) text() string {
	var parts []string
	for _, w := range p {
		parts = append(parts, w.text)
	}
	return strings.Join(parts, " ")
}

// local is a local part: blanks between words and dots mean nothing (RFC 5322
// section 4.4).
func (p phrase) local() string {
	var b strings.Builder
	for i, w := range p {
		if i > 0 && !strings.HasSuffix(p[i-1].text, ".") && !strings.HasPrefix(w.text, ".") {
			b.WriteByte(' ')
		}
		b.WriteString(w.text)
	}
	return b.String()
}

// bare is an address that has no domain.
func (p phrase) bare() Address { return Address{Mailbox: p.local()} }

// MessageIDs finds the ids of letters in a field: what stands between < and >,
// without white space and quotes (RFC 5256 section 2.1).
func MessageIDs(s string) (ids []string) {
	for {
		_, rest, ok := strings.Cut(s, "<")
		if !ok {
			return ids
		}
		id, after, ok := strings.Cut(rest, ">")
		if !ok {
			return ids
		}
		if at := strings.LastIndexByte(id, '<'); at >= 0 {
			id = id[at+1:]
		}
		s = after
		if id = strings.Join(strings.Fields(strings.ReplaceAll(id, `"`, "")), ""); strings.Contains(id, "@") {
			ids = append(ids, id)
		}
	}
}
