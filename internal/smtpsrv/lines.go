package smtpsrv

import (
	"bytes"
	"errors"
	"io"
	"os"
	"sync"
	"time"
)

const (
	// firstBuffer is what a session holds whose client has said nothing; it
	// takes an ordinary EHLO.
	firstBuffer = 64
	// smallBuffer is what an idle session holds; 10,000 of them are 20 MB.
	smallBuffer = 2 << 10
	// bigBuffer is what a session holds while a letter comes in, or AUTH. It takes
	// an ordinary letter in one read, and more than the 12,288 octets that a line
	// of AUTH may have (RFC 4954 section 4): tokens of 10 KiB are more in base64.
	bigBuffer = 32 << 10
)

// errLineTooLong says that a line did not fit, and was skipped to its end.
var errLineTooLong = errors.New("line too long")

// bigBuffers are shared by all sessions: one has a big buffer only while it
// needs it. It holds no state, only memory.
var bigBuffers = sync.Pool{New: func() any { return new([bigBuffer]byte) }}

// lines reads what a client sends: lines, and stretches of octets. It never
// reads more than the client has sent so far while there is something left to
// give, so that replies can wait for the next read (RFC 2920).
type lines struct {
	r          io.Reader
	patience   time.Duration // how long a line may take
	buf        []byte        // first, then small, or big between grow and shrink
	first      [firstBuffer]byte
	small      []byte // nil until the client has said something
	big        *[bigBuffer]byte
	answer     bool // the next line answers a challenge
	start, end int  // what is read and not yet given
}

func newLines(r io.Reader, patience time.Duration) *lines {
	l := &lines{r: r, patience: patience}
	l.buf = l.first[:]
	return l
}

// settle goes over to the small buffer.
func (l *lines) settle() {
	l.small = make([]byte, smallBuffer)
	l.end = copy(l.small, l.pending())
	l.start, l.buf = 0, l.small
}

// fill reads once. The buffer must have room.
func (l *lines) fill() error {
	if l.small == nil && l.end > 0 {
		l.settle()
	}
	if l.start == l.end {
		l.start, l.end = 0, 0
	} else if l.end == len(l.buf) {
		l.end = copy(l.buf, l.buf[l.start:l.end])
		l.start = 0
	}
	n, err := l.r.Read(l.buf[l.end:])
	l.end += n
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// pending is what was read and not yet consumed.
func (l *lines) pending() []byte { return l.buf[l.start:l.end] }

func (l *lines) consume(n int) { l.start += n }

// drop forgets what was read ahead, as STARTTLS must (RFC 3207 section 4.2).
func (l *lines) drop() { l.start, l.end = 0, 0 }

// line returns the next line without its end, CRLF or LF. Only between
// letters may a line end in LF alone: scripts send that, and no letter ever
// ends there. The line is valid until the next call; one of AUTH may need a big
// buffer, for shrink to give back. One longer than the buffer is skipped, which is errLineTooLong; its first octets are given.
func (l *lines) line() ([]byte, error) {
	seen := 0
	var begun time.Time // when the first octets of it were here
	for {
		if i := bytes.IndexByte(l.pending()[seen:], '\n'); i >= 0 {
			b := l.pending()[:seen+i]
			l.consume(seen + i + 1)
			return bytes.TrimSuffix(b, []byte{'\r'}), nil
		}
		if seen = len(l.pending()); seen > 0 && begun.IsZero() {
			begun = time.Now()
		}
		if seen == len(l.buf) && l.mayBeLong() {
			l.grow()
		}
		if seen == len(l.buf) && l.small != nil {
			beginning := bytes.Clone(l.pending()[:len("BDAT")])
			return beginning, l.skipLine(begun)
		}
		if err := l.fillLine(begun); err != nil {
			return nil, err
		}
	}
}

// response is line for what answers a challenge of SASL.
func (l *lines) response() ([]byte, error) {
	l.answer = true
	defer func() { l.answer = false }()
	return l.line()
}

// mayBeLong reports whether the line that fills the small buffer is one of AUTH.
func (l *lines) mayBeLong() bool {
	return l.small != nil && l.big == nil && (l.answer || bytes.EqualFold(l.pending()[:len("AUTH ")], []byte("AUTH ")))
}

// fillLine reads on in a line that began at some time. Each read may be in time
// and the line never end.
func (l *lines) fillLine(begun time.Time) error {
	if !begun.IsZero() && time.Since(begun) > l.patience {
		return os.ErrDeadlineExceeded
	}
	return l.fill()
}

func (l *lines) skipLine(begun time.Time) error {
	for {
		if i := bytes.IndexByte(l.pending(), '\n'); i >= 0 {
			l.consume(i + 1)
			return errLineTooLong
		}
		l.drop()
		if err := l.fillLine(begun); err != nil {
			return err
		}
	}
}

// grow gives l a big buffer, shrink gives it back unless it is still needed
// for what was read ahead.
func (l *lines) grow() {
	if l.big != nil {
		return
	}
	if l.small == nil {
		l.settle()
	}
	l.big = bigBuffers.Get().(*[bigBuffer]byte)
	l.end = copy(l.big[:], l.pending())
	l.start = 0
	l.buf = l.big[:]
}

func (l *lines) shrink() {
	if l.big == nil || len(l.pending()) > len(l.small) {
		return
	}
	n := copy(l.small, l.pending())
	l.release()
	l.start, l.end = 0, n
}

// release gives the big buffer back, whatever is in it.
func (l *lines) release() {
	if l.big != nil {
		bigBuffers.Put(l.big)
		l.big, l.buf = nil, l.small
		l.start, l.end = 0, 0
	}
}
