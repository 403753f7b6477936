package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
)

// An input turns what a program writes to sendmail into disk form: LF at the end
// of each line and of the letter. CRs before an LF belong to the line end, as
// for Postfix (sendmail_fix_line_endings); a CR elsewhere is a line end too, for
// no CR may go out alone (RFC 5321 section 2.3.8).
type input struct {
	r    *bufio.Reader
	dots bool // a line with nothing but a dot ends the letter
	mid  bool // in the middle of a line
	crs  int  // CRs of which nobody knows yet what they are
	out  []byte
	err  error
}

func newInput(r io.Reader, dots bool) *input {
	return &input{r: bufio.NewReaderSize(r, 32<<10), dots: dots}
}

func (in *input) Read(p []byte) (int, error) {
	for len(in.out) == 0 {
		if in.err != nil {
			return 0, in.err
		}
		in.fill()
	}
	n := copy(p, in.out)
	in.out = in.out[n:]
	return n, nil
}

// fill reads one line, or a part of one that is very long.
func (in *input) fill() {
	if in.dots && !in.mid && in.lastLine() {
		in.err = io.EOF
		return
	}
	part, err := in.r.ReadSlice('\n')
	in.out = in.convert(in.out[:0], part)
	if errors.Is(err, bufio.ErrBufferFull) {
		return
	}
	in.err = err
	if errors.Is(err, io.EOF) && in.mid {
		in.out = in.convert(in.out, []byte{'\n'})
	}
}

// lastLine reports whether the next line is a lone dot.
func (in *input) lastLine() bool {
	next, _ := in.r.Peek(3)
	if len(next) == 0 || next[0] != '.' {
		return false
	}
	rest := next[1:]
	return len(rest) == 0 || rest[0] == '\n' || bytes.Equal(rest, []byte("\r\n"))
}

func (in *input) convert(out, part []byte) []byte {
	for _, c := range part {
		switch c {
		case '\r':
			in.crs++
		case '\n':
			out, in.crs = append(out, '\n'), 0
		default:
			for ; in.crs > 0; in.crs-- {
				out = append(out, '\n')
			}
			out = append(out, c)
		}
	}
	if len(part) > 0 {
		in.mid = part[len(part)-1] != '\n'
	}
	return out
}

// skipFromLines goes over lines that mailbox files have before a letter.
func skipFromLines(br *bufio.Reader) error {
	for {
		start, err := br.Peek(64)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if !bytes.HasPrefix(bytes.TrimLeft(start, ">"), []byte("From ")) {
			return nil
		}
		for more := true; more; {
			_, err = br.ReadSlice('\n')
			more = errors.Is(err, bufio.ErrBufferFull)
		}
		if err != nil {
			return notEOF(err)
		}
	}
}

func notEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// withoutNUL drops NULs from a text: no next hop would take them (RFC 5322
// section 4).
type withoutNUL struct{ w io.Writer }

func (n withoutNUL) Write(p []byte) (int, error) {
	if bytes.IndexByte(p, 0) < 0 {
		return n.w.Write(p)
	}
	if _, err := n.w.Write(bytes.ReplaceAll(p, []byte{0}, nil)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// interruptible reads r until ctx ends: a signal shall not leave half a letter
// in the spool. Its goroutine ends with r, or with the process.
func interruptible(ctx context.Context, r io.Reader) io.Reader {
	pr, pw := io.Pipe()
	go func() {
		_, err := io.Copy(pw, r)
		pw.CloseWithError(err)
	}()
	context.AfterFunc(ctx, func() { pw.CloseWithError(context.Cause(ctx)) })
	return pr
}
