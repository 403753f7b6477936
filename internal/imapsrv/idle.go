package imapsrv

import (
	"strings"
	"time"
)

// idleNotice is how often an idle client is told that we are still here: what
// stands between forgets connections that nothing goes over.
const idleNotice = 2 * time.Minute

// doIdle waits for changes until the client says DONE (RFC 2177).
func (s *session) doIdle() (string, error) {
	if err := s.crlf(); err != nil {
		return "", err
	}
	s.line("+ idling")
	due := time.Now().Add(idleNotice)
	alarm := time.AfterFunc(idleNotice, s.c.Wake)
	defer alarm.Stop()
	for {
		s.happened(true)
		if !time.Now().Before(due) {
			s.line("* OK still here")
			due = time.Now().Add(idleNotice)
			alarm.Reset(idleNotice)
		}
		s.c.Busy(false)
		input, err := s.waitInput()
		s.c.Busy(true)
		if err != nil {
			return "", &connError{err}
		}
		if input {
			break
		}
	}
	s.in.Begin()
	text, err := s.in.Line()
	if err != nil {
		return "", err
	}
	if !strings.EqualFold(text, "DONE") {
		return "", bad("DONE expected")
	}
	return "done", nil
}

// waitInput waits until the client has said something (true) or there may be
// something to tell it (false).
func (s *session) waitInput() (bool, error) {
	if s.in.Buffered() > 0 {
		return true, s.c.Flush()
	}
	return s.c.WaitInput()
}
