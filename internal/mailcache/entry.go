package mailcache

import (
	"encoding/binary"
	"hash/crc32"
	"io"
	"slices"
	"time"
)

// restart begins anew after damage.
func (c *Cache) restart() {
	c.pending = c.pending[:0]
	clear(c.waiting)
	c.begin()
}

// Put remembers what is known of a letter, in the file soon, at the latest with
// Flush or Close.
func (c *Cache) Put(uid uint32, e Entry) {
	if c == nil {
		return
	}
	if c.broken.Load() || e.size() > maxPayload {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, found := c.search(uid); found || c.file == nil {
		return
	}
	if _, found := c.waiting[uid]; found {
		return
	}
	c.waiting[uid] = e
	c.pending = appendFrame(c.pending, uid, e)
	if len(c.pending) >= flushSize {
		c.flush()
	}
}

// appendFrame adds a letter's frame: its head is known when the payload is there.
func appendFrame(b []byte, uid uint32, e Entry) []byte {
	at := len(b)
	b = encode(append(b, make([]byte, frameSize)...), e)
	head, payload := b[at:at:at+frameSize], b[at+frameSize:]
	head = binary.LittleEndian.AppendUint32(head, frameMagic)
	head = binary.LittleEndian.AppendUint32(head, uid)
	head = binary.LittleEndian.AppendUint32(head, uint32(len(payload)))
	head = binary.LittleEndian.AppendUint32(head, crc32.Checksum(payload, castagnoli))
	binary.LittleEndian.AppendUint32(head, crc32.Checksum(head, castagnoli))
	return b
}

// Flush writes what was Put.
func (c *Cache) Flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flush()
}

// flush appends whole frames by one write, so that those of several processes do
// not mix. A disk that does not take them is not asked again.
func (c *Cache) flush() {
	if len(c.pending) == 0 || c.file == nil {
		return
	}
	if _, err := c.file.Write(c.pending); err != nil {
		c.broken.Store(true)
		c.fs.Remove(c.path) // perhaps a part of a frame is there
	} else if !c.written(len(c.pending)) {
		c.restart()
	}
	c.pending = c.pending[:0]
	clear(c.waiting)
}

// written makes what was just written known. Where others have written meanwhile
// it reads the frames up to its own, and reports whether they can be read: a torn
// frame before them, of a writer who died, would hide them.
func (c *Cache) written(n int) bool {
	end, err := c.file.Seek(0, io.SeekCurrent)
	if err != nil {
		return false
	}
	if end == c.scanned+int64(n) { // ours follow what is known
		return c.learn(c.pending) == nil && c.scanned == end
	}
	return c.scan() == nil && c.scanned >= end
}

// learn takes frames, which stand behind what is known, into the index.
func (c *Cache) learn(frames []byte) error {
	for len(frames) > 0 {
		p, ok := parseFrame(frames, c.scanned)
		if !ok {
			return errDamaged
		}
		c.insert(p)
		c.scanned = p.at + int64(p.length)
		frames = frames[frameSize+int(p.length):]
	}
	return nil
}

// Bits of the flags.
const (
	isASCII = 1 << iota
	isDated
)

// maxNumbers is more than the flags and the numbers of a payload take.
const maxNumbers = 64

// size is at least that of the payload.
func (e *Entry) size() int {
	return maxNumbers + len(e.Envelope) + len(e.Body) + len(e.BodyStructure) + len(e.Fields)
}

// encode appends a payload.
func encode(b []byte, e Entry) []byte {
	at := len(b)
	b = append(slices.Grow(b, e.size()), 0)
	if e.ASCII {
		b[at] |= isASCII
	}
	if !e.Sent.IsZero() {
		b[at] |= isDated
		_, zone := e.Sent.Zone()
		b = binary.AppendVarint(b, e.Sent.Unix())
		b = binary.AppendVarint(b, int64(zone))
	}
	for _, text := range [][]byte{e.Envelope, e.Body, e.BodyStructure} {
		b = binary.AppendUvarint(b, uint64(len(text)))
		b = append(b, text...)
	}
	return append(b, e.Fields...)
}

// A zone remembers the last one: letters in a row mostly have the same.
type zone struct {
	offset int
	place  *time.Location
}

func (z *zone) at(offset int) *time.Location {
	if z.place == nil || z.offset != offset {
		z.offset, z.place = offset, time.FixedZone("", offset)
	}
	return z.place
}

// decode gives an Entry that refers to b.
func decode(b []byte, z *zone) (e Entry, ok bool) {
	if len(b) == 0 {
		return Entry{}, false
	}
	e.ASCII = b[0]&isASCII != 0
	d := decoder{b: b[1:]}
	if b[0]&isDated != 0 {
		sec, offset := d.signed(), d.signed()
		e.Sent = time.Unix(sec, 0).In(z.at(int(offset)))
	}
	e.Envelope, e.Body, e.BodyStructure = d.text(), d.text(), d.text()
	e.Fields = d.b
	return e, !d.bad
}

type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) more() bool { return len(d.b) > 0 && !d.bad }

func (d *decoder) text() []byte {
	n, used := binary.Uvarint(d.b)
	if used <= 0 || n > uint64(len(d.b)-used) {
		d.bad, d.b = true, nil
		return nil
	}
	text := d.b[used : used+int(n) : used+int(n)]
	d.b = d.b[used+int(n):]
	return text
}

func (d *decoder) signed() int64 {
	n, used := binary.Varint(d.b)
	if used <= 0 {
		d.bad, d.b = true, nil
		return 0
	}
	d.b = d.b[used:]
	return n
}
