package message

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
)

// A Header is the fields of a letter in their order, first to last. The zero
// Header is empty and ready for use.
type Header struct {
	Fields []Field
}

// A Field is one field of a header.
type Field struct {
	Name string // as written, without the colon
	Raw  []byte // the whole field with its folding, LF line ends, and the last LF
}

// Value returns what follows the colon, unfolded as RFC 5322 section 2.2.3
// says (line ends removed, white space kept) and trimmed.
func (f Field) Value() string {
	_, v, _ := bytes.Cut(f.Raw, []byte(":"))
	v = bytes.TrimSpace(v)
	if bytes.IndexByte(v, '\n') >= 0 {
		v = bytes.ReplaceAll(v, []byte("\n"), nil)
	}
	return string(v)
}

func (f Field) is(name string) bool { return strings.EqualFold(f.Name, name) }

// ReadHeader reads the header of a letter in wire or disk form, through the
// empty line that ends it. A letter that begins with anything but a field has
// an empty header, and br then still holds the whole letter.
//
// A header larger than limit octets is cut at a line: what is beyond counts as
// text. The error is one of br other than io.EOF; the header read so far is
// returned with it.
func ReadHeader(br *bufio.Reader, limit int) (*Header, error) {
	var raw []byte
	for {
		head, err := br.Peek(1)
		if err != nil || len(raw) >= limit || !startsField(br, head[0], len(raw) > 0) {
			h, _ := Parse(raw)
			if err == nil {
				skipEmptyLine(br)
			}
			return h, notEOF(err)
		}
		raw, err = appendLine(raw, br)
		if err != nil {
			h, _ := Parse(raw)
			return h, notEOF(err)
		}
	}
}

func notEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// startsField reports whether the line that br stands at belongs to the header.
func startsField(br *bufio.Reader, first byte, continued bool) bool {
	if first == ' ' || first == '\t' {
		return continued
	}
	line, _ := br.Peek(maxName + 1)
	return fieldName(line) > 0
}

// skipEmptyLine consumes one empty line, if br stands at one.
func skipEmptyLine(br *bufio.Reader) {
	line, _ := br.Peek(2)
	if n := emptyLine(line); n > 0 {
		_, _ = br.Discard(n) // what was peeked is there
	}
}

// emptyLine returns the length of the line end that b begins with, or 0.
func emptyLine(b []byte) int {
	switch {
	case len(b) > 0 && b[0] == '\n':
		return 1
	case len(b) > 1 && b[0] == '\r' && b[1] == '\n':
		return 2
	}
	return 0
}

// appendLine moves one line, however long, from br to buf.
func appendLine(buf []byte, br *bufio.Reader) ([]byte, error) {
	for {
		part, err := br.ReadSlice('\n')
		buf = append(buf, part...)
		if !errors.Is(err, bufio.ErrBufferFull) {
			return buf, err
		}
	}
}

// maxName is the length of the longest field name; RFC 5322 section 2.1.1
// leaves no room for a longer one on a line.
const maxName = 997

// fieldName returns the length of the field name that line begins with, or 0.
// White space before the colon is the obsolete syntax of RFC 5322 section 4.5.
func fieldName(line []byte) int {
	for i, c := range line {
		switch {
		case c == ':':
			return i
		case c == ' ' || c == '\t':
			return spacedName(line, i)
		case c < '!' || c > '~':
			return 0
		}
	}
	return 0
}

func spacedName(line []byte, n int) int {
	rest := bytes.TrimLeft(line[n:], " \t")
	if n > 0 && len(rest) > 0 && rest[0] == ':' {
		return n
	}
	return 0
}

// Parse splits data, a letter or its first part in either form, into its
// header and what follows the header and its empty line. rest is a part of
// data; the fields are not when data has CRLF.
func Parse(data []byte) (h *Header, rest []byte) {
	h = &Header{}
	for len(data) > 0 {
		if n := emptyLine(data); n > 0 {
			return h, data[n:]
		}
		name := fieldName(data[:min(len(data), maxName+1)])
		if name == 0 {
			return h, data
		}
		end := fieldEnd(data)
		h.Fields = append(h.Fields, Field{Name: string(data[:name]), Raw: diskField(data[:end])})
		data = data[end:]
	}
	return h, nil
}

// fieldEnd returns where the field that b begins with ends.
func fieldEnd(b []byte) int {
	end := 0
	for {
		i := bytes.IndexByte(b[end:], '\n')
		if i < 0 {
			return len(b)
		}
		end += i + 1
		if end == len(b) || (b[end] != ' ' && b[end] != '\t') {
			return end
		}
	}
}

// diskField gives raw LF line ends, also at its end.
func diskField(raw []byte) []byte {
	if bytes.Contains(raw, []byte("\r\n")) {
		raw = bytes.ReplaceAll(raw, []byte("\r\n"), []byte("\n"))
	}
	if !bytes.HasSuffix(raw, []byte("\n")) {
		raw = bytes.TrimRight(raw, "\r") // half of a line end
		raw = append(raw[:len(raw):len(raw)], '\n')
	}
	return raw
}

// Get returns the value of the first field called name, or "".
func (h *Header) Get(name string) string {
	for _, f := range h.Fields {
		if f.is(name) {
			return f.Value()
		}
	}
	return ""
}

// Has reports whether there is a field called name.
func (h *Header) Has(name string) bool {
	for _, f := range h.Fields {
		if f.is(name) {
			return true
		}
	}
	return false
}

// Values returns the values of all fields called name, first to last.
func (h *Header) Values(name string) []string {
	var all []string
	for _, f := range h.Fields {
		if f.is(name) {
			all = append(all, f.Value())
		}
	}
	return all
}

// Del removes all fields called name.
func (h *Header) Del(name string) {
	kept := h.Fields[:0]
	for _, f := range h.Fields {
		if !f.is(name) {
			kept = append(kept, f)
		}
	}
	h.Fields = kept
}

// Prepend puts f before all other fields, where trace fields belong (RFC 5321
// section 4.4).
func (h *Header) Prepend(f Field) {
	h.Fields = append([]Field{f}, h.Fields...)
}

// Append puts f after all other fields.
func (h *Header) Append(f Field) {
	h.Fields = append(h.Fields, f)
}

// Escape renames each field that looks like our own envelope field.
func (h *Header) Escape() {
	for i, f := range h.Fields {
		if f.is(EnvelopeField) {
			raw := append([]byte(escapedField), f.Raw[len(f.Name):]...)
			h.Fields[i] = Field{Name: escapedField, Raw: raw}
		}
	}
}

// WriteTo writes the fields and the empty line after them, in disk form.
func (h *Header) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(h.Bytes())
	return int64(n), err
}

// Bytes returns what WriteTo writes.
func (h *Header) Bytes() []byte {
	size := 1
	for _, f := range h.Fields {
		size += len(f.Raw)
	}
	b := make([]byte, 0, size)
	for _, f := range h.Fields {
		b = append(b, f.Raw...)
	}
	return append(b, '\n')
}

// Hops counts the Received fields: how many hosts the letter went through
// (RFC 5321 section 6.3).
func Hops(h *Header) int {
	n := 0
	for _, f := range h.Fields {
		if f.is("Received") {
			n++
		}
	}
	return n
}

// lineWidth is where NewField folds: RFC 5322 section 2.1.1 recommends no more
// than 78 octets without the line end.
const lineWidth = 78

// NewField makes a field of a name and an unfolded value, folded at white
// space. Octets that would end the field early are replaced by spaces.
func NewField(name, value string) Field {
	raw := make([]byte, 0, len(name)+len(value)+8)
	raw = append(append(raw, name...), ':')
	width := len(raw)
	value = strings.TrimSpace(strings.Map(oneLine, value))
	for value != "" {
		n := wordEnd(value)
		if width+n > lineWidth && width > len(name)+1 {
			raw = append(raw, '\n')
			width = 0
		}
		if value[0] != ' ' && value[0] != '\t' {
			raw = append(raw, ' ') // only before the first word
			width++
		}
		raw = append(raw, value[:n]...)
		width += n
		value = value[n:]
	}
	return Field{Name: name, Raw: append(raw, '\n')}
}

func oneLine(r rune) rune {
	if r == '\r' || r == '\n' || r == 0 {
		return ' '
	}
	return r
}

// wordEnd returns the length of the white space and the word that s begins with.
func wordEnd(s string) int {
	i := 0
	for i < len(s) && (s[i] == ' ' || s[i] == '\t') {
		i++
	}
	for i < len(s) && s[i] != ' ' && s[i] != '\t' {
		i++
	}
	return i
}
