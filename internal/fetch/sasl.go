package fetch

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/emersion/go-sasl"

	"postbag/internal/auth"
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
		return auth.NewCRAMClient(user, password), nil
	case "xoauth2":
		return auth.NewXOAUTH2Client(user, password), nil
	case "oauthbearer":
		return auth.NewOAuthBearerClient(user, password, r.Source.Host, r.Source.Port), nil
	case "scram-sha-256":
		c, err := auth.NewSCRAMClient(user, password)
		if err != nil {
			return nil, status.Exit(status.ExNoPerm, r.op("login to"), err)
		}
		return c, nil
	}
	return nil, fmt.Errorf("unknown mechanism %q", mechanism)
}

// verified makes sure that the server has proved that it knows the password,
// where the mechanism has it do that: one that only pretends to be the server
// says OK, too.
func (r *run) verified(client sasl.Client) error {
	if c, ok := client.(*auth.SCRAMClient); ok && !c.Proved() {
		return status.Exit(status.ExProtocol, r.op("login to"), errors.New("server did not prove that it knows the password"))
	}
	return nil
}
