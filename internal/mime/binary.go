package mime

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"io"
	"strings"
)

// EncodeBinary writes a letter of size octets with base64 for each part that is
// binary or has a NUL in its body (RFC 3516 section 4.4: what came as binary must
// be readable by clients that know nothing of it). All else stays as it is, also
// a NUL in a header.
func EncodeBinary(w io.Writer, letter io.ReaderAt, size int64) error {
	root, err := Parse(io.NewSectionReader(letter, 0, size))
	if err != nil {
		return err
	}
	at := int64(0)
	for _, p := range leaves(nil, root) {
		if yes, err := p.isBinary(letter); err != nil {
			return err
		} else if !yes {
			continue
		}
		if _, err := io.Copy(w, io.NewSectionReader(letter, at, p.HeaderOffset-at)); err != nil {
			return err
		}
		if err := p.writeEncoded(w, letter); err != nil {
			return err
		}
		at = p.BodyOffset + p.BodySize
	}
	_, err = io.Copy(w, io.NewSectionReader(letter, at, size-at))
	return err
}

// leaves appends the parts that have none inside, in their order.
func leaves(all []*Part, p *Part) []*Part {
	if p.Message != nil {
		return leaves(all, p.Message)
	}
	for _, c := range p.Children {
		all = leaves(all, c)
	}
	if len(p.Children) == 0 {
		all = append(all, p)
	}
	return all
}

func (p *Part) isBinary(letter io.ReaderAt) (bool, error) {
	if p.BodySize == 0 {
		return false, nil
	}
	if strings.EqualFold(p.Encoding, "binary") {
		return true, nil
	}
	body := bufio.NewReader(io.NewSectionReader(letter, p.BodyOffset, p.BodySize))
	for {
		piece, err := body.Peek(max(1, body.Buffered()))
		if bytes.IndexByte(piece, 0) >= 0 {
			return true, nil
		}
		if err == io.EOF {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		body.Discard(len(piece))
	}
}

// writeEncoded writes a part in base64, with the field that says so.
func (p *Part) writeEncoded(w io.Writer, letter io.ReaderAt) error {
	header := make([]byte, p.HeaderSize)
	if _, err := letter.ReadAt(header, p.HeaderOffset); err != nil && err != io.EOF {
		return err
	}
	if _, err := w.Write(withEncoding(header)); err != nil {
		return err
	}
	lines := &lineWriter{w: w}
	enc := base64.NewEncoder(base64.StdEncoding, lines)
	if _, err := io.Copy(enc, io.NewSectionReader(letter, p.BodyOffset, p.BodySize)); err != nil {
		return err
	}
	if err := enc.Close(); err != nil {
		return err
	}
	return lines.end()
}

// withEncoding replaces Content-Transfer-Encoding in a header.
func withEncoding(header []byte) []byte {
	out := make([]byte, 0, len(header)+40)
	drop := false
	for len(header) > 0 {
		end := bytes.IndexByte(header, '\n') + 1
		if end == 0 {
			end = len(header)
		}
		line := header[:end]
		header = header[end:]
		if len(bytes.TrimRight(line, "\r\n")) == 0 {
			break
		}
		if !isBlank(line[0]) {
			name, _, _ := bytes.Cut(line, []byte{':'})
			drop = bytes.EqualFold(bytes.TrimRight(name, " \t"), []byte("Content-Transfer-Encoding"))
		}
		if !drop {
			out = append(out, line...)
		}
	}
	return append(out, "Content-Transfer-Encoding: base64\r\n\r\n"...)
}

// lineLength is that of base64 (RFC 2045 section 6.8).
const lineLength = 76

// A lineWriter breaks what it is given into lines.
type lineWriter struct {
	w   io.Writer
	col int
}

func (l *lineWriter) Write(p []byte) (int, error) {
	for n := 0; n < len(p); {
		take := min(lineLength-l.col, len(p)-n)
		if _, err := l.w.Write(p[n : n+take]); err != nil {
			return n, err
		}
		n += take
		if l.col += take; l.col == lineLength {
			if err := l.end(); err != nil {
				return n, err
			}
		}
	}
	return len(p), nil
}

func (l *lineWriter) end() error {
	if l.col == 0 {
		return nil
	}
	l.col = 0
	_, err := io.WriteString(l.w, "\r\n")
	return err
}
