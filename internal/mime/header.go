package mime

import (
	"bytes"
	"strings"
)

// A Header is the fields of a header, in order.
type Header []Field

// A Field is one field of a header.
type Field struct {
	Name  string // as given
	Value string // unfolded, without white space around; not decoded
}

// Get returns the value of the first field of that name, whatever its case.
func (h Header) Get(name string) string {
	v, _ := h.Lookup(name)
	return v
}

// Lookup is Get, and reports whether there is such a field.
func (h Header) Lookup(name string) (string, bool) {
	for i := range h {
		if strings.EqualFold(h[i].Name, name) {
			return h[i].Value, true
		}
	}
	return "", false
}

// Values returns the values of all fields of that name, whatever its case.
func (h Header) Values(name string) []string {
	var all []string
	for i := range h {
		if strings.EqualFold(h[i].Name, name) {
			all = append(all, h[i].Value)
		}
	}
	return all
}

// header reads a header, and makes a Part of what it says.
func (p *parser) header(digest bool) *Part {
	start := p.in.mark
	raw := p.rawHeader()
	part := &Part{
		HeaderOffset: start.offset,
		HeaderSize:   p.in.offset - start.offset,
		HeaderLines:  p.in.lines - start.lines,
		Header:       parseFields(raw),
	}
	part.describe(digest)
	return part
}

// rawHeader reads past the empty line and returns what comes before it, or as
// much of that as is to be kept.
func (p *parser) rawHeader() []byte {
	var raw []byte
	for {
		line := p.in.peekLine(bufferSize / 2)
		if len(line) == 0 {
			return raw
		}
		if len(line) > 2 && line[0] == '-' && line[1] == '-' {
			if level, _ := p.match(line); level >= 0 {
				return raw
			}
		}
		if string(line) == "\r\n" || string(line) == "\n" {
			p.in.advance(len(line))
			return raw
		}
		if n := len(line); len(raw)+n <= maxHeader && p.kept+n <= maxHeaders {
			raw = append(raw, line...)
			p.kept += n
		} else {
			p.kept = maxHeaders // nothing after a gap: what follows could be taken for another field's
		}
		if line[len(line)-1] == '\n' {
			p.in.advance(len(line))
		} else {
			p.in.discardLine()
		}
	}
}

// parseFields makes fields of a header without its empty line.
func parseFields(raw []byte) Header {
	var h Header
	var value strings.Builder
	open := false // the last field may go on
	closeField := func() {
		if open {
			h[len(h)-1].Value = strings.Trim(value.String(), " \t")
		}
		value.Reset()
		open = false
	}
	for len(raw) > 0 {
		line, rest, _ := bytes.Cut(raw, []byte{'\n'})
		raw = rest
		line = bytes.TrimSuffix(line, []byte{'\r'})
		if len(line) > 0 && isBlank(line[0]) {
			value.Write(line)
			continue
		}
		closeField()
		name, text, colon := bytes.Cut(line, []byte{':'})
		name = bytes.TrimRight(name, " \t") // obsolete, RFC 5322 section 4.5
		if open = colon && len(name) > 0; open {
			h = append(h, Field{Name: string(name)})
			value.Write(text)
		}
	}
	closeField()
	return h
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

// describe fills in what the Content fields say. Of a field that comes twice,
// the first counts.
func (part *Part) describe(digest bool) {
	h := part.Header
	part.ID = h.Get("Content-ID")
	part.Description = h.Get("Content-Description")
	part.MD5 = h.Get("Content-MD5")
	part.Location = strings.Join(strings.Fields(h.Get("Content-Location")), "") // RFC 2557 section 4.4.1
	part.Encoding = firstToken(h.Get("Content-Transfer-Encoding"))
	if part.Encoding == "" {
		part.Encoding = "7bit"
	}
	if v, ok := h.Lookup("Content-Disposition"); ok {
		part.Disposition, part.DispositionParams = parseValue(v)
	}
	part.Language = languages(h.Get("Content-Language"))
	part.contentType(h, digest)
	if part.Is("multipart", "*") || part.isMessage() {
		part.identity()
	}
}

// identity corrects an encoding that a composite type cannot have: its parts
// are where they are, whatever it says (RFC 2045 section 6.4).
func (part *Part) identity() {
	switch strings.ToLower(part.Encoding) {
	case "7bit", "8bit", "binary":
	default:
		part.Encoding = "7bit"
	}
}

func (part *Part) contentType(h Header, digest bool) {
	v, _ := h.Lookup("Content-Type")
	mediaType, params := parseValue(v)
	typ, subtype, _ := strings.Cut(mediaType, "/")
	typ, subtype = strings.TrimSpace(typ), strings.TrimSpace(subtype)
	switch {
	case typ != "" && subtype != "":
		part.Type, part.Subtype, part.Params = typ, subtype, params
	case typ != "" && !strings.EqualFold(typ, "text"):
		part.Type, part.Subtype = "application", "octet-stream"
	case digest:
		part.Type, part.Subtype = "message", "rfc822"
	default:
		part.flatten("text", "plain")
	}
}

// parseValue splits "value; name=value; ..." and drops comments.
func parseValue(s string) (value string, params []Param) {
	l := lexer{rest: s}
	value = l.until(";")
	for l.next(';') {
		name := l.until("=;")
		if !l.next('=') {
			continue // a name alone says nothing
		}
		if v := l.value(); name != "" {
			params = append(params, Param{name, v})
		}
	}
	return value, params
}

// languages splits the list of RFC 3282.
func languages(s string) []string {
	var all []string
	l := lexer{rest: s}
	for {
		if tag := l.until(","); tag != "" {
			all = append(all, tag)
		}
		if !l.next(',') {
			return all
		}
	}
}

func firstToken(s string) string {
	l := lexer{rest: s}
	token, _, _ := strings.Cut(l.until(";"), " ")
	return token
}

// A lexer takes structured field values apart (RFC 2045 section 5.1), whatever
// is wrong with them: each method takes something or stands at the end.
type lexer struct{ rest string }

// next takes c, after comments and blanks.
func (l *lexer) next(c byte) bool {
	l.blanks()
	if l.rest == "" || l.rest[0] != c {
		return false
	}
	l.rest = l.rest[1:]
	return true
}

// until takes text up to one of the octets of stop, without comments, quotes
// and blanks around.
func (l *lexer) until(stop string) string {
	var b strings.Builder
	for l.rest != "" && strings.IndexByte(stop, l.rest[0]) < 0 {
		switch c := l.rest[0]; c {
		case '(':
			l.comment()
		case '"':
			b.WriteString(l.quoted())
		default:
			b.WriteByte(c)
			l.rest = l.rest[1:]
		}
	}
	return strings.Trim(b.String(), " \t\r\n")
}

// value takes the value of a parameter: a quoted string and what may wrongly
// follow it is dropped; else anything before the next semicolon, as file names
// with blanks and no quotes are common.
func (l *lexer) value() string {
	l.blanks()
	if l.rest != "" && l.rest[0] == '"' {
		v := l.quoted()
		l.until(";")
		return v
	}
	return l.until(";")
}

// blanks skips white space and comments.
func (l *lexer) blanks() {
	for l.rest != "" {
		switch l.rest[0] {
		case ' ', '\t', '\r', '\n':
			l.rest = l.rest[1:]
		case '(':
			l.comment()
		default:
			return
		}
	}
}

// quoted takes a quoted string, which may lack its end.
func (l *lexer) quoted() string {
	var b strings.Builder
	s := l.rest[1:]
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			l.rest = s[i+1:]
			return b.String()
		case c == '\\' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		default:
			b.WriteByte(c)
		}
	}
	l.rest = ""
	return b.String()
}

// maxComments is how deep comments may stand in comments. It also bounds the
// work that a row of open parentheses makes.
const maxComments = 20

// comment takes a comment with those inside of it, and returns its text. One
// without an end is taken for a parenthesis alone, lest it hide the rest.
func (l *lexer) comment() string {
	depth := 0
	for i := 0; i < len(l.rest) && depth <= maxComments; i++ {
		switch l.rest[i] {
		case '\\':
			i++
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				text := l.rest[1:i]
				l.rest = l.rest[i+1:]
				return strings.TrimSpace(unescape(text))
			}
		}
	}
	l.rest = l.rest[1:]
	return ""
}

// unescape takes quoted pairs out.
func unescape(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
