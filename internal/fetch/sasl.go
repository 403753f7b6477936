package fetch

import (
	"crypto/hmac"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/emersion/go-sasl"
	"github.com/xdg-go/scram"

	"postbag/internal/status"
)

// Mechanisms are the SASL mechanisms that --mechanism can name.
var mechanisms = []string{"plain", "login", "cram-md5", "scram-sha-256", "xoauth2", "oauthbearer"}

// ParseMechanism reads a flag's value.
func ParseMechanism(s string) (string, error) {
	if s = strings.ToLower(s); s != "" && !slices.Contains(mechanisms, s) {
		return "", status.Exit(status.ExUsage, "mechanism", errors.New("must be one of "+strings.Join(mechanisms, ", ")))
	}
	return s, nil
}

// chooseMechanism takes the one that was asked for, or the best offered: one
// that does not show the password, where there is one. "" means the protocol's
// own login.
func (r *run) chooseMechanism(offered []string, ownLogin bool) (string, error) {
	has := func(m string) bool {
		return slices.ContainsFunc(offered, func(o string) bool { return strings.EqualFold(o, m) })
	}
	if r.Mechanism != "" {
		if !has(r.Mechanism) {
			return "", status.Exit(status.ExUnavailable, r.op("login to"), fmt.Errorf("server does not offer %s", r.Mechanism))
		}
		return r.Mechanism, nil
	}
	for _, m := range []string{"scram-sha-256", "plain"} {
		if has(m) {
			return m, nil
		}
	}
	if ownLogin {
		return "", nil
	}
	for _, m := range []string{"cram-md5", "login"} {
		if has(m) {
			return m, nil
		}
	}
	return "", status.Exit(status.ExUnavailable, r.op("login to"), errors.New("server offers no way to log in that is known here"))
}

// saslClient makes the client's side of a mechanism.
func (r *run) saslClient(mechanism, password string) (sasl.Client, error) {
	user := r.Source.User
	switch mechanism {
	case "plain":
		return sasl.NewPlainClient("", user, password), nil
	case "login":
		return sasl.NewLoginClient(user, password), nil
	case "cram-md5":
		return &cramClient{user, password}, nil
	case "xoauth2":
		return &xoauth2Client{user, password}, nil
	case "oauthbearer":
		return sasl.NewOAuthBearerClient(&sasl.OAuthBearerOptions{Username: user, Token: password}), nil
	case "scram-sha-256":
		c, err := scram.SHA256.NewClient(user, password, "")
		if err != nil {
			return nil, status.Exit(status.ExNoPerm, r.op("login to"), errors.New("user name or password with characters that SCRAM does not allow"))
		}
		return &scramClient{conv: c.NewConversation()}, nil
	}
	return nil, fmt.Errorf("unknown mechanism %q", mechanism)
}

// A cramClient is CRAM-MD5 (RFC 2195).
type cramClient struct{ user, password string }

func (c *cramClient) Start() (string, []byte, error) { return "CRAM-MD5", nil, nil }

func (c *cramClient) Next(challenge []byte) ([]byte, error) {
	mac := hmac.New(md5.New, []byte(c.password))
	mac.Write(challenge)
	return []byte(c.user + " " + hex.EncodeToString(mac.Sum(nil))), nil
}

// An xoauth2Client is XOAUTH2, as Google and Microsoft have it.
type xoauth2Client struct{ user, token string }

func (c *xoauth2Client) Start() (string, []byte, error) {
	return "XOAUTH2", []byte("user=" + c.user + "\x01auth=Bearer " + c.token + "\x01\x01"), nil
}

// Next answers the challenge that tells why it failed; the refusal follows.
func (c *xoauth2Client) Next([]byte) ([]byte, error) { return []byte{}, nil }

// A scramClient is SCRAM-SHA-256 (RFC 7677).
type scramClient struct{ conv *scram.ClientConversation }

func (c *scramClient) Start() (string, []byte, error) {
	first, err := c.conv.Step("")
	return "SCRAM-SHA-256", []byte(first), err
}

// Next checks what the server proves; after its last word there is nothing to
// answer.
func (c *scramClient) Next(challenge []byte) ([]byte, error) {
	answer, err := c.conv.Step(string(challenge))
	return []byte(answer), err
}

// verified makes sure that the server has proved that it knows the password,
// where the mechanism has it do that: one that only pretends to be the server
// says OK, too.
func (r *run) verified(client sasl.Client) error {
	if c, ok := client.(*scramClient); ok && !c.conv.Valid() {
		return status.Exit(status.ExProtocol, r.op("login to"), errors.New("server did not prove that it knows the password"))
	}
	return nil
}
