package imapsrv

import (
	"strings"

	"postbag/internal/mailcache"
	"postbag/internal/mime"
)

// cachedFields are the header fields that the cache has of every letter.
var cachedFields = map[string]bool{
	"DATE": true, "SUBJECT": true, "FROM": true, "SENDER": true, "REPLY-TO": true, "TO": true, "CC": true, "BCC": true,
	"MESSAGE-ID": true, "IN-REPLY-TO": true, "REFERENCES": true,
}

// sourceOf is the text of a letter, and what the cache knows of it.
func (s *session) sourceOf(src source) *source {
	src.ctx, src.folder, src.cache = s.ctx, s.sel.folder, s.sel.folder.Cache(s.sel.view)
	return &src
}

// facts are what the cache knows of the letter, or is told now.
func (src *source) facts() (mailcache.Entry, error) {
	if src.known == nil {
		e, ok := src.cache.Get(src.letter.UID)
		if !ok {
			part, err := src.structure()
			if err != nil {
				return e, err
			}
			e = describe(part)
			src.cache.Put(src.letter.UID, e)
		}
		src.known = &e
	}
	return *src.known, nil
}

// describe makes the entry of a letter.
func describe(p *mime.Part) mailcache.Entry {
	var envelope, body, structure encoder
	envelope.envelope(p.Envelope())
	body.body(p, false)
	structure.body(p, true)
	e := mailcache.Entry{Envelope: envelope.b, Body: body.b, BodyStructure: structure.b}
	e.ASCII = isASCII(e.Envelope) && isASCII(e.Body) && isASCII(e.BodyStructure)
	for _, f := range p.Header {
		if cachedFields[strings.ToUpper(f.Name)] {
			e.Fields = append(e.Fields, mailcache.Field(f))
		}
	}
	return e
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

// fields are the cachedFields of the letter.
func (src *source) fields() (mime.Header, error) {
	if e, ok := src.cache.Get(src.letter.UID); ok {
		return headerOf(e), nil
	}
	c, err := src.content()
	if err != nil {
		return nil, err
	}
	if src.cache != nil && c.Size() <= maxParsed {
		e, err := src.facts()
		return headerOf(e), err
	}
	return src.header()
}

// header is that of the letter.
func (src *source) header() (mime.Header, error) {
	c, err := src.content()
	if err != nil {
		return nil, err
	}
	part, err := mime.ParseHeader(c)
	if err != nil {
		return nil, err
	}
	return part.Header, nil
}

func headerOf(e mailcache.Entry) mime.Header {
	h := make(mime.Header, len(e.Fields))
	for i, f := range e.Fields {
		h[i] = mime.Field(f)
	}
	return h
}
