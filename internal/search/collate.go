package search

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Collate brings text into a form whose octets are in the order of i;unicode-casemap
// (RFC 5051 section 2): titles, taken apart.
func Collate(s string) string {
	if isASCIIString(s) {
		return strings.ToUpper(s)
	}
	return norm.NFKD.String(strings.Map(unicode.ToTitle, s))
}

// Fold brings text into the form that is compared, where letters are equal that
// Collate makes equal.
func Fold(s string) string {
	if isASCIIString(s) {
		return strings.ToLower(s)
	}
	return strings.ToLower(Collate(s))
}

func isASCIIString(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
