package imapsrv

import (
	"net"
	"os"
	"path/filepath"
	"testing"
)

const selectInbox = "\nC s SELECT INBOX\nS...\nS s OK .*\n"

// play plays the lines of two sessions, each in a process of its own, on one
// account: a line of the dialogue begins with "a: " or "b: ".
func (f *fixture) play(lines ...string) {
	f.t.Helper()
	sessions := map[byte]net.Conn{}
	for _, who := range []byte("ab") {
		f.process()
		sessions[who] = f.dial()
		f.talk(sessions[who], "login\n")
	}
	for _, line := range lines {
		f.talk(sessions[line[0]], line[3:])
	}
}

func TestNotify(t *testing.T) {
	for _, c := range []struct {
		what  string
		lines []string
	}{
		{"a new letter in the selected folder is told with what was asked for", []string{
			"a: " + selectInbox + `C n NOTIFY SET (selected (MessageNew (UID BODY.PEEK[HEADER.FIELDS (SUBJECT)]) MessageExpunge))
				S n OK .*
				D 1.M1.h
				S \* 1 EXISTS
				S \* 1 RECENT
				S \* 1 FETCH \(UID 1 BODY\[HEADER.FIELDS \(SUBJECT\)\] \{16\}
				S Subject: new
				S
				S \)`,
			"b: " + selectInbox + `C b STORE 1 +FLAGS (\Flagged \Deleted)
				S...
				S b OK .*
				C c EXPUNGE
				S...
				S c OK .*`,
			`a: S \* 1 EXPUNGE`, // and the flags are not told
		}},
		{"flags that were asked for are told with the UID", []string{
			"a: D 1.M1.h" + selectInbox + "C n NOTIFY SET (selected (MessageNew MessageExpunge FlagChange))\nS n OK .*",
			"b: " + selectInbox + "C b STORE 1 +FLAGS (\\Flagged)\nS...\nS b OK .*",
			`a: S \* 1 FETCH \(UID 1 FLAGS \(\\Flagged.*\)\)`,
		}},
		{"an expunge waits for a command where the client wants it to", []string{
			"a: D 1.M1.h" + selectInbox + "C n NOTIFY SET (selected-delayed (MessageNew MessageExpunge FlagChange))\nS n OK .*",
			"b: " + selectInbox + "C b STORE 1 +FLAGS (\\Deleted)\nS...\nS b OK .*",
			`a: S \* 1 FETCH \(UID 1 FLAGS \(\\Deleted.*\)\)`,
			"b: C c EXPUNGE\nS...\nS c OK .*",
			`a: C o FETCH 1 UID
				S \* 1 FETCH \(UID 1\)
				S o OK .*
				C p IDLE
				S \+ .*
				S \* 1 EXPUNGE
				C DONE
				S p OK .*`,
		}},
		{"who asks for nothing of the selected folder has a version that stays", []string{
			"a: D 1.M1.h" + selectInbox + "C n NOTIFY SET (selected NONE) (mailboxes Nowhere (MessageNew MessageExpunge))\nS n OK .*",
			"b: " + selectInbox + "D 2.M1.h\nC b NOOP\nS \\* 2 EXISTS\nS...\nS b OK .*",
			`a: C o NOOP
				S o OK .*
				C p IDLE
				S \+ .*
				C DONE
				S p OK .*
				C q STORE 1 +FLAGS.SILENT (\Deleted)
				S q OK .*
				C r EXPUNGE
				S \* 1 EXPUNGE
				S \* 1 EXISTS
				S \* 0 RECENT
				S r OK .*
				C s NOTIFY NONE
				S s OK .*`,
		}},
		{"letters that the client itself has put in are not sent to it", []string{
			"a: " + selectInbox + `C n NOTIFY SET (selected (MessageNew (UID) MessageExpunge))
				S n OK .*
				C o APPEND INBOX {3+}\r\na:b
				S \* 1 EXISTS
				S \* 1 RECENT
				S o OK .*
				D 1.M1.h
				S \* 2 EXISTS
				S \* 2 RECENT
				S \* 2 FETCH \(UID 2\)`,
		}},
		{"how other folders stand is told first, and then when it changes", []string{
			"a: C m CREATE Work\nS m OK .*" + selectInbox + `C n NOTIFY SET STATUS (selected (MessageNew MessageExpunge)) (personal (MessageNew MessageExpunge FlagChange))
				S \* STATUS "Work" \(MESSAGES 0 UIDNEXT 1 UIDVALIDITY \d+ UNSEEN 0 HIGHESTMODSEQ \d+\)
				S n OK .*`,
			"b: C b APPEND Work {3+}\\r\\na:b\nS b OK .*",
			`a: S \* STATUS "Work" \(MESSAGES 1 UIDNEXT 2\)`,
			"b: C c SELECT Work\nS...\nS c OK .*\nC d STORE 1 +FLAGS (\\Seen)\nS...\nS d OK .*",
			`a: S \* STATUS "Work" \(UNSEEN 0\)
				C o ENABLE CONDSTORE
				S...
				S \* ENABLED .*
				S o OK .*`,
			"b: C e STORE 1 +FLAGS (\\Deleted)\nS...\nS e OK .*",
			`a: S \* STATUS "Work" \(HIGHESTMODSEQ \d+ UIDVALIDITY \d+\)`,
			"b: C f EXPUNGE\nS...\nS f OK .*",
			`a: S \* STATUS "Work" \(MESSAGES 0 UIDNEXT 2 HIGHESTMODSEQ \d+\)`,
		}},
		{"a letter that came before NOTIFY is told of before its OK", []string{
			"a: " + selectInbox + `D 1.M1.h
				C n NOTIFY SET (selected (MessageNew (UID) MessageExpunge))
				S \* 1 EXISTS
				S \* 1 RECENT
				S n OK .*`,
		}},
		{"a folder that is selected no more is one of the others", []string{
			"a: C m CREATE Work\nS m OK .*\nC s SELECT Work\nS...\nS s OK .*" + `
				C n NOTIFY SET (personal (MessageNew MessageExpunge))
				S n OK .*`,
			"b: C b APPEND Work {3+}\\r\\na:b\nS b OK .*",
			`a: C x NOOP
				S x OK .*
				C o UNSELECT
				S \* STATUS "Work" \(MESSAGES 1 UIDNEXT 2\)
				S o OK .*`,
		}},
		{"names, subscriptions and metadata that change are told", []string{
			`a: C n NOTIFY SET (subtree Work (MailboxName SubscriptionChange MailboxMetadataChange)) (mailboxes INBOX (ServerMetadataChange))
				S n OK .*`,
			"b: C b CREATE Other\nS b OK .*\nC c CREATE Work/Old\nS c OK .*",
			`a: S \* LIST \(\\NonExistent \\HasChildren\) "/" "Work"
				S \* LIST \(\\HasNoChildren\) "/" "Work/Old"`,
			"b: C d SUBSCRIBE Work/Old\nS d OK .*",
			`a: S \* LIST \(\\HasNoChildren \\Subscribed\) "/" "Work/Old"`,
			`b: C e SETMETADATA Work/Old (/private/comment "a" /shared/comment "b")
				S e OK .*`,
			`a: S \* METADATA "Work/Old" /private/comment /shared/comment`,
			`b: C f SETMETADATA "" (/shared/comment "c")
				S f OK .*`,
			`a: S \* METADATA "" /shared/comment`,
			"b: C g RENAME Work/Old Work/New\nS g OK .*",
			`a: S \* LIST \(\\HasNoChildren\) "/" "Work/New" \("OLDNAME" \("Work/Old"\)\)`,
			"b: C h DELETE Work/New\nS h OK .*",
			`a: S \* LIST \(\\NonExistent\) "/" "Work"
				S \* LIST \(\\NonExistent\) "/" "Work/New"`,
		}},
		{"the children of a folder that is renamed are not told of", []string{
			"a: C l CREATE A/B\nS l OK .*\nC m CREATE A\nS m OK .*\nC n NOTIFY SET (personal (MailboxName))\nS n OK .*",
			"b: C b RENAME A C\nS b OK .*\nC c CREATE Z\nS c OK .*",
			`a: S \* LIST \(\\HasChildren\) "/" "C" \("OLDNAME" \("A"\)\)
				S \* LIST \(\\HasNoChildren\) "/" "Z"`,
		}},
		{"what the client itself does to folders is not told", []string{
			`a: C n NOTIFY SET (personal (MailboxName SubscriptionChange MailboxMetadataChange))
				S n OK .*
				C o CREATE A
				S o OK .*
				C p SUBSCRIBE A
				S p OK .*
				C q SETMETADATA A (/private/comment "x")
				S q OK .*
				C r RENAME A B
				S r OK .*
				C s DELETE B
				S s OK .*`,
			"b: C b CREATE Z\nS b OK .*",
			`a: S \* LIST \(\\HasNoChildren\) "/" "Z"`,
		}},
		{"a folder that comes is watched, with what is in it", []string{
			`a: C n NOTIFY SET (personal (MessageNew MessageExpunge))
				S n OK .*`,
			"b: C b CREATE New\nS b OK .*",
			`a: S \* STATUS "New" \(MESSAGES 0 UIDNEXT 1 UIDVALIDITY \d+ UNSEEN 0\)`,
			"b: C c APPEND New {3+}\\r\\na:b\nS c OK .*",
			`a: S \* STATUS "New" \(MESSAGES 1 UIDNEXT 2\)`,
		}},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			newFixture(t).play(c.lines...)
		})
	}
}

// A program that knows nothing of us makes a folder, piece by piece.
func TestNotifyTellsOfFoldersThatOthersMake(t *testing.T) {
	f := newFixture(t)
	c := f.dial()
	f.talk(c, "login\nC n NOTIFY SET (personal (MailboxName))\nS n OK .*")
	for _, sub := range []string{"", "new", "tmp", "cur"} {
		if err := os.Mkdir(filepath.Join(f.root, ".Foreign", sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	f.talk(c, `S \* LIST \(\\HasNoChildren\) "/" "Foreign"`)
}
