package popsrv

import (
	"encoding/base64"
	"strings"
	"testing"

	"postbag/internal/maillog"
)

// bearer is a response of OAUTHBEARER, xoauth2 one of XOAUTH2, in base64.
func bearer(token string) string { return b64("n,a=ann,\x01auth=Bearer " + token + "\x01\x01") }
func xoauth2(token string) string {
	return b64("user=ann\x01auth=Bearer " + token + "\x01\x01")
}
func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func TestTokens(t *testing.T) {
	const greeting = "S: \\+OK .*\n"
	why := b64(`{"status":"invalid_token","scope":"mail"}`)
	google := b64(`{"status":"401","schemes":"bearer","scope":"mail"}`)
	for _, tt := range []struct {
		name, script string
		failed       int // logins in the log
		clear        bool
	}{
		{"OAUTHBEARER at once", "C: AUTH OAUTHBEARER " + bearer(goodToken) + "\nS: \\+OK logged in.*", 0, true},
		{"OAUTHBEARER in two steps", "C: auth oauthbearer\nS: \\+\\s\nC: " + bearer(goodToken) + "\nS: \\+OK logged in.*", 0, true},
		{"XOAUTH2 at once", "C: AUTH XOAUTH2 " + xoauth2(goodToken) + "\nS: \\+OK logged in.*", 0, true},
		{"XOAUTH2 in two steps", "C: AUTH XOAUTH2\nS: \\+\\s\nC: " + xoauth2(goodToken) + "\nS: \\+OK logged in.*", 0, true},
		{"a bad token", "C: AUTH OAUTHBEARER " + bearer("x") + "\nS: \\+ " + why + "\nC: AQ==\nS: -ERR \\[AUTH\\] authentication failed", 1, true},
		{"a bad token, and the client gives up", "C: AUTH OAUTHBEARER " + bearer("x") + "\nS: \\+ " + why + "\nC: *\nS: -ERR \\[AUTH\\] authentication failed", 1, true},
		{"a bad token, and the client does not know base64", "C: AUTH OAUTHBEARER " + bearer("x") + "\nS: \\+ " + why + "\nC: !\nS: -ERR \\[AUTH\\] authentication failed", 1, true},
		{"a bad token, and the client goes away", "C: AUTH OAUTHBEARER " + bearer("x") + "\nS: \\+ " + why + "\nhang up", 1, true},
		{"a bad token of Google's", "C: AUTH XOAUTH2 " + xoauth2("x") + "\nS: \\+ " + google + "\nC:\nS: -ERR \\[AUTH\\] authentication failed", 1, true},
		{"trouble", "C: AUTH XOAUTH2 " + xoauth2("trouble") + "\nS: -ERR \\[SYS/TEMP\\] .*", 1, true},
		{"tokens in the clear", "C: AUTH OAUTHBEARER " + bearer(goodToken) + "\nS: -ERR \\[AUTH\\] that mechanism is taken over TLS only", 0, false},
		{"a response without end", "C: AUTH XOAUTH2\nS: \\+\\s\nC: " + strings.Repeat("x", maxResponse) + "\nS: -ERR line too long", 0, true},
		{"an initial response without end", "C: AUTH XOAUTH2 " + strings.Repeat("x", maxResponse) + "\nS: -ERR line too long", 0, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t, "Subject: x\n\ny\n")
			script := greeting + tt.script
			if !strings.Contains(script, "hang up") {
				script += "\nC: QUIT\nS: \\+OK .*"
			}
			f.play(t, &pipeConn{plaintext: tt.clear}, script)
			failed := 0
			for _, e := range f.events {
				if e.Kind == maillog.LoginFailed {
					failed++
				}
				if e.Err != nil && strings.Contains(e.Err.Error(), "token.10KiB") {
					t.Errorf("the token is in the log: %v", e.Err)
				}
			}
			if failed != tt.failed {
				t.Errorf("%d failed logins in the log, want %d", failed, tt.failed)
			}
		})
	}
}
