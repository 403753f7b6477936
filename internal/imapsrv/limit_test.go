package imapsrv

import (
	"fmt"
	"testing"
)

func TestMessageLimit(t *testing.T) {
	f := newFixture(t)
	f.server.MessageLimit = 2
	for i := range 4 {
		f.deliver(fmt.Sprintf("%d.M1.h", i+1), "Subject: x\n\ny\n")
	}
	f.talk(f.dial(), `
		S \* OK .*
		C a LOGIN ann "open sesame"
		S a OK \[CAPABILITY .* MESSAGELIMIT=2 .*
		C b SELECT INBOX
		S...
		S b OK .*
		C c FETCH 1:3 UID
		S \* 3 FETCH \(UID 3\)
		S \* 2 FETCH \(UID 2\)
		S c OK \[MESSAGELIMIT 2 2\] .*
		C d FETCH 3:4 UID
		S \* 3 FETCH \(UID 3\)
		S \* 4 FETCH \(UID 4\)
		S d OK done
		C e UID FETCH 1:* UID (PARTIAL -1:-3)
		S e NO \[MESSAGELIMIT 2\] .*
		C f UID SEARCH UID 1:3 SUBJECT x
		S \* SEARCH 2 3
		S f OK \[MESSAGELIMIT 2 2\] .*
		C g SEARCH OR 1 2
		S \* SEARCH 1 2
		S g OK done
		C g2 SEARCH OR 1 SUBJECT x
		S \* SEARCH 3 4
		S g2 OK \[MESSAGELIMIT 2 3\] .*
		C h SEARCH RETURN (SAVE) ALL
		S h OK \[MESSAGELIMIT 2 3\] .*
		C i FETCH $ UID
		S \* 3 FETCH .*
		S \* 4 FETCH .*
		S i OK done
		C j STORE 1:3 +FLAGS (\Deleted)
		S \* 3 FETCH .*
		S \* 2 FETCH .*
		S j OK \[MESSAGELIMIT 2 2\] .*
		C k COPY 2:4 INBOX
		S k NO \[MESSAGELIMIT 2 3\] .*
		C l APPEND INBOX {1+}\r\na {1+}\r\nb {1+}\r\nc
		S l NO \[MESSAGELIMIT 2\] .*
		C m STORE 4 +FLAGS.SILENT (\Deleted)
		S m OK done
		C n UID EXPUNGE 1:*
		S \* 4 EXPUNGE
		S \* 3 EXPUNGE
		S n OK \[MESSAGELIMIT 2 3\] .*
		C o APPEND INBOX {3+}\r\na:b
		S...
		S o OK .*
		C p CREATE A
		S p OK .*
		C q UID MOVE 1:* A
		S \* OK \[COPYUID \d+ 2,5 1:2\] .*
		S \* 3 EXPUNGE
		S \* 2 EXPUNGE
		S q OK \[MESSAGELIMIT 2 2\] .*
		C r UID MOVE 1:* A
		S...
		S r OK done
		C s STATUS A (MESSAGES)
		S \* STATUS "A" \(MESSAGES 3\)
		S s OK .*`)
}
