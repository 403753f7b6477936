package popclient

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/emersion/go-sasl"
)

// Login logs in with USER and PASS. A password that cannot be written on a line
// is refused here.
func (c *Client) Login(user, password string) error {
	if _, err := c.command("USER", user); err != nil {
		return err
	}
	_, err := c.command("PASS", password)
	c.caps = nil // those after the login may be others
	return err
}

// maxInitial is how long a command line with an initial response may be: 255
// octets (RFC 5034 section 4). A longer response waits for the server's "+".
const maxInitial = 255

// Auth logs in with a SASL mechanism.
func (c *Client) Auth(client sasl.Client) error {
	mech, initial, err := client.Start()
	if err != nil {
		return fmt.Errorf("auth: %w", err)
	}
	args, early := mech, false
	if initial != nil {
		if early = len(mech)+1+len(encode(initial)) <= maxInitial-len("AUTH \r\n"); early {
			args += " " + encode(initial)
		}
	}
	if err := c.send("AUTH", args); err != nil {
		return err
	}
	return c.exchange(client, initial, initial != nil && !early)
}

// exchange answers challenges until the server is satisfied or not. The first
// challenge asks for a response that is owed, if there is one.
func (c *Client) exchange(client sasl.Client, owed []byte, owing bool) error {
	var broken error
	for {
		line, err := c.line("AUTH")
		if err != nil {
			return err
		}
		status, text, _ := strings.Cut(line, " ")
		switch strings.ToUpper(status) {
		case "+OK":
			c.caps = nil
			return broken
		case "-ERR":
			return errors.Join(broken, refusal("AUTH", text))
		case "+":
		default:
			return c.fail(fmt.Errorf("auth: strange answer %q", clean(line)))
		}
		response := owed
		if !owing {
			response, broken = next(client, text)
		}
		owing = false
		reply := base64.StdEncoding.EncodeToString(response)
		if broken != nil {
			reply = "*" // give up: RFC 5034 section 4
		}
		if err := c.send(reply, ""); err != nil {
			return err
		}
	}
}

func next(client sasl.Client, text string) ([]byte, error) {
	challenge, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	if err != nil {
		return nil, fmt.Errorf("auth: challenge is not base64: %w", err)
	}
	response, err := client.Next(challenge)
	if err != nil {
		return nil, fmt.Errorf("auth: %w", err)
	}
	return response, nil
}

// encode writes an initial response, of which an empty one is "=".
func encode(initial []byte) string {
	if len(initial) == 0 {
		return "="
	}
	return base64.StdEncoding.EncodeToString(initial)
}
