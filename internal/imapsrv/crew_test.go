package imapsrv

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// ask sends a command and gives all lines of the response up to the tagged one.
func (f *fixture) ask(c net.Conn, tag, command string) []string {
	f.t.Helper()
	fmt.Fprintf(c, "%s %s\r\n", tag, command)
	c.SetReadDeadline(time.Now().Add(time.Minute))
	var lines []string
	for {
		line, err := f.heard[c].ReadString('\n')
		if err != nil {
			f.t.Fatalf("%s: %v after %d lines", command, err, len(lines))
		}
		if lines = append(lines, line); strings.HasPrefix(line, tag+" ") {
			return lines
		}
	}
}

// crewLetters makes a folder of which some letters are large.
func crewLetters(t *testing.T, n int) *fixture {
	f := newFixture(t)
	for i := range n {
		text := fmt.Sprintf("Subject: letter %d\n\ntext %d\n", i, i)
		if i%40 == 7 || i%400 < 3 {
			text += strings.Repeat("a long line of a long letter\n", 3000)
		}
		f.deliver(fmt.Sprintf("1700%06d.M1P1.h,S=%d", i, len(text)), text)
	}
	return f
}

// One after the other is how the session answers for few letters.
func TestManyLettersAreAnsweredForAsOneAfterTheOther(t *testing.T) {
	const n = 700
	f := crewLetters(t, n)
	c := f.dial()
	f.talk(c, "login\n")
	f.ask(c, "s", "SELECT INBOX")
	for _, items := range []string{
		"ENVELOPE", "(UID FLAGS)", "(BODYSTRUCTURE RFC822.SIZE)", "(UID BODY.PEEK[])", "(FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)] BODY.PEEK[TEXT]<0.100>)", "BINARY.SIZE[1]",
	} {
		all := f.ask(c, "all", fmt.Sprintf("FETCH 1:%d %s", n, items))
		var each []string
		for i := 1; i <= n; i++ {
			one := f.ask(c, "one", fmt.Sprintf("FETCH %d %s", i, items))
			each = append(each, one[:len(one)-1]...)
		}
		if got, want := strings.Join(all[:len(all)-1], ""), strings.Join(each, ""); got != want {
			t.Errorf("%s: %d octets for all, %d for each", items, len(got), len(want))
		}
		if end := all[len(all)-1]; !strings.HasPrefix(end, "all OK") {
			t.Errorf("%s: %q", items, end)
		}
	}
}

// What others change meanwhile is told once, before the tagged response.
func TestManyLettersOfWhichSomeHaveChanged(t *testing.T) {
	const n = 300
	f := crewLetters(t, n)
	c, other := f.dial(), f.dial()
	f.talk(c, "login\n")
	f.talk(other, "login\n")
	f.ask(c, "s", "SELECT INBOX")
	f.ask(other, "s", "SELECT INBOX")
	f.ask(other, "t", "STORE 50:60,200 +FLAGS.SILENT (new \\Flagged)")
	lines := f.ask(c, "f", fmt.Sprintf("FETCH 1:%d (UID FLAGS)", n))
	keywords, flagged, seen := 0, 0, 0
	for _, line := range lines {
		switch {
		case strings.HasPrefix(line, "* FLAGS ") && strings.Contains(line, " new"):
			keywords++
		case strings.Contains(line, " FETCH ("):
			seen++
			if strings.Contains(line, `\Flagged`) && strings.Contains(line, "new") && keywords == 1 {
				flagged++
			}
		}
	}
	if keywords != 1 || flagged != 12 || seen != n {
		t.Errorf("%d times FLAGS, %d letters with the new flags behind it, %d in all; want 1, 12 and %d", keywords, flagged, seen, n)
	}
}

func TestManyLettersOfWhichSomeAreGone(t *testing.T) {
	const n = 300
	f := crewLetters(t, n)
	c := f.dial()
	f.talk(c, "login\n")
	f.ask(c, "s", "EXAMINE INBOX") // letters stay in new/
	files, _ := filepath.Glob(filepath.Join(f.root, "new", "1700000[01]5*"))
	if len(files) != 20 {
		t.Fatalf("%d files", len(files))
	}
	for _, file := range files {
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
	lines := f.ask(c, "f", fmt.Sprintf("FETCH 1:%d BODY[HEADER]", n))
	letters := 0
	for _, line := range lines {
		if strings.Contains(line, " FETCH (") {
			letters++
		}
	}
	if end := lines[len(lines)-1]; letters != n-20 || !strings.HasPrefix(end, "f NO [EXPUNGEISSUED]") {
		t.Errorf("%d letters and %q, want %d and that some are gone", letters, end, n-20)
	}
}

// \Seen is set and told with each text.
func TestManyLettersBecomeSeen(t *testing.T) {
	const n = 200
	f := crewLetters(t, n)
	c := f.dial()
	f.talk(c, "login\n")
	f.ask(c, "s", "SELECT INBOX")
	seen := 0
	for _, line := range f.ask(c, "f", fmt.Sprintf("FETCH 1:%d BODY[HEADER]", n)) {
		if strings.Contains(line, `FLAGS (\Seen`) {
			seen++
		}
	}
	if seen != n {
		t.Errorf("%d letters are seen, want %d", seen, n)
	}
}
