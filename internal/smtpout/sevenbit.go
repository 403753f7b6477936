package smtpout

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"io"
	"mime/quotedprintable"
	"strings"

	"postbag/internal/message"
	"postbag/internal/mime"
)

// SevenBit gives a letter that open reads in the form for a host without 8BITMIME, and
// whether that is another form: a letter without octets above 127, and one that has to
// stay as it is, is given as it was.
func SevenBit(open func() (io.ReadCloser, error)) (safe func() (io.ReadCloser, error), changed bool, err error) {
	l := &letter{open: open}
	if err := l.learn(); err != nil || !l.eightBit {
		return open, false, err
	}
	other, err := l.sevenBit()
	if err != nil || other == nil {
		return open, false, err
	}
	return other.open, true, nil
}

// sevenBit gives the letter in the form for a host without 8BITMIME: parts that
// say 8bit or binary are encoded (RFC 6152 section 3, RFC 2045 section 6). It is
// nil where that would do harm or cannot be: letters that somebody has signed,
// and those that are no MIME. They go as they are: a rewritten letter has lost
// its signature, and hosts that cannot pass octets on have died out.
func (l *letter) sevenBit() (*letter, error) {
	body, err := l.reader()
	if err != nil {
		return nil, err
	}
	defer body.Close()
	root, err := mime.Parse(message.ToWire(body))
	if err != nil {
		return nil, unreadable(err)
	}
	if root.Header.Get("MIME-Version") == "" || root.Header.Get("DKIM-Signature") != "" {
		return nil, nil
	}
	edits := editsOf(nil, root)
	if len(edits) == 0 {
		return nil, nil
	}
	return &letter{open: func() (io.ReadCloser, error) { return l.edited(edits) }}, nil
}

// An edit replaces octets of a letter in wire form.
type edit struct {
	offset, size int64
	encode       func(w io.Writer, part io.Reader) error
}

// editsOf lists what has to be changed in a part, in the order of the letter. A
// multipart that is signed or encrypted stays as it is (RFC 1847 section 2.1).
func editsOf(edits []edit, p *mime.Part) []edit {
	if p.Is("multipart", "signed") || p.Is("multipart", "encrypted") {
		return edits
	}
	eight := strings.EqualFold(p.Encoding, "8bit") || strings.EqualFold(p.Encoding, "binary")
	header := func(encoding string) edit {
		return edit{p.HeaderOffset, p.HeaderSize, func(w io.Writer, r io.Reader) error { return relabel(w, r, encoding) }}
	}
	switch {
	case len(p.Children) > 0 || p.Is("message", "rfc822"):
		if eight {
			edits = append(edits, header("7bit"))
		}
		for _, c := range p.Children {
			edits = editsOf(edits, c)
		}
		if p.Message != nil {
			edits = editsOf(edits, p.Message)
		}
	case !eight || p.Is("message", "*") && !isGlobal(p): // RFC 2046 section 5.2: these have no encoding
	case p.Is("text", "*"):
		edits = append(edits, header("quoted-printable"), edit{p.BodyOffset, p.BodySize, quote})
	default:
		edits = append(edits, header("base64"), edit{p.BodyOffset, p.BodySize, armour})
	}
	return edits
}

// isGlobal reports whether a part is one of the forms of message that may be encoded
// (RFC 6532 section 3.7, RFC 6533 section 4.4).
func isGlobal(p *mime.Part) bool {
	return p.Is("message", "global") || p.Is("message", "global-headers") || p.Is("message", "global-delivery-status") ||
		p.Is("message", "global-disposition-notification")
}

// edited gives the letter in wire form with the edits made.
func (l *letter) edited(edits []edit) (io.ReadCloser, error) {
	body, err := l.reader()
	if err != nil {
		return nil, err
	}
	r, w := io.Pipe()
	go func() {
		defer body.Close()
		w.CloseWithError(rewrite(w, message.ToWire(body), edits))
	}()
	return r, nil
}

// rewrite copies a letter and makes the edits, which are in its order.
func rewrite(w io.Writer, r io.Reader, edits []edit) error {
	at := int64(0)
	for _, e := range edits {
		if _, err := io.CopyN(w, r, e.offset-at); err != nil {
			return err
		}
		part := &io.LimitedReader{R: r, N: e.size}
		if err := e.encode(w, part); err != nil {
			return err
		}
		if part.N > 0 {
			return io.ErrUnexpectedEOF
		}
		at = e.offset + e.size
	}
	_, err := io.Copy(w, r)
	return err
}

// relabel copies a header with another Content-Transfer-Encoding.
func relabel(w io.Writer, r io.Reader, encoding string) error {
	const name = "content-transfer-encoding:"
	br := bufio.NewReader(r)
	var out bytes.Buffer
	drop := false
	for {
		line, err := br.ReadString('\n')
		if line != "" && line[0] != ' ' && line[0] != '\t' {
			drop = len(line) >= len(name) && strings.EqualFold(line[:len(name)], name)
			if drop {
				out.WriteString("Content-Transfer-Encoding: " + encoding + "\r\n")
			}
		}
		if !drop {
			out.WriteString(line)
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
	}
	_, err := w.Write(out.Bytes())
	return err
}

func quote(w io.Writer, r io.Reader) error {
	q := quotedprintable.NewWriter(w)
	if _, err := io.Copy(q, r); err != nil {
		return err
	}
	return q.Close()
}

// armour writes base64 in lines of 76 (RFC 2045 section 6.8).
func armour(w io.Writer, r io.Reader) error {
	const perLine = 57
	buf := make([]byte, perLine)
	line := make([]byte, 0, 80)
	for {
		n, err := io.ReadFull(r, buf)
		if n > 0 {
			line = append(base64.StdEncoding.AppendEncode(line[:0], buf[:n]), '\r', '\n')
			if _, werr := w.Write(line); werr != nil {
				return werr
			}
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
