package smtpsrv

import (
	"context"
	"errors"
	"strings"
	"testing"

	"postbag/internal/address"
	"postbag/internal/status"
)

// Hosts are hidden in letters of our own only; a copy goes to one more, of whom
// the letter tells nothing.
func TestMasqueradeAndCopies(t *testing.T) {
	const text = "DATA\r\nFrom: ann@host.example.org\r\n\r\nx\r\n.\r\n"
	const letter = "MAIL FROM:<ann@host.example.org>\r\nRCPT TO:<bob@example.org>\r\n" + text
	for _, tt := range []struct{ name, proto, peer, input, from, header, to string }{
		{"a user", Submission, "127.0.0.1", "EHLO c\r\nAUTH PLAIN AGFubgBzZWNyZXQ=\r\n" + letter, "ann@example.org", "From: ann@example.org\n", "bob@example.org archive@example.org"},
		{"a client of ours", SMTP, "10.0.0.1", "EHLO c\r\n" + letter, "ann@example.org", "From: ann@host.example.org\n", "bob@example.org archive@example.org"},
		{"a stranger", SMTP, "192.0.2.7", "EHLO c\r\n" + letter, "ann@host.example.org", "From: ann@host.example.org\n", "bob@example.org archive@example.org"},
		{"LMTP is no new letter", LMTP, "192.0.2.7", "LHLO c\r\n" + letter, "ann@host.example.org", "From: ann@host.example.org\n", "bob@example.org"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, in := newTestServer()
			s.Accounts = testAccounts(t)
			s.Masquerade = []string{"example.org"}
			s.AlwaysBCC = address.Address{Local: "archive", Domain: "example.org"}
			said := converse(t, s, tt.proto, tt.peer, tt.input)
			if len(in.letters) != 1 {
				t.Fatalf("no letter: %q", said)
			}
			l := in.letters[0]
			var to []string
			for _, r := range l.env.To {
				to = append(to, r.Address.String())
			}
			if l.env.From.String() != tt.from || strings.Join(to, " ") != tt.to || !strings.Contains(l.text, tt.header) {
				t.Errorf("from %v to %v:\n%s", l.env.From, to, l.text)
			}
			if strings.Contains(l.text, "archive") || len(to) > 1 && l.env.To[1].Notify != "NEVER" {
				t.Errorf("the copy is no secret: %v\n%s", l.env.To, l.text)
			}
			if tt.proto == LMTP != strings.HasSuffix(said, "250 2.1.5 <bob@example.org> saved as ID1\r\n") {
				t.Errorf("replies %q", said)
			}
		})
	}
}

func TestWhoMaySend(t *testing.T) {
	const login = "EHLO c\r\nAUTH PLAIN AGFubgBzZWNyZXQ=\r\n"
	for _, tt := range []struct {
		name, proto, peer, input, want string
	}{
		{"a stranger of a domain that takes no mail", SMTP, "192.0.2.7", "EHLO c\r\nMAIL FROM:<a@null.example>\r\n", "550 5.7.27 sender domain takes no mail"},
		{"of one that may be asked later", SMTP, "192.0.2.7", "EHLO c\r\nMAIL FROM:<a@broken.example>\r\n", "451 4.4.3 DNS look-up failed"},
		{"of a good one", SMTP, "192.0.2.7", "EHLO c\r\nMAIL FROM:<a@b.example>\r\n", "250 2.1.0 Ok"},
		{"of our own", SMTP, "192.0.2.7", "EHLO c\r\nMAIL FROM:<a@example.org>\r\n", "250 2.1.0 Ok"},
		{"a bounce", SMTP, "192.0.2.7", "EHLO c\r\nMAIL FROM:<>\r\n", "250 2.1.0 Ok"},
		{"a client of ours is not asked", SMTP, "10.0.0.1", "EHLO c\r\nMAIL FROM:<a@null.example>\r\n", "250 2.1.0 Ok"},
		{"nor LMTP", LMTP, "192.0.2.7", "LHLO c\r\nMAIL FROM:<a@null.example>\r\n", "250 2.1.0 Ok"},
		{"a user as another", Submission, "127.0.0.1", login + "MAIL FROM:<bob@example.org>\r\n", "553 5.7.1 <bob@example.org>: sender address not owned by user ann"},
		{"a user as herself", Submission, "127.0.0.1", login + "MAIL FROM:<ann@example.org>\r\n", "250 2.1.0 Ok"},
		{"a user with the null reverse-path", Submission, "127.0.0.1", login + "MAIL FROM:<>\r\n", "250 2.1.0 Ok"},
		{"more than the disk has room for", SMTP, "10.0.0.1", "EHLO c\r\nMAIL FROM:<> SIZE=600000\r\n", "452 4.3.1 insufficient system storage"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, _ := newTestServer()
			s.Accounts = testAccounts(t)
			s.Senders = Senders{
				Domain: func(_ context.Context, domain string) error {
					switch domain {
					case "null.example":
						return &status.Error{Class: status.Permanent, Code: "5.7.27", Reply: 550, Text: "sender domain takes no mail", Err: errRefused}
					case "broken.example":
						return status.Temp("look up", "4.4.3", "DNS look-up failed", errors.New("timeout"))
					}
					return nil
				},
				Owns:    func(login string, from address.Address) bool { return from.Local == login },
				Free:    func() (int64, error) { return 1_000_000, nil },
				MinFree: 500_000,
			}
			lines := strings.Split(strings.TrimSpace(converse(t, s, tt.proto, tt.peer, tt.input)), "\r\n")
			if got := lines[len(lines)-1]; got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

// Letters of strangers are judged; those of users and clients of ours, and what
// another server of ours gives us by LMTP, are not.
func TestWhoseLettersAreJudged(t *testing.T) {
	const letter = "MAIL FROM:<ann@example.org>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\nFrom: ann@example.org\r\n\r\nx\r\n.\r\n"
	for _, tt := range []struct {
		name, proto, peer, input string
		judged                   bool
	}{
		{"a stranger", SMTP, "192.0.2.7", "EHLO c\r\n" + letter, true},
		{"a client of ours", SMTP, "10.0.0.1", "EHLO c\r\n" + letter, false},
		{"a user", Submission, "127.0.0.1", "EHLO c\r\nAUTH PLAIN AGFubgBzZWNyZXQ=\r\n" + letter, false},
		{"LMTP", LMTP, "192.0.2.7", "LHLO c\r\n" + letter, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, in := newTestServer()
			judge := &fakeIntake{}
			s.Accounts, s.Strangers = testAccounts(t), judge
			said := converse(t, s, tt.proto, tt.peer, tt.input)
			if judged := len(judge.letters) == 1; judged != tt.judged || len(judge.letters)+len(in.letters) != 1 {
				t.Errorf("%d letters were judged and %d not: %q", len(judge.letters), len(in.letters), said)
			}
		})
	}
}
