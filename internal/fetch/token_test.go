package fetch

import (
	"bufio"
	"context"
	"encoding/base64"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"postbag/internal/status"
)

// scripted speaks lines: what begins with S is said, what begins with C must
// come. %tag in S stands for the tag of the last command of IMAP, %tok and %old for
// the OAUTHBEARER of these tokens.
func scripted(t *testing.T, script ...string) (port string) {
	ln := listen(t)
	port = strconv.Itoa(ln.Addr().(*net.TCPAddr).Port)
	bearer := func(token string) string {
		return b64("n,a=ann,\x01host=localhost\x01port=" + port + "\x01auth=Bearer " + token + "\x01\x01")
	}
	tokens := strings.NewReplacer("%tok", bearer("tok"), "%old", bearer("old"))
	serve(t, ln, func(c net.Conn) {
		c.SetDeadline(time.Now().Add(time.Minute))
		r := bufio.NewReader(c)
		tag := ""
		for _, line := range script {
			text := tokens.Replace(line[2:])
			if line[0] == 'S' {
				fmt.Fprintf(c, "%s\r\n", strings.ReplaceAll(text, "%tag", tag))
				continue
			}
			got, err := r.ReadString('\n')
			got = strings.TrimSuffix(got, "\r\n")
			if first, rest, ok := strings.Cut(text, "%tag "); ok && first == "" {
				tag, got, _ = strings.Cut(got, " ")
				text = rest
			}
			if err != nil || got != text {
				t.Errorf("client says %q, %v; want %q", got, err, text)
				return
			}
		}
	})
	return port
}

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

const why = `{"status":"401","schemes":"bearer"}`

// TestTokens logs in with tokens, as Google and Microsoft have it, and is
// refused, which is 77 after the server has said why.
func TestTokens(t *testing.T) {
	long := strings.Repeat("t", 1500) // as the tokens of Microsoft are
	for _, tt := range []struct {
		name, proto, mechanism, token string
		script                        []string
		code                          int
	}{
		{"XOAUTH2 by POP3", "pop3", "xoauth2", "tok", []string{
			"S +OK", "C CAPA", "S +OK", "S SASL PLAIN XOAUTH2", "S UIDL", "S .",
			"C AUTH XOAUTH2 " + b64("user=ann\x01auth=Bearer tok\x01\x01"), "S +OK", "C LIST", "S +OK", "S .", "C UIDL", "S +OK", "S .", "C QUIT", "S +OK"}, 0},
		{"a long token waits for the server's word", "pop3", "xoauth2", long, []string{
			"S +OK", "C CAPA", "S +OK", "S SASL XOAUTH2", "S UIDL", "S .",
			"C AUTH XOAUTH2", "S + ", "C " + b64("user=ann\x01auth=Bearer "+long+"\x01\x01"), "S +OK", "C LIST", "S +OK", "S .", "C UIDL", "S +OK", "S .", "C QUIT", "S +OK"}, 0},
		{"a token that has run out, by POP3", "pop3", "xoauth2", "old", []string{
			"S +OK", "C CAPA", "S +OK", "S SASL XOAUTH2", "S .",
			"C AUTH XOAUTH2 " + b64("user=ann\x01auth=Bearer old\x01\x01"), "S + " + b64(why), "C ", "S -ERR [AUTH] no"}, status.ExNoPerm},
		{"XOAUTH2 by IMAP", "imap", "xoauth2", "tok", []string{
			"S * OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=XOAUTH2] hello",
			"C %tag AUTHENTICATE XOAUTH2 " + b64("user=ann\x01auth=Bearer tok\x01\x01"), "S %tag OK [CAPABILITY IMAP4rev1] in",
			"C %tag EXAMINE INBOX", "S * 0 EXISTS", "S * OK [UIDVALIDITY 1] x", "S %tag OK [READ-ONLY] done", "C %tag LOGOUT", "S * BYE", "S %tag OK"}, 0},
		{"OAUTHBEARER by IMAP", "imap", "oauthbearer", "tok", []string{
			"S * OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=OAUTHBEARER] hello",
			"C %tag AUTHENTICATE OAUTHBEARER %tok", "S %tag OK [CAPABILITY IMAP4rev1] in",
			"C %tag EXAMINE INBOX", "S * 0 EXISTS", "S * OK [UIDVALIDITY 1] x", "S %tag OK [READ-ONLY] done", "C %tag LOGOUT", "S * BYE", "S %tag OK"}, 0},
		{"a token that has run out, OAUTHBEARER", "imap", "oauthbearer", "old", []string{
			"S * OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=OAUTHBEARER] hello",
			"C %tag AUTHENTICATE OAUTHBEARER %old", "S + " + b64(why), "C AQ==", "S %tag NO [AUTHENTICATIONFAILED] no"}, status.ExNoPerm},
		{"a token that has run out, by IMAP", "imap", "xoauth2", "old", []string{
			"S * OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=XOAUTH2] hello",
			"C %tag AUTHENTICATE XOAUTH2 " + b64("user=ann\x01auth=Bearer old\x01\x01"), "S + " + b64(why), "C ", "S %tag NO [AUTHENTICATIONFAILED] no"}, status.ExNoPerm},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := job(t, tt.proto, scripted(t, tt.script...), "maildir:"+filepath.Join(t.TempDir(), "Maildir"))
			f.Mechanism = tt.mechanism
			f.Password = func(context.Context) (string, error) { return tt.token, nil }
			_, err := f.Run(t.Context())
			if code := status.ExitCode(err); code != tt.code {
				t.Errorf("Run = %v, code %d; want %d", err, code, tt.code)
			}
			if err != nil && strings.Contains(err.Error(), tt.token) {
				t.Errorf("the token is in %v", err)
			}
		})
	}
}
