package smtpout

import (
	"bytes"
	"io"
	"slices"

	"postbag/internal/status"
)

// A letter is what is sent, with what has to be known of it before.
type letter struct {
	open func() (io.ReadCloser, error)

	known    bool
	enc      encoder // that counts
	buf      []byte
	text     []byte // all of it in disk form, where it is small
	wire     int64  // octets as they go over the wire, without stuffing
	eightBit bool   // has octets above 127
}

// smallLetter is what is kept in memory instead of being read twice.
const smallLetter = 64 << 10

// learn reads the letter once.
func (l *letter) learn() error {
	if l.known {
		return nil
	}
	body, err := l.open()
	if err != nil {
		return unreadable(err)
	}
	defer body.Close()
	var begin bytes.Buffer
	begin.Grow(2 * lookSize)
	if _, err := begin.ReadFrom(io.LimitReader(body, smallLetter+1)); err != nil {
		return unreadable(err)
	}
	l.look(begin.Bytes())
	if begin.Len() <= smallLetter {
		l.text = begin.Bytes()
	} else if _, err := io.Copy((*lookWriter)(l), body); err != nil {
		return unreadable(err)
	}
	l.wire += int64(len(l.enc.end(nil)))
	l.known = true
	return nil
}

// lookSize is how much is looked at in one go.
const lookSize = 4 << 10

// look counts the next octets of the letter.
func (l *letter) look(p []byte) {
	for block := range slices.Chunk(p, lookSize) {
		l.eightBit = l.eightBit || hasEightBit(block)
		if !l.enc.cr && bytes.IndexByte(block, '\r') < 0 { // as letters are: each LF becomes CRLF
			l.wire += int64(len(block) + bytes.Count(block, []byte{'\n'}))
			l.enc.mid = block[len(block)-1] != '\n'
			continue
		}
		l.buf = l.enc.append(l.buf[:0], block)
		l.wire += int64(len(l.buf))
	}
}

func hasEightBit(p []byte) bool {
	var all byte
	for _, c := range p {
		all |= c
	}
	return all > 127
}

// A lookWriter shows a letter what is written to it.
type lookWriter letter

func (w *lookWriter) Write(p []byte) (int, error) {
	(*letter)(w).look(p)
	return len(p), nil
}

// reader gives the letter in disk form.
func (l *letter) reader() (io.ReadCloser, error) {
	if l.known && l.text != nil {
		return io.NopCloser(bytes.NewReader(l.text)), nil
	}
	body, err := l.open()
	if err != nil {
		return nil, unreadable(err)
	}
	return body, nil
}

func unreadable(err error) error { return status.Temp("read letter", "4.3.0", "", err) }
