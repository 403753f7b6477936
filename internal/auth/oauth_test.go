package auth

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// tokens is a program for OAuth: the token is the name of what it does.
const tokens = `
env | grep -q POSTBAG && exit 2
test "$1" = -x || exit 3
token=$(cat)
case $token in
ann) echo ann@example.org ;;
ANN) printf 'Ann@Example.ORG\r\n' ;;
asked) echo "$AUTH_USER" ;;
path) echo ../../root ;;
nobody) ;;
two) printf 'ann@example.org\nbob\n' ;;
chatty) head -c 10000 /dev/zero | tr '\0' x ;;
ann*xxx) test ${#token} = 10255 && echo ann@example.org ;;
scope) echo '{"status":"insufficient_scope","scope":"mail","openid-configuration":"https://id.example/x?a&b","more":1}'; exit 1 ;;
odd) printf %s '{"status":"no\n","scope":"mail"}'; exit 1 ;;
words) echo no; exit 1 ;;
long) printf '{"status":"x","scope":"%3000s"}' y; exit 1 ;;
later) exit 111 ;;
killed) kill -9 $$ ;;
"") echo ann@example.org ;;
*) exit 1 ;;
esac`

func TestOAuth(t *testing.T) {
	t.Setenv("POSTBAG_FETCH_PASSWORD", "not for others")
	d := openOAuth(t, tokens)
	for _, tt := range []struct {
		name, user, token string
		want              error // nil: ann
	}{
		{"a good token", "ann@example.org", "ann", nil},
		{"a good token, and nobody is asked for", "", "ann", nil},
		{"a name in other letters", "ANN@example.org", "ANN", nil},
		{"the name that is asked for is told", "ann@example.org", "asked", nil},
		{"somebody else's token", "bob", "ann", ErrBadCredentials},
		{"a bad token", "ann@example.org", "x", ErrBadCredentials},
		{"nobody is asked for, and nobody told", "", "asked", errTrouble},
		{"a name that would lead elsewhere", "", "path", ErrBadCredentials},
		{"asking for one", "../../root", "asked", ErrBadCredentials},
		{"no word whose it is", "ann@example.org", "nobody", errTrouble},
		{"two names", "ann@example.org", "two", errTrouble},
		{"too many words", "ann@example.org", "chatty", errTrouble},
		{"a program that cannot say", "ann@example.org", "later", errTrouble},
		{"a program that is killed", "ann@example.org", "killed", errTrouble},
		{"no token is not good, whatever the program says", "ann@example.org", "", ErrBadCredentials},
		{"a token of 10 KiB", "ann@example.org", "ann@example.org" + strings.Repeat("x", 10<<10), nil},
	} {
		t.Run(tt.name, func(t *testing.T) { hasToken(t, d, tt.user, tt.token, tt.want, "") })
	}
	if _, err := d.Verify(t.Context(), "ann@example.org", "ann"); !errors.Is(err, ErrBadCredentials) {
		t.Errorf("a token is a password: %v", err)
	}
	if KnowsWho(d) || d.SCRAMPossible() || !d.TokensPossible() {
		t.Error("it knows who there is or can do SCRAM, or knows no tokens")
	}
	for _, spec := range []string{"oauth:/nowhere/at/all", "oauth:token"} {
		if _, err := OpenSource(spec, nil, HostAccounts{}); err == nil {
			t.Errorf("%s can be opened", spec)
		}
	}
}

func openOAuth(t *testing.T, text string) *OAuth {
	t.Helper()
	d, err := OpenSource("oauth:"+program(t, text)+" -x", nil, HostAccounts{})
	if err != nil {
		t.Fatal(err)
	}
	return d.(*OAuth)
}

// hasToken holds whose a token is, ann@example.org's, or why it is refused.
func hasToken(t *testing.T, d Directory, user, token string, want error, home string) {
	t.Helper()
	a, err := d.Token(t.Context(), user, token)
	switch {
	case want == nil && (err != nil || a.Name != "ann@example.org" || a.Home != home || a.UID != -1):
		t.Errorf("Token = %+v, %v", a, err)
	case errors.Is(want, ErrBadCredentials) && !errors.Is(err, ErrBadCredentials):
		t.Errorf("Token = %+v, %v, want bad credentials", a, err)
	case want == errTrouble && (err == nil || errors.Is(err, ErrBadCredentials)):
		t.Errorf("Token = %+v, %v, want trouble", a, err)
	}
}

func TestWhatAProgramSaysOfABadToken(t *testing.T) {
	d := openOAuth(t, tokens)
	for token, want := range map[string]TokenError{
		"scope": {"insufficient_scope", "mail", "https://id.example/x?a&b"},
		"odd":   {"invalid_token", "mail", ""},
		"words": {Status: "invalid_token"},
		"long":  {Status: "invalid_token"},
		"x":     {Status: "invalid_token"},
		"":      {Status: "invalid_token"},
	} {
		_, err := d.Token(t.Context(), "ann", token)
		var got *TokenError
		if !errors.As(err, &got) || *got != want {
			t.Errorf("%q: %+v, want %+v", token, err, want)
		}
		if token != "" && strings.Contains(err.Error(), `"`+token+`"`) {
			t.Errorf("the token is in the error: %v", err)
		}
	}
}

// What a program has started ends with it when its time is over.
func TestAProgramThatTakesTooLong(t *testing.T) {
	dir := t.TempDir()
	d := openOAuth(t, "sleep 1000 & echo $! > "+dir+"/pid; mv "+dir+"/pid "+dir+"/sleeping; wait")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	done := make(chan error, 1)
	go func() {
		_, err := d.Token(ctx, "ann", "x")
		done <- err
	}()
	pid := strings.TrimSpace(appears(t, dir+"/sleeping"))
	stop()
	if err := <-done; !errors.Is(err, context.Canceled) || errors.Is(err, ErrBadCredentials) {
		t.Errorf("Token = %v", err)
	}
	for runs(pid) { // the kernel may take a moment
		time.Sleep(time.Millisecond)
	}
	d.time = time.Nanosecond
	if _, err := d.Token(t.Context(), "ann", "x"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Token without time = %v", err)
	}
}

// appears waits for a file and gives what is in it.
func appears(t *testing.T, path string) string {
	t.Helper()
	for {
		if text, err := os.ReadFile(path); err == nil {
			return string(text)
		}
		if t.Context().Err() != nil {
			t.Fatalf("%s does not appear", path)
		}
		time.Sleep(time.Millisecond)
	}
}

// runs reports whether there is such a process, and it has not ended.
func runs(pid string) bool {
	text, err := os.ReadFile("/proc/" + pid + "/stat")
	_, state, _ := strings.Cut(string(text), ") ")
	return err == nil && !strings.HasPrefix(state, "Z")
}

func TestTokensAmongSeveralSources(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(path, []byte("ann@example.org:{PLAIN}x::::/home/ann\nbob:{PLAIN}y\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := OpenFile(path, []string{"example.org"})
	if err != nil {
		t.Fatal(err)
	}
	one := openOAuth(t, `token=$(cat); test "$token" = bob && echo bob@example.org || exit 1`)
	other := openOAuth(t, tokens)
	both := Several{one, file, other}
	hasToken(t, both, "ann@example.org", "ann", nil, "/home/ann") // who she is, the file says
	hasToken(t, both, "", "ann", nil, "/home/ann")
	hasToken(t, both, "bob", "ann", ErrBadCredentials, "")
	hasToken(t, both, "", "x", ErrBadCredentials, "")
	hasToken(t, both, "", "later", errTrouble, "")
	if a, err := both.Token(t.Context(), "bob", "bob"); err != nil || a.Name != "bob" {
		t.Errorf("a token of bob@example.org for bob, who is the same: %+v, %v", a, err)
	}
	verifies(t, both, "ann@example.org", "x", nil, "/home/ann")
	if _, err := both.Verify(t.Context(), "ann@example.org", "ann"); !errors.Is(err, ErrBadCredentials) {
		t.Errorf("a token is a password: %v", err)
	}
	if !both.SCRAMPossible() || !both.TokensPossible() || (Several{one}).SCRAMPossible() || (Several{file}).TokensPossible() {
		t.Error("what has no passwords keeps SCRAM from the others, or what has no tokens has some")
	}
	for _, name := range []string{"ann@example.org", "nobody"} { // the program must not make a difference
		if c, _, err := both.SCRAM(t.Context(), name); err != nil || len(c.Salt) == 0 {
			t.Errorf("SCRAM of %s: %+v, %v", name, c, err)
		}
	}
	hasToken(t, Several{other, lost{}}, "", "ann", errTrouble, "") // whose mailbox?
	hasToken(t, Several{other, file, lost{}}, "bob@else.example", "ann", errTrouble, "")
}
