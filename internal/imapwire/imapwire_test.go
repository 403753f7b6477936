package imapwire

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
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
		"a X ( {0008+}\r\nc EVIL\r\n\r\nb NEXT\r\n":                                  "b NEXT\r\n",
		"a X ( {+}\r\nb NEXT\r\n":                                                    "b NEXT\r\n",
		"a X ( {8-}\r\nb NEXT\r\n":                                                   "b NEXT\r\n",
		// The brace, and the end of the line, where the limit of a line is.
		"a X " + strings.Repeat("y", Full.Line-4) + "{8+}\r\nc EVIL\r\n\r\nb NEXT\r\n":  "b NEXT\r\n",
		"a X " + strings.Repeat("y", Full.Line-9) + " {8+}\r\nc EVIL\r\n\r\nb NEXT\r\n": "b NEXT\r\n",
		"a X " + strings.Repeat("y", Full.Line-4) + "\nb NEXT\r\n":                      "b NEXT\r\n",
		"a X " + strings.Repeat("y", Full.Line-5) + "\r\nb NEXT\r\n":                    "b NEXT\r\n",
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

// TestALiteralThatCannotBeCountedEndsTheConnection: what comes after it may be
// the literal, and may not.
func TestALiteralThatCannotBeCountedEndsTheConnection(t *testing.T) {
	for _, in := range []string{
		"a X (({99999999999999999999+}\r\nb EVIL\r\n",
		"a X (({" + strings.Repeat("0", 40) + "8+}\r\nb EVIL\r\n",
		"a X (({2000000000+}\r\nb EVIL\r\n",
	} {
		r, _ := reader(in)
		r.Begin()
		_, err := r.Tag()
		if err != nil || r.SP() != nil || r.Expect('Y') == nil {
			t.Fatal("that is no error")
		}
		if err := r.Drain(); !errors.Is(err, ErrLost) {
			t.Errorf("%q: %v, want ErrLost", in, err)
		}
	}
}

func TestLimitsHoldForAWholeCommand(t *testing.T) {
	in := strings.Repeat("{1000+}\r\n"+strings.Repeat("x", 1000), 9)
	r, _ := reader(in)
	r.Limits = Tiny
	r.Begin()
	n := 0
	var err error
	for ; err == nil && n < 9; n++ {
		_, err = r.String()
	}
	var long *TooLongError
	if n != 9 || !errors.As(err, &long) {
		t.Errorf("string %d: %v; nine of 1,000 octets are more than %d", n, err, Tiny.Kept)
	}
	r, _ = reader("{70000+}\r\n" + strings.Repeat("x", 70000))
	r.Limits = Tiny
	if _, err := r.String(); !errors.As(err, &long) {
		t.Error(err)
	}
	if err := r.Drain(); !errors.Is(err, ErrLost) {
		t.Errorf("70,000 octets are thrown away: %v", err)
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
	r, _ := reader(strings.Repeat("a", Full.Line+10) + "\r\nb")
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
	if got := FormatSet([]uint32{5, 3, 4, 2, 1}); got != "5,3:4,2,1" {
		t.Error(got)
	}
}

func TestAppendString(t *testing.T) {
	for in, want := range map[string]string{"a": `"a"`, `a"\`: `"a\"\\"`, "a\r\nb": "{4}\r\na\r\nb", "ü": "{2}\r\nü", "": `""`} {
		if got := string(AppendString(nil, in, false)); got != want {
			t.Errorf("%q is %q, want %q", in, got, want)
		}
	}
	for in, want := range map[string]string{"ü": `"ü"`, "\xfc": "{1}\r\n\xfc"} {
		if got := string(AppendString(nil, in, true)); got != want {
			t.Errorf("with UTF-8 %q is %q, want %q", in, got, want)
		}
	}
}

// commandEnd finds where a command ends whose literals are all of the kind that
// is not asked for: written without the Reader, to compare with it. -1 means that
// it does not end.
func commandEnd(in []byte) int {
	at := 0
	for {
		nl := bytes.IndexByte(in[at:], '\n')
		if nl < 0 {
			return -1
		}
		line := in[at : at+nl+1]
		at += nl + 1
		m := literalAtEnd.FindSubmatch(line)
		if m == nil {
			return at
		}
		n, err := strconv.Atoi(string(m[1]))
		if err != nil || n > len(in)-at {
			return -1
		}
		at += n
	}
}

// uncountable literals are those that are reason to give up; so are more digits
// than the reader remembers of a line, whatever is before them.
var uncountable = regexp.MustCompile(`\{[0-9]{10,}\+\}|[0-9]{28,}\+\}`)

var literalAtEnd = regexp.MustCompile(`\{([0-9]+)\+\}\r?\n$`)

// readAnything reads a command whose arguments are lists, sets, literals and
// strings, as they come.
func readAnything(r *Reader) error {
	_, err := r.Tag()
	for err == nil && !r.AtEnd() {
		if err = r.SP(); err != nil {
			break
		}
		switch c, _ := r.Peek(); c {
		case '(':
			err = r.List(func() error { _, err := r.Flag(); return err })
		case '$', '*':
			_, err = r.Set()
		case '~':
			var l *Literal
			if l, err = r.Literal(100); err == nil {
				_, err = io.Copy(io.Discard, l)
			}
		default:
			_, err = r.ListMailbox()
		}
	}
	if err != nil {
		return err
	}
	return r.CRLF()
}

// FuzzReader reads commands, drains those that are wrong, and compares where each
// ends with commandEnd. It also holds the limits of what is kept.
func FuzzReader(f *testing.F) {
	for _, s := range []string{
		"a LOGIN x {3+}\r\nabc\r\nb NOOP\r\n", "a FETCH 1:*,$ (BODY[])\r\n", "a X \"q\" ~{2}\r\nab NIL\r\n", "a ((()))\r\n", "{999999+}\r\n",
		"a (x {4+}\r\nb c\nd e\n", "a ~{2+}\r\na\x00 {000000000000000000000000000000001+}\r\nx\r\n", "a \"{1+}\r\n\"\r\nb\r\n", "a {1+}\r\n\x00 {1+}\r\nx\nb\n",
		"0000000000000000000000000000+}\r\n",  // as long as the tail
		"00000000000000000000000000000+}\r\n", // longer
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		src := bytes.NewReader(in)
		r := NewReader(src)
		asked := false
		r.Continue = func() error { asked = true; return nil }
		for range 1000 {
			from := len(in) - src.Len() - r.Buffered()
			r.Begin()
			if r.Fill() != nil {
				return
			}
			err := readAnything(r)
			var syntax *SyntaxError
			var long *TooLongError
			if errors.As(err, &syntax) || errors.As(err, &long) {
				err = r.Drain()
			}
			if r.kept > Full.Kept || r.drained > Full.Drain {
				t.Fatalf("%d octets kept, %d thrown away", r.kept, r.drained)
			}
			if asked {
				return // commandEnd does not know whether a literal was refused
			}
			end := commandEnd(in[from:])
			switch got := len(in) - src.Len() - r.Buffered() - from; {
			case errors.Is(err, ErrLost) && uncountable.Match(in[from:]):
				return
			case err != nil && end >= 0:
				t.Fatalf("%q: %v, though it ends after %d octets", in[from:], err, end)
			case err == nil && got != end:
				t.Fatalf("%q: read %d octets, want %d", in[from:], got, end)
			case err != nil:
				return
			}
		}
	})
}

func TestSplit(t *testing.T) {
	for text, want := range map[string]string{
		"1:3,5": "1:3,5 0", "2:*": " 2", "*:7,1": "1 7", "*": " 4294967295", "9:*,4:*,2": "2 4", "*,3": "3 4294967295",
	} {
		set, err := ParseSet(text)
		if err != nil {
			t.Fatal(err)
		}
		closed, from := set.Split()
		if got := fmt.Sprintf("%s %d", FormatRanges(closed), from); got != want {
			t.Errorf("%s is %q, want %q", text, got, want)
		}
	}
}

// A line of which only the end is remembered may have announced a literal.
func TestDrainGivesUpWhereALiteralMayFollow(t *testing.T) {
	for _, line := range []string{"a {" + strings.Repeat("0", 40) + "1+}\r\n", strings.Repeat("0", 40) + "+}\r\n"} {
		r := NewReader(strings.NewReader(line + "b LOGOUT\r\n"))
		r.Begin()
		if err := r.Drain(); !errors.Is(err, ErrLost) {
			t.Errorf("%q: %v", line, err)
		}
	}
}
