package auth

import (
	"crypto/hmac"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"strings"

	"github.com/emersion/go-sasl"
	"github.com/xdg-go/scram"
)

// The client's side of mechanisms that go-sasl does not have, for programs that log
// in elsewhere.

// ErrSCRAMCharacters is the error of a user name or password with characters that
// SASLprep forbids (RFC 4013).
var ErrSCRAMCharacters = errors.New("user name or password with characters that SCRAM does not allow")

// A SCRAMClient is SCRAM-SHA-256 (RFC 7677).
type SCRAMClient struct{ conv *scram.ClientConversation }

var _ sasl.Client = (*SCRAMClient)(nil)

// NewSCRAMClient begins one login.
func NewSCRAMClient(user, password string) (*SCRAMClient, error) {
	c, err := scram.SHA256.NewClient(user, password, "")
	if err != nil {
		return nil, ErrSCRAMCharacters
	}
	return &SCRAMClient{c.NewConversation()}, nil
}

// Start implements sasl.Client.
func (c *SCRAMClient) Start() (string, []byte, error) {
	first, err := c.conv.Step("")
	return "SCRAM-SHA-256", []byte(first), err
}

// Next checks what the server proves; after its last word there is nothing to
// answer.
func (c *SCRAMClient) Next(challenge []byte) ([]byte, error) {
	answer, err := c.conv.Step(string(challenge))
	return []byte(answer), err
}

// Proved reports whether the server has proved that it knows the password, too: one
// that only pretends to be it says that all is well, as well.
func (c *SCRAMClient) Proved() bool { return c.conv.Valid() }

// A cramClient is CRAM-MD5 (RFC 2195).
type cramClient struct{ user, password string }

// NewCRAMClient begins one login with CRAM-MD5.
func NewCRAMClient(user, password string) sasl.Client { return &cramClient{user, password} }

func (c *cramClient) Start() (string, []byte, error) { return "CRAM-MD5", nil, nil }

func (c *cramClient) Next(challenge []byte) ([]byte, error) {
	mac := hmac.New(md5.New, []byte(c.password))
	mac.Write(challenge)
	return []byte(c.user + " " + hex.EncodeToString(mac.Sum(nil))), nil
}

// An xoauth2Client is XOAUTH2, as Google and Microsoft have it; no RFC does.
type xoauth2Client struct{ user, token string }

// NewXOAUTH2Client begins one login with XOAUTH2.
func NewXOAUTH2Client(user, token string) sasl.Client { return &xoauth2Client{user, token} }

func (c *xoauth2Client) Start() (string, []byte, error) {
	return "XOAUTH2", []byte("user=" + c.user + "\x01auth=Bearer " + c.token + "\x01\x01"), nil
}

// Next answers the challenge that tells why it failed; the refusal follows.
func (c *xoauth2Client) Next([]byte) ([]byte, error) { return []byte{}, nil }

// An oauthBearerClient is OAUTHBEARER (RFC 7628).
type oauthBearerClient struct{ first string }

// NewOAuthBearerClient begins one login with OAUTHBEARER. Host and port are where the
// client has connected to; either may be "".
func NewOAuthBearerClient(user, token, host, port string) sasl.Client {
	first := "n,"
	if user != "" {
		first += "a=" + strings.NewReplacer("=", "=3D", ",", "=2C").Replace(user)
	}
	first += "," + kvsep
	if host != "" {
		first += "host=" + host + kvsep
	}
	if port != "" {
		first += "port=" + port + kvsep
	}
	return &oauthBearerClient{first + "auth=Bearer " + token + kvsep + kvsep}
}

func (c *oauthBearerClient) Start() (string, []byte, error) {
	return "OAUTHBEARER", []byte(c.first), nil
}

// Next answers the challenge that tells why it failed; the refusal follows (RFC 7628
// section 3.2.3).
func (c *oauthBearerClient) Next([]byte) ([]byte, error) { return []byte(kvsep), nil }
