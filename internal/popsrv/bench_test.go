package popsrv

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// benchBox is a Maildir of so many letters of 2 KiB, with their sizes in their
// names as this mail system and Dovecot write them.
func benchBox(b *testing.B, count int) *fixture {
	f := newFixture(b)
	text := "From: ann@example.org\nTo: bob@example.org\nSubject: letter\n\n" + strings.Repeat(strings.Repeat("x", 70)+"\n", 28)
	for i := range count {
		name := fmt.Sprintf("%d.M%06dP1R0.host,S=%d,W=%d:2,S", 1_700_000_000+i, i, len(text), len(text)+strings.Count(text, "\n"))
		if err := os.WriteFile(filepath.Join(f.dir, "cur", name), []byte(text), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	return f
}

// enter logs in and returns after the greeting.
func enter(b *testing.B, addr string) (net.Conn, *bufio.Reader) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	r := bufio.NewReaderSize(c, 1<<20)
	io.WriteString(c, "USER ann\r\nPASS open sesame\r\n")
	for range 3 {
		if line, err := r.ReadString('\n'); err != nil || line[0] != '+' {
			b.Fatal(line, err)
		}
	}
	return c, r
}

// BenchmarkLogin is login, STAT and UIDL of 10,000 letters.
func BenchmarkLogin(b *testing.B) {
	f := benchBox(b, 10_000)
	addr := fmt.Sprintf("127.0.0.1:%d", f.serve(b))
	for b.Loop() {
		c, r := enter(b, addr)
		io.WriteString(c, "STAT\r\nUIDL\r\n")
		for line := ""; line != ".\r\n"; {
			l, err := r.ReadSlice('\n')
			if err != nil {
				b.Fatal(err)
			}
			line = string(l)
		}
		c.Close()
	}
}

// BenchmarkRetrieve reads letters, all asked for at once.
func BenchmarkRetrieve(b *testing.B) {
	const count = 1000
	f := benchBox(b, count)
	c, r := enter(b, fmt.Sprintf("127.0.0.1:%d", f.serve(b)))
	defer c.Close()
	var all strings.Builder
	for i := range count {
		fmt.Fprintf(&all, "RETR %d\r\n", i+1)
	}
	b.SetBytes(2100 * count)
	for b.Loop() {
		go io.WriteString(c, all.String())
		for seen := 0; seen < count; {
			l, err := r.ReadSlice('\n')
			if err != nil {
				b.Fatal(err)
			}
			if string(l) == ".\r\n" {
				seen++
			}
		}
	}
}
