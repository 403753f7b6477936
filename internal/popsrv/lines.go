package popsrv

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"sync"
)

// lines reads command lines. Its buffer goes back to a pool while nothing is
// read, so that an idle session costs little.
type lines struct {
	r io.Reader
	b *bufio.Reader
}

var errLineTooLong = errors.New("line too long")

var buffers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, maxLine) }}

func newLines(r io.Reader) *lines { return &lines{r: r} }

// line returns the next line without its end, which is CRLF or LF. It is valid
// until the next call. One that is too long is read to its end. One of AUTH may be
// as long as a response.
func (l *lines) line() ([]byte, error) { return l.read(false) }

// response is line for what answers a challenge of SASL.
func (l *lines) response() ([]byte, error) { return l.read(true) }

func (l *lines) read(response bool) ([]byte, error) {
	if l.b == nil {
		l.b = buffers.Get().(*bufio.Reader)
		l.b.Reset(l.r)
	}
	line, err := l.b.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return l.readOn(line, response || bytes.EqualFold(line[:len("AUTH ")], []byte("AUTH ")))
	}
	if err != nil {
		return nil, err // what came without a line end is no command
	}
	return withoutEnd(line), nil
}

// readOn reads the rest of a line that has filled the buffer, and keeps of it what
// may be needed.
func (l *lines) readOn(begin []byte, long bool) ([]byte, error) {
	whole, fits, err := bytes.Clone(begin), long, error(bufio.ErrBufferFull)
	for errors.Is(err, bufio.ErrBufferFull) {
		var more []byte
		more, err = l.b.ReadSlice('\n')
		if fits = fits && len(whole)+len(more) <= maxResponse; fits {
			whole = append(whole, more...)
		}
	}
	switch {
	case err != nil:
		return nil, err
	case !fits:
		return nil, errLineTooLong
	}
	return withoutEnd(whole), nil
}

func withoutEnd(line []byte) []byte { return bytes.TrimSuffix(line[:len(line)-1], []byte{'\r'}) }

// more reports whether the client has sent more than has been read.
func (l *lines) more() bool { return l.b != nil && l.b.Buffered() > 0 }

// waiting counts the lines that the client has sent and that have not been read.
func (l *lines) waiting() int {
	if l.b == nil {
		return 0
	}
	sent, _ := l.b.Peek(l.b.Buffered())
	return bytes.Count(sent, []byte{'\n'})
}

// release gives the buffer back, with what is in it: for the end of a session,
// and before STLS (RFC 2595 section 4: what came before TLS counts for nothing).
func (l *lines) release() {
	if l.b != nil {
		l.b.Reset(nil)
		buffers.Put(l.b)
		l.b = nil
	}
}
