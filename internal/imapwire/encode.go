package imapwire

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// DateTime is the form of INTERNALDATE (RFC 9051 section 9).
const DateTime = "_2-Jan-2006 15:04:05 -0700"

// AppendString writes a string: quoted where it can be, else as a literal. With
// utf8 quoted strings may hold UTF-8 (RFC 9051 section 4.3).
func AppendString(b []byte, s string, utf8 bool) []byte {
	if !quotable(s, utf8) {
		b = append(b, '{')
		b = strconv.AppendInt(b, int64(len(s)), 10)
		b = append(b, "}\r\n"...)
		return append(b, s...)
	}
	b = append(b, '"')
	for i := range len(s) {
		if s[i] == '"' || s[i] == '\\' {
			b = append(b, '\\')
		}
		b = append(b, s[i])
	}
	return append(b, '"')
}

// maxQuoted keeps quoted strings short: some clients have small buffers.
const maxQuoted = 1000

func quotable(s string, eightBit bool) bool {
	if len(s) > maxQuoted {
		return false
	}
	ascii := true
	for i := range len(s) {
		switch c := s[i]; {
		case c == 0, c == '\r', c == '\n', c >= 0x80 && !eightBit:
			return false
		case c >= 0x80:
			ascii = false
		}
	}
	return ascii || utf8.ValidString(s)
}

// AppendAstring writes a string as an atom where it can be one.
func AppendAstring(b []byte, s string) []byte {
	for i := range len(s) {
		if !isAtom(s[i]) {
			return AppendString(b, s, false)
		}
	}
	if s == "" || strings.EqualFold(s, "NIL") {
		return AppendString(b, s, false)
	}
	return append(b, s...)
}

// AppendNString writes a string or NIL.
func AppendNString(b []byte, s *string, utf8 bool) []byte {
	if s == nil {
		return append(b, "NIL"...)
	}
	return AppendString(b, *s, utf8)
}

// ParseTime reads an INTERNALDATE. A leap second is taken for the one before it.
func ParseTime(text string) (time.Time, error) {
	return time.Parse(DateTime, strings.Replace(text, ":60 ", ":59 ", 1))
}

// AppendTime writes an INTERNALDATE.
func AppendTime(b []byte, t time.Time) []byte {
	b = append(b, '"')
	b = t.AppendFormat(b, DateTime)
	return append(b, '"')
}
