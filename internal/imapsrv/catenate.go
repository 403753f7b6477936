package imapsrv

import (
	"bytes"
	"errors"
	"io"
	"net/url"
	"strconv"
	"strings"

	"postbag/internal/imapwire"
	"postbag/internal/mailbox"
)

// A catenation is a letter that is put together from literals and parts of other
// letters (RFC 4469). It reads the command as it is read.
type catenation struct {
	s     *session
	begun bool
	done  bool
	left  int64 // octets that may still come
	part  io.Reader
	close func()
	after func() error // reads what follows the part
}

// Read gives the parts, one after the other.
func (c *catenation) Read(p []byte) (int, error) {
	for {
		if c.part != nil {
			n, err := c.part.Read(p)
			if c.left -= int64(n); c.left < 0 {
				return 0, no("[TOOBIG] the message is too large")
			}
			if err != io.EOF || n > 0 {
				return n, ignoreEOF(err)
			}
			c.end()
			if err := c.rest(); err != nil {
				return 0, err
			}
		}
		if c.done {
			return 0, io.EOF
		}
		if err := c.step(); err != nil {
			return 0, err
		}
	}
}

// rest reads what follows a part.
func (c *catenation) rest() error {
	after := c.after
	if c.after = nil; after == nil {
		return nil
	}
	return after()
}

func ignoreEOF(err error) error {
	if err == io.EOF {
		return nil
	}
	return err
}

func (c *catenation) end() {
	if c.close != nil {
		c.close()
	}
	c.part, c.close = nil, nil
}

// Close implements io.Closer.
func (c *catenation) Close() error {
	c.end()
	return nil
}

// step reads up to the next part, or the end of the list.
func (c *catenation) step() error {
	in := c.s.in
	switch {
	case !c.begun:
		c.begun = true
		if err := in.Expect('('); err != nil {
			return err
		}
	case in.Accept(')'):
		c.done = true
		return nil
	default:
		if err := in.SP(); err != nil {
			return err
		}
	}
	word, err := in.Atom()
	if err == nil {
		err = in.SP()
	}
	if err != nil {
		return err
	}
	switch strings.ToUpper(word) {
	case "TEXT":
		return c.literal()
	case "UTF8": // RFC 6855 section 4
		if err := in.Expect('('); err != nil {
			return err
		}
		c.after = func() error { return in.Expect(')') }
		return c.literal()
	case "URL":
		text, err := in.Astring()
		if err != nil {
			return err
		}
		if err := c.openURL(text); err != nil {
			return badURL(text, err)
		}
		return nil
	}
	return bad("TEXT, UTF8 or URL expected")
}

func (c *catenation) literal() error {
	l, err := c.s.in.Literal(c.left)
	if err == nil {
		c.part = &socketReader{r: l}
	}
	return err
}

// badURL is the answer to a URL that leads nowhere; what the store could not do
// stays what it is.
func badURL(text string, err error) error {
	if errors.Is(err, errURL) || errors.Is(err, errNoSection) || errors.Is(err, mailbox.ErrExpunged) {
		plain := strings.Map(func(r rune) rune {
			if r < ' ' || r > '~' || r == ']' {
				return -1
			}
			return r
		}, text)
		return no("[BADURL " + plain + "] there is no such part")
	}
	return err
}

var errURL = errors.New("not a URL of this server")

// A partURL names a letter, or a section of it (RFC 5092).
type partURL struct {
	mailbox  string // "" is the selected one
	validity uint64 // 0: any
	uid      uint32
	section  string
	partial  string // OFFSET[.SIZE]
}

// parseURL reads [/MAILBOX[;UIDVALIDITY=n]]/;UID=n[/;SECTION=s][/;PARTIAL=p].
func parseURL(text string) (u partURL, err error) {
	box, rest, ok := cutFold(text, ";UID=")
	if !ok {
		return u, errURL
	}
	box, validity, _ := cutFold(strings.Trim(box, "/"), ";UIDVALIDITY=")
	if validity != "" {
		if u.validity, err = strconv.ParseUint(validity, 10, 32); err != nil {
			return u, errURL
		}
	}
	if u.mailbox, err = url.PathUnescape(box); err != nil {
		return u, errURL
	}
	rest, u.partial, _ = cutFold(rest, "/;PARTIAL=")
	number, section, _ := cutFold(rest, "/;SECTION=")
	uid, err := strconv.ParseUint(number, 10, 32)
	if err != nil {
		return u, errURL
	}
	u.uid = uint32(uid)
	if u.section, err = url.PathUnescape(section); err != nil {
		return u, errURL
	}
	return u, nil
}

// cutFold is strings.Cut around a separator of capitals, in whatever case.
func cutFold(s, sep string) (before, after string, found bool) {
	for i := 0; i+len(sep) <= len(s); i++ {
		if strings.EqualFold(s[i:i+len(sep)], sep) {
			return s[:i], s[i+len(sep):], true
		}
	}
	return s, "", false
}

// openURL begins to read what a URL names.
func (c *catenation) openURL(text string) error {
	u, err := parseURL(text)
	if err != nil {
		return err
	}
	folder, closeFolder, err := c.folder(u)
	if err != nil {
		return err
	}
	src := &source{ctx: c.s.ctx, folder: folder}
	c.close = func() { src.close(); closeFolder() }
	v := folder.View()
	i, ok := v.Index(u.uid)
	if !ok || u.validity != 0 && u.validity != uint64(v.UIDValidity()) {
		return errURL
	}
	src.letter = v.At(i)
	section, err := c.section(u)
	if err != nil {
		return err
	}
	sp, err := src.find(section)
	if err != nil {
		return err
	}
	from, size := clip(sp.size, section)
	if sp.made != nil {
		c.part = bytes.NewReader(sp.made[from : from+size])
		return nil
	}
	c.part, err = src.slice(sp.offset+from, size)
	return err
}

func (c *catenation) folder(u partURL) (*mailbox.Folder, func(), error) {
	if u.mailbox == "" {
		if c.s.sel == nil {
			return nil, nil, errURL
		}
		return c.s.sel.folder, func() {}, nil
	}
	f, err := c.s.tree.Open(c.s.ctx, u.mailbox) // in UTF-8: RFC 5092 section 8
	if err != nil {
		return nil, nil, errURL
	}
	if err := f.Sync(c.s.ctx); err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, f.Close, nil
}

// section reads the text of a section as FETCH would.
func (c *catenation) section(u partURL) (section, error) {
	text := u.section + "]"
	if u.partial != "" {
		offset, size, ok := strings.Cut(u.partial, ".")
		if !ok {
			size = strconv.FormatInt(c.left+1, 10) // all that there may be
		}
		text += "<" + offset + "." + size + ">"
	}
	s := &session{in: imapwire.NewReader(strings.NewReader(text + "\r\n"))}
	s.in.Continue = func() error { return errURL }
	sec, err := s.readSection("BODY[")
	if err != nil {
		return sec, errURL
	}
	return sec, nil
}
