package imapwire

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

func reader(s string) (*Reader, *int) {
	asked := 0
	r := NewReader(strings.NewReader(s))
	r.Continue = func() error { asked++; return nil }
	return r, &asked
}

func TestStrings(t *testing.T) {
	for in, want := range map[string]struct {
		text  string
		asked int
	}{
		`atom `:                    {"atom", 0},
		`"a \"b\" \\ c" `:          {`a "b" \ c`, 0},
		"{3}\r\na\r\n ":            {"a\r\n", 1},
		"{3+}\r\na{b ":             {"a{b", 0},
		"{0}\r\n ":                 {"", 1},
		`"" `:                      {"", 0},
		"a]b ":                     {"a]b", 0},
		"\"gr\xc3\xbc\xc3\x9fe\" ": {"grüße", 0},
	} {
		r, asked := reader(in)
		got, err := r.Astring()
		if err != nil || got != want.text || *asked != want.asked {
			t.Errorf("Astring(%q) = %q, %v, asked %d times", in, got, err, *asked)
		}
		if err := r.SP(); err != nil {
			t.Errorf("%q: what follows is lost: %v", in, err)
		}
	}
	for _, in := range []string{"\r\n", "(", "\"a\r\n", "\"a\\b\"", "{x}\r\n", "{-1}\r\n", "{3}x\r\n", "{99999999999999999999}\r\n", "{1}\r\n\x00 "} {
		r, _ := reader(in + strings.Repeat(" ", 10))
		if got, err := r.Astring(); err == nil {
			t.Errorf("Astring(%q) = %q", in, got)
		}
	}
}

// TestOctetsOfALiteralAreNeverCommands: whatever goes wrong in a command, what
// comes next is the next command.
func TestOctetsOfALiteralAreNeverCommands(t *testing.T) {
	for in, left := range map[string]string{
		"a X (\r\nb NEXT\r\n":                                                        "b NEXT\r\n",
		"a X ( {8+}\r\nc EVIL\r\n\r\nb NEXT\r\n":                                     "b NEXT\r\n",
		"a X ( {8+}\r\nc EVIL\r\n {8+}\r\nd EVIL\r\n\r\nb N\r\n":                     "b N\r\n",
		"a X ( {8}\r\nb NEXT\r\n":                                                    "b NEXT\r\n",
		"a X ({8+}\r\nc EVIL\r\n(\r\nb NEXT\r\n":                                     "b NEXT\r\n",
		"a X (\"x\r\nb NEXT\r\n":                                                     "b NEXT\r\n",
		"a X ({70000+}\r\n" + strings.Repeat("c EVIL\r\n", 8750) + ")\r\nb NEXT\r\n": "b NEXT\r\n",
		"a X ({3+}\r\na\x00b)\r\nb NEXT\r\n":                                         "b NEXT\r\n",
	} {
		r, _ := reader(in)
		r.Begin()
		var err error
		for _, f := range []func() error{
			func() error { _, err := r.Tag(); return err }, r.SP, func() error { _, err := r.Atom(); return err }, r.SP,
			func() error { return r.List(func() error { _, err := r.String(); return err }) }, r.CRLF,
		} {
			if err = f(); err != nil {
				break
			}
		}
		if err == nil {
			t.Errorf("%.40q is no error", in)
			continue
		}
		if err := r.Drain(); err != nil {
			t.Errorf("%.40q: %v", in, err)
		}
		rest, _ := io.ReadAll(r.br)
		if string(rest) != left {
			t.Errorf("%.40q: left %.40q, want %q", in, rest, left)
		}
	}
}

func TestALiteralThatIsTooLongIsNotAskedFor(t *testing.T) {
	r, asked := reader("{100}\r\n")
	var long *TooLongError
	if _, err := r.Literal(99); !errors.As(err, &long) || *asked != 0 {
		t.Errorf("%v, asked %d", err, *asked)
	}
}

func TestALineWithoutEndIsRefused(t *testing.T) {
	r, _ := reader(strings.Repeat("a", MaxLine+10) + "\r\nb")
	if _, err := r.Astring(); err == nil {
		t.Fatal("taken")
	}
	if err := r.Drain(); err != nil {
		t.Fatal(err)
	}
	if c, _ := r.Peek(); c != 'b' {
		t.Errorf("left at %q", c)
	}
}

func TestSets(t *testing.T) {
	for in, want := range map[string]string{
		"1": "[{1 1}]", "1,3:5": "[{1 1} {3 5}]", "5:3": "[{3 5}]", "*": "[{9 9}]", "7:*": "[{7 9}]", "12:*": "[{9 12}]",
		"1:3,2:5,6": "[{1 6}]", "4294967295": "[{4294967295 4294967295}]", "2:4294967295,7": "[{2 4294967295}]",
	} {
		s, err := ParseSet(in)
		if got := fmt.Sprint(s.Resolve(9)); err != nil || got != want {
			t.Errorf("%q is %s, %v; want %s", in, got, err, want)
		}
	}
	for _, in := range []string{"", "0", "1,", "1:", ":", "a", "1:2:3", "01", "4294967296"} {
		if s, err := ParseSet(in); err == nil {
			t.Errorf("%q is %v", in, s)
		}
	}
	if got := FormatSet([]uint32{1, 2, 3, 5, 7, 8}); got != "1:3,5,7:8" {
		t.Error(got)
	}
}

func TestAppendString(t *testing.T) {
	for in, want := range map[string]string{"a": `"a"`, `a"\`: `"a\"\\"`, "a\r\nb": "{4}\r\na\r\nb", "ü": "{2}\r\nü", "": `""`} {
		if got := string(AppendString(nil, in, false)); got != want {
			t.Errorf("%q is %q, want %q", in, got, want)
		}
	}
	if got := string(AppendString(nil, "ü", true)); got != `"ü"` {
		t.Error(got)
	}
}

func FuzzReader(f *testing.F) {
	for _, s := range []string{"a LOGIN x {3+}\r\nabc\r\nb NOOP\r\n", "a FETCH 1:*,$ (BODY[])\r\n", "a X \"q\" ~{2}\r\nab NIL\r\n", "a ((()))\r\n", "{999999+}\r\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		r := NewReader(bytes.NewReader(in))
		r.Continue = func() error { return nil }
		for range 1000 {
			r.Begin()
			err := r.Fill()
			if err == nil {
				_, err = r.Tag()
			}
			for err == nil && !r.AtEnd() {
				if err = r.SP(); err == nil {
					if r.Accept('(') {
						_, err = r.Set()
					} else {
						_, err = r.Astring()
					}
				}
			}
			if err == nil {
				err = r.CRLF()
			}
			var syntax *SyntaxError
			var long *TooLongError
			if errors.As(err, &syntax) || errors.As(err, &long) {
				err = r.Drain()
			}
			if err != nil {
				return
			}
		}
	})
}
