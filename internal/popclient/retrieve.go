package popclient

import (
	"bufio"
	"bytes"
	"io"
	"strconv"
)

// Retrieve gets letters, and hands each to take in wire form, in the order of
// numbers. It asks for several at a time when the server allows that. A reader
// is valid during its call; what take leaves unread is passed over. An error of
// take ends the session; a letter that the server refuses does not, and is
// reported at the end, after all the others.
func (c *Client) Retrieve(numbers []int, take func(number int, letter io.Reader) error) error {
	return c.window("RETR", numbers, "", func(n int) error { return c.letter("RETR", n, take) })
}

// Top gets the header of a letter and the first lines of its body.
func (c *Client) Top(number, lines int, take func(number int, letter io.Reader) error) error {
	return c.window("TOP", []int{number}, " "+strconv.Itoa(lines), func(n int) error { return c.letter("TOP", n, take) })
}

func (c *Client) letter(command string, n int, take func(int, io.Reader) error) error {
	if _, err := c.answer(command); err != nil {
		return err
	}
	letter := &dotReader{r: c.r, start: true}
	if err := take(n, letter); err != nil {
		return c.fail(err)
	}
	if _, err := io.Copy(io.Discard, letter); err != nil {
		return c.fail(err)
	}
	return nil
}

// A dotReader reads up to CRLF.CRLF and takes the stuffed dots out (RFC 1939
// section 3). A line begins after CRLF and nowhere else, so that neither a bare
// LF nor a bare CR can end a letter or lose a dot.
type dotReader struct {
	r     *bufio.Reader
	start bool // at the beginning of a line
	cr    bool // the last octet given was a CR
	done  error
}

func (d *dotReader) Read(p []byte) (int, error) {
	if d.done != nil {
		return 0, d.done
	}
	if len(p) == 0 {
		return 0, nil
	}
	if d.start {
		if err := d.beginLine(); err != nil {
			d.done = err
			return 0, err
		}
	}
	chunk, err := d.chunk(len(p))
	n := copy(p, chunk)
	d.r.Discard(n) // it is in the buffer
	if err != nil && n == 0 {
		d.done = unexpected(err)
		return 0, d.done
	}
	return n, nil
}

// beginLine takes a stuffed dot, or finds the end.
func (d *dotReader) beginLine() error {
	head, err := d.r.Peek(1)
	if err != nil {
		return unexpected(err)
	}
	if head[0] != '.' {
		return nil
	}
	head, err = d.r.Peek(3)
	if string(head) == ".\r\n" {
		d.r.Discard(3)
		return io.EOF
	}
	if len(head) < 2 {
		return unexpected(err)
	}
	d.r.Discard(1)
	return nil
}

// chunk gives what is in the buffer, at most n octets, up to the next place
// where a line could begin with a dot.
func (d *dotReader) chunk(n int) ([]byte, error) {
	if _, err := d.r.Peek(1); err != nil {
		return nil, err
	}
	chunk, _ := d.r.Peek(min(n, d.r.Buffered()))
	d.start = false
	if d.cr && chunk[0] == '\n' {
		d.start, d.cr = true, false
		return chunk[:1], nil
	}
	if i := bytes.Index(chunk, []byte("\r\n.")); i >= 0 {
		d.start, d.cr = true, false
		return chunk[:i+2], nil
	}
	d.start = bytes.HasSuffix(chunk, []byte("\r\n"))
	d.cr = chunk[len(chunk)-1] == '\r'
	return chunk, nil
}
