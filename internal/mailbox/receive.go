package mailbox

import (
	"bytes"
	"errors"
	"io"
	"time"

	"postbag/internal/maildir"
	"postbag/internal/message"
)

// receive writes a letter that comes in wire form into tmp/: with LF line ends
// if that can be undone, else verbatim. wire is its size in wire form.
func (b *box) receive(r io.Reader) (l *maildir.Letter, wire int64, err error) {
	if l, err = b.begin(); err != nil {
		return nil, 0, err
	}
	defer func() {
		if err != nil {
			l.Discard()
		}
	}()
	in := &wireReader{r: r, buf: make([]byte, 32<<10)}
	disk := message.ToDisk(l)
	for {
		chunk, plain, err := in.next()
		if err == io.EOF {
			return l, wire, disk.Close()
		}
		if err != nil {
			return l, wire, err
		}
		wire += int64(len(chunk))
		if plain {
			if _, err := disk.Write(chunk); err != nil {
				return l, wire, err
			}
			continue
		}
		n, err := b.verbatim(&l, chunk, in)
		return l, wire + n, err
	}
}

func (b *box) begin() (*maildir.Letter, error) {
	return maildir.Begin(b.store.fs, b.dir, maildir.Unique(b.store.o.Now(), b.store.o.Hostname))
}

// verbatim puts another letter in *l's place: what *l has so far, which was
// plain, in wire form again, then chunk and the rest as they are. It returns
// the size of the rest.
func (b *box) verbatim(l **maildir.Letter, chunk []byte, in *wireReader) (int64, error) {
	so, err := b.begin()
	if err != nil {
		return 0, err
	}
	old := *l
	*l = so
	defer old.Discard()
	if err := old.Sync(time.Time{}); err != nil {
		return 0, err // what it had not written yet
	}
	begun, err := b.store.fs.Open(b.path("tmp/" + old.Unique()))
	if err != nil {
		return 0, err
	}
	defer begun.Close()
	if _, err := io.Copy(so, message.ToWire(begun)); err != nil {
		return 0, err
	}
	if _, err := so.Write(chunk); err != nil {
		return 0, err
	}
	return io.Copy(so, in)
}

// A wireReader hands out a letter in chunks that begin and end between lines'
// ends, never within a CRLF.
type wireReader struct {
	r    io.Reader
	buf  []byte
	held bool // a CR ended the last chunk's reading; it begins the next one
	err  error
}

// next gives the next chunk, and whether its only CRs and LFs are CRLFs.
func (w *wireReader) next() (chunk []byte, plain bool, err error) {
	if w.err != nil {
		return nil, false, w.err
	}
	n := 0
	if w.held {
		w.buf[0], n, w.held = '\r', 1, false
	}
	read, err := io.ReadAtLeast(w.r, w.buf[n:], 1)
	n += read
	w.err = err
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, false, err
	}
	chunk = w.buf[:n]
	if err == nil && n > 1 && chunk[n-1] == '\r' {
		chunk, w.held = chunk[:n-1], true
	}
	if len(chunk) == 0 {
		return nil, false, io.EOF
	}
	lines := bytes.Count(chunk, []byte("\r\n"))
	plain = bytes.Count(chunk, []byte("\r")) == lines && bytes.Count(chunk, []byte("\n")) == lines
	return chunk, plain, nil
}

// Read reads what follows the chunks that next has given.
func (w *wireReader) Read(p []byte) (int, error) {
	if w.held && len(p) > 0 {
		p[0], w.held = '\r', false
		return 1, nil
	}
	if w.err != nil {
		return 0, w.err
	}
	return w.r.Read(p)
}
