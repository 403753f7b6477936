package smtpout

import (
	"crypto/hmac"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net"
	"slices"
	"strings"

	"github.com/emersion/go-sasl"
	"github.com/xdg-go/scram"

	"postbag/internal/status"
)

// login authenticates (RFC 4954). Every failure is temporary: a password can be
// mended, and the letters shall wait for that.
func (c *conn) login() error {
	if !c.tls && !c.loopback() {
		return c.noLogin("no TLS, the password is not sent in the clear", nil)
	}
	name, client, err := c.mechanism()
	if err != nil {
		return c.noLogin("no way to log in that both know", err)
	}
	_, initial, err := client.Start()
	if err != nil {
		return c.noLogin("bad user name or password for "+name, err)
	}
	line := "AUTH " + name
	if initial == nil {
		return c.exchange(line, client)
	}
	if full := line + " " + initialResponse(initial); len(full)+2 <= maxCommand {
		return c.exchange(full, client)
	}
	return c.exchange(line, &lateClient{client, initial})
}

// maxCommand is what every host takes in one line, with its CRLF (RFC 5321
// section 4.5.3.1.4). An initial response that does not fit waits for the first
// challenge (RFC 4954 section 4).
const maxCommand = 512

// A lateClient answers the first challenge, which is empty, with what would have
// been the initial response.
type lateClient struct {
	sasl.Client
	initial []byte
}

func (l *lateClient) Next(challenge []byte) ([]byte, error) {
	if answer := l.initial; answer != nil {
		l.initial = nil
		return answer, nil
	}
	return l.Client.Next(challenge)
}

// initialResponse is "=" for one that is empty (RFC 4954 section 4).
func initialResponse(b []byte) string {
	if len(b) == 0 {
		return "="
	}
	return base64.StdEncoding.EncodeToString(b)
}

// exchange answers challenges until the host is content.
func (c *conn) exchange(line string, client sasl.Client) error {
	for range 10 {
		r, err := c.say("AUTH", line, c.t.Command)
		if err != nil {
			return err
		}
		if r.ok() {
			return c.proved(client)
		}
		if r.code != 334 {
			return c.noLogin(c.said(r), nil)
		}
		challenge, err := base64.StdEncoding.DecodeString(strings.Join(r.lines, ""))
		if err != nil {
			return c.noLogin("its challenge is not base64", err)
		}
		answer, err := client.Next(challenge)
		if err != nil {
			return c.noLogin("its challenge is wrong", err)
		}
		line = base64.StdEncoding.EncodeToString(answer)
	}
	return c.noLogin("it never stops asking", nil)
}

func (c *conn) noLogin(why string, err error) error {
	return status.Temp("login to "+c.peer, "4.7.8", "login to "+c.peer+": "+why, err)
}

// loopback says that nobody can listen on the way.
func (c *conn) loopback() bool {
	switch a := c.nc.RemoteAddr().(type) {
	case *net.TCPAddr:
		return a.IP.IsLoopback()
	case *net.UnixAddr:
		return true
	}
	return false
}

var errNoMechanism = errors.New("no common mechanism")

// preferred are the mechanisms for passwords, the best first. Those for tokens are
// only used where the route demands them.
var preferred = []string{"SCRAM-SHA-256", "PLAIN", "LOGIN", "CRAM-MD5"}

// mechanism takes the one that is demanded, or the best that is offered.
func (c *conn) mechanism() (string, sasl.Client, error) {
	offered := strings.Fields(strings.ToUpper(c.ext["AUTH"]))
	wanted := preferred
	if c.hop.Mechanism != "" {
		wanted = []string{c.hop.Mechanism}
	}
	for _, name := range wanted {
		if slices.Contains(offered, name) {
			client, err := c.newClient(name)
			return name, client, err
		}
	}
	return "", nil, errNoMechanism
}

func (c *conn) newClient(name string) (sasl.Client, error) {
	user, password := c.hop.User, c.hop.Password
	switch name {
	case "SCRAM-SHA-256":
		cl, err := scram.SHA256.NewClient(user, password, "")
		if err != nil {
			return nil, err
		}
		return &scramClient{cl.NewConversation()}, nil
	case "PLAIN":
		return sasl.NewPlainClient("", user, password), nil
	case "LOGIN":
		return &loginClient{user: user, password: password}, nil
	case "CRAM-MD5":
		return &cramClient{user, password}, nil
	case "XOAUTH2":
		return &tokenClient{name, "user=" + user + "\x01auth=Bearer " + password + "\x01\x01", ""}, nil
	case "OAUTHBEARER":
		return sasl.NewOAuthBearerClient(&sasl.OAuthBearerOptions{Username: user, Token: password, Host: c.hop.Host, Port: c.hop.Port}), nil
	}
	return nil, errNoMechanism
}

// proved makes sure that the host knows the password too, where the mechanism
// has it say so.
func (c *conn) proved(client sasl.Client) error {
	if late, ok := client.(*lateClient); ok {
		client = late.Client
	}
	if s, ok := client.(*scramClient); ok && !s.conv.Valid() {
		return c.noLogin("it did not prove that it knows the password", nil)
	}
	return nil
}

// A scramClient is SCRAM-SHA-256 (RFC 7677).
type scramClient struct{ conv *scram.ClientConversation }

func (s *scramClient) Start() (string, []byte, error) {
	first, err := s.conv.Step("")
	return "SCRAM-SHA-256", []byte(first), err
}

func (s *scramClient) Next(challenge []byte) ([]byte, error) {
	answer, err := s.conv.Step(string(challenge))
	return []byte(answer), err
}

// A loginClient is LOGIN, which no RFC has: the name is asked for, then the
// password, with words that differ from host to host.
type loginClient struct {
	user, password string
	asked          int
}

func (l *loginClient) Start() (string, []byte, error) { return "LOGIN", nil, nil }

func (l *loginClient) Next([]byte) ([]byte, error) {
	l.asked++
	switch l.asked {
	case 1:
		return []byte(l.user), nil
	case 2:
		return []byte(l.password), nil
	}
	return nil, errors.New("asked a third time")
}

// A cramClient is CRAM-MD5 (RFC 2195).
type cramClient struct{ user, password string }

func (c *cramClient) Start() (string, []byte, error) { return "CRAM-MD5", nil, nil }

func (c *cramClient) Next(challenge []byte) ([]byte, error) {
	mac := hmac.New(md5.New, []byte(c.password))
	mac.Write(challenge)
	return []byte(c.user + " " + hex.EncodeToString(mac.Sum(nil))), nil
}

// A tokenClient is XOAUTH2, which no RFC has. To a token that is refused the host
// answers with a challenge that says why; the empty answer to it brings the
// failure.
type tokenClient struct{ name, initial, answer string }

func (t *tokenClient) Start() (string, []byte, error) { return t.name, []byte(t.initial), nil }

func (t *tokenClient) Next([]byte) ([]byte, error) { return []byte(t.answer), nil }
