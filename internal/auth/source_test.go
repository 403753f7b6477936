package auth

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestValidSource(t *testing.T) {
	for spec, ok := range map[string]bool{
		"file:/etc/users": true, "checkpassword:/bin/check -s x": true, "dovecot:/run/auth": true, "oauth:/bin/token -x": true, "oauth:token": false,
		"file:users": false, "file:": false, "file": false, "pam:dovecot": true, "pam:": false, "pam:../x": false, "pam:a b": false, "pam": false, "system": true, "system:x": false, "checkpassword:check": false, "": false,
	} {
		if err := ValidSource(spec); (err == nil) != ok {
			t.Errorf("ValidSource(%q) = %v", spec, err)
		}
	}
}

// program writes a shell script.
func program(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCheckpassword(t *testing.T) {
	t.Setenv("POSTBAG_FETCH_PASSWORD", "not for others")
	d, err := OpenSource("checkpassword:"+program(t, `
env | grep -q POSTBAG && exit 2
got=$(tr '\0' '\n' <&3 | head -2 | tr '\n' '|')
case $got in
"ann@example.org|open sesame|") HOME=/home/ann; export HOME; test "$1" = -x || exit 2; shift; exec "$@" ;;
"a/b|open sesame|") exec /usr/bin/env -0 ;;
"carl|x|") exit 111 ;;
esac
exit 1`)+" -x", nil, HostAccounts{})
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, user, password string
		want                 error // nil: ann
	}{
		{"a right password", "ann@example.org", "open sesame", nil},
		{"a name in other letters", "Ann@EXAMPLE.org", "open sesame", nil},
		{"a wrong password", "ann@example.org", "x", ErrBadCredentials},
		{"an unknown name", "bob", "open sesame", ErrBadCredentials},
		{"a name that would lead elsewhere", "a/b", "open sesame", ErrBadCredentials},
		{"a NUL in the password", "ann@example.org", "open sesame\x00x", ErrBadCredentials},
		{"more than the interface takes", "ann@example.org", strings.Repeat("x", 600), ErrBadCredentials},
		{"a program that cannot say", "carl", "x", errTrouble},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { verifies(t, d, tt.user, tt.password, tt.want, "/home/ann") })
	}
	if KnowsWho(d) || d.SCRAMPossible() {
		t.Error("a checkpassword knows who there is, or can do SCRAM")
	}
	if _, err := OpenSource("checkpassword:/nowhere/at/all", nil, HostAccounts{}); err == nil {
		t.Error("a program that there is not can be opened")
	}
}

// errTrouble stands for any error that is temporary.
var errTrouble = errors.New("trouble")

// verifies holds a login of ann@example.org, who has no uid, or why it fails.
func verifies(t *testing.T, d Directory, user, password string, want error, home string) {
	t.Helper()
	verifiesAs(t, d, user, password, want, home, -1)
}

func verifiesAs(t *testing.T, d Directory, user, password string, want error, home string, uid int) {
	t.Helper()
	a, err := d.Verify(t.Context(), user, password)
	switch {
	case want == nil && (err != nil || a.Name != "ann@example.org" || a.Home != home || a.UID != uid):
		t.Errorf("Verify = %+v, %v", a, err)
	case errors.Is(want, ErrBadCredentials) && !errors.Is(err, ErrBadCredentials):
		t.Errorf("Verify = %+v, %v, want bad credentials", a, err)
	case want == errTrouble && (err == nil || errors.Is(err, ErrBadCredentials)):
		t.Errorf("Verify = %+v, %v, want trouble", a, err)
	}
}

// serve answers each connection to a socket in Dovecot's form: a greeting, then
// what answers has for a line that begins so.
func serve(t *testing.T, path, greeting string, answers map[string]string) {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				c.Write([]byte(greeting))
				for lines := bufio.NewScanner(c); lines.Scan(); {
					for begin, answer := range answers {
						if strings.HasPrefix(lines.Text(), begin) {
							c.Write([]byte(answer))
						}
					}
				}
			}()
		}
	}()
}

func plain(user, password string) string {
	return "AUTH\t1\tPLAIN\tservice=postbag\tsecured\tresp=" + base64.StdEncoding.EncodeToString([]byte("\x00"+user+"\x00"+password))
}

func TestDovecotsAuthService(t *testing.T) {
	dir := t.TempDir()
	const greeting = "VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nSPID\t7\nCUID\t1\nCOOKIE\tabc\nDONE\n"
	serve(t, dir+"/auth-client", greeting, map[string]string{
		plain("ann", "open sesame"): "OK\t1\tuser=ann@example.org\n",
		plain("ann", "x"):           "FAIL\t1\tuser=ann\n",
		plain("carl", "x"):          "FAIL\t1\tuser=carl\ttemp\n",
		plain("dan", "x"):           "OK\t1\tuser=../../root\n",
		plain("eve", "x"):           "VERSION\t2\t0\n",
	})
	serve(t, dir+"/auth-userdb", "VERSION\t1\t1\nSPID\t7\n", map[string]string{
		"USER\t1\tann@example.org\tservice=": "USER\t1\tann@example.org\tuid=1000\tgid=1001\thome=/home/a\x01tb\tmail=maildir:~/Mail:INBOX=x\n",
		"USER\t1\tbob":                       "NOTFOUND\t1\n",
		"USER\t1\tcarl":                      "FAIL\t1\n",
		"USER\t1\tdan":                       "USER\t1\tdan\tuid=daniel\n",
		"USER\t1\tfred":                      "USER\t1\tfred\thome=/home/fred\n",
	})
	d, err := OpenSource("dovecot:"+dir+"/auth-client", nil, HostAccounts{})
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, user, password string
		want                 error
	}{
		{"a right password, for a name that Dovecot completes", "Ann", "open sesame", nil},
		{"a wrong password", "ann", "x", ErrBadCredentials},
		{"trouble of Dovecot", "carl", "x", errTrouble},
		{"an answer with a name that is none", "dan", "x", ErrBadCredentials},
		{"another protocol", "eve", "x", errTrouble},
		{"a name with a tab", "a\tb", "x", ErrBadCredentials},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { verifiesAs(t, d, tt.user, tt.password, tt.want, "/home/a\tb", 1000) })
	}
	a, err := d.Lookup(t.Context(), "ann@example.org")
	if err != nil || a.Maildir != "~/Mail" || a.UID != 1000 || a.GID != 1001 || !KnowsWho(d) {
		t.Errorf("Lookup = %+v, %v", a, err)
	}
	if _, err := d.Lookup(t.Context(), "bob"); !errors.Is(err, ErrNoAccount) {
		t.Errorf("Lookup of nobody = %v", err)
	}
	for _, name := range []string{"carl", "dan"} { // a uid that is none must not become the daemon's
		if a, err := d.Lookup(t.Context(), name); err == nil || errors.Is(err, ErrNoAccount) {
			t.Errorf("Lookup that fails = %+v, %v, want trouble", a, err)
		}
	}
	if a, err := d.Lookup(t.Context(), "fred"); err != nil || a.UID != -1 || a.GID != -1 {
		t.Errorf("Lookup of an account without ids = %+v, %v", a, err)
	}
}

func TestDovecotWithoutUserdbOrWithoutService(t *testing.T) {
	dir := t.TempDir()
	serve(t, dir+"/auth-client", "", map[string]string{plain("ann@example.org", "x"): "OK\t1\tuser=ann@example.org\n"})
	d, err := OpenSource("dovecot:"+dir+"/auth-client", nil, HostAccounts{})
	if err != nil {
		t.Fatal(err)
	}
	verifies(t, d, "ann@example.org", "x", nil, "")
	if _, err := d.Lookup(t.Context(), "ann"); !errors.Is(err, ErrNoAccount) || KnowsWho(d) {
		t.Errorf("Lookup without userdb = %v", err)
	}
	gone, err := OpenSource("dovecot:"+dir+"/nowhere", nil, HostAccounts{})
	if err != nil {
		t.Fatal(err)
	}
	verifies(t, gone, "ann", "x", errTrouble, "")
}

// fixed is a Directory of one account.
type fixed struct {
	passwordsOnly
	name, password, home string
	trouble              error
}

func (f fixed) Lookup(context.Context, string) (Account, error) { return Account{}, ErrNoAccount }

func (f fixed) Verify(_ context.Context, name, password string) (Account, error) {
	if f.trouble != nil {
		return Account{}, f.trouble
	}
	if name != f.name || password != f.password {
		return Account{}, ErrBadCredentials
	}
	return Account{Name: name, Home: f.home, UID: -1}, nil
}

// lost cannot say who there is.
type lost struct{ fixed }

func (lost) Lookup(context.Context, string) (Account, error) { return Account{}, errTrouble }

func TestSeveralSources(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(path, []byte("ann@example.org:*::::/home/file\nbob:{PLAIN}file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := OpenFile(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	other := fixed{name: "ann@example.org", password: "other", home: "/home/other"}
	both := Several{file, other}
	verifies(t, both, "ann@example.org", "other", nil, "/home/file") // who she is, the file says
	verifies(t, both, "ann@example.org", "file", ErrBadCredentials, "")
	verifies(t, Several{other}, "ann@example.org", "other", nil, "/home/other")
	verifies(t, Several{}, "ann@example.org", "other", ErrBadCredentials, "")
	troubled := Several{fixed{trouble: errTrouble}, other}
	verifies(t, troubled, "ann@example.org", "other", nil, "/home/other")
	verifies(t, troubled, "ann@example.org", "x", errTrouble, "")
	verifies(t, Several{other, lost{}}, "ann@example.org", "other", errTrouble, "") // whose mailbox?
	if both.SCRAMPossible() || (Several{}).SCRAMPossible() || !KnowsWho(both) {
		t.Error("SCRAM is offered though a source cannot do it, or the file is not asked who there is")
	}
	if all, err := both.List(t.Context()); err != nil || len(all) != 2 {
		t.Errorf("List = %v, %v", all, err)
	}
}
