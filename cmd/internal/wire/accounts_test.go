package wire

import (
	"os"
	"path/filepath"
	"testing"

	"postbag/internal/auth"
)

// Where no source knows who there is, whoever has a token is the account of the host that
// takes the mail, by whatever name it is written.
func TestTokensOfAccountsOfTheHost(t *testing.T) {
	dir := t.TempDir()
	program, passwd := filepath.Join(dir, "token"), filepath.Join(dir, "passwd")
	if err := os.WriteFile(program, []byte("#!/bin/sh\necho ann\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(passwd, []byte("ann:x:1000:1000::/home/ann:/bin/sh\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	host := auth.HostAccounts{Path: passwd}
	tokens, err := auth.OpenSource("oauth:"+program, nil, host)
	if err != nil {
		t.Fatal(err)
	}
	a := &Accounts{more: auth.Several{tokens}, host: auth.NewSystem(host, []string{"example.org"})}
	for _, asked := range []string{"", "ann", "ann@example.org"} {
		got, err := a.Token(t.Context(), asked, "x")
		if err != nil || got.UID != 1000 || got.Home != "/home/ann" {
			t.Errorf("Token for %q = %+v, %v", asked, got, err)
		}
	}
}
