package mime

import (
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestDecode(t *testing.T) {
	long := strings.Repeat("x", 10_000)
	tests := []struct{ name, encoding, in, want string }{
		{"7bit is itself", "7BIT", "a=3D\r\n", "a=3D\r\n"},
		{"base64", "Base64", "aGVs\r\nbG8=\r\n", "hello"},
		{"base64 with rubbish", "base64", "a!G*Vsb G8", "hello"},
		{"two base64 texts in a row", "base64", "aGVsbG8=aGVsbG8=", "hellohello"},
		{"base64 cut off", "base64", "aGVsb", "hel"},
		{"quoted-printable", "quoted-printable", "a=3Db =\r\nc=\nd \r\ne=zz=4", "a=b cd\r\ne=zz=4"},
		{"a soft line break with blanks after it", "quoted-printable", "a= \t\r\nb", "ab"},
		{"a quoted-printable line longer than any buffer", "quoted-printable", strings.Repeat("x=3D", 10_000), strings.Repeat("x=", 10_000)},
		{"a long line with blanks at its end", "quoted-printable", long + "  \r\ny", long + "\r\ny"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, in := range []io.Reader{strings.NewReader(tt.in), iotest.OneByteReader(strings.NewReader(tt.in))} {
				r, err := Decode(tt.encoding, in)
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(iotest.OneByteReader(r))
				if err != nil || string(got) != tt.want {
					t.Errorf("Decode = %.80q, %v, want %.80q", got, err, tt.want)
				}
			}
		})
	}
	if _, err := Decode("x-uuencode", strings.NewReader("")); err != ErrEncoding {
		t.Errorf("Decode(x-uuencode) = %v, want ErrEncoding", err)
	}
}

func TestDecodeHeader(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"plain", "hello", "hello"},
		{"Q", "=?iso-8859-1?q?J=F6rg_S?= x", "Jörg S x"},
		{"B", "=?UTF-8?B?SsO2cmc=?=", "Jörg"},
		{"blanks between words go", "=?utf-8?q?a?=  =?utf-8?q?b?= c =?utf-8?q?d?=", "ab c d"},
		{"a character split between words", "=?utf-8?q?J=C3?= =?utf-8?q?=B6rg?=", "Jörg"},
		{"two charsets in a row", "=?iso-8859-1?q?=F6?= =?utf-8?q?=C3=B6?=", "öö"},
		{"a language", "=?us-ascii*en?q?x?=", "x"},
		{"an unknown encoding stays", "=?utf-8?x?abc?= d", "=?utf-8?x?abc?= d"},
		{"no end", "a =?utf-8?q?abc", "a =?utf-8?q?abc"},
		{"raw UTF-8", "Jörg", "Jörg"},
		{"raw Latin-1", "J\xf6rg", "Jörg"},
		{"a double-byte charset", "=?iso-2022-jp?b?GyRCRnxLXBsoQg==?=", "日本"},
		{"blanks and question marks in the text", "=?utf-8?q?a b?c?=", "a b?c"},
		{"inside of a word", "x=?utf-8?q?a?=y", "xay"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := DecodeHeader(tt.in); got != tt.want {
				t.Errorf("DecodeHeader(%q) = %q, want %q", tt.in, got, tt.want)
			}
		})
	}
}

func TestText(t *testing.T) {
	tests := []struct{ name, header, body, want string }{
		{"charset and encoding", "Content-Type: text/plain; charset=iso-8859-15\nContent-Transfer-Encoding: quoted-printable\n\n", "=A4", "€"},
		{"UTF-8 that says it is ASCII", "Content-Type: text/plain; charset=us-ascii\n\n", "ö", "ö"},
		{"an unknown charset", "Content-Type: text/plain; charset=x-klingon\n\n", "ö\xf6", "öö"},
		{"an unknown encoding is left", "Content-Transfer-Encoding: x-rot13\n\n", "abc", "abc"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, _ := ParseHeader(strings.NewReader(crlf(tt.header)))
			got, err := io.ReadAll(p.Text(iotest.OneByteReader(strings.NewReader(tt.body))))
			if err != nil || string(got) != tt.want {
				t.Errorf("Text = %q, %v, want %q", got, err, tt.want)
			}
		})
	}
}

func FuzzDecodeHeader(f *testing.F) {
	f.Add("a =?utf-8?q?J=C3?= =?utf-8?b?tg==?= b")
	f.Fuzz(func(t *testing.T, s string) { DecodeHeader(s) })
}
