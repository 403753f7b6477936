package popsrv

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strings"

	"postbag/internal/mailbox"
	"postbag/internal/maillog"
	"postbag/internal/netserve"
)

// A session is the state of one connection.
type session struct {
	*Server
	c   netserve.Client
	ctx context.Context
	in  *lines

	user  string    // of USER, before PASS
	login string    // of the account, once it is in
	drop  *maildrop // nil before the login

	failures int // wrong commands in a row
	logins   int // failed logins
	quit     bool
	clean    bool // ended by QUIT
}

// end leaves nothing of the session behind. A client that has deleted letters hears of
// it when their files are gone, another one does not wait for the folder to be closed.
func (s *session) end() {
	s.in.release()
	if s.drop != nil {
		s.report(maillog.Session{Kind: maillog.LoggedOut, Login: s.login, Retrieved: s.drop.retrieved, Octets: s.drop.octets, Deleted: s.drop.expunged, Clean: s.clean})
		if s.drop.expunged == 0 {
			_ = s.c.Flush()
		}
		s.drop.close()
	}
	_ = s.c.Flush() // the peer may be gone; whoever closes the connection logs it
}

// run reads and answers commands until the session ends.
func (s *session) run() error {
	for !s.quit {
		if s.draining() {
			s.err("SYS/TEMP", "server is shutting down")
			return nil
		}
		s.pause()
		line, err := s.in.line()
		s.c.Busy(true)
		switch {
		case errors.Is(err, errLineTooLong):
			s.wrong("line too long")
		case err != nil:
			return s.readError(err)
		default:
			s.command(line)
		}
	}
	return nil
}

// pause is called before the client is waited for, unless it has said more. It has
// what it asked for before anything is done for what it may ask next.
func (s *session) pause() {
	if s.in.more() {
		return
	}
	_ = s.c.Flush() // an error shows at the next read
	if s.drop != nil {
		s.drop.openNext(s.ctx)
	}
	s.c.Busy(false)
}

func (s *session) draining() bool { return netserve.Ending(s.c) }

// readError says goodbye where somebody may still listen. Nothing is deleted.
func (s *session) readError(err error) error {
	switch {
	case s.draining():
		s.err("SYS/TEMP", "server is shutting down")
	case errors.Is(err, os.ErrDeadlineExceeded):
		s.err("", "timeout, closing connection")
	case !errors.Is(err, io.EOF):
		return err
	}
	return nil
}

// command carries out one command line.
func (s *session) command(line []byte) {
	if bytes.IndexByte(line, 0) >= 0 || bytes.IndexByte(line, '\r') >= 0 {
		s.wrong("control character in command")
		return
	}
	verb, args, _ := strings.Cut(string(line), " ")
	verb = strings.ToUpper(verb)
	known := s.common(verb, args)
	if !known && s.drop == nil {
		known = s.authorization(verb, args)
	} else if !known {
		known = s.transaction(verb, strings.TrimSpace(args))
	}
	if !known {
		s.wrong("unknown command, or not now")
		return
	}
	s.Commands.With(verb).Inc()
}

// common carries out the commands of every state.
func (s *session) common(verb, args string) bool {
	switch verb {
	case "CAPA":
		s.capa()
	case "NOOP": // before the login only some servers know it; it does no harm
		s.ok("")
	case "LANG":
		s.doLang(strings.TrimSpace(args))
	case "QUIT":
		s.doQuit()
	default:
		return false
	}
	return true
}

func (s *session) authorization(verb, args string) bool {
	switch verb {
	case "USER":
		s.doUser(args)
	case "PASS":
		s.doPass(args)
	case "AUTH":
		s.doAuth(args)
	case "STLS":
		s.doSTLS()
	case "UTF8":
		s.ok("UTF8 enabled") // letters are given as they are: see the package comment
	case "GET", "POST", "CONNECT", "PUT", "OPTIONS":
		// A browser was made to talk to us; what follows is its body.
		s.err("", "this is a mail server")
		s.quit = true
	default:
		return false
	}
	return true
}

func (s *session) transaction(verb, args string) bool {
	switch verb {
	case "STAT":
		s.doStat()
	case "LIST":
		s.doList(args)
	case "UIDL":
		s.doUIDL(args)
	case "RETR":
		s.doRetr(args)
	case "TOP":
		s.doTop(args)
	case "DELE":
		s.doDele(args)
	case "RSET":
		s.doRset()
	default:
		return false
	}
	return true
}

// capa tells what this server can do, also how to log in once that is done: so a
// client sees whether somebody in between has hidden something (RFC 2449 section
// 5).
func (s *session) capa() {
	s.ok("capability list follows")
	list := []string{"TOP", "UIDL", "RESP-CODES", "AUTH-RESP-CODE", "PIPELINING", "UTF8 USER", "LANG", "EXPIRE NEVER"}
	if s.canSTLS() { // it says what may be done in this state (RFC 2595 section 4)
		list = append(list, "STLS")
	}
	if s.c.PlaintextOK(s.Plaintext) && s.Accounts != nil {
		list = append(list, "USER")
	}
	if m := s.mechanisms(); len(m) > 0 {
		list = append(list, "SASL "+strings.Join(m, " "))
	}
	list = append(list, "IMPLEMENTATION postbag")
	for _, line := range list {
		s.line(line)
	}
	s.line(".")
}

func (s *session) canSTLS() bool { return s.StartTLS && s.c.TLS() == nil && s.drop == nil }

// doSTLS begins TLS; all that was said before is forgotten.
func (s *session) doSTLS() {
	if !s.canSTLS() {
		s.wrong("STLS is not possible now")
		return
	}
	s.ok("begin TLS")
	if err := s.c.Flush(); err != nil {
		s.quit = true
		return
	}
	s.in.release()
	s.user = ""
	if err := s.c.StartTLS(s.ctx); err != nil {
		s.quit = true
	}
}

// doLang is LANG (RFC 6856 section 3): what is said to people is English.
func (s *session) doLang(language string) {
	switch lower := strings.ToLower(language); {
	case language == "":
		s.ok("languages follow")
		s.line("en English")
		s.line("i-default Default language")
		s.line(".")
	case lower == "*" || lower == "i-default":
		s.ok("i-default What is said to people is English")
	case lower == "en" || strings.HasPrefix(lower, "en-"):
		s.ok("en What is said to people is English")
	default:
		s.err("", "there is no such language here")
	}
}

// doQuit ends the session, and deletes what it marked.
func (s *session) doQuit() {
	s.quit = true
	if s.drop == nil {
		s.ok("bye")
		return
	}
	n, err := s.drop.update(s.ctx)
	if err != nil {
		s.fail(err)
		return
	}
	s.clean = true
	s.okf("bye, %d letters deleted", n)
}

// fail answers with what an error of the mailbox may tell a client (RFC 2449
// section 8.1, RFC 3206).
func (s *session) fail(err error) {
	switch {
	case errors.Is(err, mailbox.ErrExpunged):
		s.err("", "that letter is gone")
	case errors.Is(err, mailbox.ErrInUse):
		s.err("IN-USE", "mailbox is in use, try again later")
	default:
		s.report(maillog.Session{Kind: maillog.Troubled, Login: s.login, Err: err})
		s.err("SYS/TEMP", "mailbox is not available, try again later")
	}
}
