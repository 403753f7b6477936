package fetch

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strings"
	"time"

	"postbag/internal/mime"
)

// writeMbox writes a letter in mbox form: a From line, lines that begin like one
// quoted with >, an empty line at the end.
func writeMbox(w io.Writer, l letter, now time.Time, text *staged) error {
	from, err := sender(text)
	if err != nil {
		return err
	}
	at := l.internal
	if at.IsZero() {
		at = now
	}
	out := bufio.NewWriterSize(w, 32<<10)
	fmt.Fprintf(out, "From %s %s\n", from, at.UTC().Format(time.ANSIC))
	q := &fromQuoter{w: out, start: true}
	if err := toDisk(q, text); err != nil {
		return err
	}
	if err := q.finish(); err != nil {
		return err
	}
	out.WriteByte('\n')
	return out.Flush()
}

// sender is what the From line says: the letter's Return-Path.
func sender(text *staged) (string, error) {
	head, err := mime.ParseHeader(text)
	if err != nil {
		return "", err
	}
	if _, err := text.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	for _, a := range mime.ParseAddresses(head.Header.Get("Return-Path")) {
		from := a.Mailbox + "@" + a.Host
		if a.Host != "" && !strings.ContainsFunc(from, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
			return from, nil
		}
	}
	return "MAILER-DAEMON", nil
}

// A fromQuoter puts > before each line that begins ">*From " (mboxrd).
type fromQuoter struct {
	w     io.Writer
	line  []byte // the beginning of a line, as long as it may be one
	start bool   // the next octet begins a line
}

func (q *fromQuoter) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		if !q.start && q.line == nil {
			end := bytes.IndexByte(p, '\n') + 1
			if end == 0 {
				end = len(p)
			} else {
				q.start = true
			}
			if _, err := q.w.Write(p[:end]); err != nil {
				return 0, err
			}
			p = p[end:]
			continue
		}
		q.start = false
		q.line = append(q.line, p[0])
		p = p[1:]
		if err := q.decide(); err != nil {
			return 0, err
		}
	}
	return n, nil
}

// decide writes the beginning of a line as soon as it is clear what it is.
func (q *fromQuoter) decide() error {
	rest := bytes.TrimLeft(q.line, ">")
	if len(rest) < len("From ") && strings.HasPrefix("From ", string(rest)) && len(q.line) < maxQuotes {
		return nil
	}
	return q.flush(rest)
}

// maxQuotes bounds how many > are looked at.
const maxQuotes = 1000

func (q *fromQuoter) flush(rest []byte) error {
	if string(rest) == "From " {
		q.line = append([]byte{'>'}, q.line...)
	}
	q.start = q.line[len(q.line)-1] == '\n'
	_, err := q.w.Write(q.line)
	q.line = nil
	return err
}

// finish ends the last line.
func (q *fromQuoter) finish() error {
	if q.start {
		return nil
	}
	_, err := q.w.Write(append(q.line, '\n'))
	return err
}
