package imapsrv

import "testing"

// What one session was told of a keyword the others are, though its letter is
// gone: clients compare their lists with what they may store.
func TestAKeywordIsToldWithoutItsLetter(t *testing.T) {
	f := newFixture(t)
	f.play(
		"a: D 1.M1.h"+selectInbox,
		"b: "+selectInbox+`C b STORE 1 +FLAGS.SILENT (\Deleted Work)
			S...
			S b OK .*
			C c EXPUNGE
			S...
			S c OK .*`,
		`a: C n NOOP
			S \* 1 EXPUNGE
			S \* FLAGS \(.* Work\)
			S n OK .*
			C o SELECT INBOX
			S...
			S \* FLAGS \(.* Work\)
			S...
			S o OK .*`,
	)
}
