package mime

import (
	"bytes"
	"io"
	"strings"
	"testing"
)

func TestEncodeBinary(t *testing.T) {
	for name, c := range map[string]struct{ in, want string }{
		"nothing is binary":           {"Subject: x\r\n\r\ntext\r\n", "Subject: x\r\n\r\ntext\r\n"},
		"a letter":                    {"Content-Transfer-Encoding:\r\n binary\r\nSubject: x\r\n\r\n\x00\xff\n", "Subject: x\r\nContent-Transfer-Encoding: base64\r\n\r\nAP8K\r\n"},
		"a NUL says it":               {"Subject: x\r\n\r\na\x00b", "Subject: x\r\nContent-Transfer-Encoding: base64\r\n\r\nYQBi\r\n"},
		"a NUL in the header":         {"Subject: \x00\r\n\r\na", "Subject: \x00\r\n\r\na"},
		"an empty part is left":       {"Content-Transfer-Encoding: binary\r\n\r\n", "Content-Transfer-Encoding: binary\r\n\r\n"},
		"a part among others":         {multi("Content-Transfer-Encoding: binary\r\n\r\n\x01\x00"), multi("Content-Transfer-Encoding: base64\r\n\r\nAQA=\r\n")},
		"a part in a letter":          {"Content-Type: message/rfc822\r\n\r\nA: b\r\n\r\n\x00", "Content-Type: message/rfc822\r\n\r\nA: b\r\nContent-Transfer-Encoding: base64\r\n\r\nAA==\r\n"},
		"lines are of 76 octets":      {"\r\n" + strings.Repeat("\x00", 57*2), "Content-Transfer-Encoding: base64\r\n\r\n" + strings.Repeat(strings.Repeat("A", 76)+"\r\n", 2)},
		"a part after a part of text": {multi("\r\nplain"), multi("\r\nplain")},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			if err := EncodeBinary(&out, strings.NewReader(c.in), int64(len(c.in))); err != nil || out.String() != c.want {
				t.Errorf("%q, %v; want %q", out.String(), err, c.want)
			}
		})
	}
}

func multi(part string) string {
	return "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nfirst\r\n--b\r\n" + part + "\r\n--b--\r\n"
}

func TestEncodeBinaryKeepsWhatIsDecoded(t *testing.T) {
	body := bytes.Repeat([]byte{0, 1, 2, '\r', '\n', 255, 10}, 1000)
	in := append([]byte("Content-Transfer-Encoding: binary\r\n\r\n"), body...)
	var out bytes.Buffer
	if err := EncodeBinary(&out, bytes.NewReader(in), int64(len(in))); err != nil {
		t.Fatal(err)
	}
	root, err := Parse(bytes.NewReader(out.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	r, err := Decode(root.Encoding, bytes.NewReader(out.Bytes()[root.BodyOffset:]))
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := io.ReadAll(r); !bytes.Equal(got, body) {
		t.Errorf("%d octets come back of %d, or others", len(got), len(body))
	}
}
