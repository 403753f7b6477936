package imapsrv

import (
	"fmt"
	"strings"
	"testing"

	"postbag/internal/account"
)

func TestMetadataHasLimits(t *testing.T) {
	f := newFixture(t)
	long := strings.Repeat("x", account.MaxValue)
	c := f.dial()
	f.talk(c, fmt.Sprintf(`login
		C a SETMETADATA INBOX (/private/a [[%s]])
		S a OK .*
		C b SETMETADATA INBOX (/private/b "1" /private/a [[x%s]])
		S b NO \[METADATA MAXSIZE %d\] .*
		C c GETMETADATA INBOX (MAXSIZE 0) (/private/a /private/b)
		S \* METADATA "INBOX" \(/private/b NIL\)
		S c OK \[METADATA LONGENTRIES %d\] .*`, long, long, account.MaxValue, account.MaxValue))
	entries := ""
	for i := range 100 {
		entries += fmt.Sprintf(" /private/n%d \"x\"", i)
	}
	f.talk(c, fmt.Sprintf(`C d SETMETADATA INBOX (%s)
		S d NO \[METADATA TOOMANY\] .*
		C e SETMETADATA INBOX (%s /private/a NIL)
		S e OK .*`, entries[1:], entries[1:]))
}
