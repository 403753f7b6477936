// Package imapwire reads and writes the values of IMAP (RFC 9051 section 4):
// atoms, numbers, strings, literals, lists and sequence sets. It knows no session
// and no command.
//
// Reading is literal-safe: after any error Drain reads the command to its end,
// literals included, so that the octets of a literal are never read as commands.
// When that cannot be done, the error is ErrLost and the connection must be
// closed.
package imapwire

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// ErrLost means that the end of a command cannot be found any more.
var ErrLost = errors.New("command without end")

// A SyntaxError is a command that is not in the grammar; its text may be told to
// the client.
type SyntaxError struct{ Text string }

func (e *SyntaxError) Error() string { return e.Text }

func bad(format string, args ...any) error { return &SyntaxError{fmt.Sprintf(format, args...)} }

// Limits are those of one command, in octets.
type Limits struct {
	Line   int   // without literals; RFC 2683 section 3.2.1.5 has 8,000
	String int64 // of a string that is kept in memory
	Kept   int64 // of all literals that are kept in memory
	Drain  int64 // of all literals that are read only to be thrown away
}

// Full and Tiny are the limits of clients that are known and of those that are
// not: ID with all that RFC 2971 section 3.3 allows has to fit into the latter.
var (
	Full = Limits{Line: 64 << 10, String: 64 << 10, Kept: 1 << 20, Drain: 1 << 30}
	Tiny = Limits{Line: 48 << 10, String: 4 << 10, Kept: 8 << 10, Drain: 64 << 10}
)

const bufferSize = 8 << 10

// A Reader reads commands.
type Reader struct {
	br *bufio.Reader
	// Continue asks the client to send a literal (RFC 9051 section 7.6).
	Continue func() error
	Limits   Limits

	read    int    // octets of this command, without literals
	tail    []byte // the last of them in this line: how a literal is announced
	cut     bool   // the line began before the tail
	body    int64  // octets left of a literal that is being read
	kept    int64  // octets of literals in memory
	drained int64  // octets of literals thrown away
}

// NewReader reads from r.
func NewReader(r io.Reader) *Reader {
	return &Reader{br: bufio.NewReaderSize(r, bufferSize), Limits: Full}
}

// Reset reads from r from now on, and forgets what was read ahead.
func (r *Reader) Reset(from io.Reader) { r.br.Reset(from) }

// Buffered is the number of octets read ahead.
func (r *Reader) Buffered() int { return r.br.Buffered() }

// Begin begins a command.
func (r *Reader) Begin() {
	r.read, r.body, r.kept, r.drained = 0, 0, 0, 0
	r.newLine()
}

func (r *Reader) newLine() { r.tail, r.cut = r.tail[:0], false }

// Fill waits for the first octet of a command.
func (r *Reader) Fill() error {
	_, err := r.br.Peek(1)
	return err
}

const tailSize = 32

// next reads one octet.
func (r *Reader) next() (byte, error) {
	c, err := r.br.ReadByte()
	if err != nil {
		return 0, err
	}
	// The tail must be right after an error too: Drain goes by it.
	if len(r.tail) == tailSize {
		copy(r.tail, r.tail[1:])
		r.tail, r.cut = r.tail[:tailSize-1], true
	}
	r.tail = append(r.tail, c)
	if r.read++; r.read > r.Limits.Line {
		return 0, bad("command is too long")
	}
	return c, nil
}

// Peek shows the next octet.
func (r *Reader) Peek() (byte, error) {
	b, err := r.br.Peek(1)
	if err != nil {
		return 0, err
	}
	return b[0], nil
}

// Accept reads an octet if it is the next one.
func (r *Reader) Accept(c byte) bool {
	got, err := r.Peek()
	if err != nil || got != c {
		return false
	}
	_, err = r.next()
	return err == nil
}

// AcceptAll reads octets if they are the next ones, in whatever case.
func (r *Reader) AcceptAll(want string) (bool, error) {
	for n := 1; n <= len(want); n++ {
		got, err := r.br.Peek(n)
		if err != nil || !strings.EqualFold(string(got), want[:n]) {
			return false, err
		}
	}
	for range len(want) {
		if _, err := r.next(); err != nil {
			return false, err
		}
	}
	return true, nil
}

// AcceptWord reads a word of capitals if it is the next atom, in whatever case.
func (r *Reader) AcceptWord(word string) (bool, error) {
	for n := 1; n <= len(word); n++ {
		got, err := r.br.Peek(n)
		if err != nil {
			return false, err
		}
		if got[n-1]&^0x20 != word[n-1] {
			return false, nil
		}
	}
	if got, err := r.br.Peek(len(word) + 1); err != nil || isAtom(got[len(word)]) {
		return false, err
	}
	for range word {
		if _, err := r.next(); err != nil {
			return false, err
		}
	}
	return true, nil
}

// Expect reads an octet that must come.
func (r *Reader) Expect(c byte) error {
	got, err := r.Peek()
	if err != nil {
		return err
	}
	if got != c {
		return bad("%q expected", string(rune(c)))
	}
	_, err = r.next()
	return err
}

// SP reads a space.
func (r *Reader) SP() error { return r.Expect(' ') }

// CRLF reads the end of a command. A bare LF is one too: people type it.
func (r *Reader) CRLF() error {
	r.Accept('\r')
	return r.Expect('\n')
}

// AtEnd reports whether the end of the command comes next.
func (r *Reader) AtEnd() bool {
	c, err := r.Peek()
	return err == nil && (c == '\r' || c == '\n')
}

// Drain reads the rest of a command that has gone wrong: its lines, and the
// literals between them that the client sends without being asked to. A line
// may be of any length, literals together of Limits.Drain.
func (r *Reader) Drain() error {
	if err := r.discard(r.body); err != nil {
		return err
	}
	for {
		if bytes.HasSuffix(r.tail, []byte("\n")) {
			n, announced := unasked(r.tail, r.cut)
			if !announced {
				return nil
			}
			if err := r.discard(n); err != nil {
				return err
			}
			r.newLine()
		}
		r.read = 0 // the limit has done its work
		if _, err := r.next(); err != nil {
			return err
		}
	}
}

// tooMuch is the length of a literal that nobody can count.
const tooMuch = 1 << 62

// unasked finds the length of a literal that the client sends at once: a line
// that ends in {N+}. Whatever else ends in "+}" after digits announces more than
// can be read: a number out of range, or one with more digits than there is left
// of a line that has been cut.
func unasked(line []byte, cut bool) (n int64, announced bool) {
	digits, ok := bytes.CutSuffix(bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r")), []byte("+}"))
	if !ok {
		return 0, false
	}
	at := len(digits)
	for at > 0 && digits[at-1] >= '0' && digits[at-1] <= '9' {
		at--
	}
	switch {
	case at == 0 && cut:
		return tooMuch, true
	case at == 0 || digits[at-1] != '{' || at == len(digits):
		return 0, false
	}
	n, err := strconv.ParseInt(string(digits[at:]), 10, 64)
	if err != nil {
		n = tooMuch
	}
	return n, true
}

func (r *Reader) discard(n int64) error {
	if n > r.Limits.Drain-r.drained {
		return ErrLost
	}
	r.drained += n
	r.body = 0
	_, err := io.CopyN(io.Discard, r.br, n)
	return err
}

// Literal begins to read a literal of at most max octets. ErrTooLong when it has
// more; then nothing of it was asked for.
func (r *Reader) Literal(max int64) (*Literal, error) {
	l := &Literal{r: r, Binary: r.Accept('~')}
	if err := r.Expect('{'); err != nil {
		return nil, err
	}
	n, err := r.Number()
	if err != nil {
		return nil, err
	}
	l.Size = n
	unasked := r.Accept('+')
	if err := r.Expect('}'); err != nil {
		return nil, err
	}
	if err := r.CRLF(); err != nil {
		return nil, err
	}
	if n > max {
		return nil, &TooLongError{n, max}
	}
	r.newLine() // what follows is no end of a line
	r.body = n
	if unasked {
		return l, nil
	}
	return l, r.Continue()
}

// A TooLongError is a literal that is not taken.
type TooLongError struct{ Size, Max int64 }

func (e *TooLongError) Error() string {
	return fmt.Sprintf("literal of %d octets is larger than %d", e.Size, e.Max)
}

// Read implements io.Reader.
func (l *Literal) Read(p []byte) (int, error) {
	if l.r.body == 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > l.r.body {
		p = p[:l.r.body]
	}
	n, err := l.r.br.Read(p)
	l.r.body -= int64(n)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// List reads a list in parentheses; each is called for every member.
func (r *Reader) List(each func() error) error {
	if err := r.Expect('('); err != nil {
		return err
	}
	if r.Accept(')') {
		return nil
	}
	for {
		if err := each(); err != nil {
			return err
		}
		if r.Accept(')') {
			return nil
		}
		if err := r.SP(); err != nil {
			return err
		}
	}
}

// Members reads a list in parentheses that must have a member.
func (r *Reader) Members(each func() error) error {
	n := 0
	err := r.List(func() error { n++; return each() })
	if err == nil && n == 0 {
		err = bad("the list is empty")
	}
	return err
}

// Line reads a whole line: a response of SASL.
func (r *Reader) Line() (string, error) {
	s, err := r.word(func(c byte) bool { return c != '\r' && c != '\n' })
	if err != nil {
		return "", err
	}
	return s, r.CRLF()
}
