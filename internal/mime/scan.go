package mime

import (
	"bytes"
	"errors"
	"io"
	"sync"
)

// bufferSize is what a letter costs in memory besides its headers. It must
// exceed the longest delimiter.
const bufferSize = 64 << 10

// A mark is a place in the letter.
type mark struct {
	offset int64
	lines  int64 // line ends before it
}

// A scanner reads a letter by lines, without holding on to any. Its methods
// expect to be at the beginning of a line and stop at one, or at the end.
type scanner struct {
	r    io.Reader
	err  error // of r, but for io.EOF
	eof  bool  // r has no more
	buf  []byte
	pos  int // the next octet; the two before it are still in buf
	end  int
	mark // of pos
}

func newScanner(r io.Reader) *scanner {
	return &scanner{r: r, buf: scanBuffers.Get().(*[bufferSize]byte)[:]}
}

// textScanner reads what is in memory: nothing of it ever moves.
func textScanner(text []byte) *scanner { return &scanner{buf: text, end: len(text), eof: true} }

// scanBuffers are kept: letters are many and most of them small.
var scanBuffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// release gives the buffer back. Of a scanner made by newScanner, only the error
// and marks may be looked at afterwards.
func (s *scanner) release() {
	scanBuffers.Put((*[bufferSize]byte)(s.buf))
	s.buf = nil
}

// fill reads more, after making room; it reports false when there is none.
func (s *scanner) fill() bool {
	if s.eof {
		return false
	}
	if from := max(0, s.pos-2); from > 0 && s.end == len(s.buf) {
		s.end = copy(s.buf, s.buf[from:s.end])
		s.pos -= from
	}
	if s.end == len(s.buf) {
		return false
	}
	for range 100 { // as bufio: a reader that never gives anything is broken
		n, err := s.r.Read(s.buf[s.end:])
		s.end += n
		if err != nil {
			s.eof = true
			if !errors.Is(err, io.EOF) {
				s.err = err
			}
		}
		if n > 0 || err != nil {
			return n > 0
		}
	}
	s.eof, s.err = true, io.ErrNoProgress
	return false
}

// advance goes n octets on.
func (s *scanner) advance(n int) {
	s.lines += int64(bytes.Count(s.buf[s.pos:s.pos+n], []byte{'\n'}))
	s.pos += n
	s.offset += int64(n)
}

// peekLine returns the line that begins here with its end, or at least its
// first limit octets; empty at the end of the letter. It is valid until the
// next call.
func (s *scanner) peekLine(limit int) []byte {
	for searched := 0; ; {
		rest := s.buf[s.pos:s.end]
		if i := bytes.IndexByte(rest[searched:], '\n'); i >= 0 {
			return rest[:searched+i+1]
		}
		if len(rest) >= limit {
			return rest
		}
		searched = len(rest)
		if !s.fill() {
			return s.buf[s.pos:s.end]
		}
	}
}

// discardLine goes to the next line.
func (s *scanner) discardLine() {
	for {
		if i := bytes.IndexByte(s.buf[s.pos:s.end], '\n'); i >= 0 {
			s.advance(i + 1)
			return
		}
		s.advance(s.end - s.pos)
		if !s.fill() {
			return
		}
	}
}

// dashes goes to the next line that begins with "--", which may be this one,
// and reports whether there is one.
func (s *scanner) dashes() bool {
	if line := s.peekLine(2); len(line) >= 2 && line[0] == '-' && line[1] == '-' {
		return true
	}
	for {
		rest := s.buf[s.pos:s.end]
		if i := bytes.Index(rest, []byte("\n--")); i >= 0 {
			s.advance(i + 1)
			return true
		}
		s.advance(max(0, len(rest)-2)) // "\n-" may go on
		if !s.fill() {
			s.advance(s.end - s.pos)
			return false
		}
	}
}

// discardAll goes to the end of the letter.
func (s *scanner) discardAll() {
	for {
		s.advance(s.end - s.pos)
		if !s.fill() {
			return
		}
	}
}

// lastLineEnd is the place before the line end just before this place, or this
// place at the beginning of the letter.
func (s *scanner) lastLineEnd() mark {
	switch {
	case s.offset >= 2 && s.buf[s.pos-2] == '\r':
		return mark{s.offset - 2, s.lines - 1}
	case s.offset >= 1:
		return mark{s.offset - 1, s.lines - 1}
	}
	return s.mark
}
