package popsrv

import (
	"bytes"
	"errors"
	"io"
)

// A stuffer writes a letter with a dot before each dot that begins a line (RFC
// 1939 section 3).
type stuffer struct {
	w     io.Writer
	start bool // at the beginning of a line
	cr    bool // the last octet was CR
	err   error
}

func (s *stuffer) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		if s.start && p[0] == '.' {
			s.write([]byte{'.'})
		}
		end := len(p)
		if i := bytes.Index(p, []byte("\n.")); i >= 0 {
			end = i + 1
		}
		s.write(p[:end])
		s.start = p[end-1] == '\n'
		s.cr = p[end-1] == '\r'
		p = p[end:]
	}
	return n, s.err
}

func (s *stuffer) write(p []byte) {
	if s.err == nil {
		_, s.err = s.w.Write(p)
	}
}

// finish ends the letter, on a line of its own.
func (s *stuffer) finish() error {
	switch {
	case s.start:
	case s.cr:
		s.write([]byte("\n"))
	default:
		s.write([]byte("\r\n"))
	}
	s.write([]byte(".\r\n"))
	return s.err
}

// errEnough ends the reading of a letter of which no more is wanted.
var errEnough = errors.New("enough lines")

// A topper passes the header, the empty line, and some lines of the body.
type topper struct {
	w     io.Writer
	left  int  // lines of the body still to pass
	body  bool // the header has ended
	start bool // at the beginning of a line
	cr    bool // the line is but a CR so far
}

func (t *topper) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		if t.body && t.left == 0 {
			return 0, errEnough
		}
		end := bytes.IndexByte(p, '\n') + 1
		whole := end > 0
		if !whole {
			end = len(p)
		}
		if _, err := t.w.Write(p[:end]); err != nil {
			return 0, err
		}
		t.count(p[:end], whole)
		p = p[end:]
	}
	return n, nil
}

// count takes note of a line, or of a part of one.
func (t *topper) count(part []byte, whole bool) {
	text := part
	if whole {
		text = part[:len(part)-1]
	}
	empty := (t.start || t.cr) && (len(text) == 0 || string(text) == "\r" && !t.cr)
	t.cr = !whole && t.start && string(text) == "\r"
	t.start = whole
	switch {
	case !whole:
	case t.body:
		t.left--
	case empty:
		t.body = true
	}
}
