package mime

import (
	"net/url"
	"strconv"
	"strings"
)

// A piece is a part of a value (RFC 2231 section 3): `name*0=`, or with a charset
// and octets in hexadecimal `name*0*=`.
type piece struct {
	name    string
	number  int
	encoded bool
}

// pieceOf takes the name of a parameter apart; ok is false when it is not that of
// a piece.
func pieceOf(name string) (p piece, ok bool) {
	rest, encoded := strings.CutSuffix(name, "*")
	at := strings.LastIndexByte(rest, '*')
	if at <= 0 {
		return p, false
	}
	n, err := strconv.ParseUint(rest[at+1:], 10, 16)
	return piece{rest[:at], int(n), encoded}, err == nil
}

// key is the same for pieces of one name and number.
func (p piece) key() string { return strings.ToLower(p.name) + "*" + strconv.Itoa(p.number) }

// joinPieces puts values that come in pieces together, where the first of them
// stands: as `name`, or as `name*` in the form of one that has a charset. Pieces
// without a first one, or after a gap, stay as they are.
func joinPieces(params []Param) []Param {
	at := map[string]int{}
	for i, p := range params {
		q, ok := pieceOf(p.Name)
		if _, twice := at[q.key()]; ok && !twice {
			at[q.key()] = i
		}
	}
	if len(at) == 0 {
		return params
	}
	used, whole := map[int]bool{}, map[int]Param{}
	for i, p := range params {
		q, ok := pieceOf(p.Name)
		if !ok || q.number > 0 || at[q.key()] != i {
			continue
		}
		var pieces []Param
		for k, there := i, true; there; k, there = at[q.key()] {
			pieces, used[k] = append(pieces, params[k]), true
			q.number++
		}
		whole[i] = join(q.name, pieces)
	}
	var joined []Param
	for i, p := range params {
		if w, ok := whole[i]; ok {
			joined = append(joined, w)
		} else if !used[i] {
			joined = append(joined, p)
		}
	}
	return joined
}

// join puts pieces together. When one is encoded the others are, too.
func join(name string, pieces []Param) Param {
	encoded := false
	for _, p := range pieces {
		encoded = encoded || strings.HasSuffix(p.Name, "*")
	}
	var b strings.Builder
	for _, p := range pieces {
		if encoded && !strings.HasSuffix(p.Name, "*") {
			b.WriteString(percent(p.Value))
			continue
		}
		b.WriteString(p.Value)
	}
	if encoded {
		name += "*"
	}
	return Param{name, b.String()}
}

// ExtendedText gives the text of an encoded value, charset'language'octets (RFC
// 2231 section 4). ok is false when it is not of that form, or holds what is no
// text.
func ExtendedText(value string) (text string, ok bool) {
	charset, rest, _ := strings.Cut(value, "'")
	_, encoded, ok := strings.Cut(rest, "'")
	octets, err := url.PathUnescape(encoded)
	if !ok || err != nil || !KnownCharset(charset) {
		return "", false
	}
	text = toUTF8(charset, []byte(octets))
	return text, !strings.ContainsAny(text, "\x00\r\n\uFFFD")
}

const upperHex = "0123456789ABCDEF"

// percent encodes what an encoded value cannot have as it is (RFC 2231 section 7).
func percent(s string) string {
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`*'%()<>@,;:\"/[]?=`, c) >= 0 {
			b.WriteString(string([]byte{'%', upperHex[c>>4], upperHex[c&15]}))
			continue
		}
		b.WriteByte(c)
	}
	return b.String()
}
