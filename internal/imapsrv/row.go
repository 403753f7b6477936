package imapsrv

import (
	"io"
	"slices"
	"strings"
	"time"

	"postbag/internal/mailbox"
	"postbag/internal/mime"
	"postbag/internal/search"
)

// A row is one letter after the other, as search asks for it.
type row struct {
	*session
	source
	pos  int
	text []byte // scratch
}

func (s *session) newRow() *row { return &row{session: s, source: s.newSource()} }

// at makes it the row of a letter. Whoever does so closes it.
func (r *row) at(pos int, l *mailbox.Letter) {
	r.pos = pos
	r.begin(l)
}

func (r *row) Seq() uint32 { return uint32(r.pos) + 1 }
func (r *row) UID() uint32 { return r.letter.UID }
func (r *row) Last() bool  { return r.pos == r.sel.view.Len()-1 }

func (r *row) HasFlag(flag string) bool {
	if strings.EqualFold(flag, `\Recent`) {
		return r.sel.recent.has(r.letter.UID)
	}
	for _, f := range flagNames {
		if strings.EqualFold(f.name, flag) {
			return r.letter.Flags&f.flag != 0
		}
	}
	return slices.ContainsFunc(r.letter.Keywords, func(k string) bool { return strings.EqualFold(k, flag) })
}

func (r *row) Size() (int64, error)         { return r.folder.Size(r.source.ctx, r.letter) }
func (r *row) Internal() (time.Time, error) { return r.folder.Internal(r.source.ctx, r.letter) }
func (r *row) ModSeq() uint64               { return r.letter.ModSeq }
func (r *row) EmailID() string              { return r.letter.EmailID() }

func (r *row) Saved() time.Time {
	if t, ok := r.letter.Saved(); ok {
		return t
	}
	return time.Time{}
}

func (r *row) Fields(name string) (values []string, err error) {
	if isOneOf(cachedFields, name) {
		e, err := r.brief()
		if err != nil {
			return nil, err
		}
		values = e.Fields.Values(name)
	} else {
		h, err := r.header()
		if err != nil {
			return nil, err
		}
		values = h.Values(name)
	}
	addresses := isOneOf(addressFields, name)
	for i, v := range values {
		values[i] = mime.DecodeHeader(v)
		if addresses {
			values = append(values, plainAddresses(v)...)
		}
	}
	return values, nil
}

// addressFields hold addresses, which are found as ENVELOPE has them, too:
// without comments and blanks (RFC 9051 section 6.4.4).
var addressFields = map[string]bool{"FROM": true, "TO": true, "CC": true, "BCC": true, "SENDER": true, "REPLY-TO": true}

func plainAddresses(value string) (all []string) {
	for _, a := range mime.ParseAddresses(value) {
		if a.Kind == mime.Mailbox {
			all = append(all, mime.DecodeHeader(a.Name)+" <"+a.Mailbox+"@"+a.Host+">")
		}
	}
	return all
}

func (r *row) Sent() (time.Time, error) {
	e, err := r.brief()
	return e.Sent, err // a date that nobody can read is none
}

// maxSearched bounds how much of one part is searched.
const maxSearched = 16 << 20

func (r *row) Contains(folded string, header bool) (bool, error) {
	root, err := r.structure()
	if err != nil {
		return false, err
	}
	return r.within(root, folded, header)
}

// within looks into a part: its header, if that counts, and its text or its
// parts.
func (r *row) within(p *mime.Part, folded string, header bool) (bool, error) {
	if header && r.inHeader(p.Header, folded) {
		return true, nil
	}
	for _, c := range p.Children {
		if ok, err := r.within(c, folded, header); ok || err != nil {
			return ok, err
		}
	}
	if p.Message != nil {
		return r.within(p.Message, folded, true)
	}
	if !strings.EqualFold(p.Type, "text") {
		return false, nil
	}
	return r.inBody(p, folded)
}

func (r *row) inHeader(h mime.Header, folded string) bool {
	for i := range h {
		r.text = append(append(r.text[:0], h[i].Name...), ": "...)
		r.text = append(r.text, mime.DecodeHeader(h[i].Value)...)
		if search.Contains(r.text, folded) {
			return true
		}
	}
	return false
}

func (r *row) inBody(p *mime.Part, folded string) (bool, error) {
	if body, ok := r.inMemory(p.BodyOffset, p.BodySize); ok {
		if text, ok := p.Plain(body); ok {
			return search.Contains(text, folded), nil
		}
	}
	body, err := r.slice(p.BodyOffset, p.BodySize)
	if err != nil {
		return false, err
	}
	text, err := io.ReadAll(io.LimitReader(p.Text(body), maxSearched))
	return search.Contains(text, folded), err
}
