package mailcache

import (
	"encoding/binary"
	"hash/crc32"
	"io"
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
	payload := encode(e)
	if c.broken.Load() || len(payload) > maxPayload {
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
	at := len(c.pending)
	b := binary.LittleEndian.AppendUint32(c.pending, frameMagic)
	b = binary.LittleEndian.AppendUint32(b, uid)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(payload)))
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(payload, castagnoli))
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[at:], castagnoli))
	c.pending = append(b, payload...)
	if len(c.pending) >= flushSize {
		c.flush()
	}
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
	} else if !c.written() {
		c.restart()
	}
	c.pending = c.pending[:0]
	clear(c.waiting)
}

// written reads the frames up to those just written, and reports whether they
// can be read: a torn frame before them, of a writer who died, would hide them.
func (c *Cache) written() bool {
	end, err := c.file.Seek(0, io.SeekCurrent)
	return err == nil && c.scan() == nil && c.scanned >= end
}

// Bits of the flags.
const (
	isASCII = 1 << iota
	isDated
)

func encode(e Entry) []byte {
	b := make([]byte, 1, 32+len(e.Envelope)+len(e.Body)+len(e.BodyStructure)+len(e.Fields))
	if e.ASCII {
		b[0] |= isASCII
	}
	if !e.Sent.IsZero() {
		b[0] |= isDated
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
