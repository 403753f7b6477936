package auth

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// hostOf is a System of these files.
func hostOf(t *testing.T, passwd, shadow string) *System {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"passwd": passwd, "shadow": shadow} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return newSystem(HostAccounts{Path: filepath.Join(dir, "passwd")}, filepath.Join(dir, "shadow"), []string{"example.org"})
}

func TestAccountsOfTheHostLogInWithTheirPasswords(t *testing.T) {
	today := time.Now().Unix() / (24 * 60 * 60)
	const passwd = "root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/:/bin/sh\nwww:x:33:33::/:/bin/sh\n"
	for _, tt := range []struct {
		name, line, login string
		want              error // nil: ann
	}{
		{"yescrypt, as Debian has it", "ann:" + yescryptText + ":%d:0:99999:7:::", "ann", nil},
		{"SHA-512, as others have it", "ann:" + sha512Crypt + ":%d:0:99999:7:::", "ann", nil},
		{"with a local domain", "ann:" + sha512Crypt + ":%d:0:99999:7:::", "Ann@example.org", nil},
		{"with another domain", "ann:" + sha512Crypt + ":%d:0:99999:7:::", "ann@elsewhere.example", ErrBadCredentials},
		{"an account that is locked", "ann:!" + sha512Crypt + ":%d:0:99999:7:::", "ann", ErrBadCredentials},
		{"one without a password", "ann::%d:0:99999:7:::", "ann", ErrBadCredentials},
		{"a scheme that is not known", "ann:secret:%d:0:99999:7:::", "ann", ErrBadCredentials},
		{"an account that ended yesterday", "ann:" + sha512Crypt + ":%[1]d:0:99999:7::%[1]d:", "ann", ErrBadCredentials},
		{"one that ends tomorrow", "ann:" + sha512Crypt + ":%d:0:99999:7::" + fmt.Sprint(today+1) + ":", "ann", nil},
		{"a password that is too old", "ann:" + sha512Crypt + ":100:0:90:7:::", "ann", ErrBadCredentials},
		{"one of the last day", "ann:" + sha512Crypt + ":" + fmt.Sprint(today-90) + ":0:90:7:::", "ann", nil},
		{"one that has to be changed", "ann:" + sha512Crypt + ":0:0:99999:7:::", "ann", ErrBadCredentials},
		{"a file without such days", "ann:" + sha512Crypt + ":::::::", "ann", nil},
		{"root", "root:" + sha512Crypt + ":%d:0:99999:7:::", "root", ErrBadCredentials},
		{"a service", "www:" + sha512Crypt + ":%d:0:99999:7:::", "www", ErrBadCredentials},
		{"an unknown name", "ann:" + sha512Crypt + ":%d:0:99999:7:::", "bob", ErrBadCredentials},
	} {
		t.Run(tt.name, func(t *testing.T) {
			line := strings.ReplaceAll(strings.ReplaceAll(tt.line, "%[1]d", fmt.Sprint(today)), "%d", fmt.Sprint(today))
			s := hostOf(t, passwd, "broken line\n"+line+"\n")
			a, err := s.Verify(t.Context(), tt.login, "secret")
			if !errors.Is(err, tt.want) || err == nil && (a.Name != "ann" || a.UID != 1000) {
				t.Errorf("%+v, %v; want %v", a, err, tt.want)
			}
			if _, err := s.Verify(t.Context(), tt.login, "wrong"); !errors.Is(err, ErrBadCredentials) {
				t.Errorf("a wrong password: %v", err)
			}
		})
	}
}

func TestTheHostKnowsWhoThereIs(t *testing.T) {
	s := hostOf(t, hostPasswd, "")
	if a, err := s.Lookup(t.Context(), "ANN@Example.org"); err != nil || a.Name != "ann" {
		t.Errorf("%+v, %v", a, err)
	}
	if _, err := s.Lookup(t.Context(), "www"); !errors.Is(err, ErrNoAccount) {
		t.Error(err)
	}
	all, err := s.List(t.Context())
	if err != nil || len(all) != 3 || all[1].Name != "ann" || !KnowsWho(s) || s.SCRAMPossible() {
		t.Errorf("%+v, %v", all, err)
	}
}

// Who may not read the passwords is told of trouble, not that they are wrong.
func TestPasswordsOfTheHostThatCannotBeReadAreTrouble(t *testing.T) {
	s := hostOf(t, hostPasswd, "ann:"+sha512Crypt+":::::::\n")
	if err := os.Remove(s.passwords.path); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Verify(t.Context(), "ann", "secret"); err == nil || errors.Is(err, ErrBadCredentials) || s.Check() == nil {
		t.Errorf("%v; Check: %v", err, s.Check())
	}
}
