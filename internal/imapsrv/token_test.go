package imapsrv

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"postbag/internal/auth"
	"postbag/internal/maillog"
)

// bearers is a Directory that knows a token of ann's, and trouble.
type bearers struct{ auth.Directory }

func (bearers) TokensPossible() bool { return true }

func (bearers) Token(_ context.Context, _, token string) (auth.Account, error) {
	switch token {
	case goodToken:
		return auth.Account{Name: "ann"}, nil
	case "trouble":
		return auth.Account{}, errors.New("no answer")
	}
	return auth.Account{}, &auth.TokenError{Status: "invalid_token", Scope: "mail", Config: "https://id.example/x"}
}

// goodToken is one as some providers have them: of 10 KiB.
var goodToken = strings.Repeat("token.10KiB", 931)

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func TestTokens(t *testing.T) {
	const greeting = "S \\* OK \\[CAPABILITY .* AUTH=PLAIN AUTH=LOGIN AUTH=OAUTHBEARER AUTH=XOAUTH2\\] .*\n"
	bearer := func(token string) string {
		return b64("n,a=ann,\x01host=h\x01port=143\x01auth=Bearer " + token + "\x01\x01")
	}
	google := func(token string) string { return b64("user=ann\x01auth=Bearer " + token + "\x01\x01") }
	why := b64(`{"status":"invalid_token","scope":"mail","openid-configuration":"https://id.example/x"}`)
	for _, tt := range []struct {
		name, script string
		failed       int // logins in the log
	}{
		{"OAUTHBEARER at once", "C a AUTHENTICATE OAUTHBEARER " + bearer(goodToken) + "\nS a OK \\[CAPABILITY .*\\] logged in", 0},
		{"OAUTHBEARER in two steps", "C a authenticate oauthbearer\nS \\+\\s\nC " + bearer(goodToken) + "\nS a OK .*", 0},
		{"XOAUTH2 at once", "C a AUTHENTICATE XOAUTH2 " + google(goodToken) + "\nS a OK .*", 0},
		{"XOAUTH2 in two steps", "C a AUTHENTICATE XOAUTH2\nS \\+\\s\nC " + google(goodToken) + "\nS a OK .*", 0},
		{"a bad token", "C a AUTHENTICATE OAUTHBEARER " + bearer("x") + "\nS \\+ " + why + "\nC AQ==\nS a NO \\[AUTHENTICATIONFAILED\\] .*", 1},
		{"a question what tokens there should be", "C a AUTHENTICATE OAUTHBEARER " + b64("n,a=ann,\x01auth=\x01\x01") + "\nS \\+ " + why + "\nC AQ==\nS a NO .*", 1},
		{"a bad token, and the client gives up", "C a AUTHENTICATE OAUTHBEARER " + bearer("x") + "\nS \\+ " + why + "\nC *\nS a NO \\[AUTHENTICATIONFAILED\\] .*", 1},
		{"a bad token, and the client does not know base64", "C a AUTHENTICATE OAUTHBEARER " + bearer("x") + "\nS \\+ " + why + "\nC !\nS a NO .*", 1},
		{"a bad token of Google's", "C a AUTHENTICATE XOAUTH2 " + google("x") + "\nS \\+ " + b64(`{"status":"401","schemes":"bearer","scope":"mail"}`) + "\nC \nS a NO \\[AUTHENTICATIONFAILED\\] .*", 1},
		{"trouble", "C a AUTHENTICATE XOAUTH2 " + google("trouble") + "\nS a NO \\[UNAVAILABLE\\] .*", 1},
		{"a response without end", "C a AUTHENTICATE XOAUTH2\nS \\+\\s\nC " + strings.Repeat("x", 50<<10) + "\nS a BAD .*", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t)
			failed := 0
			f.server.Accounts = bearers{f.server.Accounts}
			f.server.Report = func(e maillog.Session) {
				if e.Kind == maillog.LoginFailed {
					failed++
				}
				if e.Err != nil && strings.Contains(e.Err.Error(), "token.10KiB") {
					t.Errorf("the token is in the log: %v", e.Err)
				}
			}
			f.talk(f.dial(), greeting+tt.script+"\nC z LOGOUT\nS...\nS z OK .*")
			if failed != tt.failed {
				t.Errorf("%d failed logins in the log, want %d", failed, tt.failed)
			}
		})
	}
}

func TestNoTokensInTheClear(t *testing.T) {
	f := newFixture(t)
	f.server.Accounts = bearers{f.server.Accounts}
	c := &clearConn{scriptConn{in: bytes.NewReader([]byte("a AUTHENTICATE OAUTHBEARER " + b64("n,,\x01auth=Bearer "+goodToken+"\x01\x01") + "\r\n")), out: &bytes.Buffer{}}}
	f.server.Serve(t.Context(), c)
	if got := c.out.String(); strings.Contains(got, "OAUTH") || !strings.Contains(got, "\r\na NO [CANNOT] ") {
		t.Errorf("it takes tokens: %q", got)
	}
}
