package mime

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	_ "github.com/jhillyerd/enmime/mediatype" // keeps the module, with its letters, in go.mod
)

// crlf writes a letter of a test in wire form.
func crlf(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }

// outline prints a structure: type, what the body is, and what is inside.
func outline(p *Part, letter string) string {
	body := letter[p.BodyOffset : p.BodyOffset+p.BodySize]
	s := fmt.Sprintf("%s/%s", strings.ToLower(p.Type), strings.ToLower(p.Subtype))
	switch {
	case p.Message != nil:
		return s + "{" + outline(p.Message, letter) + "}"
	case p.Children != nil:
		var parts []string
		for _, c := range p.Children {
			parts = append(parts, outline(c, letter))
		}
		return s + "(" + strings.Join(parts, " ") + ")"
	}
	return fmt.Sprintf("%s %q/%d", s, body, p.Lines)
}

func TestParseStructure(t *testing.T) {
	tests := []struct{ name, letter, want string }{
		{"a letter without a type is plain text", "Subject: x\n\nhello\n", `text/plain "hello\r\n"/1`},
		{"an empty letter", "", `text/plain ""/0`},
		{"a header alone", "Subject: x\n", `text/plain ""/0`},
		{"no header", "\nhello", `text/plain "hello"/0`},
		{"a text without subtype is plain text", "Content-Type: text\n\nx\n", `text/plain "x\r\n"/1`},
		{"another type without subtype is anything", "Content-Type: image\n\nx\n", `application/octet-stream "x\r\n"/1`},
		{"the line end before a delimiter belongs to it",
			"Content-Type: multipart/mixed; boundary=b\n\npreamble\n--b\n\none\n--b\nContent-Type: text/html\n\ntwo\n\n--b--\nepilogue\n",
			`multipart/mixed(text/plain "one"/0 text/html "two\r\n"/1)`},
		{"a part without header and body", "Content-Type: multipart/mixed; boundary=b\n\n--b\n--b\n\n--b--\n",
			`multipart/mixed(text/plain ""/0 text/plain ""/0)`},
		{"a delimiter in a header ends the part",
			"Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/html\n--b--\n", `multipart/mixed(text/html ""/0)`},
		{"the end of the letter ends everything",
			"Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: multipart/alternative; boundary=b\n\n--b\n\nx",
			`multipart/mixed(multipart/alternative(text/plain "x"/0))`},
		{"an outer delimiter ends an inner multipart that has no end",
			"Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: multipart/alternative; boundary=b\n\n--b\n\nx\n--a\n\ny\n--a--\n",
			`multipart/mixed(multipart/alternative(text/plain "x"/0) text/plain "y"/0)`},
		{"an inner boundary that begins as the outer one",
			"Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: multipart/alternative; boundary=ab\n\n--ab\n\nx\n--ab--\n--a--\n",
			`multipart/mixed(multipart/alternative(text/plain "x"/0))`},
		{"an outer boundary that begins as the inner one",
			"Content-Type: multipart/mixed; boundary=ab\n\n--ab\nContent-Type: multipart/alternative; boundary=a\n\n--a\n\nx\n--ab\n\ny\n--ab--\n",
			`multipart/mixed(multipart/alternative(text/plain "x"/0) text/plain "y"/0)`},
		{"blanks after a delimiter", "Content-Type: multipart/mixed; boundary=\"a b\"\n\n--a b \t\n\nx\n--a b-- \n",
			`multipart/mixed(text/plain "x"/0)`},
		{"dashes that delimit nothing", "Content-Type: multipart/mixed; boundary=b\n\n--b\n\n-- \nsig\n--c\n----b\n--b--\n",
			`multipart/mixed(text/plain "-- \r\nsig\r\n--c\r\n----b"/3)`},
		{"a multipart without boundary is its text", "Content-Type: multipart/mixed\n\n--b\n\nx\n--b--\n",
			`text/plain "--b\r\n\r\nx\r\n--b--\r\n"/4`},
		{"a multipart whose boundary never comes is its text", "Content-Type: multipart/mixed; boundary=b\n\nx\n",
			`text/plain "x\r\n"/1`},
		{"parts of a digest are letters", "Content-Type: multipart/digest; boundary=b\n\n--b\n\nSubject: in\n\nx\n--b\nContent-Type: text/plain\n\ny\n--b--\n",
			`multipart/digest(message/rfc822{text/plain "x"/0} text/plain "y"/0)`},
		{"a letter in a letter", "Content-Type: message/rfc822\n\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nx\n--b--\n",
			`message/rfc822{multipart/mixed(text/plain "x"/0)}`},
		{"message/global is a letter", "Content-Type: message/global\n\nSubject: ü\n\nx\n", `message/global{text/plain "x\r\n"/1}`},
		{"after the last delimiter nothing counts", "Content-Type: multipart/mixed; boundary=b\n\n--b\n\nx\n--b--\n--b\n\ny\n--b--\n",
			`multipart/mixed(text/plain "x"/0)`},
		{"types keep their case for Is", "Content-Type: MULTIPART/Mixed; BOUNDARY=b\n\n--b\n\nx\n--b--\n", `multipart/mixed(text/plain "x"/0)`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for form, letter := range map[string]string{"CRLF": crlf(tt.letter), "LF": tt.letter} {
				p, err := Parse(iotest.OneByteReader(strings.NewReader(letter)))
				if err != nil {
					t.Fatal(err)
				}
				want := tt.want
				if form == "LF" {
					want = strings.ReplaceAll(want, `\r`, "")
				}
				if got := outline(p, letter); got != want {
					t.Errorf("Parse(%s) =\n%s\nwant\n%s", form, got, want)
				}
				checkPart(t, p, letter)
			}
		})
	}
}

// checkPart holds what the package promises of every structure.
func checkPart(t *testing.T, p *Part, letter string) {
	t.Helper()
	if p.BodyOffset != p.HeaderOffset+p.HeaderSize || p.BodySize < 0 || p.BodyOffset+p.BodySize > int64(len(letter)) {
		t.Fatalf("%s/%s at %d+%d, %d+%d of %d", p.Type, p.Subtype, p.HeaderOffset, p.HeaderSize, p.BodyOffset, p.BodySize, len(letter))
	}
	if n := strings.Count(letter[p.BodyOffset:p.BodyOffset+p.BodySize], "\n"); int64(n) != p.Lines {
		t.Fatalf("%s/%s at %d: %d lines, want %d", p.Type, p.Subtype, p.BodyOffset, p.Lines, n)
	}
	if n := strings.Count(letter[p.HeaderOffset:p.BodyOffset], "\n"); int64(n) != p.HeaderLines {
		t.Fatalf("header at %d: %d lines, want %d", p.HeaderOffset, p.HeaderLines, n)
	}
	if p.Is("multipart", "*") != (len(p.Children) > 0) || p.isMessage() != (p.Message != nil) {
		t.Fatalf("%s/%s has %d children, message %v", p.Type, p.Subtype, len(p.Children), p.Message)
	}
	at, inside := p.BodyOffset, p.Children
	if p.Message != nil {
		inside = []*Part{p.Message}
	}
	for _, c := range inside {
		if c.HeaderOffset < at {
			t.Fatalf("part at %d begins before %d", c.HeaderOffset, at)
		}
		checkPart(t, c, letter)
		at = c.BodyOffset + c.BodySize
	}
	if at > p.BodyOffset+p.BodySize {
		t.Fatalf("parts end at %d, their parent at %d", at, p.BodyOffset+p.BodySize)
	}
}

func TestParseFields(t *testing.T) {
	letter := crlf(`Content-Type: text/plain; charset="us\-ascii" (really); name=a b.txt; x; =y;
	format = flowed
Content-ID: <1@x>
content-description: some
 thing
Content-Transfer-Encoding: BASE64 (of course)
Content-MD5: abc==
Content-Disposition: attachment; filename*0="a;"; filename*1=b
Content-Language: de, en-GB
Content-Location: http://x/
  y

`)
	p, err := Parse(strings.NewReader(letter))
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprint(p.Type, p.Subtype, p.Params, p.ID, p.Description, p.Encoding, p.MD5, p.Disposition, p.DispositionParams, p.Language, p.Location)
	want := fmt.Sprint("text", "plain", []Param{{"charset", "us-ascii"}, {"name", "a b.txt"}, {"format", "flowed"}}, "<1@x>", "some thing", "BASE64",
		"abc==", "attachment", []Param{{"filename", "a;b"}}, []string{"de", "en-GB"}, "http://x/y")
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestParseBounds(t *testing.T) {
	t.Run("depth", func(t *testing.T) {
		letter := strings.Repeat("Content-Type: message/rfc822\r\n\r\n", 500)
		p, _ := Parse(strings.NewReader(letter))
		checkPart(t, p, letter)
		depth := 0
		for ; p.Message != nil; p = p.Message {
			depth++
		}
		if depth != maxDepth {
			t.Errorf("depth %d, want %d", depth, maxDepth)
		}
	})
	t.Run("number of parts", func(t *testing.T) {
		letter := "Content-Type: multipart/mixed; boundary=b\r\n\r\n" + strings.Repeat("--b\r\n\r\nx\r\n", 3*maxParts)
		p, _ := Parse(strings.NewReader(letter))
		checkPart(t, p, letter)
		if n := len(p.Children); n != maxParts-1 {
			t.Errorf("%d parts, want %d", n, maxParts-1)
		}
	})
	t.Run("a header over the limit is counted and cut", func(t *testing.T) {
		letter := "Subject: x\r\n" + strings.Repeat("X: "+strings.Repeat("y", 100_000)+"\r\n", 20) + "To: z\r\n\r\nbody\r\n"
		p, _ := Parse(strings.NewReader(letter))
		checkPart(t, p, letter)
		if p.Header.Get("Subject") != "x" || p.Header.Get("To") != "" || p.BodySize != 6 {
			t.Errorf("subject %q, to %q, body %d", p.Header.Get("Subject"), p.Header.Get("To"), p.BodySize)
		}
	})
}

// What is read in pieces says the same as what is in memory.
func TestLongHeaderLinesAreWhole(t *testing.T) {
	for _, n := range []int{100, bufferSize/2 - 4, bufferSize / 2, bufferSize, 3 * bufferSize} {
		value := strings.Repeat("y", n)
		for name, letter := range map[string]string{
			"a long line":             "X: " + value + "\r\nTo: z\r\n\r\nbody\r\n",
			"one that goes on":        "X: " + value + "\r\n more\r\nTo: z\r\n\r\nbody\r\n",
			"one with blanks":         "X: " + strings.Repeat("y ", n/2) + "\r\nTo: z\r\n\r\nbody\r\n",
			"one with the dashes in":  "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nX: " + value + "--b\r\nTo: z\r\n\r\nx\r\n--b--\r\n",
			"one that ends the text":  "To: z\r\nX: " + value,
			"one that is no field":    value + "\r\nTo: z\r\n\r\nbody\r\n",
			"one with bare line ends": "X: " + value + "\nTo: z\n\nbody\n",
		} {
			want := ParseText([]byte(letter))
			got, err := Parse(iotest.HalfReader(strings.NewReader(letter)))
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%s of %d octets is read in another way than in memory: %v", name, n, err)
			}
		}
	}
}

func TestParseReportsTheReadersError(t *testing.T) {
	broken := io.MultiReader(strings.NewReader("Subject: x\r\n\r\nhello"), iotest.ErrReader(os.ErrDeadlineExceeded))
	p, err := Parse(broken)
	if err != os.ErrDeadlineExceeded || p == nil {
		t.Errorf("Parse = %v, %v", p, err)
	}
}

// realLetters are the letters of enmime's tests, in wire form.
func realLetters(t testing.TB) map[string][]byte {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/jhillyerd/enmime").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	letters := map[string][]byte{}
	root := filepath.Join(strings.TrimSpace(string(dir)), "testdata")
	err = filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".raw") {
			return err
		}
		text, err := os.ReadFile(path)
		text = bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))
		letters[filepath.Base(path)] = bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n"))
		return err
	})
	if err != nil || len(letters) < 50 {
		t.Fatalf("%d letters in %s: %v", len(letters), root, err)
	}
	return letters
}

func TestRealLetters(t *testing.T) {
	for name, letter := range realLetters(t) {
		t.Run(name, func(t *testing.T) {
			p, err := Parse(bytes.NewReader(letter))
			if err != nil {
				t.Fatal(err)
			}
			checkPart(t, p, string(letter))
			slow, _ := Parse(iotest.HalfReader(bytes.NewReader(letter)))
			if a, b := outline(p, string(letter)), outline(slow, string(letter)); a != b {
				t.Errorf("depends on how it is read:\n%s\n%s", a, b)
			}
		})
	}
}

// Some of the real letters by their outline, for what a reader would expect.
func TestRealLettersOutline(t *testing.T) {
	letters := realLetters(t)
	tests := []struct{ name, want string }{
		{"html-mime-inline.raw", "multipart/alternative(text/plain multipart/related(text/html image/png))"},
		{"attachment.raw", "multipart/mixed(text/plain text/html)"},
	}
	for _, tt := range tests {
		p, err := Parse(bytes.NewReader(letters[tt.name]))
		if err != nil {
			t.Fatal(err)
		}
		if got := types(p); got != tt.want {
			t.Errorf("%s = %s, want %s", tt.name, got, tt.want)
		}
	}
}

func types(p *Part) string {
	s := p.Type + "/" + p.Subtype
	if p.Children == nil {
		return s
	}
	var parts []string
	for _, c := range p.Children {
		parts = append(parts, types(c))
	}
	return s + "(" + strings.Join(parts, " ") + ")"
}

func FuzzParse(f *testing.F) {
	for _, letter := range realLetters(f) {
		if len(letter) < 20_000 {
			f.Add(letter)
		}
	}
	f.Add([]byte("Content-Type: multipart/digest; boundary=b\r\n\r\n--b\r\n\r\nSubject: in\r\n\r\nx\r\n--b--\r\n"))
	f.Fuzz(func(t *testing.T, letter []byte) {
		p, err := Parse(bytes.NewReader(letter))
		if err != nil {
			t.Fatal(err)
		}
		if p.BodyOffset+p.BodySize != int64(len(letter)) {
			t.Fatalf("the letter ends at %d, not %d", p.BodyOffset+p.BodySize, len(letter))
		}
		checkPart(t, p, string(letter))
		exercise(t, p, letter)
	})
}

// exercise decodes all that can be decoded.
func exercise(t *testing.T, p *Part, letter []byte) {
	e := p.Envelope()
	for _, a := range e.From {
		DecodeHeader(a.Name)
	}
	for _, f := range p.Header {
		DecodeHeader(f.Value)
	}
	for _, c := range append(p.Children, p.Message) {
		if c != nil {
			exercise(t, c, letter)
		}
	}
	body := bytes.NewReader(letter[p.BodyOffset : p.BodyOffset+p.BodySize])
	if _, err := io.Copy(io.Discard, p.Text(body)); err != nil {
		t.Fatalf("%s %s: %v", p.Encoding, p.Param("charset"), err)
	}
}

func BenchmarkParse(b *testing.B) {
	line := strings.Repeat("QUJD", 19) + "\r\n"
	letter := []byte("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\ntext\r\n--b\r\nContent-Transfer-Encoding: base64\r\n\r\n" +
		strings.Repeat(line, 5<<20/len(line)) + "--b--\r\n")
	b.SetBytes(int64(len(letter)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(bytes.NewReader(letter)); err != nil {
			b.Fatal(err)
		}
	}
}
