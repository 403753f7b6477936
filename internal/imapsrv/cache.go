package imapsrv

import (
	"time"

	"postbag/internal/mailcache"
	"postbag/internal/mime"
)

// cachedFields are the header fields that the cache has of every letter.
var cachedFields = map[string]bool{
	"DATE": true, "SUBJECT": true, "FROM": true, "SENDER": true, "REPLY-TO": true, "TO": true, "CC": true, "BCC": true,
	"MESSAGE-ID": true, "IN-REPLY-TO": true, "REFERENCES": true,
}

// newSource makes the source of letters of the selected folder, for one goroutine
// and one command.
func (s *session) newSource() source {
	cache := s.sel.folder.Cache(s.sel.view)
	return source{ctx: s.ctx, folder: s.sel.folder, cache: cache, known: cache.Reader()}
}

// facts are what the cache knows of the letter, or is told now.
func (src *source) facts() (mailcache.Entry, error) {
	if src.hasEntry {
		return src.entry, nil
	}
	e, ok := src.known.Get(src.letter.UID)
	if !ok {
		part, err := src.structure()
		if err != nil {
			return e, err
		}
		e = describe(part)
		src.cache.Put(src.letter.UID, e)
	}
	src.entry, src.hasEntry = e, true
	return e, nil
}

// describe makes the entry of a letter.
func describe(p *mime.Part) mailcache.Entry {
	w := encoder{b: make([]byte, 0, usualEntry)}
	w.envelope(p.Envelope())
	envelope := len(w.b)
	w.body(p, false)
	body := len(w.b)
	w.body(p, true)
	e := mailcache.Entry{Envelope: w.b[:envelope:envelope], Body: w.b[envelope:body:body], BodyStructure: w.b[body:]}
	e.ASCII = isASCII(e.Envelope) && isASCII(e.Body) && isASCII(e.BodyStructure)
	if t, ok := mime.ParseDate(p.Header.Get("Date")); ok {
		e.Sent = t.Truncate(time.Second)
	}
	e.Fields = cacheable(p.Header)
	return e
}

// Octets that most letters need no more than.
const (
	usualEntry  = 1024
	usualFields = 512
)

// cacheable are the fields of a header that the cache has.
func cacheable(h mime.Header) mailcache.Fields {
	f := make(mailcache.Fields, 0, usualFields)
	for i := range h {
		if isOneOf(cachedFields, h[i].Name) {
			f = f.Add(h[i].Name, h[i].Value)
		}
	}
	return f
}

// isOneOf looks a name up, whatever its case, among such in capitals.
func isOneOf(names map[string]bool, name string) bool {
	var upper [16]byte // longer than all of them
	if len(name) > len(upper) {
		return false
	}
	for i := range len(name) {
		if upper[i] = name[i]; 'a' <= name[i] && name[i] <= 'z' {
			upper[i] -= 'a' - 'A'
		}
	}
	return names[string(upper[:len(name)])]
}

func isASCII(b []byte) bool {
	for _, c := range b {
		if c >= 0x80 {
			return false
		}
	}
	return true
}

// maxParsed is the size of a letter of which all is parsed, for the cache, when
// only its header is asked for.
const maxParsed = 64 << 10

// brief is an Entry with the date and the fields at least.
func (src *source) brief() (mailcache.Entry, error) {
	if src.hasEntry {
		return src.entry, nil
	}
	if e, ok := src.known.Get(src.letter.UID); ok {
		src.entry, src.hasEntry = e, true
		return e, nil
	}
	c, err := src.content()
	if err != nil {
		return mailcache.Entry{}, err
	}
	if src.cache != nil && c.Size() <= maxParsed {
		return src.facts()
	}
	h, err := src.header()
	if err != nil {
		return mailcache.Entry{}, err
	}
	e := mailcache.Entry{Fields: cacheable(h)}
	if t, ok := mime.ParseDate(h.Get("Date")); ok {
		e.Sent = t.Truncate(time.Second)
	}
	return e, nil
}

// header is that of the letter.
func (src *source) header() (mime.Header, error) {
	c, err := src.content()
	if err != nil {
		return nil, err
	}
	if text, ok := c.Text(); ok {
		return mime.ParseTextHeader(text).Header, nil
	}
	part, err := mime.ParseHeader(c)
	if err != nil {
		return nil, err
	}
	return part.Header, nil
}
