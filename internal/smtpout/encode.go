package smtpout

import "bytes"

// An encoder turns the disk form of a letter into what goes over the wire: line
// ends of whatever kind are CRLF, and with stuff a dot that begins a line is
// doubled (RFC 5321 section 4.5.2). The zero encoder is at the start of a line.
type encoder struct {
	stuff bool
	mid   bool // in the middle of a line
	cr    bool // the octet before was a CR, whose line end has been written
}

// append appends the wire form of p to dst.
func (e *encoder) append(dst, p []byte) []byte {
	for len(p) > 0 {
		if e.cr && p[0] == '\n' { // the second half of a CRLF
			p = p[1:]
			e.cr = false
			continue
		}
		e.cr = false
		if !e.mid && e.stuff && p[0] == '.' {
			dst = append(dst, '.')
		}
		i := lineEnd(p)
		if i < 0 {
			e.mid = true
			return append(dst, p...)
		}
		dst = append(append(dst, p[:i]...), '\r', '\n')
		e.cr = p[i] == '\r'
		e.mid = false
		p = p[i+1:]
	}
	return dst
}

// lineEnd finds the first CR or LF; -1 when there is none.
func lineEnd(p []byte) int {
	i := bytes.IndexByte(p, '\n')
	if i >= 0 {
		p = p[:i]
	}
	if cr := bytes.IndexByte(p, '\r'); cr >= 0 {
		return cr
	}
	return i
}

// end completes the last line: what ends a letter must stand on one of its own.
func (e *encoder) end(dst []byte) []byte {
	if e.mid {
		dst = append(dst, '\r', '\n')
		e.mid = false
	}
	return dst
}
