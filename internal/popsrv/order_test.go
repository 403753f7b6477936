package popsrv

import (
	"os"
	"path/filepath"
	"testing"

	"postbag/internal/auth"
)

// Letters have the numbers that Dovecot gave them, and are what those numbers say.
func TestOrderOfAnotherServer(t *testing.T) {
	f := newFixture(t, "Subject: a\n\nx\n", "Subject: b\n\nxx\n", "Subject: c\n\nxxx\n")
	list := "3 V9 N4\n1 O2 :1000.M1P1.host\n2 O1 :1001.M1P1.host\n3 :1002.M1P1.host\n"
	if err := os.WriteFile(filepath.Join(f.dir, "dovecot-uidlist"), []byte(list), 0o600); err != nil {
		t.Fatal(err)
	}
	f.server.Preauth = &auth.Account{Name: "ann"}
	f.play(t, &pipeConn{}, `
		S: \+OK logged in, 3 letters .*
		C: UIDL
		S: \+OK.*
		S: 1 0000000200000009
		S: 2 0000000100000009
		S: 3 0000000300000009
		S: \.
		C: LIST 1
		S: \+OK 1 18
		C: TOP 1 0
		S: \+OK .*
		S: Subject: b
		S:
		S: \.
		C: DELE 1
		S: \+OK .*
		C: DELE 2
		S: \+OK .*
		C: QUIT
		S: \+OK bye, 2 .*`)
	if left := f.left(t); len(left) != 1 || filepath.Base(left[0]) != "1002.M1P1.host" {
		t.Errorf("there are %q", left)
	}
}
