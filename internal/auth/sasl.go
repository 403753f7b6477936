package auth

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/xdg-go/scram"
)

// A Server is the server's side of one exchange of a mechanism.
type Server interface {
	// Next takes what the client says, nil when it has said nothing yet, and
	// gives the challenge for it. When done is true the client is who Account
	// says. ErrBadCredentials when it is not.
	Next(response []byte) (challenge []byte, done bool, err error)
	Account() Account
	// Login is the name that the client gave, for logs.
	Login() string
	// Refused is why the client will not be let in, when it has been told so and
	// has only its last word left, which it may never say; nil otherwise.
	Refused() error
}

// An Exchange is what a Server needs to know of its session. The zero value can
// be used.
type Exchange struct {
	Context  context.Context // nil: Background
	Throttle *Throttle       // nil: none
	Peer     netip.Addr

	TLS    *tls.ConnectionState // nil: none
	Own    *x509.Certificate    // ours in TLS; nil: not known
	Client *x509.Certificate    // the client's, if it is believed; nil: none
}

func (x Exchange) context() context.Context {
	if x.Context == nil {
		return context.Background()
	}
	return x.Context
}

// Mechanisms are those that may be offered: the best first, but those for tokens
// last, which a client with a password must not take. Without plaintextOK only those
// are that show neither password nor token. What is bound to TLS needs that of the
// exchange.
func Mechanisms(d Directory, plaintextOK bool, x Exchange) []string {
	var all []string
	if len(namesOf(x.Client)) > 0 {
		all = append(all, "EXTERNAL")
	}
	if d.SCRAMPossible() {
		if _, err := x.anyBinding(); err == nil {
			all = append(all, "SCRAM-SHA-256-PLUS")
		}
		all = append(all, "SCRAM-SHA-256")
	}
	if plaintextOK {
		all = append(all, "PLAIN", "LOGIN")
	}
	if plaintextOK && d.TokensPossible() {
		all = append(all, "OAUTHBEARER", "XOAUTH2")
	}
	return all
}

// NewServer begins an exchange.
func NewServer(mechanism string, d Directory, x Exchange) (Server, error) {
	base := base{dir: d, x: x}
	switch mechanism {
	case "PLAIN":
		return &plainServer{base}, nil
	case "LOGIN":
		return &loginServer{base: base}, nil
	case "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS":
		return newScram(base, mechanism == "SCRAM-SHA-256-PLUS")
	case "EXTERNAL":
		return &externalServer{base}, nil
	case "OAUTHBEARER":
		return &tokenServer{base: base, parse: parseOAuthBearer, explain: (*TokenError).json}, nil
	case "XOAUTH2":
		return &tokenServer{base: base, parse: parseXOAUTH2, explain: (*TokenError).jsonOfGoogle}, nil
	}
	return nil, fmt.Errorf("mechanism %s: not known", mechanism)
}

// base is what all mechanisms have.
type base struct {
	dir     Directory
	x       Exchange
	login   string
	account Account
}

func (b *base) Account() Account { return b.account }
func (b *base) Login() string    { return b.login }
func (b *base) Refused() error   { return nil }

// verify checks name and password, and tells the Throttle.
func (b *base) verify(name, password string) error {
	b.login = name
	account, err := b.x.Throttle.Verify(b.x.context(), b.dir, b.x.Peer, name, password)
	b.account = account
	return err
}

// A plainServer is PLAIN (RFC 4616).
type plainServer struct{ base }

func (s *plainServer) Next(response []byte) ([]byte, bool, error) {
	if response == nil {
		return []byte{}, false, nil
	}
	parts := strings.Split(string(response), "\x00")
	if len(parts) != 3 || parts[1] == "" {
		return nil, false, ErrBadCredentials
	}
	// To act for somebody else is for masters, which there are not.
	if parts[0] != "" && key(parts[0]) != key(parts[1]) {
		s.login = parts[1]
		return nil, false, ErrBadCredentials
	}
	err := s.verify(parts[1], parts[2])
	return nil, err == nil, err
}

// A loginServer is LOGIN, which has no RFC: name and password, each asked for.
type loginServer struct {
	base
	named bool
}

func (s *loginServer) Next(response []byte) ([]byte, bool, error) {
	switch {
	case response == nil && !s.named:
		return []byte("Username:"), false, nil
	case !s.named:
		s.login, s.named = string(response), true
		return []byte("Password:"), false, nil
	}
	err := s.verify(s.login, string(response))
	return nil, err == nil, err
}

// A scramServer is SCRAM-SHA-256 (RFC 7677), or with channel binding
// SCRAM-SHA-256-PLUS.
type scramServer struct {
	base
	plus    bool
	server  *scram.Server
	conv    *scram.ServerConversation // nil until the client has spoken
	found   Account
	trouble error // why the credentials could not be had
	proved  bool  // the proof was right; the client still has to see ours
}

func newScram(b base, plus bool) (Server, error) {
	s := &scramServer{base: b, plus: plus}
	var err error
	if s.server, err = scram.SHA256.NewServer(s.lookup); err != nil {
		return nil, fmt.Errorf("begin SCRAM: %w", err)
	}
	return s, nil
}

func (s *scramServer) lookup(name string) (scram.StoredCredentials, error) {
	s.login = name
	c, account, err := s.dir.SCRAM(s.x.context(), name)
	if err != nil {
		s.trouble = err
		return scram.StoredCredentials{}, err
	}
	s.found = account
	return scram.StoredCredentials{
		KeyFactors: scram.KeyFactors{Salt: string(c.Salt), Iters: c.Iterations},
		StoredKey:  c.StoredKey, ServerKey: c.ServerKey,
	}, nil
}

func (s *scramServer) Next(response []byte) ([]byte, bool, error) {
	switch {
	case s.proved: // the client's empty answer to our proof
		if len(response) > 0 {
			return nil, false, ErrBadCredentials
		}
		s.account = s.found
		return nil, true, nil
	case response == nil:
		return []byte{}, false, nil
	}
	if err := s.x.Throttle.Wait(s.x.context(), s.x.Peer, s.login); err != nil {
		return nil, false, err
	}
	if s.conv == nil {
		if err := s.converse(response); err != nil {
			return nil, false, err
		}
	}
	challenge, err := s.conv.Step(string(response))
	if s.trouble != nil {
		return nil, false, s.trouble
	}
	if err != nil {
		return nil, false, s.refuse()
	}
	if !s.conv.Done() {
		return []byte(challenge), false, nil
	}
	if !s.conv.Valid() || s.found.Name == "" || !s.authorized() {
		return nil, false, s.refuse()
	}
	s.proved = true
	s.x.Throttle.Succeeded(s.x.Peer, s.login)
	return []byte(challenge), false, nil
}

func (s *scramServer) authorized() bool {
	authz := s.conv.AuthzID()
	return authz == "" || key(authz) == key(s.login)
}

func (s *scramServer) refuse() error {
	s.x.Throttle.Failed(s.x.Peer, s.login)
	return ErrBadCredentials
}

// IsBadCredentials reports whether err is a refusal, not trouble of this host.
func IsBadCredentials(err error) bool { return errors.Is(err, ErrBadCredentials) }
