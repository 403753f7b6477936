package smtpout

import (
	"crypto/hmac"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net"
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
	if initial != nil {
		line += " " + initialResponse(initial)
	}
	return c.exchange(line, client)
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
		r, err := c.command(line, c.t.Command)
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

// mechanism takes the best one that is offered.
func (c *conn) mechanism() (string, sasl.Client, error) {
	offered := " " + strings.ToUpper(c.ext["AUTH"]) + " "
	user, password := c.hop.User, c.hop.Password
	has := func(name string) bool { return strings.Contains(offered, " "+name+" ") }
	switch {
	case has("SCRAM-SHA-256"):
		cl, err := scram.SHA256.NewClient(user, password, "")
		if err != nil {
			return "", nil, err
		}
		return "SCRAM-SHA-256", &scramClient{cl.NewConversation()}, nil
	case has("PLAIN"):
		return "PLAIN", sasl.NewPlainClient("", user, password), nil
	case has("LOGIN"):
		return "LOGIN", &loginClient{user: user, password: password}, nil
	case has("CRAM-MD5"):
		return "CRAM-MD5", &cramClient{user, password}, nil
	}
	return "", nil, errNoMechanism
}

// proved makes sure that the host knows the password too, where the mechanism
// has it say so.
func (c *conn) proved(client sasl.Client) error {
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
