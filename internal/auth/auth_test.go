package auth

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/xdg-go/scram"
)

// What openssl passwd, htpasswd and argon2 print for the password "secret".
const (
	sha512Crypt = "$6$saltsalt$TVLlQcbpFVof5W3Yz4DTP6gRstiNuHwwTt6GLc1E5n0U0aDehy0S5knV8wiOQSpT0Y77vwPZN.Pq.H91p5hVO1"
	sha256Crypt = "$5$saltsalt$0IyaXrmV7.sGNS6tirgqHLqX/G.FBvgkYA.lpPdS5sA"
	bcryptText  = "$2a$04$ApS5w2BdeRwBm7y8nLAmwu9SEy739teLyIegDtUeA8uY8.P/PH4ii"
	// What perl's crypt makes with the library of Debian 12.
	yescryptText = "$y$j75$abcdefgh12345678$JC6qDq6ooBg0TtwcEkfEqOCTB4itIJhOMuWHbGoB3R8"
	argonText    = "$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHRzYWx0$Sm3MnLdCFk0Af+croKgebRoqqmhbKd88iiW3yUOXn78"
)

func scramText(password string) string {
	c := derive(password, []byte("saltsaltsalt"), 4096)
	e := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("{SCRAM-SHA-256}4096,%s,%s,%s", e(c.Salt), e(c.StoredKey), e(c.ServerKey))
}

// openText opens a users file of that text.
func openText(t *testing.T, text string) *File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := OpenFile(path, []string{"example.org", "bücher.example"})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestVerifyKnowsEachScheme(t *testing.T) {
	for name, text := range map[string]string{
		"plain":                    "{PLAIN}secret",
		"plain with a brace":       "{plain}secret",
		"openssl passwd -6":        sha512Crypt,
		"openssl passwd -5 scheme": "{SHA256-CRYPT}" + sha256Crypt,
		"htpasswd -nB":             bcryptText,
		"SCRAM":                    scramText("secret"),
		"argon2id":                 argonText,
		"yescrypt":                 yescryptText,
		"YESCRYPT":                 "{YESCRYPT}" + yescryptText,
	} {
		f := openText(t, "ann:"+text+"\n")
		for _, c := range []struct {
			login, password string
			ok              bool
		}{{"ann", "secret", true}, {"ann", "Secret", false}, {"ann", "", false}, {"bob", "secret", false}, {"ANN@Example.ORG", "secret", true}, {"ann@elsewhere.example", "secret", false}} {
			account, err := f.Verify(t.Context(), c.login, c.password)
			if (err == nil) != c.ok || err != nil && !errors.Is(err, ErrBadCredentials) || c.ok && account.Name != "ann" {
				t.Errorf("%s: Verify(%q, %q) = %v, %v", name, c.login, c.password, account, err)
			}
		}
	}
}

func TestAccounts(t *testing.T) {
	f := openText(t, "# comment\n\nann:{PLAIN}x:1001:1002::/home/ann::userdb_mail=maildir:/mail/ann:INBOX=x other=1\nann@bücher.example:{PLAIN}y\nbob:!\n")
	a, err := f.Lookup(t.Context(), "ann@example.org")
	if want := (Account{"ann", 1001, 1002, "/home/ann", "/mail/ann"}); err != nil || a != want {
		t.Errorf("%+v, %v; want %+v", a, err, want)
	}
	if a, err = f.Lookup(t.Context(), "ann@XN--BCHER-KVA.example"); err != nil || a.Name != "ann@bücher.example" || a.UID != -1 {
		t.Errorf("%+v, %v", a, err)
	}
	if _, err := f.Lookup(t.Context(), "carl"); !errors.Is(err, ErrNoAccount) {
		t.Error(err)
	}
	if _, err := f.Verify(t.Context(), "bob", "!"); !errors.Is(err, ErrBadCredentials) {
		t.Errorf("a locked account: %v", err)
	}
	if all, _ := f.List(t.Context()); len(all) != 3 {
		t.Errorf("%d accounts", len(all))
	}
	if f.SCRAMPossible() {
		t.Error("SCRAM is offered although bob cannot use it")
	}
}

func TestABrokenFileIsNamedWithItsLine(t *testing.T) {
	for line, want := range map[string]string{
		"ann":                "password is missing",
		":{PLAIN}x":          "name is missing",
		"ann:{MD5}x":         "{MD5} is not known",
		"ann:x":              "no scheme",
		"ann:{PLAIN}x:-5":    "no uid",
		"a b:{PLAIN}x":       "is no name",
		"ann:{PLAIN}\nann:!": "is there twice",
		"ann:$2y$x":          "bcrypt",
		"ann:$argon2id$v=19$m=9999999,t=1,p=1$AA$AAAAAA":                          "argon2id",
		"ann:{SCRAM-SHA-256}1,2":                                                  "SCRAM",
		"ann:$y$jGT$abcdefgh12345678$zjcUVX8ag2VAbQeN71ORYmc8psSG6sPGoPS7MHunCcA": "yescrypt",
		"ann:$y$j9T$abc$short":                                                    "yescrypt",
		"ann:$6$x":                                                                "crypt",
		"ann:!::::::userdb_mail=mbox:/x":                                          "maildir:PATH",
	} {
		path := filepath.Join(t.TempDir(), "users")
		os.WriteFile(path, []byte("ok:!\n"+line+"\n"), 0o600)
		_, err := OpenFile(path, nil)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), path+":") {
			t.Errorf("%q: %v, want %q", line, err, want)
		}
	}
	if _, err := OpenFile("/nonexistent/users", nil); !IsMissing(err) {
		t.Error(err)
	}
}

func TestTheFileIsReadAgainWhenItChanges(t *testing.T) {
	f := openText(t, "ann:{PLAIN}old\n")
	f.Verify(t.Context(), "ann", "old") // is remembered
	os.WriteFile(f.path, []byte("ann:{PLAIN}newer\n"), 0o600)
	if err := f.Check(); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Verify(t.Context(), "ann", "newer"); err != nil {
		t.Error(err)
	}
	if _, err := f.Verify(t.Context(), "ann", "old"); err == nil {
		t.Error("the old password still fits")
	}
	os.WriteFile(f.path, []byte("broken"), 0o600)
	if err := f.Check(); err == nil {
		t.Error("a broken file is not reported")
	}
	if _, err := f.Verify(t.Context(), "ann", "newer"); err != nil {
		t.Errorf("a broken file takes the accounts away: %v", err)
	}
}

// converse runs an exchange with what the client says.
func converse(s Server, says ...string) (challenges []string, done bool, err error) {
	var response []byte
	for i := 0; ; i++ {
		var challenge []byte
		challenge, done, err = s.Next(response)
		if done || err != nil {
			return challenges, done, err
		}
		challenges = append(challenges, string(challenge))
		if i >= len(says) {
			return challenges, false, nil
		}
		response = []byte(says[i])
	}
}

func TestPlainAndLogin(t *testing.T) {
	f := openText(t, "ann:{PLAIN}secret\n")
	for name, c := range map[string]struct {
		mechanism string
		says      []string
		ok        bool
	}{
		"PLAIN":                       {"PLAIN", []string{"\x00ann\x00secret"}, true},
		"PLAIN as oneself":            {"PLAIN", []string{"ann\x00ann\x00secret"}, true},
		"PLAIN as somebody else":      {"PLAIN", []string{"bob\x00ann\x00secret"}, false},
		"PLAIN with a wrong password": {"PLAIN", []string{"\x00ann\x00x"}, false},
		"PLAIN with too little":       {"PLAIN", []string{"ann\x00secret"}, false},
		"PLAIN with nothing":          {"PLAIN", []string{""}, false},
		"LOGIN":                       {"LOGIN", []string{"ann", "secret"}, true},
		"LOGIN with a wrong password": {"LOGIN", []string{"ann", "x"}, false},
	} {
		s, err := NewServer(c.mechanism, f, Exchange{})
		if err != nil {
			t.Fatal(err)
		}
		_, done, err := converse(s, c.says...)
		if done != c.ok || !c.ok && !errors.Is(err, ErrBadCredentials) || c.ok && s.Account().Name != "ann" {
			t.Errorf("%s: %v, %v", name, done, err)
		}
	}
	if _, err := NewServer("CRAM-MD5", f, Exchange{}); err == nil {
		t.Error("a mechanism that there is not")
	}
}

func TestScram(t *testing.T) {
	for _, secret := range []string{"{PLAIN}secret", scramText("secret")} {
		f := openText(t, "ann:"+secret+"\n")
		for _, c := range []struct {
			user, password string
			ok             bool
		}{{"ann", "secret", true}, {"ann@example.org", "secret", true}, {"ann", "wrong", false}, {"nobody", "secret", false}} {
			cl, err := scram.SHA256.NewClient(c.user, c.password, "")
			if err != nil {
				t.Fatal(err)
			}
			conv := cl.NewConversation()
			s, err := NewServer("SCRAM-SHA-256", f, Exchange{})
			if err != nil {
				t.Fatal(err)
			}
			ok := talk(conv, s)
			if ok != c.ok || ok && (s.Account().Name != "ann" || !conv.Valid()) {
				t.Errorf("%s %s with %.8s: %v", c.user, c.password, secret, ok)
			}
		}
	}
}

func talk(conv *scram.ClientConversation, s Server) bool {
	says, err := conv.Step("")
	for err == nil {
		challenge, done, serr := s.Next([]byte(says))
		if serr != nil || done {
			return done
		}
		says, err = conv.Step(string(challenge))
	}
	return false
}

func TestUnknownNamesHaveCredentialsThatStay(t *testing.T) {
	f := openText(t, "ann:{PLAIN}secret\n")
	a, _, _ := f.SCRAM(t.Context(), "nobody")
	b, _, _ := f.SCRAM(t.Context(), "nobody")
	c, _, _ := f.SCRAM(t.Context(), "nobody2")
	if string(a.Salt) != string(b.Salt) || string(a.Salt) == string(c.Salt) || len(a.Salt) == 0 {
		t.Error("the salt shows that there is no such account")
	}
}

func TestMechanisms(t *testing.T) {
	plain, hashed := openText(t, "ann:{PLAIN}x\n"), openText(t, "ann:"+sha512Crypt+"\n")
	for _, c := range []struct {
		f    *File
		ok   bool
		want string
	}{{plain, true, "SCRAM-SHA-256 PLAIN LOGIN"}, {plain, false, "SCRAM-SHA-256"}, {hashed, true, "PLAIN LOGIN"}, {hashed, false, ""}} {
		if got := strings.Join(Mechanisms(c.f, c.ok, Exchange{}), " "); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

func TestAPeerThatGuessesWaitsLongerAndLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th, peer := NewThrottle(), netip.MustParseAddr("192.0.2.1")
		wait := func() time.Duration {
			start := time.Now()
			th.Wait(context.Background(), peer, "ann")
			return time.Since(start)
		}
		var waits []time.Duration
		for range 8 {
			waits = append(waits, wait())
			th.Failed(peer, "ann")
		}
		if got := fmt.Sprint(waits); got != "[0s 0s 0s 1s 2s 4s 8s 15s]" {
			t.Error(got)
		}
		if th.Wait(context.Background(), netip.MustParseAddr("192.0.2.2"), "ann"); th.delay(netip.MustParseAddr("192.0.2.2")) != 0 {
			t.Error("another peer waits too")
		}
		th.Succeeded(peer, "ann")
		if wait() != 0 {
			t.Error("a success is not the end of it")
		}
	})
}

// Many peers that guess at one account are slowed down together; who has logged
// in to it before is not.
func TestFailuresOfANameSlowStrangersDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th, owner := NewThrottle(), netip.MustParseAddr("198.51.100.1")
		th.Succeeded(owner, "ann")
		guesser := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}) }
		wait := func(peer netip.Addr, name string) time.Duration {
			start := time.Now()
			th.Wait(context.Background(), peer, name)
			return time.Since(start)
		}
		for i := range 20 {
			if d := wait(guesser(i), "ann"); d != 0 {
				t.Fatalf("guess %d waits %v", i, d)
			}
			th.Failed(guesser(i), []string{"ann", "ANN"}[i%2])
		}
		var waits []time.Duration
		for i := range 6 {
			waits = append(waits, wait(guesser(100+i), "Ann"))
			th.Failed(guesser(100+i), "ann")
		}
		if got := fmt.Sprint(waits); got != "[1s 2s 4s 8s 15s 15s]" {
			t.Error(got)
		}
		if d := wait(owner, "ann"); d != 0 {
			t.Errorf("the owner waits %v", d)
		}
		if d := wait(guesser(200), "bob"); d != 0 {
			t.Errorf("another name waits %v", d)
		}
		time.Sleep(forgetAfter + time.Second)
		if d := wait(guesser(201), "ann"); d != 0 {
			t.Errorf("it is never forgotten: %v", d)
		}
	})
}

func TestAttemptsAtOnceWaitInARow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th, peer := NewThrottle(), netip.MustParseAddr("192.0.2.1")
		for range 7 {
			th.Failed(peer, "ann")
		}
		start := time.Now()
		waits := make(chan string, 9)
		for range 9 {
			go func() {
				if err := th.Wait(context.Background(), peer, "ann"); err != nil {
					waits <- "refused"
					return
				}
				waits <- time.Since(start).String()
			}()
		}
		var got []string
		for range 9 {
			got = append(got, <-waits)
		}
		if text := strings.Join(got, " "); text != "refused refused refused refused refused 15s 30s 45s 1m0s" {
			t.Error(text)
		}
	})
}

// What it costs to check a password must not tell whether there is such a name:
// the work is counted, not the time.
func TestUnknownNamesCostWhatKnownOnesDo(t *testing.T) {
	f := openText(t, "ann:"+sha512Crypt+"\nbob:{PLAIN}secret\ncarl:!\ndave:"+bcryptText+"\n")
	u := f.current()
	kinds := map[string]int{}
	for i := range 300 {
		name := fmt.Sprint("nobody", i)
		a, b := u.dummy(f.proved.sum("dummy", name)), u.dummy(f.proved.sum("dummy", name))
		if fmt.Sprintf("%T%v", a, a) != fmt.Sprintf("%T%v", b, b) {
			t.Errorf("%s costs now this, now that", name)
		}
		kind := fmt.Sprintf("%T", a)
		if kinds[kind]++; kinds[kind] > 1 {
			continue
		}
		if a.matches("secret") || a.matches("") {
			t.Errorf("%T: a dummy matches", a)
		}
	}
	for _, kind := range []string{"auth.shaSecret", "auth.plainSecret", "auth.bcryptSecret"} {
		if kinds[kind] < 50 {
			t.Errorf("%d of 300 unknown names are checked as a %s", kinds[kind], kind)
		}
	}
	if len(kinds) != 3 {
		t.Errorf("checked as %v: a locked account costs nothing", kinds)
	}
}

// Anybody may ask for the salt of an account.
func TestTheSaltTellsNothingOfThePassword(t *testing.T) {
	key := []byte("a key of this host")
	salt := func(key []byte, text string) string {
		f := openText(t, text)
		f.SetKey(key)
		c, _, err := f.SCRAM(t.Context(), "ann")
		if err != nil || len(c.Salt) != saltSize || c.Iterations != scramIterations {
			t.Fatalf("%+v, %v", c, err)
		}
		return string(c.Salt)
	}
	first := salt(key, "ann:{PLAIN}secret\n")
	if first != salt(key, "ann:{PLAIN}other\n") || first != salt(key, "bob:{PLAIN}x\n") {
		t.Error("the salt depends on the password, or on whether there is such an account")
	}
	if first == salt([]byte("another key"), "ann:{PLAIN}secret\n") {
		t.Error("the salt is the same on every host")
	}
}

func FuzzUsers(f *testing.F) {
	f.Add("ann:{PLAIN}x:1:2:g:/h:/s:userdb_mail=maildir:/m\n#c\n")
	f.Add("a:" + sha512Crypt + "\nb:" + bcryptText + "\nc:" + argonText + "\nd:" + scramText("x"))
	f.Fuzz(func(t *testing.T, text string) {
		u, err := parseUsers("users", text)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\r") {
				t.Errorf("an error of two lines: %q", err)
			}
			return
		}
		for _, one := range u.order {
			if one.Name == "" || u.byName[key(one.Name)] != one {
				t.Errorf("account %q is not found", one.Name)
			}
			one.secret.dummy()
		}
	})
}
