package mailbox

import (
	"path/filepath"
	"slices"
	"sync"

	"postbag/internal/maildir"
	"postbag/internal/message"
)

// smallLetter is the size up to which a letter is read at once, into memory: most
// are of that kind.
const smallLetter = 64 << 10

// A smallText is room for a small letter, as its file has it and in wire form.
type smallText struct{ disk, wire []byte }

var smallTexts = sync.Pool{New: func() any { return new(smallText) }}

// room gives room for what a file has according to its name, and an octet more,
// which tells whether that is so; without such a size, for any small letter.
func (t *smallText) room(size int64) []byte {
	if size < 0 || size >= smallLetter {
		size = smallLetter - 1
	}
	t.disk = slices.Grow(t.disk[:0], int(size)+1)[:size+1]
	return t.disk
}

// readSmall reads the letter if it is small, and reports whether it was. Where a
// name tells the size of its file, that is all there is to know; else the file is
// asked.
func (c *Content) readSmall(b *box, uid uint32) (small bool, err error) {
	t := smallTexts.Get().(*smallText)
	name := maildir.ParseName(filepath.Base(c.file.path))
	n, err := c.file.readAt(t.room(name.Size), 0)
	whole := err == nil && int64(n) == name.Size && n < smallLetter
	if !whole {
		// What cannot be read may be no file of a letter, which look tells.
		if err := c.file.look(); err != nil {
			smallTexts.Put(t)
			return false, err
		}
		if err == nil && c.file.size > int64(n) && c.file.size <= smallLetter { // the name is wrong
			n, err = c.file.readAt(t.room(c.file.size), 0)
		}
		if whole = int64(n) == c.file.size; err != nil || !whole {
			smallTexts.Put(t)
			return false, err
		}
	}
	c.small = t
	if c.text = t.disk[:n]; name.Size != int64(n) || name.Wire != int64(n) { // see verbatim
		t.wire = message.AppendWire(t.wire[:0], c.text)
		c.text = t.wire
	}
	c.size = int64(len(c.text))
	if name.Size != int64(n) || name.Wire != c.size {
		b.learnSize(uid, c.size)
	}
	return true, nil
}

// learnSize remembers the size of a letter in wire form, if that is news.
func (b *box) learnSize(uid uint32, wire int64) {
	if known, ok := b.knownSize(uid); !ok || known != wire {
		b.learn(uid, fact{internal: unknownTime, wire: wire})
	}
}
