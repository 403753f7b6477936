package mime

import (
	"bufio"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/transform"
)

// DecodeHeader gives the text of an unstructured field, or of a display name,
// as UTF-8: encoded words (RFC 2047) are decoded, 8-bit text outside of them is
// taken as Charset does. An encoded word that cannot be decoded stays as it is.
func DecodeHeader(s string) string {
	if !strings.Contains(s, "=?") {
		if utf8.ValidString(s) {
			return s
		}
		return toUTF8("", []byte(s))
	}
	var out strings.Builder
	var open run // encoded words in a row, of which none may end within a character
	for s != "" {
		i := strings.Index(s, "=?")
		if i < 0 {
			break
		}
		w, rest, ok := encodedWord(s[i:])
		before := s[:i]
		if !ok {
			open.flush(&out)
			out.WriteString(toUTF8("", []byte(before+"=?")))
			s = s[i+2:]
			continue
		}
		// White space between encoded words is not shown: RFC 2047 section 6.2.
		if strings.Trim(before, " \t\r\n") != "" || !open.any {
			open.flush(&out)
			out.WriteString(toUTF8("", []byte(before)))
		}
		open.add(&out, w)
		s = rest
	}
	open.flush(&out)
	out.WriteString(toUTF8("", []byte(s)))
	return out.String()
}

// A run is encoded words of one charset in a row: some programs split
// characters between them, against RFC 2047 section 5.
type run struct {
	any     bool
	charset string
	octets  []byte
}

func (r *run) add(out *strings.Builder, w wordText) {
	if r.any && !strings.EqualFold(r.charset, w.charset) {
		r.flush(out)
	}
	r.any, r.charset = true, w.charset
	r.octets = append(r.octets, w.octets...)
}

func (r *run) flush(out *strings.Builder) {
	if r.any {
		out.WriteString(toUTF8(r.charset, r.octets))
	}
	*r = run{}
}

// A wordText is an encoded word without its transfer encoding.
type wordText struct {
	charset string
	octets  []byte
}

// maxWord bounds how far is looked for the end of an encoded word, which RFC
// 2047 section 2 allows 75 octets.
const maxWord = 2048

// encodedWord takes "=?charset?encoding?text?=" from the beginning of s.
func encodedWord(s string) (w wordText, rest string, ok bool) {
	near := s[2:min(len(s), maxWord)]
	charset, near, ok1 := strings.Cut(near, "?")
	encoding, near, ok2 := strings.Cut(near, "?")
	text, _, ok3 := strings.Cut(near, "?=")
	charset, _, _ = strings.Cut(charset, "*") // language: RFC 2231 section 5
	if !ok1 || !ok2 || !ok3 || charset == "" || strings.ContainsAny(charset, " \t") {
		return w, s, false
	}
	length := 2 + strings.Index(s[2:], "?") + 1 + len(encoding) + 1 + len(text) + 2
	w = wordText{charset: charset}
	switch encoding {
	case "B", "b":
		d := base64Decoder{r: bufio.NewReader(strings.NewReader(text))}
		w.octets, _ = d.next(nil) // maxWord is less than a piece
	case "Q", "q":
		w.octets = unquote(nil, []byte(strings.ReplaceAll(text, "_", " ")), true)
	default:
		return w, s, false
	}
	return w, s[length:], true
}

// toUTF8 is Charset for a short text.
func toUTF8(charset string, octets []byte) string {
	if isUnicode(charset) && isASCII(octets) {
		return string(octets)
	}
	out, _, err := transform.Bytes(decoder(charset), octets)
	if err != nil {
		return string(octets)
	}
	return string(out)
}

func isASCII(b []byte) bool {
	for _, c := range b {
		if c >= 0x80 {
			return false
		}
	}
	return true
}
