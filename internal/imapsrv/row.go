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

// A row is one letter, as search asks for it.
type row struct {
	*session
	pos    int
	letter *mailbox.Letter
	src    *source
	head   mime.Header // its cachedFields
}

func (r *row) close() {
	if r.src != nil {
		r.src.close()
	}
}

func (r *row) source() *source {
	if r.src == nil {
		r.src = r.sourceOf(source{letter: r.letter})
	}
	return r.src
}

func (r *row) Seq() uint32 { return uint32(r.pos) + 1 }
func (r *row) UID() uint32 { return r.letter.UID }
func (r *row) Last() bool  { return r.pos == r.sel.view.Len()-1 }

func (r *row) HasFlag(flag string) bool {
	if strings.EqualFold(flag, `\Recent`) {
		return r.letter.UID > r.sel.recent
	}
	for _, f := range flagNames {
		if strings.EqualFold(f.name, flag) {
			return r.letter.Flags&f.flag != 0
		}
	}
	return slices.ContainsFunc(r.letter.Keywords, func(k string) bool { return strings.EqualFold(k, flag) })
}

func (r *row) Size() (int64, error)         { return r.sel.folder.Size(r.ctx, r.letter) }
func (r *row) Internal() (time.Time, error) { return r.sel.folder.Internal(r.ctx, r.letter) }
func (r *row) ModSeq() uint64               { return r.letter.ModSeq }
func (r *row) EmailID() string              { return r.letter.EmailID() }

func (r *row) Saved() time.Time {
	if t, ok := r.letter.Saved(); ok {
		return t
	}
	return time.Time{}
}

func (r *row) header() (h mime.Header, err error) {
	if r.head == nil {
		r.head, err = r.source().fields()
	}
	return r.head, err
}

func (r *row) Fields(name string) ([]string, error) {
	ask := r.header
	if !cachedFields[strings.ToUpper(name)] {
		ask = r.source().header
	}
	h, err := ask()
	if err != nil {
		return nil, err
	}
	var values []string
	for _, v := range h.Values(name) {
		values = append(values, mime.DecodeHeader(v))
		if addressFields[strings.ToUpper(name)] {
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
	h, err := r.header()
	if err != nil {
		return time.Time{}, err
	}
	t, _ := mime.ParseDate(h.Get("Date")) // a date that nobody can read is none
	return t, nil
}

// maxSearched bounds how much of one part is searched.
const maxSearched = 16 << 20

func (r *row) Contains(folded string, header bool) (bool, error) {
	root, err := r.source().structure()
	if err != nil {
		return false, err
	}
	return r.within(root, folded, header)
}

// within looks into a part: its header, if that counts, and its text or its
// parts.
func (r *row) within(p *mime.Part, folded string, header bool) (bool, error) {
	if header {
		for _, f := range p.Header {
			if strings.Contains(search.Fold(f.Name+": "+mime.DecodeHeader(f.Value)), folded) {
				return true, nil
			}
		}
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
	body, err := r.source().slice(p.BodyOffset, p.BodySize)
	if err != nil {
		return false, err
	}
	text, err := io.ReadAll(io.LimitReader(p.Text(body), maxSearched))
	return strings.Contains(search.Fold(string(text)), folded), err
}
