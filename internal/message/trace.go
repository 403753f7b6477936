package message

import (
	"strconv"
	"time"
)

// A Trace is one step of a letter's way, as its Received field tells it.
// Empty strings are left out.
type Trace struct {
	FromHELO string    // what the client called itself
	FromName string    // what DNS calls its address
	FromIP   string    // its address, as in an address literal without the brackets
	ByHost   string    // our host
	With     string    // protocol, of the IANA "Mail Transmission Types": ESMTPS
	ID       string    // queue ID
	For      string    // the one recipient; "" if there are several
	TLS      string    // version and cipher suite
	UID      int       // local user who submitted; -1 for none. Used when FromHELO and FromIP are empty
	At       time.Time // in the zone that shall be printed

	Priority int // RFC 6710; 0 is left out
}

// DateFormat is the layout of RFC 5322 section 3.3 for package time.
const DateFormat = "Mon, 2 Jan 2006 15:04:05 -0700 (MST)"

// plainDate is DateFormat without the comment.
const plainDate = "Mon, 2 Jan 2006 15:04:05 -0700"

// Received returns the trace field of RFC 5321 section 4.4. What the client
// said is cleaned of octets that could end a clause or a comment.
func (t Trace) Received() Field {
	b := make([]byte, 0, 256)
	b = append(b, "Received: "...)
	b = t.from(b)
	b = append(b, "by "...)
	b = clean(b, t.ByHost)
	b = t.by(b)
	if t.With != "" {
		b = append(append(b, " with "...), t.With...)
	}
	if t.ID != "" {
		b = append(append(b, " id "...), t.ID...)
	}
	if t.TLS != "" {
		b = append(b, "\n\t(using "...)
		b = clean(b, t.TLS)
		b = append(b, ')')
	}
	if t.For != "" {
		b = append(b, "\n\tfor <"...)
		b = clean(b, t.For)
		b = append(b, '>')
	}
	if t.Priority != 0 { // RFC 6710 section 4.1
		b = append(b, "\n\tpriority "...)
		b = strconv.AppendInt(b, int64(t.Priority), 10)
	}
	b = append(b, ";\n\t"...)
	b = t.At.AppendFormat(b, plainDate)
	return Field{Name: "Received", Raw: append(b, '\n')}
}

func (t Trace) from(b []byte) []byte {
	if t.FromHELO == "" && t.FromIP == "" {
		return b
	}
	b = append(b, "from "...)
	if t.FromHELO == "" {
		b = append(b, "unknown"...)
	}
	b = clean(b, t.FromHELO)
	if t.FromIP != "" {
		b = append(b, " ("...)
		if t.FromName != "" {
			b = append(clean(b, t.FromName), ' ')
		}
		b = append(b, '[')
		b = clean(b, t.FromIP)
		b = append(b, "])"...)
	}
	return append(b, "\n\t"...)
}

func (t Trace) by(b []byte) []byte {
	if t.FromHELO == "" && t.FromIP == "" && t.UID >= 0 {
		b = append(b, " (postbag, from userid "...)
		return append(strconv.AppendInt(b, int64(t.UID), 10), ')')
	}
	return append(b, " (postbag)"...)
}

// clean appends s with octets that have a meaning in a Received field, or
// none in any field, made '?'. TLS names hold blanks, addresses quotes.
func clean(b []byte, s string) []byte {
	for i := range len(s) {
		c := s[i]
		if c < ' ' || c == 0x7f || c == '(' || c == ')' || c == '<' || c == '>' || c == ';' || c == '\\' {
			c = '?'
		}
		b = append(b, c)
	}
	return b
}
