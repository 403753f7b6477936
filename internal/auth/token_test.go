package auth

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emersion/go-sasl"
)

// ^ stands for control A in what clients say here.
func ctrl(s string) string { return strings.ReplaceAll(s, "^", "\x01") }

func TestParseTokenMessages(t *testing.T) {
	for _, tt := range []struct {
		name, says string
		want       *bearer // nil: refused
	}{
		{"the example of RFC 7628", "n,a=user@example.com,^host=server.example.com^port=143^auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==^^",
			&bearer{"user@example.com", "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg=="}},
		{"nobody is asked for", "n,,^auth=Bearer x^^", &bearer{"", "x"}},
		{"a client that could bind, in other letters", "y,,^auth=bEaReR   x^^", &bearer{"", "x"}},
		{"a name with a comma and a =", "n,a=a=2Cb=3D=3D2C,^auth=Bearer x^^", &bearer{"a,b==2C", "x"}},
		{"keys that are not known", "n,,^mthd=GET^auth=Bearer x^qs=a=b\r\n^^", &bearer{"", "x"}},
		{"a question what tokens there should be", "n,a=ann,^host=h^auth=^^", &bearer{"ann", ""}},
		{"nothing", "", nil},
		{"the last word, first", "^", nil},
		{"no header", "^auth=Bearer x^^", nil},
		{"a channel binding", "p=tls-exporter,,^auth=Bearer x^^", nil},
		{"no standard form", "F,n,,^auth=Bearer x^^", nil},
		{"the form of the example in section 4.4", "n,user=ann,^auth=Bearer x^^", nil},
		{"an empty name", "n,a=,^auth=Bearer x^^", nil},
		{"a bare = in a name", "n,a=a=b,^auth=Bearer x^^", nil},
		{"a name that is no UTF-8", "n,a=\xff,^auth=Bearer x^^", nil},
		{"a header without end", "n,a=ann^auth=Bearer x^^", nil},
		{"no end", "n,,^auth=Bearer x^", nil},
		{"no end at all", "n,,^auth=Bearer x", nil},
		{"more after the end", "n,,^auth=Bearer x^^y", nil},
		{"no auth", "n,,^host=h^^", nil},
		{"no keys", "n,,^^", nil},
		{"two auth", "n,,^auth=Bearer x^auth=Bearer y^^", nil},
		{"another scheme", "n,,^auth=Basic x^^", nil},
		{"a token with a space", "n,,^auth=Bearer x y^^", nil},
		{"a token that is not there", "n,,^auth=Bearer ^^", nil},
		{"a token with a control character", "n,,^auth=Bearer x\x02^^", nil},
		{"a token that is too long", "n,,^auth=Bearer " + strings.Repeat("x", maxToken+1) + "^^", nil},
		{"a token that is no ASCII", "n,,^auth=Bearer é^^", nil},
		{"a port that is none", "n,,^port=x^auth=Bearer x^^", nil},
		{"a port with zeros", "n,,^port=0143^auth=Bearer x^^", nil},
		{"port 0", "n,,^port=0^auth=Bearer x^^", nil},
		{"an empty port", "n,,^port=^auth=Bearer x^^", nil},
		{"a key with a digit", "n,,^a1=x^auth=Bearer x^^", nil},
		{"an empty key", "n,,^=x^auth=Bearer x^^", nil},
		{"a pair that is none", "n,,^auth^^", nil},

		{"user=", "user=someuser@example.com^auth=Bearer ya29.vF9^^", &bearer{"someuser@example.com", "ya29.vF9"}},
		{"user= without end", "user=ann^auth=Bearer x^", nil},
		{"user= of nobody", "user=^auth=Bearer x^^", nil},
		{"user= without a token", "user=ann^auth=Bearer ^^", nil},
		{"user= without auth", "user=ann^^", nil},
		{"user= that is no UTF-8", "user=\xff^auth=Bearer x^^", nil},
	} {
		parse := parseOAuthBearer
		if strings.HasPrefix(tt.name, "user=") {
			parse = parseXOAUTH2
		}
		got, err := parse(ctrl(tt.says))
		if tt.want == nil {
			if err != errMalformed {
				t.Errorf("%s: %+v, %v, want a refusal", tt.name, got, err)
			}
		} else if err != nil || got != *tt.want {
			t.Errorf("%s: %+v, %v, want %+v", tt.name, got, err, *tt.want)
		}
	}
}

// bearers is a Directory of one token.
type bearers struct{ fixed }

func (b bearers) TokensPossible() bool { return true }

func (b bearers) Token(_ context.Context, name, token string) (Account, error) {
	switch {
	case b.trouble != nil:
		return Account{}, b.trouble
	case token != "good":
		return Account{}, &TokenError{Status: "insufficient_scope", Scope: "mail", Config: "https://id.example/"}
	}
	return Account{Name: "ann"}, nil
}

func TestTokenExchanges(t *testing.T) {
	for _, tt := range []struct {
		name, mechanism, says string
		trouble               error
		told                  string // "": done, or trouble
	}{
		{"a good token", "OAUTHBEARER", "n,,^auth=Bearer good^^", nil, ""},
		{"a good token of Google's", "XOAUTH2", "user=ann^auth=Bearer good^^", nil, ""},
		{"a bad token", "OAUTHBEARER", "n,a=ann,^auth=Bearer x^^", nil, `{"status":"insufficient_scope","scope":"mail","openid-configuration":"https://id.example/"}`},
		{"a bad token of Google's", "XOAUTH2", "user=ann^auth=Bearer x^^", nil, `{"status":"403","schemes":"bearer","scope":"mail"}`},
		{"what is malformed", "OAUTHBEARER", "x", nil, `{"status":"invalid_request"}`},
		{"what is malformed for Google", "XOAUTH2", "x", nil, `{"status":"400","schemes":"bearer"}`},
		{"a host of any letters", "OAUTHBEARER", "n,,^host=BÜCHER.example.^port=993^auth=Bearer good^^", nil, ""},
		{"a refusal that has no words", "OAUTHBEARER", "n,,^auth=Bearer x^^", ErrBadCredentials, `{"status":"invalid_token"}`},
		{"such a refusal for Google", "XOAUTH2", "user=ann^auth=Bearer x^^", ErrBadCredentials, `{"status":"401","schemes":"bearer"}`},
		{"trouble", "OAUTHBEARER", "n,,^auth=Bearer good^^", errTrouble, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := NewServer(tt.mechanism, bearers{fixed{trouble: tt.trouble}}, Exchange{})
			if err != nil {
				t.Fatal(err)
			}
			said, done, err := converse(s, ctrl(tt.says))
			switch {
			case tt.told != "":
				refused(t, s, said, tt.told)
			case tt.trouble != nil:
				if !errors.Is(err, tt.trouble) || done || s.Refused() != nil {
					t.Errorf("%q, %v, %v, want trouble", said, done, err)
				}
			case !done || err != nil || s.Account().Name != "ann" || s.Login() != "ann":
				t.Errorf("%q, %v, %v: %+v", said, done, err, s.Account())
			}
		})
	}
}

// refused holds that a client is told why, and refused whatever it answers.
func refused(t *testing.T, s Server, said []string, want string) {
	t.Helper()
	if len(said) != 2 || said[0] != "" || said[1] != want {
		t.Errorf("challenges %q, want %s", said, want)
	}
	if !errors.Is(s.Refused(), ErrBadCredentials) {
		t.Errorf("Refused = %v", s.Refused())
	}
	for _, last := range [][]byte{{1}, {}, []byte(ctrl("n,,^auth=Bearer good^^")), nil} {
		if c, done, err := s.Next(last); c != nil || done || !errors.Is(err, ErrBadCredentials) {
			t.Errorf("after %q: %q, %v, %v", last, c, done, err)
		}
	}
	if s.Account() != (Account{}) {
		t.Errorf("%+v is in", s.Account())
	}
}

// What our clients say is what our servers read.
func TestTokenClients(t *testing.T) {
	for _, tt := range []struct {
		client sasl.Client
		says   string // ^ for control A
		last   string
	}{
		{NewOAuthBearerClient("a=b,c", "good", "h.example", "993"), "n,a=a=3Db=2Cc,^host=h.example^port=993^auth=Bearer good^^", "^"},
		{NewOAuthBearerClient("", "good", "", ""), "n,,^auth=Bearer good^^", "^"},
		{NewXOAUTH2Client("ann", "good"), "user=ann^auth=Bearer good^^", ""},
	} {
		mechanism, first, err := tt.client.Start()
		if string(first) != ctrl(tt.says) || err != nil {
			t.Errorf("%s says %q, %v, want %q", mechanism, first, err, tt.says)
		}
		s, err := NewServer(mechanism, bearers{}, Exchange{})
		if err != nil {
			t.Fatal(err)
		}
		if _, done, err := s.Next(first); !done || err != nil {
			t.Errorf("%q: %v", first, err)
		}
		if last, err := tt.client.Next([]byte(`{"status":"invalid_token"}`)); string(last) != ctrl(tt.last) || last == nil || err != nil {
			t.Errorf("%s answers the refusal with %q, %v", mechanism, last, err)
		}
	}
}

func TestMechanismsForTokensComeLast(t *testing.T) {
	d := bearers{}
	if got := strings.Join(Mechanisms(d, true, Exchange{}), " "); got != "PLAIN LOGIN OAUTHBEARER XOAUTH2" {
		t.Error(got)
	}
	if got := Mechanisms(d, false, Exchange{}); len(got) > 0 {
		t.Errorf("%v in the clear", got)
	}
}

// Tokens are guessed no faster than passwords.
func TestBadTokensSlowAPeerDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th, peer, d := NewThrottle(), netip.MustParseAddr("192.0.2.1"), bearers{}
		start := time.Now()
		for _, name := range []string{"ann", "", "bob"} {
			th.Token(t.Context(), d, peer, name, "x")
		}
		if w := time.Since(start); w != 0 {
			t.Fatalf("three failures wait %v", w)
		}
		if _, err := th.Token(t.Context(), d, peer, "", "good"); err != nil || time.Since(start) != time.Second {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		if th.delay(peer) != 0 || !th.known[acquaintance{network(peer), "ann"}] {
			t.Error("a good token is not the end of it, or it is not known whose the peer is")
		}
		if th.names[""] != nil {
			t.Error("failures of no name are counted as one's")
		}
	})
}

func FuzzTokenMessages(f *testing.F) {
	for _, s := range []string{"n,a=ann,^host=h^port=1^auth=Bearer x^^", "user=ann^auth=Bearer x^^", "y,,^auth=^^", "n,a==2C=3D,^a=^auth=bearer  x^^", "^"} {
		f.Add(ctrl(s))
	}
	f.Fuzz(func(t *testing.T, says string) {
		for _, parse := range []func(string) (bearer, error){parseOAuthBearer, parseXOAUTH2} {
			b, err := parse(says)
			if err != nil {
				if err != errMalformed {
					t.Errorf("error %v", err)
				}
				continue
			}
			if !strings.Contains(says, b.token) || strings.Trim(b.token, "!\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstuvwxyz{|}~") != "" {
				t.Errorf("token %q", b.token)
			}
			if strings.Contains(b.name, kvsep) {
				t.Errorf("%+v", b)
			}
		}
		s, err := NewServer("OAUTHBEARER", bearers{}, Exchange{})
		if err != nil {
			t.Fatal(err)
		}
		told, done, err := s.Next([]byte(says))
		var why TokenError
		if done == (s.Refused() != nil) || err != nil || !done && json.Unmarshal(told, &why) != nil {
			t.Errorf("%q, %v, %v", told, done, err)
		}
	})
}
