package imapsrv

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestNoRoom(t *testing.T) {
	f := newFixture(t)
	f.deliver("1.M1.h", "Subject: x\n\ny\n")
	if err := os.WriteFile(filepath.Join(f.root, "maildirsize"), []byte("45S\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f.talk(f.dial(), "login\n"+`
		C a SELECT INBOX
		S...
		S a OK .*
		C b COPY 1 INBOX
		S...
		S b OK .*
		C c COPY 1 INBOX
		S...
		S c OK .*
		C d COPY 1 INBOX
		S d NO \[OVERQUOTA\] .*
		C e APPEND INBOX [[Subject: y\r\n\r\n]]
		S e NO \[OVERQUOTA\] .*
		C f STORE 1:2 +FLAGS.SILENT (\Deleted)
		S f OK .*
		C g EXPUNGE
		S...
		S g OK .*
		C g2 COPY 1 INBOX
		S...
		S g2 OK .*
		C g3 COPY 1 INBOX
		S...
		S g3 OK .*
		C g4 REPLACE 1 INBOX [[Subject: y\r\n\r\nmuch more than before\r\n]]
		S g4 NO \[OVERQUOTA\] .*
		C g5 REPLACE 1 INBOX [[Subject: y\r\n\r\nz\r\n]]
		S...
		S g5 OK .*
		C g6 STORE 1:2 +FLAGS.SILENT (\Deleted)
		S g6 OK .*
		C g7 EXPUNGE
		S...
		S g7 OK .*
		C h CREATE A
		S h OK .*
		C i COPY 1 A
		S...
		S i OK .*
		C j MOVE 1 A
		S...
		S j OK .*`)
}

func TestQuotaIsTold(t *testing.T) {
	f := newFixture(t)
	f.deliver("1.M1.h", "Subject: x\n\n"+strings.Repeat("y", 1500)+"\n")
	if err := os.WriteFile(filepath.Join(f.root, "maildirsize"), []byte("4096S,3C\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f.talk(f.dial(), "login\n"+`
		C a GETQUOTAROOT Nowhere
		S \* QUOTAROOT "Nowhere" "User quota"
		S \* QUOTA "User quota" \(STORAGE 2 4 MESSAGE 1 3\)
		S a OK .*
		C b APPEND INBOX [[Subject: y\r\n\r\n]]
		S b OK .*
		C c GETQUOTA "User quota"
		S \* QUOTA "User quota" \(STORAGE 2 4 MESSAGE 2 3\)
		S c OK .*`)
}
