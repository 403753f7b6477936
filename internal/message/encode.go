package message

import (
	"mime"
	"strings"
	"unicode/utf8"
)

// addressFields hold lists of mailboxes, in lower case.
const addressFields = " from sender reply-to to cc bcc resent-from resent-sender resent-to resent-cc resent-bcc resent-reply-to errors-to disposition-notification-to "

// structuredFields have a grammar of their own in which an encoded word may
// not stand (RFC 2047 section 5).
const structuredFields = " date resent-date message-id resent-message-id in-reply-to references received return-path mime-version" +
	" content-type content-disposition content-transfer-encoding content-id dkim-signature authentication-results" +
	" arc-seal arc-message-signature arc-authentication-results list-id list-unsubscribe list-post list-help "

func isAddressField(name string) bool {
	return strings.Contains(addressFields, " "+strings.ToLower(name)+" ")
}

// encodeText encodes the raw UTF-8 in an unstructured field. A field that is
// not UTF-8 stays as it is: there is no telling what it means.
func encodeText(f Field) Field {
	if isASCII(f.Raw) || !utf8.Valid(f.Raw) || strings.Contains(structuredFields, " "+strings.ToLower(f.Name)+" ") {
		return f
	}
	return NewField(f.Name, encodeWords(f.Value()))
}

// encodePhrases encodes the raw UTF-8 in the display names, group names and
// comments of an address field; addresses stay as they are (RFC 6532).
func encodePhrases(f Field) Field {
	if isASCII(f.Raw) || !utf8.Valid(f.Raw) {
		return f
	}
	var b strings.Builder
	for _, p := range splitAddresses(f.Value()) {
		b.WriteString(p.encoded())
	}
	return NewField(f.Name, b.String())
}

// encodeWords encodes s from its first to its last word that is not ASCII, in
// one run, since white space between encoded words does not count.
func encodeWords(s string) string {
	first := strings.IndexFunc(s, func(r rune) bool { return r >= utf8.RuneSelf })
	if first < 0 {
		return s
	}
	last := strings.LastIndexFunc(s, func(r rune) bool { return r >= utf8.RuneSelf })
	from := strings.LastIndexAny(s[:first], " \t") + 1
	to := len(s)
	if i := strings.IndexAny(s[last:], " \t"); i >= 0 {
		to = last + i
	}
	return s[:from] + encodeRun(s[from:to]) + s[to:]
}

// encodeRun chooses the encoding that people can still read, if there is
// enough ASCII for that.
func encodeRun(s string) string {
	foreign := 0
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			foreign++
		}
	}
	if 2*foreign > len(s) {
		return mime.BEncoding.Encode("utf-8", s)
	}
	return mime.QEncoding.Encode("utf-8", s)
}

func isASCII(b []byte) bool {
	for _, c := range b {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// partKind is what a stretch of an address field is.
type partKind uint8

const (
	phrase  partKind = iota // display or group name, with its quotes
	comment                 // with its parentheses
	addr                    // an address without brackets
	other                   // separators, brackets, white space around them
)

// A part is a stretch of an address field; all parts together are the field.
type part struct {
	kind partKind
	text string
}

func (p part) encoded() string {
	body := strings.TrimSpace(p.text)
	if p.kind == addr || p.kind == other || isASCII([]byte(body)) {
		return p.text
	}
	lead, tail, _ := strings.Cut(p.text, body)
	if p.kind == comment && len(body) > 1 {
		return lead + "(" + encodeWords(strings.Trim(body, "()")) + ")" + tail
	}
	return lead + encodeRun(unquote(body)) + tail
}

// unquote removes the quotes and backslashes of the quoted strings in s.
func unquote(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '"' {
			continue
		}
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// splitAddresses cuts an address list of RFC 5322 section 3.4 into parts. It
// takes anything: what is not an address list is cut somehow, and complete.
func splitAddresses(s string) []part {
	var parts []part
	start := 0 // of the words not yet in parts
	flush := func(end int, kind partKind) {
		if end > start {
			parts = append(parts, part{kind, s[start:end]})
		}
		start = end
	}
	for i := 0; i < len(s); {
		switch s[i] {
		case '"':
			i = skipQuoted(s, i)
		case '(':
			flush(i, wordKind(s[start:i]))
			i = skipComment(s, i)
			flush(i, comment)
		case '<':
			flush(i, phrase)
			flush(i+1, other)
			i = bracketEnd(s, i+1)
			flush(i, addr)
		case ',', ';':
			flush(i, wordKind(s[start:i]))
			i++
			flush(i, other)
		case ':':
			flush(i, phrase)
			i++
			flush(i, other)
		case '[':
			i = indexFrom(s, i, "]")
		default:
			i++
		}
	}
	flush(len(s), wordKind(s[start:]))
	return parts
}

// wordKind tells an address from the blanks and the closing bracket between
// parts. Words without brackets are an address.
func wordKind(s string) partKind {
	if strings.Trim(s, " \t>") == "" || strings.HasPrefix(s, ">") {
		return other
	}
	return addr
}

// skipQuoted returns where the quoted string that begins at i ends.
func skipQuoted(s string, i int) int {
	for i++; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(s)
}

// skipComment returns where the comment that begins at i, with the comments in
// it, ends.
func skipComment(s string, i int) int {
	for depth := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return len(s)
}

// bracketEnd returns where the address that begins at i meets its '>'.
func bracketEnd(s string, i int) int {
	for i < len(s) && s[i] != '>' {
		if s[i] == '"' {
			i = skipQuoted(s, i)
			continue
		}
		i++
	}
	return min(i, len(s))
}

func indexFrom(s string, i int, sub string) int {
	if n := strings.Index(s[i:], sub); n >= 0 {
		return i + n + len(sub)
	}
	return len(s)
}

// qualify appends @origin to each address of the field that has no domain, and
// leaves every other octet alone.
func qualify(f Field, origin string) Field {
	return readdress(f, func(word string) string { return qualified(word, origin) })
}

func qualified(word, origin string) string {
	if origin == "" || !lacksDomain(word) {
		return word
	}
	return word + "@" + origin
}

// lacksDomain reports whether text is a local part that stands alone. Several
// words are no address at all, and stay as they are.
func lacksDomain(text string) bool {
	word := strings.TrimSpace(text)
	if word == "" || word[0] == '>' {
		return false
	}
	if word[0] == '"' {
		return skipQuoted(word, 0) == len(word)
	}
	return !strings.ContainsAny(word, "@ \t\n\"<>[]!")
}
