package message

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	_ "github.com/jhillyerd/enmime/mediatype" // keeps the module, with its letters, in go.mod
)

func TestReadHeader(t *testing.T) {
	tests := []struct {
		name, in string
		limit    int
		fields   []string
		rest     string
	}{
		{"disk form", "A: 1\nB: 2\n\nbody\n", 1 << 10, []string{"A: 1\n", "B: 2\n"}, "body\n"},
		{"wire form", "A: 1\r\nB: 2\r\n\r\nbody\r\n", 1 << 10, []string{"A: 1\n", "B: 2\n"}, "body\r\n"},
		{"folded", "A: 1\r\n\t2\r\n 3\r\nB: 2\r\n\r\n", 1 << 10, []string{"A: 1\n\t2\n 3\n", "B: 2\n"}, ""},
		{"no header at all", "hello: \x01\nworld"[7:], 1 << 10, nil, "\x01\nworld"},
		{"text that looks like nothing", "Dear Ann,\nhow are you\n", 1 << 10, nil, "Dear Ann,\nhow are you\n"},
		{"an empty line first", "\nA: 1\n", 1 << 10, nil, "A: 1\n"},
		{"text without an empty line before it", "A: 1\nnot a field\n", 1 << 10, []string{"A: 1\n"}, "not a field\n"},
		{"a header and nothing else", "A: 1\nB: 2", 1 << 10, []string{"A: 1\n", "B: 2\n"}, ""},
		{"a continuation of nothing", " x\nA: 1\n\n", 1 << 10, nil, " x\nA: 1\n\n"},
		{"a blank before the colon", "A : 1\n\n", 1 << 10, []string{"A : 1\n"}, ""},
		{"a limit", "A: 1\nB: 2\nC: 3\n\n", 6, []string{"A: 1\n", "B: 2\n"}, "C: 3\n\n"},
		{"an empty letter", "", 1 << 10, nil, ""},
		{"a CR in a field", "A: 1\r2\n\n", 1 << 10, []string{"A: 1\r2\n"}, ""},
		{"a line of 10,000 octets", "A: " + strings.Repeat("x", 10000) + "\n\nb", 1 << 20, []string{"A: " + strings.Repeat("x", 10000) + "\n"}, "b"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			br := bufio.NewReader(strings.NewReader(tt.in))
			h, err := ReadHeader(br, tt.limit)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range h.Fields {
				got = append(got, string(f.Raw))
			}
			if strings.Join(got, "|") != strings.Join(tt.fields, "|") {
				t.Errorf("fields %.200q, want %.200q", got, tt.fields)
			}
			if rest, _ := io.ReadAll(br); string(rest) != tt.rest {
				t.Errorf("rest %q, want %q", rest, tt.rest)
			}
		})
	}
}

func TestHeaderIsReadAndChanged(t *testing.T) {
	h, rest := Parse([]byte("Received: a\nreceived: b\nSubject: two\n lines\nX-Postbag-Envelope: forged\n\nbody"))
	if string(rest) != "body" || Hops(h) != 2 {
		t.Errorf("rest %q, hops %d; want body, 2", rest, Hops(h))
	}
	if got := h.Get("SUBJECT"); got != "two lines" {
		t.Errorf("Get(SUBJECT) = %q, want two lines", got)
	}
	if got := h.Values("Received"); len(got) != 2 || got[1] != "b" {
		t.Errorf("Values(Received) = %q, want a, b", got)
	}
	h.Del("received")
	h.Prepend(NewField("First", "1"))
	h.Append(NewField("Last", "9"))
	h.Escape()
	var b strings.Builder
	if n, err := h.WriteTo(&b); err != nil || n != int64(b.Len()) {
		t.Errorf("WriteTo = %d, %v; want %d", n, err, b.Len())
	}
	want := "First: 1\nSubject: two\n lines\nX-Original-Postbag-Envelope: forged\nLast: 9\n\n"
	if b.String() != want || h.Has("Received") || h.Get("none") != "" {
		t.Errorf("header is %q, want %q", b.String(), want)
	}
}

func TestNewFieldFoldsAtBlanks(t *testing.T) {
	tests := []struct{ name, value, want string }{
		{"A", "b", "A: b\n"},
		{"A", "", "A:\n"},
		{"A", "b\r\nInjected: c", "A: b  Injected: c\n"},
		{"Subject", strings.Repeat("word ", 20), "Subject: word word word word word word word word word word word word word word\n word word word word word word\n"},
		{"References", "<" + strings.Repeat("x", 90) + ">", "References: <" + strings.Repeat("x", 90) + ">\n"},
	}
	for _, tt := range tests {
		if got := string(NewField(tt.name, tt.value).Raw); got != tt.want {
			t.Errorf("NewField(%q, %.60q) = %q, want %q", tt.name, tt.value, got, tt.want)
		}
	}
}

func FuzzParseLosesNothing(f *testing.F) {
	f.Add([]byte("A: 1\nB: 2\r\n\tx\r\n\r\nbody"))
	f.Add([]byte("no header"))
	f.Add([]byte("A:1\r\n \n\nx"))
	f.Fuzz(func(t *testing.T, data []byte) {
		h, rest := Parse(data)
		br := bufio.NewReaderSize(bytes.NewReader(data), 16)
		h2, err := ReadHeader(bufio.NewReaderSize(br, 2048), 1<<30)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(h.Bytes(), h2.Bytes()) {
			t.Fatalf("Parse %q and ReadHeader %q differ", h.Bytes(), h2.Bytes())
		}
		got := append(h.Bytes(), rest...)
		if !bytes.Equal(plain(got), plain(data)) {
			t.Fatalf("%q became %q", data, got)
		}
		if bytes.Contains(data, []byte("\r\r")) {
			return // CR CR LF loses a CR each time
		}
		again, rest2 := Parse(append(h.Bytes(), rest...))
		if !bytes.Equal(again.Bytes(), h.Bytes()) || !bytes.Equal(rest, rest2) {
			t.Fatalf("%q is read differently when it is written", data)
		}
	})
}

// plain removes what Parse may change: line ends.
func plain(b []byte) []byte {
	return bytes.ReplaceAll(bytes.ReplaceAll(b, []byte("\r"), nil), []byte("\n"), nil)
}

// realLetters are the letters that github.com/jhillyerd/enmime is tested with.
func realLetters(t *testing.T) []string {
	t.Helper()
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/jhillyerd/enmime").Output()
	if err != nil {
		t.Skipf("module cache: %v", err)
	}
	files, _ := filepath.Glob(filepath.Join(strings.TrimSpace(string(dir)), "testdata", "*", "*.raw"))
	if len(files) < 50 {
		t.Skipf("only %d letters in the module cache", len(files))
	}
	return files
}

func TestRealLettersAreReadWhole(t *testing.T) {
	for _, file := range realLetters(t) {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		h, rest := Parse(data)
		if got := append(h.Bytes(), rest...); !bytes.Equal(plain(got), plain(data)) {
			t.Errorf("%s: octets were lost or added", filepath.Base(file))
		}
		s := Submission{Hostname: "host.example", Origin: "example.org", Now: testTime}
		if err := s.Complete(h); err != nil {
			t.Errorf("%s: %v", filepath.Base(file), err)
		}
		if !h.Has("Date") && !h.Has("Resent-Date") || h.Has("Bcc") {
			t.Errorf("%s: not complete: %q", filepath.Base(file), h.Bytes())
		}
	}
}
