package imapsrv

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"time"

	"postbag/internal/account"
	"postbag/internal/imapwire"
	"postbag/internal/mailbox"
	"postbag/internal/maillog"
	"postbag/internal/netserve"
)

// A session is the state of one connection.
type session struct {
	*Server
	c   Conn
	ctx context.Context
	in  *imapwire.Reader
	out []byte // scratch for responses

	tag   string        // of the command under way
	verb  string        // its name, without UID
	login string        // of the account, once it is in
	tree  *account.Tree // nil before the login
	sel   *selected     // nil when no folder is selected
	rev2  bool          // ENABLE IMAP4rev2
	utf8  bool          // strings may be quoted UTF-8

	condstore bool // modseqs come with flags
	qresync   bool // VANISHED instead of EXPUNGE
	uidonly   bool // no message numbers, in neither direction
	deflate   *compressed

	watch *watch // what NOTIFY asks for; nil before the first one

	loginBy  time.Time // until when somebody must have logged in
	failures int       // wrong commands in a row
	logins   int       // failed logins
	quit     bool
	clean    bool // ended by LOGOUT
}

func newSession(ctx context.Context, s *Server, c Conn) *session {
	sess := &session{Server: s, c: c, ctx: ctx, loginBy: time.Now().Add(loginLimit)}
	sess.in = imapwire.NewReader(sess)
	sess.in.Limits = imapwire.Tiny
	sess.in.Continue = func() error {
		sess.line("+ go ahead")
		return sess.c.Flush()
	}
	return sess
}

// Read reads from the connection. Before the login it does not wait for ever,
// whatever comes octet by octet.
func (s *session) Read(p []byte) (int, error) {
	if s.tree == nil {
		left := min(time.Until(s.loginBy), loginTimeout)
		if left <= 0 {
			return 0, os.ErrDeadlineExceeded
		}
		s.c.SetIdleTimeout(left)
	}
	return s.c.Read(p)
}

// end leaves nothing of the session behind.
func (s *session) end() {
	s.leave()
	if s.deflate != nil {
		s.deflate.in.stop()
	}
	_ = s.c.Flush() // the peer may be gone; whoever closes the connection logs it
}

func (s *session) report(e maillog.Session) {
	if s.Report != nil {
		e.Peer, e.TLS = s.c.Peer(), s.c.TLS() != nil
		s.Report(e)
	}
}

// line writes one response.
func (s *session) line(text string) {
	s.out = append(append(s.out[:0], text...), '\r', '\n')
	_, _ = s.c.Write(s.out) // a failed write shows at the next read
}

// run reads and answers commands until the session ends.
func (s *session) run() error {
	for !s.quit {
		if s.draining() {
			s.line("* BYE server is shutting down")
			return nil
		}
		s.c.Busy(s.in.Buffered() > 0)
		s.in.Begin()
		err := s.await()
		s.c.Busy(true)
		if err == nil {
			err = s.command()
		}
		if err != nil {
			return s.readError(err)
		}
	}
	return nil
}

func (s *session) draining() bool { return netserve.Ending(s.c) }

// readError says goodbye where somebody may still listen.
func (s *session) readError(err error) error {
	switch {
	case s.draining():
		s.line("* BYE server is shutting down")
	case errors.Is(err, os.ErrDeadlineExceeded):
		s.line("* BYE timeout")
	case errors.Is(err, imapwire.ErrLost):
		s.line("* BYE cannot find the end of that command")
	case !errors.Is(err, io.EOF):
		return err
	}
	return nil
}

// A handler reads the arguments of a command and carries it out. It returns what
// the tagged OK says; an answer for another one.
type handler func(s *session) (ok string, err error)

// An answer is a tagged NO or BAD.
type answer struct{ status, text string }

func (a *answer) Error() string { return a.status + " " + a.text }

func no(text string) error  { return &answer{"NO", text} }
func bad(text string) error { return &answer{"BAD", text} }

// command reads one command and answers it. The error is one of the connection.
func (s *session) command() error {
	tag, err := s.in.Tag()
	if err == nil {
		err = s.in.SP()
	}
	if err != nil {
		return s.answer("*", "", err)
	}
	s.tag = tag
	name, err := s.in.Atom()
	if err != nil {
		return s.answer(tag, "", err)
	}
	s.verb = strings.ToUpper(name)
	h := s.lookup(s.verb)
	if h == nil {
		return s.answer(tag, "", bad("unknown command, or not now"))
	}
	s.Commands.With(name).Inc()
	ok, err := h(s)
	if err == nil {
		s.catchUp()
	}
	if !isIO(err) {
		s.tellDelayed()
	}
	return s.answer(tag, ok, err)
}

// catchUp tells what has happened while a command was carried out, and by it.
func (s *session) catchUp() {
	if expunging[s.verb] {
		s.step(true)
	}
	s.happened(!noExpunge[s.verb])
}

// noExpunge are the commands during which sequence numbers must stay (RFC 9051
// section 7.5.1); SORT and THREAD answer with them, too.
var noExpunge = map[string]bool{"FETCH": true, "STORE": true, "SEARCH": true, "SORT": true, "THREAD": true}

// expunging are the commands that are answered with EXPUNGE, whatever NOTIFY
// says.
var expunging = map[string]bool{"EXPUNGE": true, "MOVE": true, "REPLACE": true}

// answer writes the tagged response, after the rest of a wrong command has been
// read away.
func (s *session) answer(tag, ok string, err error) error {
	var a *answer
	var syntax *imapwire.SyntaxError
	var long *imapwire.TooLongError
	var tls *startTLS
	var deflate *beginCompress
	switch {
	case err == nil:
		s.failures = 0
		s.line(tag + " OK " + ok)
		return nil
	case errors.As(err, &tls):
		return s.secure(tag)
	case errors.As(err, &deflate):
		return s.compress(tag)
	case errors.As(err, &a):
	case errors.As(err, &syntax):
		a = &answer{"BAD", syntax.Text}
	case errors.As(err, &long):
		a = &answer{"NO", "[TOOBIG] " + long.Error()}
	case isIO(err):
		return err
	default:
		a = s.failed(err)
	}
	if err := s.in.Drain(); err != nil {
		return err
	}
	s.line(tag + " " + a.status + " " + a.text)
	if a.status == "BAD" {
		if s.failures++; s.failures >= maxErrors || s.tree == nil && s.failures >= maxEarlyErrors {
			s.line("* BYE too many wrong commands")
			s.quit = true
		}
	}
	return nil
}

// isIO tells errors of the connection from those of commands.
func isIO(err error) bool {
	var ioErr *connError
	return errors.As(err, &ioErr) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, imapwire.ErrLost)
}

// A connError is an error of reading or writing the connection.
type connError struct{ err error }

func (e *connError) Error() string { return e.err.Error() }
func (e *connError) Unwrap() error { return e.err }

// failed turns an error of the store into what a client may know.
func (s *session) failed(err error) *answer {
	for target, text := range map[error]string{
		mailbox.ErrInUse: "[INUSE] mailbox is in use, try again later", mailbox.ErrExpunged: "[EXPUNGEISSUED] some messages are gone",
		mailbox.ErrGone: "[NONEXISTENT] mailbox is gone", account.ErrNoFolder: "[NONEXISTENT] no such mailbox",
		account.ErrExists: "[ALREADYEXISTS] mailbox exists already", account.ErrBadName: "[CANNOT] not a name for a mailbox",
		mailbox.ErrOverQuota: "[OVERQUOTA] no room for it", // RFC 5530 section 3
		account.ErrBadUse:    "[USEATTR] no mailbox can be made for that use, or another one has it",
		account.ErrInbox:     "[CANNOT] INBOX cannot be deleted", account.ErrTooMany: "[METADATA TOOMANY] no room for more entries",
	} {
		if errors.Is(err, target) {
			return &answer{"NO", text}
		}
	}
	s.report(maillog.Session{Kind: maillog.Troubled, Login: s.login, Err: err})
	return &answer{"NO", "[UNAVAILABLE] not possible now, try again later"}
}

// crlf reads the end of a command.
func (s *session) crlf() error { return s.in.CRLF() }

// sp reads a space.
func (s *session) sp() error { return s.in.SP() }
