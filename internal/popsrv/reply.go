package popsrv

import (
	"fmt"
	"io"
)

// ok answers that a command was carried out.
func (s *session) ok(text string) {
	s.failures = 0
	if text == "" {
		s.line("+OK")
		return
	}
	s.line("+OK " + text)
}

func (s *session) okf(format string, args ...any) { s.ok(fmt.Sprintf(format, args...)) }

// err answers that a command was not carried out; code is a response code of
// RFC 2449 section 8, or "".
func (s *session) err(code, text string) {
	if code != "" {
		text = "[" + code + "] " + text
	}
	s.line("-ERR " + text)
}

// wrong answers a command that makes no sense, and ends a session that consists
// of such.
func (s *session) wrong(text string) {
	s.err("", text)
	if s.failures++; s.failures >= maxErrors {
		s.err("SYS/PERM", "too many errors")
		s.quit = true
	}
}

// line writes a line. A failed write shows at the next read.
func (s *session) line(text string) { _, _ = io.WriteString(s.c, text+"\r\n") }
