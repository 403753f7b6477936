package imapsrv

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"postbag/internal/imapwire"
	"postbag/internal/mailbox"
	"postbag/internal/mime"
)

// doAppend takes letters (RFC 9051 section 6.3.12), several at once (RFC 3502),
// all or none.
func (s *session) doAppend() (string, error) {
	name, err := s.spName()
	if err == nil {
		err = s.sp()
	}
	if err != nil {
		return "", err
	}
	folder, err := s.tree.Open(s.ctx, name)
	if err != nil {
		return "", tryCreate(err)
	}
	defer folder.Close()
	a := folder.NewAppend()
	defer a.Discard()
	for n := 1; ; n++ {
		if err := s.tooMany(n); err != nil {
			return "", err
		}
		if err := s.appendOne(a); err != nil {
			return "", err
		}
		if !s.in.Accept(' ') {
			break
		}
	}
	if err := s.crlf(); err != nil {
		return "", err
	}
	uids, err := a.Commit(s.ctx)
	if err != nil {
		return "", err
	}
	s.putIn(name, uids)
	s.tellNormal(s.tree.Canonical(name), name)
	return fmt.Sprintf("[APPENDUID %d %s] done", folder.View().UIDValidity(), imapwire.FormatSet(uids)), nil
}

// maxSize is the largest letter that is taken.
func (s *session) maxSize() int64 {
	if s.MaxSize == 0 {
		return defaultMaxSize
	}
	return s.MaxSize
}

// appendOne reads the options of a letter, and its text.
func (s *session) appendOne(a *mailbox.Append) error {
	flags, keywords, date, err := s.appendOptions()
	if err != nil {
		return err
	}
	text := &letterText{finish: func() error { return nil }}
	defer text.close()
	if err := s.appendText(text); err != nil {
		return err
	}
	if err := a.Add(flags, keywords, date, text); err != nil {
		return text.cause(err)
	}
	return text.finish()
}

// appendOptions reads flags and date, which may be missing.
func (s *session) appendOptions() (flags mailbox.Flags, keywords []string, date time.Time, err error) {
	if c, perr := s.in.Peek(); perr == nil && c == '(' {
		names, err := s.flagList(false)
		if err == nil {
			flags, keywords, err = parseFlags(names)
		}
		if err == nil {
			err = s.sp()
		}
		if err != nil {
			return 0, nil, date, err
		}
	}
	if c, perr := s.in.Peek(); perr == nil && c == '"' {
		text, err := s.in.String()
		if err != nil {
			return 0, nil, date, err
		}
		if date, err = imapwire.ParseTime(text); err != nil {
			return 0, nil, date, bad("that is no date-time")
		}
		if err := s.sp(); err != nil {
			return 0, nil, date, err
		}
	}
	return flags, keywords, date, nil
}

// appendText begins to read the text of a letter: a literal, with UTF8 a literal8
// in parentheses (RFC 6855 section 4), or with CATENATE a list of parts.
func (s *session) appendText(t *letterText) error {
	if c, err := s.in.Peek(); err == nil && c != '{' && c != '~' {
		word, err := s.in.Atom()
		if err != nil {
			return err
		}
		if strings.EqualFold(word, "CATENATE") {
			c := &catenation{s: s, left: s.maxSize()}
			t.r, t.scratch = c, append(t.scratch, c)
			return s.sp()
		}
		if !strings.EqualFold(word, "UTF8") {
			return bad("a literal is expected")
		}
		if err = s.sp(); err == nil {
			err = s.in.Expect('(')
		}
		if err != nil {
			return err
		}
		t.finish = func() error { return s.in.Expect(')') }
	}
	l, err := s.in.Literal(s.maxSize())
	if err != nil {
		return err
	}
	if l.Size == 0 {
		return no("[CANNOT] a message has at least one octet") // RFC 3502 section 6.3.11: it means to give up
	}
	if t.r = (&socketReader{r: l}); l.Binary {
		t.r, err = s.unbinary(t, l)
	}
	return err
}

// unbinary reads what may be binary to its end, to give it in a form that all
// clients can read.
func (s *session) unbinary(t *letterText, l *imapwire.Literal) (io.Reader, error) {
	f, err := os.CreateTemp("", "postbag-append-*")
	if err != nil {
		return nil, err
	}
	t.scratch = append(t.scratch, f)
	if err := os.Remove(f.Name()); err != nil {
		return nil, err
	}
	if _, err := io.Copy(f, t.r); err != nil {
		return nil, err
	}
	r, w := io.Pipe()
	t.scratch = append(t.scratch, r)
	go func() { w.CloseWithError(mime.EncodeBinary(w, f, l.Size)) }()
	return r, nil
}

// A socketReader tells errors of the connection from those of files.
type socketReader struct{ r io.Reader }

func (c *socketReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if err != nil && err != io.EOF {
		err = &connError{err}
	}
	return n, err
}

// A letterText is the text of a letter on its way in. A NUL is refused: what came
// in a literal8 has none left in its bodies (RFC 3516 section 4.4).
type letterText struct {
	r       io.Reader
	finish  func() error // reads what follows the text
	scratch []io.Closer
	err     error
}

func (t *letterText) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	if bytes.IndexByte(p[:n], 0) >= 0 {
		t.err = no("[UNKNOWN-CTE] NUL in a message")
		return 0, t.err
	}
	if err != nil && err != io.EOF {
		t.err = err
	}
	return n, err
}

func (t *letterText) close() {
	for _, c := range slices.Backward(t.scratch) {
		c.Close() // nothing was written to it that counts
	}
}

// cause is the error of reading, if that was it.
func (t *letterText) cause(err error) error {
	if t.err != nil && !errors.Is(t.err, io.ErrClosedPipe) {
		return t.err
	}
	return err
}
