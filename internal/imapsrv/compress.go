package imapsrv

import (
	"compress/flate"
	"errors"
	"strings"
	"sync"
)

// doCompress is COMPRESS (RFC 4978). The OK goes out as it is; all that follows
// is compressed, in both directions.
func (s *session) doCompress() (string, error) {
	if err := s.sp(); err != nil {
		return "", err
	}
	name, err := s.in.Atom()
	if err == nil {
		err = s.crlf()
	}
	if err != nil {
		return "", err
	}
	if !strings.EqualFold(name, "DEFLATE") {
		return "", bad("that is no way to compress")
	}
	if s.deflate != nil {
		return "", no("[COMPRESSIONACTIVE] it is compressed already")
	}
	return "", &beginCompress{}
}

// beginCompress is the end of a COMPRESS command; see compress.
type beginCompress struct{}

func (*beginCompress) Error() string { return "begin to compress now" }

func (s *session) compress(tag string) error {
	s.line(tag + " OK compressed from now on")
	if err := s.c.Flush(); err != nil {
		return err
	}
	s.deflate = &compressed{Conn: s.c}
	s.deflate.in = newInflater(s.deflate.Conn)
	s.c = s.deflate
	s.in.Reset(s)
	return nil
}

// A compressed connection. The compressor, which is large, exists only while there
// is output: what it makes up to a flush stands for itself, so another one can go
// on after that.
type compressed struct {
	Conn
	in  *inflater
	out *flate.Writer // nil after a flush
}

var compressors = sync.Pool{New: func() any {
	w, err := flate.NewWriter(nil, flate.BestSpeed)
	if err != nil {
		panic(err) // the level is wrong
	}
	return w
}}

func (c *compressed) Write(p []byte) (int, error) {
	if c.out == nil {
		c.out = compressors.Get().(*flate.Writer)
		c.out.Reset(c.Conn)
	}
	return c.out.Write(p)
}

func (c *compressed) Flush() error {
	if c.out == nil {
		return c.Conn.Flush()
	}
	err := errors.Join(c.out.Flush(), c.Conn.Flush())
	compressors.Put(c.out)
	c.out = nil
	return err
}

func (c *compressed) Read(p []byte) (int, error) {
	if err := c.Flush(); err != nil {
		return 0, err
	}
	return c.in.Read(p)
}

// WaitInput waits for octets that mean something: the end of a flush may come later
// than what was flushed. After such it gives false, for Wake may have come with them.
func (c *compressed) WaitInput() (bool, error) {
	if err := c.Flush(); err != nil {
		return false, err
	}
	for waited := false; len(c.in.rest) == 0; {
		if c.in.hungry {
			if waited {
				return false, nil
			}
			if input, err := c.Conn.WaitInput(); err != nil || !input {
				return false, err
			}
			waited = true
		}
		if c.in.step() != nil {
			break // Read says so
		}
	}
	return true, nil
}
