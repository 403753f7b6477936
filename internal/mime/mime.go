// Package mime finds the structure of one letter, as IMAP's BODYSTRUCTURE and
// ENVELOPE want it, and decodes text for searching.
//
// It reads a letter once, in wire form (lines end in CRLF), and remembers where
// things are, not what they hold: a letter of any size costs the memory of one
// buffer and of the headers, which are kept up to a limit. Offsets and sizes
// are in octets of the wire form.
//
// # Broken letters
//
// There is no letter without a structure; Parse returns only errors of reading.
// What is broken is taken like this:
//
//   - A header ends at the first empty line, at a delimiter of an enclosing
//     multipart, or with the letter. A line without a colon is part of it.
//   - A delimiter of an enclosing multipart ends all that is inside of that
//     multipart. So does the end of the letter.
//   - A multipart whose boundary is missing, or never comes, is text/plain: the
//     reader sees its text. So is one nested too deep.
//   - Without a type that can be read, a part is text/plain, in a digest
//     message/rfc822 (RFC 2046 section 5.1.5).
//   - A bare LF ends a line as CRLF does.
//
// The promise that follows, and which a fuzz test holds: a part of type
// multipart has children, one of type message/rfc822 or message/global has a
// Message, no other has either; and each part lies inside of its parent, after
// its elder siblings.
package mime

import (
	"io"
	"strings"
)

// Limits. What is over them is counted, not remembered.
const (
	maxDepth    = 100     // levels of multiparts and messages
	maxParts    = 10_000  // in a letter; later ones belong to the epilogue
	maxHeader   = 1 << 20 // octets kept of one header
	maxHeaders  = 4 << 20 // octets kept of all headers of a letter
	maxBoundary = 1000    // octets; RFC 2046 section 5.1.1 allows 70
)

// A Part is a letter, or an entity inside of one.
type Part struct {
	Type, Subtype     string  // as given; "text", "plain" and so on by default
	Params            []Param // of Content-Type
	ID                string  // Content-ID; "" when there is none, here and below
	Description       string
	Encoding          string // Content-Transfer-Encoding; "7bit" by default
	MD5               string
	Disposition       string
	DispositionParams []Param
	Language          []string
	Location          string

	HeaderOffset, HeaderSize int64 // with the empty line at its end
	HeaderLines              int64
	BodyOffset, BodySize     int64
	Lines                    int64 // line ends in the body

	Header   Header  // as far as it was kept
	Children []*Part // of a multipart
	Message  *Part   // the letter in a message/rfc822 or message/global
}

// A Param is a parameter of a header field. The name is as given, and the value
// without its quotes but not decoded.
type Param struct{ Name, Value string }

// Is reports whether the part's type is that one, in lower case; a subtype of
// "*" stands for any.
func (p *Part) Is(typ, subtype string) bool {
	return strings.EqualFold(p.Type, typ) && (subtype == "*" || strings.EqualFold(p.Subtype, subtype))
}

// Param returns the parameter of Content-Type of that name, in lower case.
func (p *Part) Param(name string) string { return param(p.Params, name) }

func param(params []Param, name string) string {
	for _, q := range params {
		if strings.EqualFold(q.Name, name) {
			return q.Value
		}
	}
	return ""
}

func (p *Part) isMessage() bool { return p.Is("message", "rfc822") || p.Is("message", "global") }

// Parse reads a letter in wire form to its end. The error is the reader's.
func Parse(r io.Reader) (*Part, error) {
	p := &parser{in: newScanner(r)}
	defer p.in.release()
	root := p.entity(0, false)
	return root, p.in.err
}

// ParseHeader reads no further than the header of a letter: the Part has no
// sizes of a body and no children, but all that its header says.
func ParseHeader(r io.Reader) (*Part, error) {
	p := &parser{in: newScanner(r)}
	defer p.in.release()
	part := p.header(false)
	return part, p.in.err
}

// ParseText is Parse for a letter in memory, of which the Part keeps nothing.
func ParseText(text []byte) *Part {
	p := &parser{in: textScanner(text)}
	return p.entity(0, false)
}

// ParseTextHeader is ParseHeader for a letter in memory.
func ParseTextHeader(text []byte) *Part {
	p := &parser{in: textScanner(text)}
	return p.header(false)
}

type parser struct {
	in         *scanner
	boundaries []string // with "--" before; of the multiparts that are open, outermost first
	parts      int
	kept       int // octets of headers
}

// outside is where a body ended: at the delimiter of the open multipart with
// that index, or at the end of the letter.
type outside struct {
	level int // index into boundaries; -1 at the end of the letter
	final bool
	mark  // where the body ends, which is before the line end of the delimiter
}

// entity reads a part whose header begins here, up to a delimiter of an open
// multipart, which it leaves unread.
func (p *parser) entity(depth int, digest bool) *Part {
	part, _ := p.read(depth, digest)
	return part
}

func (p *parser) read(depth int, digest bool) (*Part, outside) {
	p.parts++
	part := p.header(digest)
	start := p.in.mark
	end := p.body(part, depth)
	if end.offset < start.offset { // the line end before the delimiter is the header's
		end.mark = start
	}
	part.BodyOffset, part.BodySize = start.offset, end.offset-start.offset
	part.Lines = end.lines - start.lines
	return part, end
}

// body reads what follows a header, and adds what is in it to the part.
func (p *parser) body(part *Part, depth int) outside {
	boundary := part.Param("boundary")
	switch {
	case part.Is("multipart", "*") && (boundary == "" || len(boundary) > maxBoundary || depth >= maxDepth):
		part.flatten("text", "plain")
	case part.Is("multipart", "*"):
		return p.multipart(part, "--"+boundary, depth)
	case part.isMessage() && depth >= maxDepth:
		part.flatten("application", "octet-stream")
	case part.isMessage():
		var end outside
		part.Message, end = p.read(depth+1, false)
		return end
	}
	return p.skip()
}

// flatten makes a leaf of a part whose inside cannot be told.
func (part *Part) flatten(typ, subtype string) {
	part.Type, part.Subtype, part.Params = typ, subtype, nil
	if typ == "text" {
		part.Params = []Param{{"charset", "us-ascii"}}
	}
}

// multipart reads the preamble, the parts and the epilogue.
func (p *parser) multipart(part *Part, delimiter string, depth int) outside {
	level := len(p.boundaries)
	p.boundaries = append(p.boundaries, delimiter)
	digest := part.Is("multipart", "digest")
	end := p.skip() // the preamble
	for end.level == level && !end.final && p.parts < maxParts {
		p.in.discardLine()
		var child *Part
		child, end = p.read(depth+1, digest)
		part.Children = append(part.Children, child)
	}
	p.boundaries = p.boundaries[:level]
	if end.level == level { // after the last part, or too many
		p.in.discardLine()
		end = p.skip() // the epilogue
	}
	if len(part.Children) == 0 {
		part.flatten("text", "plain")
	}
	return end
}

// skip reads up to a delimiter of an open multipart, or to the end.
func (p *parser) skip() outside {
	if len(p.boundaries) == 0 {
		p.in.discardAll()
		return outside{level: -1, mark: p.in.mark}
	}
	for p.in.dashes() {
		if level, final := p.match(p.in.peekLine(maxBoundary + 8)); level >= 0 {
			return outside{level: level, final: final, mark: p.in.lastLineEnd()}
		}
		p.in.discardLine()
	}
	return outside{level: -1, mark: p.in.mark}
}

// match finds the open multipart that a line delimits, -1 if none. A delimiter
// need only begin the line (RFC 2046 section 5.1.1); where several do, the
// longest counts, and of equal ones the innermost.
func (p *parser) match(line []byte) (level int, final bool) {
	level = -1
	best := 0
	for i := len(p.boundaries) - 1; i >= 0; i-- {
		b := p.boundaries[i]
		if len(b) > best && len(line) >= len(b) && string(line[:len(b)]) == b {
			level, best = i, len(b)
		}
	}
	if level >= 0 {
		rest := line[best:]
		final = len(rest) >= 2 && rest[0] == '-' && rest[1] == '-'
	}
	return level, final
}
