package smtpout

import (
	"encoding/base64"
	"errors"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/emersion/go-sasl"

	"postbag/internal/auth"
	"postbag/internal/status"
)

// login authenticates (RFC 4954). Every failure is temporary: a password can be
// mended, and the letters shall wait for that.
func (c *conn) login() error {
	if c.tls == "" && !c.loopback() {
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
		return auth.NewSCRAMClient(user, password)
	case "PLAIN":
		return sasl.NewPlainClient("", user, password), nil
	case "LOGIN":
		return &loginClient{user: user, password: password}, nil
	case "CRAM-MD5":
		return auth.NewCRAMClient(user, password), nil
	case "XOAUTH2":
		return auth.NewXOAUTH2Client(user, password), nil
	case "OAUTHBEARER":
		return auth.NewOAuthBearerClient(user, password, c.hop.Host, strconv.Itoa(c.hop.Port)), nil
	}
	return nil, errNoMechanism
}

// proved makes sure that the host knows the password too, where the mechanism
// has it say so.
func (c *conn) proved(client sasl.Client) error {
	if late, ok := client.(*lateClient); ok {
		client = late.Client
	}
	if s, ok := client.(*auth.SCRAMClient); ok && !s.Proved() {
		return c.noLogin("it did not prove that it knows the password", nil)
	}
	return nil
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
