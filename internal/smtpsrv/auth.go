package smtpsrv

import (
	"encoding/base64"
	"errors"
	"slices"
	"strings"

	"postbag/internal/auth"
)

// doAuth authenticates the client (RFC 4954).
func (s *session) doAuth(args string) {
	mechanism, initial, _ := strings.Cut(args, " ")
	mechanism = strings.ToUpper(mechanism)
	switch {
	case s.Accounts == nil || s.proto == Stdio || s.lmtp():
		s.refuse(502, "5.5.1", "AUTH not offered")
	case s.login != "":
		s.refuse(503, "5.5.1", "already authenticated") // RFC 4954 section 4
	case s.mail != nil:
		s.refuse(503, "5.5.1", "AUTH inside a transaction")
	case !s.esmtp:
		s.refuse(503, "5.5.1", "EHLO first")
	case !slices.Contains(s.mechanisms(), mechanism):
		s.refuseMechanism(mechanism)
	default:
		s.authenticate(mechanism, initial)
	}
}

// refuseMechanism tells a client that would have to use TLS first.
func (s *session) refuseMechanism(mechanism string) {
	if s.Accounts != nil && s.startTLSOffered() && slices.Contains(auth.Mechanisms(s.Accounts, true, auth.Exchange{}), mechanism) {
		s.refuse(538, "5.7.11", "encryption required for that mechanism")
		return
	}
	s.refuse(504, "5.5.4", "mechanism not offered")
}

func (s *session) authenticate(mechanism, initial string) {
	server, err := auth.NewServer(mechanism, s.Accounts, s.exchange())
	if err != nil {
		s.refuseStatus(err)
		return
	}
	response, ok := firstResponse(initial)
	for ok {
		challenge, done, err := server.Next(response)
		if err != nil {
			s.loginFailed(mechanism, server.Login(), err)
			return
		}
		if done {
			s.loggedIn(mechanism, server.Account().Name)
			return
		}
		response, ok = s.challenge(challenge)
		if !ok && s.givenUp(mechanism, server) {
			return
		}
	}
	s.refuse(501, "5.5.2", "cancelled, or not base64")
}

// givenUp reports whether there is nothing more to say to a client that has not
// answered: it is gone, or was refused already, which counts.
func (s *session) givenUp(mechanism string, server auth.Server) bool {
	err := server.Refused()
	if err != nil {
		s.loginFailed(mechanism, server.Login(), err)
	}
	return err != nil || s.quit
}

// exchange is what mechanisms need to know of the session. The TLS of a proxy is
// not that of its client.
func (s *session) exchange() auth.Exchange {
	x := auth.Exchange{Context: s.ctx, Throttle: s.Throttle, Peer: s.peer.Addr()}
	if !s.proxy {
		x.TLS = s.c.TLS()
		x.Own, x.Client = s.c.Certificates()
	}
	return x
}

// firstResponse decodes the initial response: nil when there is none, empty for
// "=" (RFC 4954 section 4).
func firstResponse(s string) ([]byte, bool) {
	switch s {
	case "":
		return nil, true
	case "=":
		return []byte{}, true
	}
	return decodeResponse(s)
}

func decodeResponse(s string) ([]byte, bool) {
	b, err := base64.StdEncoding.DecodeString(s)
	if b == nil {
		b = []byte{}
	}
	return b, err == nil
}

// challenge sends one and reads the response to it; "*" gives up.
func (s *session) challenge(c []byte) ([]byte, bool) {
	s.writeLine(334, base64.StdEncoding.EncodeToString(c))
	line, err := s.in.response()
	if errors.Is(err, errLineTooLong) {
		return nil, false
	}
	if err != nil {
		s.quit = true
		s.Log.Lost(s.ctx, s.peerIP(), "auth", err)
		return nil, false
	}
	if string(line) == "*" {
		return nil, false
	}
	return decodeResponse(string(line))
}

func (s *session) loggedIn(mechanism, name string) {
	s.login = name
	s.Log.Login(s.ctx, s.proto, s.peerIP(), name, mechanism, s.c.TLS() != nil)
	s.reply(235, "2.7.0", "authentication succeeded")
}

// loginFailed answers a wrong password for good, and trouble of this host for
// now. A client has so many attempts.
func (s *session) loginFailed(mechanism, name string, err error) {
	s.Log.LoginFailed(s.ctx, s.proto, s.peerIP(), name, mechanism, err)
	if !errors.Is(err, auth.ErrBadCredentials) {
		s.reply(454, "4.7.0", "temporary authentication failure")
		return
	}
	if s.logins++; s.logins >= maxLoginFailures {
		s.hangUp("too many failed logins")
		return
	}
	s.reply(535, "5.7.8", "authentication credentials invalid")
}
