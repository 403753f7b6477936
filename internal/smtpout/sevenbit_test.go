package smtpout

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"postbag/internal/message"
	"postbag/internal/mime"
)

func convert(t *testing.T, text string) (string, bool) {
	t.Helper()
	l, err := (&letter{open: source(text)}).sevenBit()
	if err != nil {
		t.Fatal(err)
	}
	if l == nil {
		return text, false
	}
	r, err := l.reader()
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(b), "\r\n", "\n"), true
}

func TestSevenBit(t *testing.T) {
	const plain = "MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\nX: y\n\ngrüße =\n"
	const quoted = "MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\nX: y\n\ngr=C3=BC=C3=9Fe =3D\n"
	for _, tt := range []struct{ name, in, want string }{
		{"text is quoted", plain, quoted},
		{"no MIME, no change", "Subject: x\n\ngrüße\n", ""},
		{"what somebody has signed stays", "DKIM-Signature: v=1\n" + plain, ""},
		{"text that says 7bit stays", strings.Replace(plain, "8bit", "7bit", 1), ""},
		{"other parts are base64", "MIME-Version: 1.0\nContent-Type: application/x\ncontent-transfer-encoding:\n binary\n\nü\n", "MIME-Version: 1.0\nContent-Type: application/x\nContent-Transfer-Encoding: base64\n\nw7wNCg==\n"},
		{"a multipart says so too",
			"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\nContent-Transfer-Encoding: 8bit\n\npre\n--b\n" + plain + "\n--b\n\nseven\n--b--\n",
			"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\nContent-Transfer-Encoding: 7bit\n\npre\n--b\n" + quoted + "\n--b\n\nseven\n--b--\n"},
		{"a letter in a letter",
			"MIME-Version: 1.0\nContent-Type: message/rfc822\nContent-Transfer-Encoding: 8bit\n\n" + plain,
			"MIME-Version: 1.0\nContent-Type: message/rfc822\nContent-Transfer-Encoding: 7bit\n\n" + quoted},
		{"what is new among messages may be encoded",
			"MIME-Version: 1.0\nContent-Type: message/global-headers\nContent-Transfer-Encoding: 8bit\n\nTo: ü\n",
			"MIME-Version: 1.0\nContent-Type: message/global-headers\nContent-Transfer-Encoding: base64\n\nVG86IMO8DQo=\n"},
		{"what is old must not", "MIME-Version: 1.0\nContent-Type: message/partial\nContent-Transfer-Encoding: 8bit\n\nTo: ü\n", ""},
		{"what is signed inside stays", "MIME-Version: 1.0\nContent-Type: multipart/signed; boundary=b\nContent-Transfer-Encoding: 8bit\n\n--b\n" + plain + "\n--b\n\nsig\n--b--\n", ""},
		{"beside it all is changed",
			"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: multipart/encrypted; boundary=b\nContent-Transfer-Encoding: 8bit\n\n--b\n" + plain + "\n--b--\n\n--a\n" + plain + "\n--a--\n",
			"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: multipart/encrypted; boundary=b\nContent-Transfer-Encoding: 8bit\n\n--b\n" + plain + "\n--b--\n\n--a\n" + quoted + "\n--a--\n"},
	} {
		got, changed := convert(t, tt.in)
		if changed != (tt.want != "") || changed && got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestOnlyAHostWithout8BITMIMEGetsAnotherForm(t *testing.T) {
	text := "MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\nü\n"
	for ehlo, want := range map[string]string{
		"8BITMIME\nSIZE":   "8bit\r\n\r\nü\r\n",
		"PIPELINING\nSIZE": "quoted-printable\r\n\r\n=C3=BC\r\n",
		"CHUNKING\nSIZE":   "quoted-printable\r\n\r\n=C3=BC\r\n",
	} {
		s := &script{ehlo: ehlo}
		results, err := client(t).Deliver(t.Context(), s.host(t), Mail{From: ann, Rcpts: to("bob")}, source(text))
		if err != nil || outcome(results) != "ok" || len(s.letters) != 1 || !strings.HasSuffix(s.letters[0], want) {
			t.Errorf("%q: %v, %q", ehlo, err, s.letters)
			continue
		}
		if size := fmt.Sprintf("SIZE=%d", len(s.letters[0])); !strings.Contains(s.said(), size) {
			t.Errorf("not told %s but\n%s", size, s.said())
		}
		if strings.Contains(s.said(), "BODY=8BITMIME") != (ehlo[0] == '8') {
			t.Errorf("BODY: %s", s.said())
		}
	}
}

// decoded is what the leaves of a letter hold.
func decoded(t *testing.T, wire []byte) (leaves []string) {
	t.Helper()
	root, err := mime.Parse(bytes.NewReader(wire))
	if err != nil {
		t.Fatal(err)
	}
	var walk func(p *mime.Part)
	walk = func(p *mime.Part) {
		for _, c := range p.Children {
			walk(c)
		}
		if p.Message != nil {
			walk(p.Message)
		}
		if len(p.Children) == 0 && p.Message == nil {
			r, err := mime.Decode(p.Encoding, bytes.NewReader(wire[p.BodyOffset:p.BodyOffset+p.BodySize]))
			if err != nil {
				return // an encoding that nobody knows
			}
			b, _ := io.ReadAll(r)
			leaves = append(leaves, string(b))
		}
	}
	walk(root)
	return leaves
}

// TestRealLettersHoldTheSameInSevenBits converts the letters of another module's
// tests.
func TestRealLettersHoldTheSameInSevenBits(t *testing.T) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/jhillyerd/enmime").Output()
	if err != nil {
		t.Skip("the module with the letters is not there")
	}
	files, _ := filepath.Glob(filepath.Join(strings.TrimSpace(string(out)), "testdata", "*", "*.raw"))
	changed := 0
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		// Few of them say 8bit; what says 7bit may as well.
		text = regexp.MustCompile(`(?i)(content-transfer-encoding:\s*)"?7bit"?`).ReplaceAll(text, []byte("${1}8bit"))
		before, _ := io.ReadAll(message.ToWire(bytes.NewReader(text)))
		l, err := (&letter{open: source(string(text))}).sevenBit()
		if err != nil {
			t.Fatal(f, err)
		}
		if l == nil {
			continue
		}
		r, _ := l.reader()
		after, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(f, err)
		}
		changed++
		if got, want := decoded(t, after), decoded(t, before); strings.Join(got, "\x00") != strings.Join(want, "\x00") {
			t.Errorf("%s: other contents", filepath.Base(f))
		}
	}
	if len(files) == 0 || changed == 0 {
		t.Errorf("%d of %d letters changed", changed, len(files))
	}
}

func FuzzSevenBit(f *testing.F) {
	f.Add([]byte("MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\nContent-Transfer-Encoding: 8bit\n\n--b\nContent-Transfer-Encoding: binary\n\n\xfc\n--b--\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		l, err := (&letter{open: source(string(text))}).sevenBit()
		if err != nil || l == nil {
			return
		}
		r, err := l.reader()
		if err != nil {
			t.Fatal(err)
		}
		after, err := io.ReadAll(r)
		if err != nil {
			t.Fatalf("%v", err)
		}
		before, _ := io.ReadAll(message.ToWire(bytes.NewReader(text)))
		if len(after) < len(before)/8 {
			t.Errorf("%d octets of %d", len(after), len(before))
		}
	})
}
