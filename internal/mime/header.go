package mime

import (
	"slices"
	"strings"
	"unicode/utf8"
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
	if v := h.find(name); v != nil {
		return *v, true
	}
	return "", false
}

// find gives the value of the first field of that name, nil if there is none.
func (h Header) find(name string) *string {
	for i := range h {
		if h[i].is(name) {
			return &h[i].Value
		}
	}
	return nil
}

// is reports whether the field has that name, whatever its case. Most have another
// first letter.
func (f *Field) is(name string) bool {
	if f.Name == "" || name == "" {
		return f.Name == name
	}
	const small = 'a' - 'A'
	if a, b := f.Name[0], name[0]; a < utf8.RuneSelf && b < utf8.RuneSelf && a|small != b|small {
		return false
	}
	return strings.EqualFold(f.Name, name)
}

// Values returns the values of all fields of that name, whatever its case.
func (h Header) Values(name string) []string {
	var all []string
	for i := range h {
		if h[i].is(name) {
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
	start, stays := p.in.pos, p.in.eof // then all lines stand where they are, in a row
	for inside := false; ; {           // a line that comes in pieces
		line := p.in.peekLine(bufferSize / 2)
		if len(line) == 0 || !inside && p.delimits(line) {
			return raw
		}
		if !inside && (string(line) == "\r\n" || string(line) == "\n") {
			p.in.advance(len(line))
			return raw
		}
		if n := len(line); len(raw)+n <= maxHeader && p.kept+n <= maxHeaders {
			if stays {
				raw = p.in.buf[start : p.in.pos+n]
			} else {
				raw = append(raw, line...)
			}
			p.kept += n
		} else {
			p.kept = maxHeaders // nothing after a gap: what follows could be taken for another field's
		}
		inside = line[len(line)-1] != '\n'
		p.in.advance(len(line))
	}
}

// delimits reports whether a line ends a part of a multipart that is open.
func (p *parser) delimits(line []byte) bool {
	if len(line) <= 2 || line[0] != '-' || line[1] != '-' {
		return false
	}
	level, _ := p.match(line)
	return level >= 0
}

// parseFields makes fields of a header without its empty line.
func parseFields(raw []byte) Header {
	text := string(raw) // once, for all names and values
	h := make(Header, 0, min(strings.Count(text, "\n")+1, usualFields))
	var folded []byte // the value so far of a field of several lines
	open := false     // the last field may go on
	closeField := func() {
		if open {
			f := &h[len(h)-1]
			if len(folded) > 0 {
				f.Value = string(folded)
			}
			f.Value = strings.Trim(f.Value, " \t")
		}
		folded, open = folded[:0], false
	}
	for text != "" {
		line, rest, _ := strings.Cut(text, "\n")
		text = rest
		line = strings.TrimSuffix(line, "\r")
		if line != "" && isBlank(line[0]) {
			if open && len(folded) == 0 {
				folded = append(folded, h[len(h)-1].Value...)
			}
			folded = append(folded, line...)
			continue
		}
		closeField()
		name, value, colon := strings.Cut(line, ":")
		name = strings.TrimRight(name, " \t") // obsolete, RFC 5322 section 4.5
		if open = colon && name != ""; open {
			h = append(h, Field{Name: name, Value: value})
		}
	}
	closeField()
	return h
}

// usualFields is how many fields are made room for at once.
const usualFields = 32

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

// parseValue splits "value; name=value; ..." and drops comments. Values in pieces
// (RFC 2231 section 3) are put together.
func parseValue(s string) (value string, params []Param) {
	l := lexer{rest: s}
	value = l.unquoted()
	for l.next(';') || l.lacks {
		l.lacks = false
		name := l.until("=;")
		if !l.next('=') {
			continue // a name alone says nothing
		}
		if v := l.value(isFileName(name)); name != "" {
			params = append(params, Param{name, v})
		}
	}
	return value, joinPieces(params)
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
type lexer struct {
	rest  string
	lacks bool // a parameter comes next, though no semicolon does

	lacked int // how often that was so
}

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
	if text, ok := l.plain(stop); ok {
		return text
	}
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

// plain is until for text without comments and quotes.
func (l *lexer) plain(stop string) (string, bool) {
	end := 0
	for ; end < len(l.rest) && strings.IndexByte(stop, l.rest[end]) < 0; end++ {
		if c := l.rest[end]; c == '(' || c == '"' {
			return "", false
		}
	}
	text := l.rest[:end]
	l.rest = l.rest[end:]
	return strings.Trim(text, " \t\r\n"), true
}

// isFileName reports whether a parameter holds the name of a file: those have
// blanks and no quotes often.
func isFileName(param string) bool {
	base, _, _ := strings.Cut(strings.ToLower(param), "*")
	return base == "name" || base == "filename"
}

// value takes the value of a parameter: a quoted string, of which what may wrongly
// follow it is dropped, else a text without quotes, which has blanks only where it
// may.
func (l *lexer) value(blanks bool) string {
	l.blanks()
	all, v, closed := l.rest, "", false
	if l.rest != "" && l.rest[0] == '"' {
		if v, closed = l.quotedString(); !closed {
			l.rest = all[1:]
		}
	}
	text := l.unquoted()
	if closed {
		return v
	}
	if !blanks {
		text, _, _ = strings.Cut(text, " ")
	}
	return text
}

// unquoted takes anything before the next semicolon; where the one before another
// parameter is missing, that ends it, too.
func (l *lexer) unquoted() string {
	text := l.until(";")
	for i := range text {
		if (i == 0 || isBlank(text[i-1])) && l.lacked < maxLacked && beginsParam(text[i:]) {
			l.rest, l.lacks = text[i:]+l.rest, true
			l.lacked++
			return strings.TrimRight(text[:i], " \t")
		}
	}
	return text
}

const (
	maxLacked = 20 // semicolons that may be missing in one value
	maxGuess  = 20 // octets of a parameter's name without one
)

// guessed are the names of parameters that are looked for where no semicolon says
// that there is one.
var guessed = []string{"boundary", "charset", "delsp", "filename", "format", "method", "name", "report-type", "type"}

func beginsParam(s string) bool {
	name, _, ok := strings.Cut(s[:min(len(s), maxGuess)], "=")
	name = strings.TrimRight(name, " \t*")
	return ok && slices.ContainsFunc(guessed, func(n string) bool { return strings.EqualFold(n, name) })
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
	text, _ := l.quotedString()
	return text
}

// quotedString takes a quoted string, and reports whether it has an end.
func (l *lexer) quotedString() (text string, closed bool) {
	s := l.rest[1:]
	if end := strings.IndexAny(s, `"\\`); end >= 0 && s[end] == '"' {
		l.rest = s[end+1:]
		return s[:end], true
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			l.rest = s[i+1:]
			return b.String(), true
		case c == '\\' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		default:
			b.WriteByte(c)
		}
	}
	l.rest = ""
	return b.String(), false
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
