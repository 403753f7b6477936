package search

import (
	"bytes"
	"encoding/binary"
	"strings"
	"unicode/utf8"
)

// Contains reports whether text, once it is folded, holds what is folded
// already. ASCII, which most text is, is not copied for that.
func Contains(text []byte, folded string) bool {
	if folded == "" {
		return true
	}
	if !isASCII(text) {
		return strings.Contains(Fold(string(text)), folded)
	}
	at, ok := rarest(folded)
	if !ok || len(text) < len(folded) {
		return false // an octet above 127, or a capital: none of these is in folded ASCII
	}
	found, sure := find(text, folded, at)
	if !sure {
		return strings.Contains(Fold(string(text)), folded)
	}
	return found
}

// maxFalse bounds how often a place may look right at first before another
// way is taken, whose work is bounded by the text's length.
const maxFalse = 200

// find looks for folded at each place where text has the octet that stands in
// folded at a position. sure is false when it gave up.
func find(text []byte, folded string, at int) (found, sure bool) {
	probe := folded[at]
	last := len(text) - len(folded) + at // of the octet
	small := next(text, at, last, probe)
	capital := len(text)
	if isLetter(probe) {
		capital = next(text, at, last, probe-32)
	}
	for range maxFalse {
		i := min(small, capital)
		if i > last {
			return false, true
		}
		if equalFold(text[i-at:][:len(folded)], folded) {
			return true, true
		}
		if i == small {
			small = next(text, i+1, last, probe)
		} else {
			capital = next(text, i+1, last, probe-32)
		}
	}
	return false, false
}

// next gives the first place from one on where text has an octet; one behind
// last when there is none up to that.
func next(text []byte, from, last int, octet byte) int {
	if from > last {
		return last + 1
	}
	if i := bytes.IndexByte(text[from:last+1], octet); i >= 0 {
		return from + i
	}
	return last + 1
}

// equalFold reports whether ASCII text is folded text but for capitals.
func equalFold(text []byte, folded string) bool {
	for i := range len(folded) {
		c := text[i]
		if c >= 'A' && c <= 'Z' {
			c += 32
		}
		if c != folded[i] {
			return false
		}
	}
	return true
}

// common are the octets that text has most, the commonest last.
const common = "=<>@\n\r:0123456789_/;\"-qjzxvkwyfpb,.gumcdhlrsniaote "

// rarest gives the position of an octet of folded that text is likely to have
// least. ok is false when folded cannot be in folded ASCII.
func rarest(folded string) (at int, ok bool) {
	least := len(common) + 1
	for i := range len(folded) {
		c := folded[i]
		if c >= utf8.RuneSelf || c >= 'A' && c <= 'Z' {
			return 0, false
		}
		if n := strings.IndexByte(common, c); n < least {
			at, least = i, n
		}
	}
	return at, true
}

func isLetter(c byte) bool { return c >= 'a' && c <= 'z' }

// isASCII looks at eight octets at a time.
func isASCII(b []byte) bool {
	for ; len(b) >= 8; b = b[8:] {
		if binary.NativeEndian.Uint64(b)&0x8080808080808080 != 0 {
			return false
		}
	}
	for _, c := range b {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
