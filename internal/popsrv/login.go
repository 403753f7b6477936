package popsrv

import (
	"encoding/base64"
	"errors"
	"slices"
	"strings"

	"postbag/internal/auth"
	"postbag/internal/maillog"
)

// mechanisms are the SASL mechanisms that may be used here and now.
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

// plaintext refuses a password that anybody could read on its way.
func (s *session) plaintext() bool {
	if s.Accounts != nil && s.c.PlaintextOK(s.Plaintext) {
		return true
	}
	s.err("AUTH", "passwords are taken over TLS only")
	return false
}

func (s *session) doUser(name string) {
	if !s.plaintext() {
		return
	}
	if name == "" {
		s.wrong("the name is missing")
		return
	}
	s.user = name
	s.ok("") // for every name, so that nobody learns which there are
}

// doPass checks a password, which may have blanks in it.
func (s *session) doPass(password string) {
	if !s.plaintext() {
		return
	}
	if s.user == "" {
		s.wrong("USER first")
		return
	}
	name := s.user
	s.user = ""
	account, err := s.Throttle.Verify(s.ctx, s.Accounts, s.c.Peer().Addr(), name, password)
	if err != nil {
		s.loginFailed(name, "USER", err)
		return
	}
	s.enter(account, name, "USER")
}

// loginFailed tells the client no more than whether to try again (RFC 3206
// section 4), and has patience for so many times.
func (s *session) loginFailed(name, method string, err error) {
	s.report(maillog.Session{Kind: maillog.LoginFailed, Login: name, Method: method, Err: err})
	if !errors.Is(err, auth.ErrBadCredentials) {
		s.err("SYS/TEMP", "logins are not possible now, try again later")
		return
	}
	s.err("AUTH", "authentication failed")
	if s.logins++; s.logins >= maxLoginFailures {
		s.quit = true
	}
}

// enter opens the mailbox of an account.
func (s *session) enter(account auth.Account, name, method string) {
	folder, err := s.Open(s.ctx, account)
	if err == nil {
		s.drop, err = openDrop(s.ctx, folder)
	}
	s.login = name
	if err != nil {
		s.fail(err)
		s.quit = true
		return
	}
	s.report(maillog.Session{Kind: maillog.LoggedIn, Login: name, Method: method})
	count, octets := s.drop.stat()
	s.okf("logged in, %d letters (%d octets)", count, octets)
}

func (s *session) report(e maillog.Session) {
	if s.Report != nil {
		e.Peer, e.TLS = s.c.Peer(), s.c.TLS() != nil
		s.Report(e)
	}
}

// doAuth is AUTH (RFC 5034).
func (s *session) doAuth(args string) {
	mechanism, initial, early := strings.Cut(strings.TrimSpace(args), " ")
	mechanism = strings.ToUpper(mechanism)
	if mechanism == "" { // an old way to ask, which RFC 1734 had not either
		s.ok("")
		for _, m := range s.mechanisms() {
			s.line(m)
		}
		s.line(".")
		return
	}
	if !slices.Contains(s.mechanisms(), mechanism) {
		s.refuseMechanism(mechanism)
		return
	}
	server, err := auth.NewServer(mechanism, s.Accounts, s.sasl())
	if err != nil {
		s.fail(err)
		return
	}
	s.exchange(server, mechanism, initial, early)
}

// refuseMechanism says whether the login is against our policy, or there is nothing
// wrong with it but the mechanism (RFC 3206 section 5).
func (s *session) refuseMechanism(mechanism string) {
	if s.Accounts != nil && slices.Contains(auth.Mechanisms(s.Accounts, true, s.sasl()), mechanism) {
		s.err("AUTH", "that mechanism is taken over TLS only")
		return
	}
	s.err("", "there is no such mechanism here")
}

// exchange speaks SASL until it is decided.
func (s *session) exchange(server auth.Server, mechanism, initial string, early bool) {
	var response []byte
	var err error
	if early && initial != "=" {
		response, err = base64.StdEncoding.DecodeString(initial)
	} else if early {
		response = []byte{}
	}
	for err == nil {
		challenge, done, serr := server.Next(response)
		if serr != nil {
			s.loginFailed(server.Login(), mechanism, serr)
			return
		}
		if done {
			s.enter(server.Account(), server.Account().Name, mechanism)
			return
		}
		s.line("+ " + base64.StdEncoding.EncodeToString(challenge))
		response, err = s.response()
	}
	if why := server.Refused(); why != nil { // it knows, whatever it has answered
		s.loginFailed(server.Login(), mechanism, why)
		return
	}
	s.unanswered(err)
}

// errGivenUp is a client that does not go on with an exchange.
var errGivenUp = errors.New("given up")

// response reads the answer to a challenge.
func (s *session) response() ([]byte, error) {
	line, err := s.in.response()
	switch {
	case errors.Is(err, errLineTooLong):
		return nil, err
	case err != nil:
		s.quit = true
		return nil, err
	case string(line) == "*":
		return nil, errGivenUp
	}
	return base64.StdEncoding.DecodeString(string(line))
}

// unanswered ends an exchange that the client has not gone through with.
func (s *session) unanswered(err error) {
	switch {
	case s.quit:
	case errors.Is(err, errGivenUp):
		s.err("", "given up")
	case errors.Is(err, errLineTooLong):
		s.wrong("line too long")
	default:
		s.wrong("that is not base64")
	}
}
