package smtpsrv

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"postbag/internal/auth"
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
	// More than the line of an ordinary reply takes.
	return auth.Account{}, &auth.TokenError{Status: "invalid_token", Scope: strings.Repeat("mail ", 200)}
}

// goodToken is one as some providers have them: of 10 KiB.
var goodToken = strings.Repeat("token.10KiB", 931)

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func TestTokens(t *testing.T) {
	bearer := func(token string) string {
		return b64("n,a=ann,\x01host=h\x01port=587\x01auth=Bearer " + token + "\x01\x01")
	}
	google := func(token string) string { return b64("user=ann\x01auth=Bearer " + token + "\x01\x01") }
	why := b64(`{"status":"invalid_token","scope":"` + strings.Repeat("mail ", 200) + `"}`)
	whyGoogle := b64(`{"status":"401","schemes":"bearer","scope":"` + strings.Repeat("mail ", 200) + `"}`)
	for name, steps := range map[string][]string{
		"OAUTHBEARER at once":                  {"C:AUTH OAUTHBEARER " + bearer(goodToken), "S:235 2.7.0 authentication succeeded"},
		"OAUTHBEARER in two steps":             {"C:auth oauthbearer", "S:334 ", "C:" + bearer(goodToken), "S:235 2.7.0 authentication succeeded"},
		"XOAUTH2 at once":                      {"C:AUTH XOAUTH2 " + google(goodToken), "S:235 2.7.0 authentication succeeded"},
		"XOAUTH2 in two steps":                 {"C:AUTH XOAUTH2", "S:334 ", "C:" + google(goodToken), "S:235 2.7.0 authentication succeeded"},
		"a bad token":                          {"C:AUTH OAUTHBEARER " + bearer("x"), "S:334 " + why, "C:AQ==", "S:535 5.7.8 authentication credentials invalid"},
		"a bad token of Google's":              {"C:AUTH XOAUTH2 " + google("x"), "S:334 " + whyGoogle, "C:", "S:535 5.7.8 authentication credentials invalid"},
		"a bad token, and the client gives up": {"C:AUTH OAUTHBEARER " + bearer("x"), "S:334 " + why, "C:*", "S:535 5.7.8 authentication credentials invalid"},
		"trouble":                              {"C:AUTH XOAUTH2 " + google("trouble"), "S:454 4.7.0 temporary authentication failure"},
		"a response without end":               {"C:AUTH XOAUTH2", "S:334 ", "C:" + strings.Repeat("x", bigBuffer), "S:501 5.5.2 cancelled, or not base64"},
		"an initial response without end":      {"C:AUTH XOAUTH2 " + strings.Repeat("x", bigBuffer), "S:500 5.5.2 line too long"},
		"another long line is as ever":         {"C:NOOP " + strings.Repeat("x", smallBuffer), "S:500 5.5.2 line too long"},
		"long lines one after the other":       {"C:AUTH XOAUTH2", "S:334 ", "C:!" + goodToken, "S:501 5.5.2 cancelled, or not base64", "C:NOOP " + strings.Repeat("x", smallBuffer), "S:500 5.5.2 line too long"},
		"pipelined with a command behind":      {"C:AUTH OAUTHBEARER " + bearer(goodToken) + `\r\nNOOP`, "S:235 2.7.0 authentication succeeded", "S:250 2.0.0 Ok"},
		"five bad tokens end the session": append(five("C:AUTH XOAUTH2 "+google("x"), "S:334 "+whyGoogle, "C:*", "S:535 5.7.8 authentication credentials invalid"),
			"S:421 4.7.0 mx.example.org error: too many failed logins", "S$"),
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := newTestServer()
			s.Accounts = bearers{testAccounts(t)}
			if steps[len(steps)-1] != "S$" {
				steps = append(steps, "C:QUIT", "S:221 2.0.0 Bye")
			}
			hello := []string{"S:220 mx.example.org ESMTP postbag", "C:EHLO c", "S:250-mx.example.org", "S:250-PIPELINING", "S:250-SIZE 1048576",
				"S:250-STARTTLS", "S:250-AUTH SCRAM-SHA-256 PLAIN LOGIN OAUTHBEARER XOAUTH2", "S:250-ENHANCEDSTATUSCODES", "S:250-8BITMIME", "S:250-DSN",
				"S:250-FUTURERELEASE 2592000 2026-12-24T10:00:00Z", "S:250-MT-PRIORITY", "S:250-DELIVERBY 60", "S:250-SMTPUTF8", "S:250-CHUNKING", "S:250 LIMITS RCPTMAX=1000"}
			dialogue{set: map[string]string{"proto": Submissions, "peer": "127.0.0.1"}, steps: append(hello, steps...)}.play(t, s)
		})
	}
}

// five repeats steps until the last answer, which is to be another one.
func five(steps ...string) (all []string) {
	for range maxLoginFailures {
		all = append(all, steps...)
	}
	return all[:len(all)-1]
}

func TestTokensWantTLS(t *testing.T) {
	s, _ := newTestServer()
	s.Accounts = bearers{testAccounts(t)}
	dialogue{set: map[string]string{"proto": Submission, "peer": "192.0.2.7"}, steps: []string{
		"S:220 mx.example.org ESMTP postbag", "C:HELO c", "S:250 mx.example.org", "C:EHLO c", "S:250-mx.example.org", "S:250-PIPELINING", "S:250-SIZE 1048576",
		"S:250-STARTTLS", "S:250-AUTH SCRAM-SHA-256", "S:250-ENHANCEDSTATUSCODES", "S:250-8BITMIME", "S:250-DSN",
		"S:250-FUTURERELEASE 2592000 2026-12-24T10:00:00Z", "S:250-MT-PRIORITY", "S:250-DELIVERBY 60", "S:250-SMTPUTF8", "S:250-CHUNKING", "S:250 LIMITS RCPTMAX=1000",
		"C:AUTH OAUTHBEARER " + b64("n,,\x01auth=Bearer "+goodToken+"\x01\x01"), "S:538 5.7.11 encryption required for that mechanism",
		"C:QUIT", "S:221 2.0.0 Bye"}}.play(t, s)
}
