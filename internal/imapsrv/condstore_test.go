package imapsrv

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// numberOf gives the number that follows a word in what was said.
func numberOf(t *testing.T, word string, lines []string) (n uint64) {
	t.Helper()
	m := regexp.MustCompile(regexp.QuoteMeta(word) + ` \(?(\d+)`).FindStringSubmatch(strings.Join(lines, "\n"))
	if m == nil {
		t.Fatalf("no %s in %q", word, lines)
	}
	n, err := strconv.ParseUint(m[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Flags of later changes are told while an expunge waits: the client must not
// believe that it knows everything up to them (RFC 7162 sections 3.2 and 6).
func TestDelayedExpungesAreNotLost(t *testing.T) {
	f := newFixture(t)
	for i := range 3 {
		f.deliver(fmt.Sprintf("%d.M1.h", i+1), "Subject: x\n\ny\n")
	}
	a, b := f.dial(), f.dial()
	f.talk(a, "login\nC a ENABLE QRESYNC\nS...\nS a OK .*")
	known := numberOf(t, "HIGHESTMODSEQ", f.ask(a, "b", "SELECT INBOX"))
	f.talk(b, `login
		C a SELECT INBOX
		S...
		S a OK .*
		C b STORE 1 +FLAGS.SILENT \Deleted
		S b OK .*
		C c EXPUNGE
		S \* 1 EXPUNGE
		S c OK .*`)
	said := f.ask(a, "c", `STORE 2 +FLAGS.SILENT \Seen`)
	told := numberOf(t, "UID 2 MODSEQ", said)
	if got := numberOf(t, "* OK [HIGHESTMODSEQ", said); got != known || told <= known {
		t.Errorf("told of %d with HIGHESTMODSEQ %d, want %d", told, got, known)
	}
	f.talk(a, fmt.Sprintf(`
		C d FETCH 2 (UID MODSEQ)
		S \* 2 FETCH \(UID 2 MODSEQ \(%[1]d\)\)
		S \* OK \[HIGHESTMODSEQ %[2]d\] .*
		S d OK .*
		C e NOOP
		S \* VANISHED 1
		S \* OK \[HIGHESTMODSEQ %[1]d\] .*
		S e OK .*
		C f STORE 1 -FLAGS \Seen
		S \* 1 FETCH \(UID 2 FLAGS \(.*\) MODSEQ \(\d+\)\)
		S f OK .*`, told, known))
}

// A change of flags that a conditional STORE does not speak of is no reason to leave
// a letter alone (RFC 7162 sections 3.1.3 and 3.1.12).
func TestStoreOfFlagsThatNobodyHasChanged(t *testing.T) {
	f := newFixture(t)
	f.deliver("1.M1.h", "Subject: x\n\ny\n")
	f.deliver("2.M1.h", "Subject: x\n\ny\n")
	a, b := f.dial(), f.dial()
	f.talk(a, "login\n")
	known := numberOf(t, "HIGHESTMODSEQ", f.ask(a, "b", "SELECT INBOX (CONDSTORE)"))
	f.talk(b, `login
		C a SELECT INBOX
		S...
		S a OK .*
		C b STORE 1 +FLAGS.SILENT (\Flagged busy)
		S...
		S b OK .*`)
	f.talk(a, fmt.Sprintf(`
		C c STORE 1 (UNCHANGEDSINCE %d) +FLAGS.SILENT (done \Seen)
		S \* FLAGS .*
		S \* 1 FETCH \(UID 1 MODSEQ \(\d+\)\)
		S...
		S c OK done
		C d STORE 1 (UNCHANGEDSINCE %[1]d) +FLAGS.SILENT other
		S d OK \[MODIFIED 1\] .*
		C e STORE 2 (UNCHANGEDSINCE 0) +FLAGS.SILENT done
		S \* 2 FETCH \(UID 2 MODSEQ \(\d+\)\)
		S e OK done
		C f STORE 1:2 (UNCHANGEDSINCE 0) +FLAGS.SILENT (DONE)
		S f OK \[MODIFIED 1:2\] .*
		C g STORE 2 (UNCHANGEDSINCE 0) -FLAGS.SILENT (\Draft)
		S g OK \[MODIFIED 2\] .*
		C h STORE 2 (UNCHANGEDSINCE 0) FLAGS.SILENT (else)
		S h OK \[MODIFIED 2\] .*`, known))
	now := numberOf(t, "HIGHESTMODSEQ", f.ask(a, "i", "STATUS INBOX (HIGHESTMODSEQ)"))
	f.talk(b, `
		C c STORE 2 +FLAGS.SILENT (busy)
		S...
		S c OK .*
		C d STORE 1 +FLAGS.SILENT (\Deleted)
		S...
		S d OK .*`)
	f.talk(a, fmt.Sprintf(`
		C j STORE 1:2 (UNCHANGEDSINCE %d) +FLAGS.SILENT (busy)
		S...
		S \* 1 FETCH \(UID 1 MODSEQ \(\d+\)\)
		S \* 2 FETCH \(UID 2 FLAGS .*
		S j OK \[MODIFIED 2\] .*`, now))
}
