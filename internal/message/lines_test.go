package message

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestLineEnds(t *testing.T) {
	tests := []struct{ name, disk, wire string }{
		{"lines", "a\nb\n", "a\r\nb\r\n"},
		{"no last line end", "a\nb", "a\r\nb"},
		{"empty lines", "\n\n", "\r\n\r\n"},
		{"a bare CR is kept", "a\rb\n", "a\rb\r\n"},
		{"nothing", "", ""},
		{"a long line", strings.Repeat("x", 100000) + "\n", strings.Repeat("x", 100000) + "\r\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, slow := range []bool{false, true} {
				r := io.Reader(strings.NewReader(tt.disk))
				if slow {
					r = iotest.OneByteReader(r)
				}
				if got, err := io.ReadAll(ToWire(r)); string(got) != tt.wire || err != nil {
					t.Errorf("ToWire = %.80q, %v; want %.80q", got, err, tt.wire)
				}
			}
			if got := disk(t, tt.wire, 3); got != tt.disk {
				t.Errorf("ToDisk = %.80q, want %.80q", got, tt.disk)
			}
			if n, err := WireSize(iotest.OneByteReader(strings.NewReader(tt.disk))); n != int64(len(tt.wire)) || err != nil {
				t.Errorf("WireSize = %d, %v; want %d", n, err, len(tt.wire))
			}
		})
	}
	if got, _ := io.ReadAll(ToWire(strings.NewReader("a\r\nb\n"))); string(got) != "a\r\nb\r\n" {
		t.Errorf("a CRLF that is there became %q", got)
	}
	if got := disk(t, "a\r\r\nb\r", 1); got != "a\r\nb\r" {
		t.Errorf("stray CRs became %q", got)
	}
}

// disk writes wire in pieces of n octets through ToDisk.
func disk(t testing.TB, wire string, n int) string {
	t.Helper()
	var b bytes.Buffer
	w := ToDisk(&b)
	for len(wire) > 0 {
		k := min(n, len(wire))
		if _, err := io.WriteString(w, wire[:k]); err != nil {
			t.Fatal(err)
		}
		wire = wire[k:]
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func FuzzLineEnds(f *testing.F) {
	f.Add("a\r\nb\n\r", 1)
	f.Fuzz(func(t *testing.T, text string, n int) {
		n = 1 + n&7
		if got, want := disk(t, text, n), strings.ReplaceAll(text, "\r\n", "\n"); got != want {
			t.Fatalf("ToDisk(%q) = %q, want %q", text, got, want)
		}
		wire, err := io.ReadAll(ToWire(&pieces{text, n}))
		want := strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\n", "\r\n")
		if string(wire) != want || err != nil {
			t.Fatalf("ToWire(%q) = %q, %v; want %q", text, wire, err, want)
		}
		if size, err := WireSize(&pieces{text, n}); size != int64(len(want)) || err != nil {
			t.Fatalf("WireSize(%q) = %d, %v; want %d", text, size, err, len(want))
		}
	})
}

// pieces reads at most n octets at a time.
type pieces struct {
	s string
	n int
}

func (p *pieces) Read(b []byte) (int, error) {
	if p.s == "" {
		return 0, io.EOF
	}
	n := copy(b[:min(len(b), p.n)], p.s)
	p.s = p.s[n:]
	return n, nil
}
