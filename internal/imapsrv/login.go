package imapsrv

import (
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"time"

	"postbag/internal/auth"
	"postbag/internal/imapwire"
	"postbag/internal/maillog"
)

// mechanisms are those that may be used now.
func (s *session) mechanisms() []string {
	if s.Accounts == nil {
		return nil
	}
	return auth.Mechanisms(s.Accounts, s.c.PlaintextOK(s.Plaintext), s.sasl())
}

// sasl is what mechanisms need to know of the session.
func (s *session) sasl() auth.Exchange {
	x := auth.Exchange{Context: s.ctx, Throttle: s.Throttle, Peer: s.c.Peer().Addr(), TLS: s.c.TLS()}
	x.Own, x.Client = s.c.Certificates()
	return x
}

// loginCapabilities say how to log in.
func (s *session) loginCapabilities() (words []string) {
	if s.canStartTLS() {
		words = append(words, "STARTTLS")
	}
	for _, m := range s.mechanisms() {
		words = append(words, "AUTH="+m)
	}
	if s.Accounts == nil || !s.c.PlaintextOK(s.Plaintext) {
		words = append(words, "LOGINDISABLED")
	}
	return words
}

func (s *session) canStartTLS() bool { return s.StartTLS && s.c.TLS() == nil && s.tree == nil }

// doStartTLS goes over to TLS. The OK is written here: it goes in the clear.
func (s *session) doStartTLS() (string, error) {
	if err := s.crlf(); err != nil {
		return "", err
	}
	if !s.canStartTLS() {
		return "", bad("TLS is not possible now")
	}
	return "", &startTLS{}
}

// startTLS is the end of a STARTTLS command; see secure.
type startTLS struct{}

func (*startTLS) Error() string { return "begin TLS now" }

// secure answers STARTTLS and forgets what was read ahead: it was not protected
// (RFC 9051 section 6.2.1).
func (s *session) secure(tag string) error {
	s.line(tag + " OK begin TLS now")
	if err := s.c.Flush(); err != nil {
		return err
	}
	s.in.Reset(s)
	if err := s.c.StartTLS(s.ctx); err != nil {
		s.quit = true // the handshake failed; there is nobody to talk to
	}
	return nil
}

// doLogin is LOGIN.
func (s *session) doLogin() (string, error) {
	if err := s.sp(); err != nil {
		return "", err
	}
	name, err := s.in.Astring()
	if err == nil {
		err = s.sp()
	}
	var password string
	if err == nil {
		password, err = s.in.Astring()
	}
	if err == nil {
		err = s.crlf()
	}
	if err != nil {
		return "", err
	}
	if s.Accounts == nil || !s.c.PlaintextOK(s.Plaintext) {
		return "", no("[PRIVACYREQUIRED] passwords are taken over TLS only")
	}
	a, err := s.Throttle.Verify(s.ctx, s.Accounts, s.c.Peer().Addr(), name, password)
	if err != nil {
		return "", s.loginFailed(name, "LOGIN", err)
	}
	return s.loggedIn(a, "LOGIN")
}

// loginFailed is the answer to a login that is refused, or not possible now.
func (s *session) loginFailed(name, method string, err error) error {
	s.report(maillog.Session{Kind: maillog.LoginFailed, Login: name, Method: method, Err: err})
	if !errors.Is(err, auth.ErrBadCredentials) {
		return no("[UNAVAILABLE] logins are not possible now, try again later")
	}
	if s.logins++; s.logins >= maxLoginFailures {
		s.line("* BYE too many failed logins")
		s.quit = true
	}
	return no("[AUTHENTICATIONFAILED] authentication failed")
}

func (s *session) loggedIn(a auth.Account, method string) (string, error) {
	if !s.enter(a, method) {
		return "", no("[UNAVAILABLE] mailbox is not available, try again later")
	}
	return "[CAPABILITY " + s.capabilities() + "] logged in", nil
}

// doUnauthenticate goes back to the state before the login (RFC 8437). TLS stays.
// Compression would have to end (section 4.1), where a client may have sent more of
// it: the connection ends.
func (s *session) doUnauthenticate() (string, error) {
	if err := s.crlf(); err != nil {
		return "", err
	}
	if s.Preauth != nil {
		return "", bad("this session has but one user")
	}
	if s.deflate != nil {
		s.line("* BYE compression cannot be ended")
		s.quit = true
		return "", bad("not while compression is active")
	}
	s.leave()
	s.rev2, s.utf8, s.condstore, s.qresync, s.uidonly = false, false, false, false, false
	s.in.Limits = imapwire.Tiny
	s.loginBy = time.Now().Add(loginLimit)
	return "done", nil
}

// leave gives the account back.
func (s *session) leave() {
	s.unselect()
	s.endWatch(s.watch)
	s.watch = nil
	if s.tree != nil {
		s.tree.Close()
		s.tree = nil
		s.report(maillog.Session{Kind: maillog.LoggedOut, Login: s.login, Clean: s.clean})
	}
}

// enter opens the folders of an account.
func (s *session) enter(a auth.Account, method string) bool {
	tree, err := s.Open(s.ctx, a)
	if err != nil {
		s.report(maillog.Session{Kind: maillog.Troubled, Login: a.Name, Err: err})
		return false
	}
	s.tree, s.login = tree, a.Name
	s.in.Limits = imapwire.Full
	idle := s.IdleTimeout
	if idle == 0 {
		idle = defaultIdle
	}
	s.c.SetIdleTimeout(idle)
	s.report(maillog.Session{Kind: maillog.LoggedIn, Login: a.Name, Method: method})
	return true
}

// doAuthenticate is AUTHENTICATE (RFC 9051 section 6.2.2).
func (s *session) doAuthenticate() (string, error) {
	if err := s.sp(); err != nil {
		return "", err
	}
	mechanism, err := s.in.Atom()
	if err != nil {
		return "", err
	}
	mechanism = strings.ToUpper(mechanism)
	var response []byte
	if s.in.Accept(' ') {
		text, err := s.in.Astring()
		if err != nil {
			return "", err
		}
		if response, err = decode(text); err != nil {
			return "", err
		}
	}
	if err := s.crlf(); err != nil {
		return "", err
	}
	if !slices.Contains(s.mechanisms(), mechanism) {
		return "", no("[CANNOT] that mechanism is not possible here")
	}
	server, err := auth.NewServer(mechanism, s.Accounts, s.sasl())
	if err != nil {
		return "", err
	}
	return s.exchange(server, mechanism, response)
}

// decode reads base64; "=" is an empty response.
func decode(text string) ([]byte, error) {
	if text == "=" {
		return []byte{}, nil
	}
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, bad("that is not base64")
	}
	if b == nil {
		b = []byte{}
	}
	return b, nil
}

// exchange goes through challenges and responses.
func (s *session) exchange(server auth.Server, mechanism string, response []byte) (string, error) {
	for {
		challenge, done, err := server.Next(response)
		if err != nil {
			return "", s.loginFailed(server.Login(), mechanism, err)
		}
		if done {
			return s.loggedIn(server.Account(), mechanism)
		}
		if response, err = s.challenge(challenge); err == nil {
			continue
		}
		if why := server.Refused(); why != nil {
			err = alsoFailed(err, s.loginFailed(server.Login(), mechanism, why))
		}
		return "", err
	}
}

// alsoFailed is the answer to a client that has been told why it is refused and then
// gives up, or says what cannot be read (RFC 7628 section 4.3): refused it was.
func alsoFailed(err, refused error) error {
	if isIO(err) {
		return err
	}
	return refused
}

// challenge sends one and reads the response to it.
func (s *session) challenge(c []byte) ([]byte, error) {
	s.line("+ " + base64.StdEncoding.EncodeToString(c))
	if err := s.c.Flush(); err != nil {
		return nil, &connError{err}
	}
	s.in.Begin()
	text, err := s.in.Line()
	if err == nil && text == "*" {
		err = bad("given up")
	}
	if err != nil {
		return nil, err
	}
	return decode(text)
}
