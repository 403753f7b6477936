package mime

import (
	"bufio"
	"bytes"
)

// pieces reads what next gives, piece by piece.
type pieces struct {
	next func(piece []byte) ([]byte, error) // appends; an error comes after the last octet
	buf  []byte                             // storage of the piece
	rest []byte                             // of the piece, not yet read
	err  error
}

func (p *pieces) Read(b []byte) (int, error) {
	for len(p.rest) == 0 {
		if p.err != nil {
			return 0, p.err
		}
		p.buf, p.err = p.next(p.buf[:0])
		p.rest = p.buf
	}
	n := copy(b, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

// pieceSize is about how much of an encoded text is decoded at a time.
const pieceSize = 4096

// A base64Decoder passes over what is not base64, and takes each padding for
// the end of a text, after which another may follow.
type base64Decoder struct {
	r    *bufio.Reader
	bits uint32
	n    int // digits in bits
}

func (d *base64Decoder) next(piece []byte) ([]byte, error) {
	for range pieceSize {
		c, err := d.r.ReadByte()
		if err != nil {
			return d.flush(piece), err
		}
		v := base64Digit[c]
		switch {
		case c == '=':
			piece = d.flush(piece)
		case v != notBase64:
			d.bits = d.bits<<6 | uint32(v)
			if d.n++; d.n == 4 {
				piece = append(piece, byte(d.bits>>16), byte(d.bits>>8), byte(d.bits))
				d.bits, d.n = 0, 0
			}
		}
	}
	return piece, nil
}

// flush ends a group that is not full.
func (d *base64Decoder) flush(piece []byte) []byte {
	switch d.n {
	case 2:
		piece = append(piece, byte(d.bits>>4))
	case 3:
		piece = append(piece, byte(d.bits>>10), byte(d.bits>>2))
	}
	d.bits, d.n = 0, 0
	return piece
}

const notBase64 = 0xff

var base64Digit = func() (t [256]byte) {
	for i := range t {
		t[i] = notBase64
	}
	for i, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/") {
		t[c] = byte(i)
	}
	return t
}()

// A quotedDecoder undoes quoted-printable (RFC 2045 section 6.7). A line that
// is too long for its buffer is decoded in parts.
type quotedDecoder struct{ r *bufio.Reader }

func (d *quotedDecoder) next(piece []byte) ([]byte, error) {
	line, err := d.r.Peek(max(1, d.r.Buffered()))
	end := bytes.IndexByte(line, '\n')
	if end < 0 && err == nil {
		line, err = d.r.Peek(d.r.Size())
		end = bytes.IndexByte(line, '\n')
	}
	part := true
	switch {
	case end >= 0:
		line, part, err = line[:end+1], false, nil
	case err == nil:
		line = line[:len(line)-heldBack(line)]
	}
	piece = unquote(piece, line, part)
	d.r.Discard(len(line)) // it is in the buffer
	return piece, err
}

// heldBack is how many octets at the end of a part of a line mean something
// only with what follows: blanks before the line's end, and the beginning of an
// encoded octet. Blanks alone are nothing to wait for.
func heldBack(line []byte) int {
	if blanks := len(line) - len(bytes.TrimRight(line, " \t\r")); blanks > 0 && blanks < len(line) {
		return blanks
	}
	for i := 1; i <= 2; i++ {
		if line[len(line)-i] == '=' {
			return i
		}
	}
	return 0
}

// unquote appends what a line means. A line that is not whole has no end, and
// what stands at its end is no soft line break.
func unquote(piece, line []byte, part bool) []byte {
	end := []byte(nil)
	if !part {
		text := bytes.TrimRight(line, "\r\n")
		end = line[len(text):]
		line = bytes.TrimRight(text, " \t") // added by transport: RFC 2045 section 6.7 rule 3
		if n := len(line); n > 0 && line[n-1] == '=' {
			line, end = line[:n-1], nil
		}
	}
	for i := 0; i < len(line); i++ {
		if line[i] == '=' && i+2 < len(line) {
			hi, lo := hexDigit(line[i+1]), hexDigit(line[i+2])
			if hi >= 0 && lo >= 0 {
				piece = append(piece, byte(hi<<4|lo))
				i += 2
				continue
			}
		}
		piece = append(piece, line[i])
	}
	return append(piece, end...)
}

func hexDigit(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	}
	return -1
}
