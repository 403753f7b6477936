package message

import (
	"bytes"
	"io"
	"sync"
)

// ToDisk returns a writer that passes what is written to it on to w with each
// CRLF made LF. A CR or LF that stands alone is kept. Close passes on what was
// held back; it does not close w.
func ToDisk(w io.Writer) io.WriteCloser { return &diskWriter{w: w} }

type diskWriter struct {
	w   io.Writer
	buf []byte
	cr  bool // a CR ended the last write and is not yet passed on
}

func (d *diskWriter) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n := len(p)
	d.buf = d.buf[:0]
	if d.cr && p[0] != '\n' {
		d.buf = append(d.buf, '\r')
	}
	d.cr = p[len(p)-1] == '\r'
	if d.cr {
		p = p[:len(p)-1]
	}
	d.buf = appendDisk(d.buf, p)
	if _, err := d.w.Write(d.buf); err != nil {
		return 0, err
	}
	return n, nil
}

func (d *diskWriter) Close() error {
	if !d.cr {
		return nil
	}
	d.cr = false
	_, err := d.w.Write([]byte{'\r'})
	return err
}

// appendDisk appends p to dst with each CRLF made LF.
func appendDisk(dst, p []byte) []byte {
	for {
		i := bytes.IndexByte(p, '\r')
		if i < 0 {
			return append(dst, p...)
		}
		dst = append(dst, p[:i]...)
		if i+1 == len(p) || p[i+1] != '\n' {
			dst = append(dst, '\r')
		}
		p = p[i+1:]
	}
}

// ToWire returns a reader of r with each line end made CRLF. A CRLF that is
// there already stays one.
func ToWire(r io.Reader) io.Reader { return &wireReader{r: r} }

const wireChunk = 32 << 10

type wireReader struct {
	r   io.Reader
	b   *wireBuffer // nil at first and after the end
	out []byte      // of b.out: what is converted and not yet read
	cr  bool        // the octet before was a CR
	err error
}

// A wireBuffer is what one conversion needs; letters are many and small.
type wireBuffer struct{ in, out []byte }

var wireBuffers = sync.Pool{New: func() any { return &wireBuffer{in: make([]byte, wireChunk)} }}

func (w *wireReader) Read(p []byte) (int, error) {
	for len(w.out) == 0 {
		if !w.fill() {
			return 0, w.err
		}
	}
	n := copy(p, w.out)
	w.out = w.out[n:]
	return n, nil
}

// WriteTo implements io.WriterTo.
func (w *wireReader) WriteTo(dst io.Writer) (total int64, err error) {
	for {
		if len(w.out) > 0 {
			n, err := dst.Write(w.out)
			w.out = w.out[n:]
			if total += int64(n); err != nil {
				return total, err
			}
		}
		if !w.fill() {
			break
		}
	}
	if w.err == io.EOF {
		return total, nil
	}
	return total, w.err
}

// fill converts what comes next; false when nothing does.
func (w *wireReader) fill() bool {
	if w.err != nil {
		if w.b != nil {
			wireBuffers.Put(w.b)
			w.b, w.out = nil, nil
		}
		return false
	}
	if w.b == nil {
		w.b = wireBuffers.Get().(*wireBuffer)
	}
	var n int
	n, w.err = w.r.Read(w.b.in)
	w.b.out, w.cr = appendWire(w.b.out[:0], w.b.in[:n], w.cr)
	w.out = w.b.out
	return true
}

// AppendWire appends a whole letter to dst as ToWire would give it.
func AppendWire(dst, p []byte) []byte {
	dst, _ = appendWire(dst, p, false)
	return dst
}

// appendWire appends p to dst with each bare LF made CRLF. cr says whether the
// octet before p was a CR, and the result whether the last of p is one.
func appendWire(dst, p []byte, cr bool) ([]byte, bool) {
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			return append(dst, p...), p[len(p)-1] == '\r'
		}
		dst = append(dst, p[:i]...)
		if i > 0 {
			cr = p[i-1] == '\r'
		}
		if !cr {
			dst = append(dst, '\r')
		}
		dst = append(dst, '\n')
		p, cr = p[i+1:], false
	}
	return dst, cr
}

// WireSize reads r to its end and returns how many octets ToWire makes of it.
func WireSize(r io.Reader) (int64, error) {
	var size int64
	buf := make([]byte, wireChunk)
	cr := false
	for {
		n, err := r.Read(buf)
		size += int64(n) + int64(bareLFs(buf[:n], cr))
		if n > 0 {
			cr = buf[n-1] == '\r'
		}
		if err == io.EOF {
			return size, nil
		}
		if err != nil {
			return size, err
		}
	}
}

// bareLFs counts the LFs in p without a CR before them.
func bareLFs(p []byte, cr bool) int {
	if len(p) == 0 {
		return 0
	}
	n := bytes.Count(p, []byte("\n")) - bytes.Count(p, []byte("\r\n"))
	if cr && p[0] == '\n' {
		n--
	}
	return n
}
