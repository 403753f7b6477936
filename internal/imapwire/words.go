package imapwire

import (
	"bytes"
	"io"
	"strconv"
	"strings"
)

// word reads octets as long as ok says so.
func (r *Reader) word(ok func(byte) bool) (string, error) {
	var b []byte
	for {
		c, err := r.Peek()
		if err != nil {
			return "", err
		}
		if !ok(c) {
			return string(b), nil
		}
		if _, err := r.next(); err != nil {
			return "", err
		}
		b = append(b, c)
	}
}

// isAtom is ATOM-CHAR of RFC 9051 section 9.
func isAtom(c byte) bool {
	return c > ' ' && c < 0x7f && !strings.ContainsRune(`(){%*"\]`, rune(c))
}

func isAstring(c byte) bool { return isAtom(c) || c == ']' || c >= 0x80 }

// isListChar may stand in a pattern of LIST.
func isListChar(c byte) bool { return isAstring(c) || c == '%' || c == '*' }

func isTag(c byte) bool { return isAstring(c) && c != '+' && c < 0x80 }

// Tag reads the tag of a command.
func (r *Reader) Tag() (string, error) {
	s, err := r.word(isTag)
	if err == nil && s == "" {
		err = bad("tag is missing")
	}
	return s, err
}

// Atom reads an atom.
func (r *Reader) Atom() (string, error) {
	s, err := r.word(isAtom)
	if err == nil && s == "" {
		err = bad("atom expected")
	}
	return s, err
}

// Flag reads a flag: an atom, with a backslash before it if it is a system flag.
func (r *Reader) Flag() (string, error) {
	prefix := ""
	if r.Accept('\\') {
		prefix = `\`
	}
	s, err := r.Atom()
	return prefix + s, err
}

// Number reads a number of at most 63 bits.
func (r *Reader) Number() (int64, error) {
	s, err := r.word(func(c byte) bool { return c >= '0' && c <= '9' })
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0, bad("number expected")
	}
	return n, nil
}

// Astring reads an atom or a string.
func (r *Reader) Astring() (string, error) { return r.stringOr(isAstring) }

// ListMailbox reads a pattern of LIST.
func (r *Reader) ListMailbox() (string, error) { return r.stringOr(isListChar) }

func (r *Reader) stringOr(ok func(byte) bool) (string, error) {
	c, err := r.Peek()
	if err != nil {
		return "", err
	}
	if c == '"' || c == '{' {
		return r.String()
	}
	s, err := r.word(ok)
	if err == nil && s == "" {
		err = bad("string expected")
	}
	return s, err
}

// String reads a quoted string or a literal into memory.
func (r *Reader) String() (string, error) {
	if r.Accept('"') {
		return r.quoted()
	}
	l, err := r.Literal(min(r.Limits.String, r.Limits.Kept-r.kept))
	if err != nil {
		return "", err
	}
	r.kept += l.Size
	b, err := io.ReadAll(l)
	if err == nil && int64(len(b)) < l.Size {
		err = io.ErrUnexpectedEOF
	}
	if err == nil && bytes.IndexByte(b, 0) >= 0 {
		err = bad("NUL in a string")
	}
	return string(b), err
}

func (r *Reader) quoted() (string, error) {
	var b []byte
	for {
		c, err := r.next()
		if err != nil {
			return "", err
		}
		switch c {
		case '"':
			return string(b), nil
		case '\\':
			if c, err = r.next(); err != nil {
				return "", err
			}
			if c != '"' && c != '\\' {
				return "", bad("only quotes and backslashes are escaped")
			}
		case 0, '\r', '\n':
			return "", bad("quoted string without end")
		}
		b = append(b, c)
	}
}

// A Literal is being read. What is left of it when the next value is read is an
// error of the program; Drain skips it.
type Literal struct {
	Size   int64
	Binary bool // ~{n}: may hold NUL (RFC 3516)
	r      *Reader
}
