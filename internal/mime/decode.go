package mime

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/ianaindex"
	"golang.org/x/text/transform"
)

// ErrEncoding means a Content-Transfer-Encoding that is not known: IMAP's NO
// [UNKNOWN-CTE].
var ErrEncoding = errors.New("unknown transfer encoding")

// Decode undoes a Content-Transfer-Encoding, "" being 7bit. What is broken in
// the encoded text is passed over (base64) or taken as it stands
// (quoted-printable).
func Decode(transferEncoding string, r io.Reader) (io.Reader, error) {
	switch strings.ToLower(transferEncoding) {
	case "", "7bit", "8bit", "binary":
		return r, nil
	case "base64":
		return &pieces{next: (&base64Decoder{r: bufio.NewReader(r)}).next}, nil
	case "quoted-printable":
		return &pieces{next: (&quotedDecoder{r: bufio.NewReader(r)}).next}, nil
	}
	return nil, ErrEncoding
}

// Text gives the text of a part as UTF-8, from its body in wire form. An
// encoding that is not known is left as it is.
func (p *Part) Text(body io.Reader) io.Reader {
	r, err := Decode(p.Encoding, body)
	if err != nil {
		r = body
	}
	return Charset(p.Param("charset"), r)
}

// Plain is Text for a body in memory whose octets are its text already: then it
// is the body itself, else ok is false.
func (p *Part) Plain(body []byte) (text []byte, ok bool) {
	switch strings.ToLower(p.Encoding) {
	case "base64", "quoted-printable":
		return nil, false
	}
	charset := p.Param("charset")
	if isUnicode(charset) {
		return body, utf8.Valid(body)
	}
	return body, extendsASCII(charset) && isASCII(body)
}

// extendsASCII reports whether octets below 128 are ASCII in a charset, as far as
// its name tells.
func extendsASCII(charset string) bool {
	charset = strings.ToLower(charset)
	return strings.HasPrefix(charset, "iso-8859-") || strings.HasPrefix(charset, "windows-125")
}

// Charset gives text of the named charset as UTF-8. Octets that are none in
// UTF-8, US-ASCII, or a charset that is not known, are taken for windows-1252,
// which is what they mostly are.
func Charset(name string, r io.Reader) io.Reader {
	return transform.NewReader(r, decoder(name))
}

// KnownCharset reports whether text of the named charset can be decoded.
func KnownCharset(name string) bool {
	return isUnicode(name) || lookup(name) != nil
}

func decoder(name string) transform.Transformer {
	if !isUnicode(name) {
		if e := lookup(name); e != nil {
			return e.NewDecoder()
		}
	}
	return lenientUTF8{}
}

// isUnicode: nothing to decode but what is wrong.
func isUnicode(name string) bool {
	switch strings.ToLower(name) {
	case "", "utf-8", "utf8", "us-ascii", "ascii", "unknown-8bit", "x-unknown":
		return true
	}
	return false
}

func lookup(name string) encoding.Encoding {
	if e, err := htmlindex.Get(name); err == nil {
		return e
	}
	if e, err := ianaindex.MIME.Encoding(name); err == nil && e != nil {
		return e
	}
	return nil
}

// lenientUTF8 passes UTF-8, and takes each octet that is not for windows-1252.
type lenientUTF8 struct{ transform.NopResetter }

func (lenientUTF8) Transform(dst, src []byte, atEOF bool) (nDst, nSrc int, err error) {
	for nSrc < len(src) {
		r, size := rune(src[nSrc]), 1
		if r >= utf8.RuneSelf {
			if !atEOF && !utf8.FullRune(src[nSrc:]) {
				return nDst, nSrc, transform.ErrShortSrc
			}
			if r, size = utf8.DecodeRune(src[nSrc:]); r == utf8.RuneError && size == 1 {
				r = charmap.Windows1252.DecodeByte(src[nSrc])
			}
		}
		if nDst+utf8.RuneLen(r) > len(dst) {
			return nDst, nSrc, transform.ErrShortDst
		}
		nDst += utf8.EncodeRune(dst[nDst:], r)
		nSrc += size
	}
	return nDst, nSrc, nil
}
