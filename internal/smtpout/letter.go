package smtpout

import (
	"bytes"
	"errors"
	"io"

	"postbag/internal/status"
)

// A letter is what is sent, with what has to be known of it before.
type letter struct {
	open func() (io.ReadCloser, error)

	known    bool
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
	buf := make([]byte, smallLetter)
	var enc encoder
	var wire []byte
	small := true
	for {
		n, err := io.ReadFull(body, buf)
		wire = enc.append(wire[:0], buf[:n])
		l.wire += int64(len(wire))
		l.eightBit = l.eightBit || bytes.ContainsFunc(buf[:n], func(r rune) bool { return r > 127 })
		switch {
		case err == nil:
			small = false
			continue
		case !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
			return unreadable(err)
		}
		l.wire += int64(len(enc.end(nil)))
		if small {
			l.text = buf[:n:n]
		}
		l.known = true
		return nil
	}
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
