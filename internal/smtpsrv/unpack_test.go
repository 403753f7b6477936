package smtpsrv

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// unpackAll feeds wire in pieces of the given size, and returns the letter and
// what stands after its end.
func unpackAll(u *unpacker, wire []byte, piece int) (rest []byte, done bool) {
	var window []byte
	for len(wire) > 0 {
		n := min(piece, len(wire))
		window = append(window, wire[:n]...)
		wire = wire[n:]
		used, end := u.feed(window)
		window = window[used:]
		if end {
			return append(window, wire...), true
		}
	}
	return window, false
}

func TestDataIsUnpackedTheSameHoweverItIsCut(t *testing.T) {
	tests := []struct {
		name, wire, want, rest string
		bareCR, bareLF, nul    bool
		done                   bool
	}{
		{name: "lines", wire: "a\r\nb\r\n.\r\nQUIT\r\n", want: "a\nb\n", rest: "QUIT\r\n", done: true},
		{name: "an empty letter", wire: ".\r\n", done: true},
		{name: "a dot is taken off", wire: "..\r\n.x\r\n...\r\n.\r\n", want: ".\nx\n..\n", done: true},
		{name: "dots inside a line stay", wire: "a.\r\nb..c\r\n.\r\n", want: "a.\nb..c\n", done: true},
		{name: "LF . CRLF does not end it", wire: "a\n.\r\nb\r\n.\r\n", want: "a\n.\nb\n", bareLF: true, done: true},
		{name: "LF . LF does not end it", wire: "a\n.\nb\r\n.\r\n", want: "a\n.\nb\n", bareLF: true, done: true},
		{name: "CRLF . LF does not end it", wire: "a\r\n.\nb\r\n.\r\n", want: "a\n\nb\n", bareLF: true, done: true},
		{name: "CR . CR does not end it", wire: "a\r.\rb\r\n.\r\n", want: "a\n.\nb\n", bareCR: true, done: true},
		{name: "CRLF . CR does not end it", wire: "a\r\n.\rb\r\n.\r\n", want: "a\n\nb\n", bareCR: true, done: true},
		{name: "CR CRLF ends a line and then the dot ends it", wire: "a\r\r\n.\r\nRSET\r\n", want: "a\n", rest: "RSET\r\n", bareCR: true, done: true},
		{name: "a dot is taken off after CR CRLF", wire: "a\r\r\n..b\r\n.\r\n", want: "a\n.b\n", bareCR: true, done: true},
		{name: "dot CR CRLF is a line", wire: ".\r\r\nb\r\n.\r\n", want: "\nb\n", bareCR: true, done: true},
		{name: "many CRs", wire: "a\r\r\r\r\nb\r\n.\r\n", want: "a\n\n\nb\n", bareCR: true, done: true},
		{name: "NUL is kept and told", wire: "a\x00b\r\n.\r\n", want: "a\x00b\n", nul: true, done: true},
		{name: "no end", wire: "a\r\nb", want: "a\nb"},
		{name: "no end after a dot", wire: "a\r\n.", want: "a\n", rest: "."},
		{name: "a long line", wire: strings.Repeat("x", 70000) + "\r\n.\r\n", want: strings.Repeat("x", 70000) + "\n", done: true},
	}
	for _, tt := range tests {
		for _, piece := range []int{1, 2, 3, 5, 7, 1 << 20} {
			t.Run(fmt.Sprintf("%s in pieces of %d", tt.name, piece), func(t *testing.T) {
				u := &unpacker{dots: true}
				rest, done := unpackAll(u, []byte(tt.wire), piece)
				if string(u.out) != tt.want || string(rest) != tt.rest || done != tt.done {
					t.Errorf("unpacked %.80q, rest %.80q, done %v; want %.80q, %.80q, %v", u.out, rest, done, tt.want, tt.rest, tt.done)
				}
				if u.bareCR != tt.bareCR || u.bareLF != tt.bareLF || u.nul != tt.nul {
					t.Errorf("noted CR %v, LF %v, NUL %v; want %v, %v, %v", u.bareCR, u.bareLF, u.nul, tt.bareCR, tt.bareLF, tt.nul)
				}
				if size := int64(len(u.out) + bytes.Count(u.out, []byte("\n"))); u.size != size {
					t.Errorf("size = %d, want %d", u.size, size)
				}
			})
		}
	}
}

func TestChunksAreUnpackedTheSameHoweverTheyAreCut(t *testing.T) {
	tests := []struct{ name, wire, want string }{
		{"lines", "a\r\nb\r\n", "a\nb\n"},
		{"dots mean nothing", ".\r\n..\r\n", ".\n..\n"},
		{"a last line without an end", "a\r\nb", "a\nb"},
		{"a CR at the end", "a\r", "a\n"},
		{"CRs at the end", "a\r\r", "a\n\n"},
		{"CR CRLF", "a\r\r\nb\r\n", "a\nb\n"},
		{"bare CR and LF", "a\rb\nc\r\n", "a\nb\nc\n"},
	}
	for _, tt := range tests {
		for piece := 1; piece < 5; piece++ {
			t.Run(fmt.Sprintf("%s in chunks of %d", tt.name, piece), func(t *testing.T) {
				u := &unpacker{}
				for wire := []byte(tt.wire); len(wire) > 0; {
					n := min(piece, len(wire))
					u.chunk(wire[:n])
					wire = wire[n:]
				}
				u.end()
				if string(u.out) != tt.want {
					t.Errorf("unpacked %q, want %q", u.out, tt.want)
				}
			})
		}
	}
}

// referenceEnd is what RFC 5321 section 4.1.1.4 says, written as plainly as
// can be: the text ends at the first CRLF.CRLF, where the CRLF before the text
// counts.
func referenceEnd(wire []byte) int {
	i := bytes.Index(append([]byte("\r\n"), wire...), []byte("\r\n.\r\n"))
	if i < 0 {
		return -1
	}
	return i + 3
}

func FuzzDataEndsWhereTheRFCSays(f *testing.F) {
	for _, seed := range []string{"a\r\n.\r\nb", "\r\r\n.\r\n", "..\r\n.\r\n", "\n.\n", ".\r\r\n.\r\n", "\r\n.\r\r\n.\r\n"} {
		f.Add([]byte(seed), 1)
	}
	f.Fuzz(func(t *testing.T, wire []byte, piece int) {
		whole, cut := &unpacker{dots: true}, &unpacker{dots: true}
		rest, done := unpackAll(whole, wire, len(wire)+1)
		cutRest, cutDone := unpackAll(cut, wire, 1+piece&15)
		if !bytes.Equal(whole.out, cut.out) || !bytes.Equal(rest, cutRest) || done != cutDone || whole.size != cut.size {
			t.Fatalf("%q: whole %q rest %q %v, cut %q rest %q %v", wire, whole.out, rest, done, cut.out, cutRest, cutDone)
		}
		want := referenceEnd(wire)
		if done != (want >= 0) || done && len(wire)-len(rest) != want {
			t.Fatalf("%q: ended %v at %d, want %d", wire, done, len(wire)-len(rest), want)
		}
		if bytes.IndexByte(whole.out, '\r') >= 0 {
			t.Fatalf("%q: result %q has a CR", wire, whole.out)
		}
	})
}
