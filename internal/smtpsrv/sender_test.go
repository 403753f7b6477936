package smtpsrv

import (
	"context"
	"errors"
	"strings"
	"testing"

	"postbag/internal/address"
	"postbag/internal/status"
)

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
