package imapsrv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"postbag/internal/imapwire"
	"postbag/internal/mailbox"
	"postbag/internal/mailcache"
	"postbag/internal/mime"
)

// A section is a part of a letter's text (RFC 9051 section 6.4.5.1).
type section struct {
	path   []int
	text   string   // "", HEADER, HEADER.FIELDS, HEADER.FIELDS.NOT, TEXT, MIME
	fields []string // of HEADER.FIELDS
	offset int64
	size   int64 // of a partial fetch; -1 is all
}

const (
	maxPath   = 100
	maxFields = 1000
)

// readSection reads what follows "[" of an item. Binary ones have no text.
func (s *session) readSection(item string) (section, error) {
	sec, binary := section{size: -1}, item != "BODY["
	word, err := s.itemName()
	if err != nil {
		return sec, err
	}
	if sec.path, word = sectionPath(word); len(sec.path) > maxPath {
		return sec, no("[LIMIT] section is nested too deep")
	}
	switch sec.text = word; {
	case word == "", !binary && (word == "HEADER" || word == "TEXT" || word == "MIME" && len(sec.path) > 0):
	case !binary && (word == "HEADER.FIELDS" || word == "HEADER.FIELDS.NOT"):
		if err := s.headerFields(&sec); err != nil {
			return sec, err
		}
	default:
		return sec, bad("no such section")
	}
	if err := s.in.Expect(']'); err != nil {
		return sec, err
	}
	if item != "BINARY.SIZE[" && s.in.Accept('<') {
		return sec, s.partial(&sec)
	}
	return sec, nil
}

// sectionPath cuts the numbers of parts off a section.
func sectionPath(word string) (path []int, text string) {
	for word != "" && word[0] != '0' {
		number, rest, more := strings.Cut(word, ".")
		n, err := strconv.ParseUint(number, 10, 31)
		if err != nil || more && rest == "" {
			break
		}
		path, word = append(path, int(n)), rest
	}
	return path, word
}

func (s *session) headerFields(sec *section) error {
	if err := s.sp(); err != nil {
		return err
	}
	return s.in.Members(func() error {
		name, err := s.in.Astring()
		if sec.fields = append(sec.fields, name); len(sec.fields) > maxFields {
			return no("[LIMIT] too many header fields")
		}
		return err
	})
}

// partial reads OFFSET.SIZE>.
func (s *session) partial(sec *section) (err error) {
	if sec.offset, err = s.in.Number(); err != nil {
		return err
	}
	if err = s.in.Expect('.'); err != nil {
		return err
	}
	if sec.size, err = s.in.Number(); err != nil {
		return err
	}
	if sec.size == 0 {
		return bad("a partial fetch has at least one octet")
	}
	return s.in.Expect('>')
}

// label is the section as it stands in the response.
func (sec section) label(name string) string {
	var words []string
	for _, n := range sec.path {
		words = append(words, strconv.Itoa(n))
	}
	if sec.text != "" {
		words = append(words, sec.text)
	}
	out := name + strings.Join(words, ".")
	if sec.text == "HEADER.FIELDS" || sec.text == "HEADER.FIELDS.NOT" {
		var fields []string
		for _, f := range sec.fields {
			fields = append(fields, string(imapwire.AppendAstring(nil, f)))
		}
		out += " (" + strings.Join(fields, " ") + ")"
	}
	out += "]"
	if sec.size >= 0 {
		out += fmt.Sprintf("<%d>", sec.offset)
	}
	return out
}

// A source is the text of one letter after the other, each read as often as is
// needed.
type source struct {
	ctx    context.Context
	folder *mailbox.Folder
	cache  *mailcache.Cache
	known  *mailcache.Reader // of cache

	smallOnly bool // letters that are not in memory are errLarge

	letter   *mailbox.Letter
	entry    mailcache.Entry // what the cache has
	hasEntry bool
	part     *mime.Part
	open     *mailbox.Content
}

// begin makes it the source of a letter. Whoever does so closes it.
func (src *source) begin(l *mailbox.Letter) { src.letter = l }

// close forgets the letter.
func (src *source) close() {
	if src.open != nil {
		src.open.Close()
	}
	src.letter, src.hasEntry, src.part, src.open = nil, false, nil, nil
}

// content gives the text from its beginning. It is opened once, so that all
// parts of one response are of one file, whatever others do to its name.
func (src *source) content() (*mailbox.Content, error) {
	if src.open != nil {
		return src.open, src.open.Rewind()
	}
	c, err := src.folder.Content(src.ctx, src.letter)
	if err != nil {
		return nil, err
	}
	if _, small := c.Text(); src.smallOnly && !small {
		c.Close()
		return nil, errLarge
	}
	src.open = c
	return c, nil
}

// structure reads the letter's structure, once.
func (src *source) structure() (*mime.Part, error) {
	if src.part != nil {
		return src.part, nil
	}
	c, err := src.content()
	if err != nil {
		return nil, err
	}
	if text, ok := c.Text(); ok {
		src.part = mime.ParseText(text)
		return src.part, nil
	}
	src.part, err = mime.Parse(c)
	return src.part, err
}

// slice gives size octets of the text from an offset.
func (src *source) slice(offset, size int64) (io.Reader, error) {
	c, err := src.content()
	if err != nil {
		return nil, err
	}
	if text, ok := c.Text(); ok {
		offset = min(offset, int64(len(text)))
		return bytes.NewReader(text[offset:min(offset+size, int64(len(text)))]), nil
	}
	if _, err := io.CopyN(io.Discard, c, offset); err != nil {
		return nil, err
	}
	return io.LimitReader(c, size), nil
}

// inMemory gives what slice does, if the letter is in memory. The text is valid
// until close.
func (src *source) inMemory(offset, size int64) (text []byte, ok bool) {
	if src.open == nil {
		return nil, false
	}
	if text, ok = src.open.Text(); !ok || offset+size > int64(len(text)) {
		return nil, false
	}
	return text[offset:][:size], true
}

// A span is where a section is, or what it holds when it is put together.
type span struct {
	offset, size int64
	made         []byte // HEADER.FIELDS; nil: the span is in the letter
	part         *mime.Part
}

var errNoSection = errors.New("no such section")

// find locates a section. errNoSection when the letter has none of that kind.
func (src *source) find(sec section) (span, error) {
	if len(sec.path) == 0 && sec.text == "" {
		c, err := src.content()
		if err != nil {
			return span{}, err
		}
		return span{size: c.Size()}, nil
	}
	root, err := src.structure()
	if err != nil {
		return span{}, err
	}
	part, inner := walk(root, sec.path)
	if part == nil {
		return span{}, errNoSection
	}
	switch sec.text {
	case "":
		return span{offset: part.BodyOffset, size: part.BodySize, part: part}, nil
	case "MIME":
		return span{offset: part.HeaderOffset, size: part.HeaderSize}, nil
	}
	if inner == nil {
		return span{}, errNoSection // only a letter has HEADER and TEXT
	}
	switch sec.text {
	case "HEADER":
		return span{offset: inner.HeaderOffset, size: inner.HeaderSize}, nil
	case "TEXT":
		return span{offset: inner.BodyOffset, size: inner.BodySize}, nil
	}
	made, err := src.someFields(inner, sec)
	return span{size: int64(len(made)), made: made}, err
}

// walk goes down to a part; letter is the letter that it is or holds: the root
// itself, or what a message/rfc822 part contains.
func walk(root *mime.Part, path []int) (part, letter *mime.Part) {
	part, letter = root, root
	for _, n := range path {
		in := part
		if letter != nil && letter != part {
			in = letter // the parts of a message/rfc822 part are those of its letter
		}
		switch {
		case len(in.Children) >= n:
			part = in.Children[n-1]
		case n == 1 && len(in.Children) == 0 && (in == letter):
			part = in // a letter without parts is its own part 1
			letter = part.Message
			continue
		default:
			return nil, nil
		}
		letter = part.Message
	}
	return part, letter
}

// someFields gives the fields that are named, or all others, and the empty line if
// there is one (RFC 9051 section 6.4.5.1).
func (src *source) someFields(p *mime.Part, sec section) ([]byte, error) {
	r, err := src.slice(p.HeaderOffset, p.HeaderSize)
	if err != nil {
		return nil, err
	}
	header, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	out := make([]byte, 0, len(header)+2)
	keep := false
	for len(header) > 0 {
		end := bytes.IndexByte(header, '\n') + 1
		if end == 0 {
			end = len(header)
		}
		line := header[:end]
		header = header[end:]
		if len(bytes.TrimRight(line, "\r\n")) == 0 {
			return append(out, '\r', '\n'), nil
		}
		if line[0] != ' ' && line[0] != '\t' {
			keep = named(line, sec.fields) == (sec.text == "HEADER.FIELDS")
		}
		if keep {
			out = append(out, line...)
		}
	}
	return out, nil
}

// named tells whether a line begins a field of one of the names.
func named(line []byte, names []string) bool {
	name, _, ok := bytes.Cut(line, []byte{':'})
	if !ok {
		return false
	}
	name = bytes.TrimRight(name, " \t")
	for _, n := range names {
		if strings.EqualFold(string(name), n) {
			return true
		}
	}
	return false
}

// addSection writes a section of the text.
func (f *fetching) addSection(it item) error {
	label := it.name
	if strings.HasSuffix(label, "[") {
		label = it.section.label(label)
	}
	sp, err := f.source.find(it.section)
	if errors.Is(err, errNoSection) {
		f.name(label)
		f.b = append(f.b, missing(it.name)...)
		return nil
	}
	if err != nil {
		return err
	}
	if strings.HasPrefix(it.name, "BINARY") {
		return f.addBinary(it, label, sp)
	}
	from, size := clip(sp.size, it.section)
	f.name(label)
	f.b = fmt.Appendf(f.b, "{%d}\r\n", size)
	if sp.made != nil {
		f.b = append(f.b, sp.made[from:from+size]...)
		return nil
	}
	if text, ok := f.source.inMemory(sp.offset+from, size); ok {
		f.b = append(f.b, text...)
		return nil
	}
	r, err := f.source.slice(sp.offset+from, size)
	if err != nil {
		return &connError{err} // the literal has been announced
	}
	return f.stream(r, size)
}

// missing stands for a section that is not there: as BINARY it is NIL, and so has
// no size.
func missing(item string) string {
	if item == "BINARY.SIZE[" {
		return "0"
	}
	return "NIL"
}

// clip applies a partial fetch to what has size octets.
func clip(size int64, sec section) (from, n int64) {
	if sec.size < 0 {
		return 0, size
	}
	from = min(sec.offset, size)
	return from, min(sec.size, size-from)
}

// stream writes size octets of r. A letter that has fewer ends the session: what
// follows would be taken for its text.
func (f *fetching) stream(r io.Reader, size int64) error {
	if f.gathers {
		return errLarge
	}
	if err := f.flush(); err != nil {
		return err
	}
	n, err := io.Copy(f.c, r)
	if err == nil && n < size {
		err = fmt.Errorf("letter %d has %d octets less than its size", f.letter.UID, size-n)
	}
	if err != nil {
		return &connError{err}
	}
	return nil
}

// addBinary writes a part without its transfer encoding (RFC 3516).
func (f *fetching) addBinary(it item, label string, sp span) error {
	part := sp.part
	if part == nil {
		root, err := f.source.structure()
		if err != nil {
			return err
		}
		part = root
		sp.offset, sp.size = 0, root.HeaderSize+root.BodySize
		if len(it.section.path) > 0 {
			sp.offset, sp.size = root.BodyOffset, root.BodySize
		}
	}
	r, err := f.source.slice(sp.offset, sp.size)
	if err != nil {
		return err
	}
	encoding := part.Encoding
	if len(part.Children) > 0 || part.Message != nil || len(it.section.path) == 0 {
		encoding = ""
	}
	r, err = mime.Decode(encoding, r)
	if err != nil {
		return no("[UNKNOWN-CTE] transfer encoding is not known")
	}
	text, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	f.name(label)
	if it.name == "BINARY.SIZE[" {
		f.b = strconv.AppendInt(f.b, int64(len(text)), 10)
		return nil
	}
	from, size := clip(int64(len(text)), it.section)
	f.binary(text[from : from+size])
	return nil
}

// binary writes a literal, which tells that there is a NUL in it (RFC 9051 section
// 7.5.2).
func (f *fetching) binary(text []byte) {
	if bytes.IndexByte(text, 0) >= 0 {
		f.b = append(f.b, '~')
	}
	f.b = fmt.Appendf(f.b, "{%d}\r\n", len(text))
	f.b = append(f.b, text...)
}
