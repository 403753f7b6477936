package imapsrv

import "testing"

func TestALetterIsRecentInOneSession(t *testing.T) {
	f := newFixture(t)
	f.deliver("1.M1.h", "Subject: x\n\ny\n")
	a, b, c := f.dial(), f.dial(), f.dial()
	f.talk(c, "login\nC a EXAMINE INBOX\nS...\nS \\* 1 RECENT\nS...\nS a OK .*")
	f.talk(a, "login\nC a SELECT INBOX\nS...\nS \\* 1 RECENT\nS...\nS a OK .*")
	f.talk(b, "login\nC a SELECT INBOX\nS...\nS \\* 0 RECENT\nS...\nS a OK .*")
	f.deliver("2.M1.h", "Subject: x\n\ny\n")
	f.talk(b, `
		C b NOOP
		S \* 2 EXISTS
		S \* 1 RECENT
		S b OK .*
		C c FETCH 1:2 FLAGS
		S \* 1 FETCH \(FLAGS \(\)\)
		S \* 2 FETCH \(FLAGS \(\\Recent\)\)
		S c OK .*`)
	f.talk(a, `
		C b NOOP
		S \* 2 EXISTS
		S \* 1 RECENT
		S b OK .*
		C c FETCH 1:2 FLAGS
		S \* 1 FETCH \(FLAGS \(\\Recent\)\)
		S \* 2 FETCH \(FLAGS \(\)\)
		S c OK .*
		C d SEARCH RECENT
		S \* SEARCH 1
		S d OK .*`)
}
