package imapsrv

import (
	"slices"
	"strconv"
	"strings"

	"postbag/internal/imapwire"
	"postbag/internal/mime"
)

// An encoder writes ENVELOPE and BODYSTRUCTURE (RFC 9051 section 7.5.2).
type encoder struct {
	b    []byte
	utf8 bool
	rev2 bool // encoded parameters become text, and message/global has an inside
}

func (e *encoder) raw(s string)      { e.b = append(e.b, s...) }
func (e *encoder) str(s string)      { e.b = imapwire.AppendString(e.b, s, e.utf8) }
func (e *encoder) nstring(s *string) { e.b = imapwire.AppendNString(e.b, s, e.utf8) }
func (e *encoder) number(n int64)    { e.b = strconv.AppendInt(e.b, n, 10) }

// orNil writes NIL for what is missing.
func (e *encoder) orNil(s string) {
	if s == "" {
		e.raw("NIL")
		return
	}
	e.str(s)
}

func (e *encoder) envelope(v *mime.Envelope) {
	e.raw("(")
	e.nstring(v.Date)
	e.raw(" ")
	e.nstring(v.Subject)
	for _, list := range [][]mime.Address{v.From, v.Sender, v.ReplyTo, v.To, v.Cc, v.Bcc} {
		e.raw(" ")
		e.addresses(list)
	}
	e.raw(" ")
	e.nstring(v.InReplyTo)
	e.raw(" ")
	e.nstring(v.MessageID)
	e.raw(")")
}

func (e *encoder) addresses(list []mime.Address) {
	if len(list) == 0 {
		e.raw("NIL")
		return
	}
	e.raw("(")
	for _, a := range list {
		e.address(a)
	}
	e.raw(")")
}

// address writes one member; the marks of groups have no host (RFC 9051 section
// 7.5.2).
func (e *encoder) address(a mime.Address) {
	switch a.Kind {
	case mime.GroupStart:
		e.raw("(NIL NIL ")
		e.str(a.Name)
		e.raw(" NIL)")
	case mime.GroupEnd:
		e.raw("(NIL NIL NIL NIL)")
	default:
		e.raw("(")
		e.orNil(a.Name)
		e.raw(" ")
		e.orNil(a.Route)
		e.raw(" ")
		e.str(a.Mailbox)
		e.raw(" ")
		e.str(a.Host) // NIL would be the mark of a group
		e.raw(")")
	}
}

// body writes the structure of a part; extended is BODYSTRUCTURE.
func (e *encoder) body(p *mime.Part, extended bool) {
	e.raw("(")
	if len(p.Children) > 0 {
		for _, c := range p.Children {
			e.body(c, extended)
		}
		e.raw(" ")
		e.str(strings.ToUpper(p.Subtype))
		if extended {
			e.raw(" ")
			e.params(p.Params)
			e.extensions(p)
		}
	} else {
		e.single(p, extended)
	}
	e.raw(")")
}

func (e *encoder) single(p *mime.Part, extended bool) {
	e.str(strings.ToUpper(p.Type))
	e.raw(" ")
	e.str(strings.ToUpper(p.Subtype))
	e.raw(" ")
	e.params(withCharset(p))
	e.raw(" ")
	e.orNil(p.ID)
	e.raw(" ")
	e.orNil(p.Description)
	e.raw(" ")
	e.str(p.Encoding)
	e.raw(" ")
	e.number(p.BodySize)
	inside := e.message(p)
	if inside != nil {
		e.raw(" ")
		e.envelope(inside.Envelope())
		e.raw(" ")
		e.body(inside, extended)
	}
	if inside != nil || strings.EqualFold(p.Type, "text") {
		e.raw(" ")
		e.number(p.Lines)
	}
	if extended {
		e.raw(" ")
		e.orNil(p.MD5)
		e.extensions(p)
	}
}

// message is the letter in a part, as far as the client knows that there can be
// one: IMAP4rev1 has message/rfc822 only (RFC 3501 section 9, body-type-msg).
func (e *encoder) message(p *mime.Part) *mime.Part {
	if p.Is("message", "global") && !e.rev2 {
		return nil
	}
	return p.Message
}

// extensions are what all parts have at the end: disposition, language, location.
func (e *encoder) extensions(p *mime.Part) {
	e.raw(" ")
	if p.Disposition == "" {
		e.raw("NIL")
	} else {
		e.raw("(")
		e.str(p.Disposition)
		e.raw(" ")
		e.params(p.DispositionParams)
		e.raw(")")
	}
	e.raw(" ")
	e.languages(p.Language)
	e.raw(" ")
	e.orNil(p.Location)
}

func (e *encoder) languages(tags []string) {
	if len(tags) == 0 {
		e.raw("NIL")
		return
	}
	e.raw("(")
	for i, l := range tags {
		if i > 0 {
			e.raw(" ")
		}
		e.str(l)
	}
	e.raw(")")
}

// withCharset gives the parameters of a part, with the charset that a text has by
// default (RFC 2046 section 4.1.2): clients know it from other servers.
func withCharset(p *mime.Part) []mime.Param {
	if !strings.EqualFold(p.Type, "text") || p.Param("charset") != "" {
		return p.Params
	}
	return append(slices.Clone(p.Params), mime.Param{Name: "charset", Value: "us-ascii"})
}

func (e *encoder) params(list []mime.Param) {
	if len(list) == 0 {
		e.raw("NIL")
		return
	}
	e.raw("(")
	for i, p := range list {
		if i > 0 {
			e.raw(" ")
		}
		e.str(strings.ToUpper(p.Name))
		e.raw(" ")
		e.str(e.value(p))
	}
	e.raw(")")
}

// value is that of a parameter: name* keeps its name, but not its encoding (RFC
// 9051 section 7.5.2, BODYSTRUCTURE). IMAP4rev1 has nothing of that, and its clients
// decode.
func (e *encoder) value(p mime.Param) string {
	if e.rev2 && strings.HasSuffix(p.Name, "*") {
		if text, ok := mime.ExtendedText(p.Value); ok {
			return text
		}
	}
	return p.Value
}
