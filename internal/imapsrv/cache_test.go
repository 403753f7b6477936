package imapsrv

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"postbag/internal/mailcache"
	"postbag/internal/mime"
)

const askCache = `login
C 1 SELECT INBOX
S... 1 OK .*
C 2 FETCH 1 (ENVELOPE BODYSTRUCTURE)
S \* 1 FETCH \(ENVELOPE \(NIL "SUBJECT" .* BODYSTRUCTURE \("TEXT" .*
S 2 OK .*
C 3 SEARCH SUBJECT SUBJECT
S \* SEARCH 1
S 3 OK .*
C 4 SORT (SUBJECT) UTF-8 SUBJECT SUBJECT
S \* SORT 1
S 4 OK .*
C 5 LOGOUT
S... 5 OK .*
`

// TestTheCacheAnswersUntilItIsDeleted changes a letter behind the cache's back,
// which no program does, to see who answers.
func TestTheCacheAnswersUntilItIsDeleted(t *testing.T) {
	f := newFixture(t)
	f.deliver("1.a", "Subject: first\n\nx\n")
	f.visit(asking("first"))
	files, _ := filepath.Glob(filepath.Join(f.root, "cur", "1.a*"))
	if len(files) != 1 {
		t.Fatalf("%v", files)
	}
	if err := os.WriteFile(files[0], []byte("Subject: other\n\nx\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f.visit(asking("first"))
	if err := os.Remove(filepath.Join(f.root, "postbag.cache")); err != nil {
		t.Fatal(err)
	}
	f.visit(asking("other"))
}

// visit plays a dialogue that ends the session, and waits until the server has put
// everything away.
func (f *fixture) visit(dialogue string) {
	f.t.Helper()
	c := f.dial()
	f.talk(c, dialogue)
	io.Copy(io.Discard, c)
}

// asking is the dialogue that finds a letter by its subject.
func asking(subject string) string {
	s := strings.ReplaceAll(askCache, `"SUBJECT"`, `"`+subject+`"`)
	return strings.ReplaceAll(s, "SUBJECT SUBJECT", "SUBJECT "+subject)
}

func TestClientsWithUTF8GetTheirOwnForm(t *testing.T) {
	f := newFixture(t)
	f.deliver("1.a", "Subject: gr\xc3\xbcn\n\nx\n")
	for range 2 { // the second is from the cache
		f.talk(f.dial(), `login
C 1 SELECT INBOX
S... 1 OK .*
C 2 FETCH 1 (ENVELOPE)
S \* 1 FETCH \(ENVELOPE \(NIL \{5\}
S grün .*
S 2 OK .*
C 3 ENABLE UTF8=ACCEPT
S \* ENABLED .*
S 3 OK .*
C 4 FETCH 1 (ENVELOPE)
S \* 1 FETCH \(ENVELOPE \(NIL "grün" .*
S 4 OK .*
C 5 LOGOUT
S... 5 OK .*
`)
	}
}

func TestAnEntryHasTheFieldsThatAreSearched(t *testing.T) {
	p, err := mime.Parse(strings.NewReader("Subject: a\r\nX-Y: b\r\nReferences: <c@d>\r\n\r\nx\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	e := describe(p)
	want := mailcache.Fields(nil).Add("Subject", "a").Add("References", "<c@d>")
	if !bytes.Equal(e.Fields, want) || !e.ASCII {
		t.Errorf("%+v", e)
	}
}

// What is remembered of letters has a number. If this fails because a letter is
// described in another way now, raise mailcache.Version, and put the new sum here:
// else files that were written before go on answering.
func TestAnotherDescriptionIsAnotherVersion(t *testing.T) {
	sums := map[int]string{4: "c27338a949a889570e52511949a5b1aaa1ab170e53cdae7cea481289f36e7b9b"}
	sum := sha256.New()
	for _, name := range []string{"html.eml", "koi8.eml", "broken.eml"} {
		text, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		describeInto(t, sum, string(text))
	}
	describeInto(t, sum, "Date: 1 Jan 2020 00:00 +0100\nSubject: "+strings.Repeat("long ", 30_000)+"\n\nx\n")
	describeInto(t, sum, "Content-Type: text/plain; name*0=a; name*1=b\n\nx\n")
	describeInto(t, sum, "Content-Type: message/global\n\nSubject: a\n\nx\n")
	if got := fmt.Sprintf("%x", sum.Sum(nil)); got != sums[mailcache.Version] {
		t.Errorf("version %d describes letters as %s, not as %s", mailcache.Version, got, sums[mailcache.Version])
	}
}

func describeInto(t *testing.T, w io.Writer, letter string) {
	t.Helper()
	p, err := mime.Parse(strings.NewReader(strings.ReplaceAll(letter, "\n", "\r\n")))
	if err != nil {
		t.Fatal(err)
	}
	e := describe(p)
	fmt.Fprintf(w, "%s %v %q %q %q %q\n", e.Sent, e.ASCII, e.Envelope, e.Body, e.BodyStructure, e.Fields)
}
