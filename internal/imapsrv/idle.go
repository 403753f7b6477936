package imapsrv

import "strings"

// doIdle waits for changes until the client says DONE (RFC 2177).
func (s *session) doIdle() (string, error) {
	if err := s.crlf(); err != nil {
		return "", err
	}
	s.line("+ idling")
	var changes chan struct{} // never has anything when no folder is selected
	if s.sel != nil {
		changes = s.sel.changes
	}
	for {
		s.update(true)
		s.c.Busy(false)
		input, err := s.waitInput(changes)
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

func (s *session) waitInput(changes <-chan struct{}) (bool, error) {
	if s.in.Buffered() > 0 {
		return true, s.c.Flush()
	}
	return s.c.WaitInput(changes)
}
