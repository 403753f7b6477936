package mailcache

import (
	"encoding/binary"
	"hash/crc32"
	"os"
)

// Get gives what is known of a letter; a nil Cache knows nothing.
func (c *Cache) Get(uid uint32) (Entry, bool) {
	if c == nil || c.broken.Load() {
		return Entry{}, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.waiting[uid]; ok {
		return e, true
	}
	if c.file == nil {
		return Entry{}, false
	}
	i, found := c.search(uid)
	if !found {
		if c.scan() != nil { // others may have written
			c.restart()
			return Entry{}, false
		}
		if i, found = c.search(uid); !found {
			return Entry{}, false
		}
	}
	p := c.index[i]
	payload, err := c.read(p)
	if err != nil || crc32.Checksum(payload, castagnoli) != p.sum {
		c.restart()
		return Entry{}, false
	}
	return decode(payload)
}

// read gives a payload of its own. Letters are mostly asked for in their order:
// then a block is read for many.
func (c *Cache) read(p place) ([]byte, error) {
	out := make([]byte, p.length)
	end := c.blockAt + int64(len(c.block))
	if p.at >= c.blockAt && p.at+int64(p.length) <= end {
		copy(out, c.block[p.at-c.blockAt:])
		return out, nil
	}
	if p.at < c.blockAt || p.at > end+gap || p.length > blockSize {
		_, err := c.file.ReadAt(out, p.at)
		return out, err
	}
	if c.block == nil {
		c.block = make([]byte, blockSize)
	}
	c.block = c.block[:blockSize]
	n, err := c.file.ReadAt(c.block, p.at)
	c.block, c.blockAt = c.block[:n], p.at
	if n < int(p.length) {
		return nil, err
	}
	copy(out, c.block)
	return out, nil
}

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
		os.Remove(c.path) // perhaps a part of a frame is there
	} else if c.scan() != nil {
		c.restart()
	}
	c.pending = c.pending[:0]
	clear(c.waiting)
}

func encode(e Entry) []byte {
	size := 16 + len(e.Envelope) + len(e.Body) + len(e.BodyStructure)
	for _, f := range e.Fields {
		size += len(f.Name) + len(f.Value) + 6
	}
	b := make([]byte, 0, size)
	b = append(b, 0)
	if e.ASCII {
		b[0] = 1
	}
	for _, text := range [][]byte{e.Envelope, e.Body, e.BodyStructure} {
		b = binary.AppendUvarint(b, uint64(len(text)))
		b = append(b, text...)
	}
	for _, f := range e.Fields {
		b = binary.AppendUvarint(b, uint64(len(f.Name)))
		b = append(b, f.Name...)
		b = binary.AppendUvarint(b, uint64(len(f.Value)))
		b = append(b, f.Value...)
	}
	return b
}

// decode gives an Entry that refers to b.
func decode(b []byte) (e Entry, ok bool) {
	if len(b) == 0 {
		return Entry{}, false
	}
	e.ASCII = b[0]&1 != 0
	d := decoder{b: b[1:]}
	e.Envelope, e.Body, e.BodyStructure = d.text(), d.text(), d.text()
	for len(d.b) > 0 && !d.bad {
		e.Fields = append(e.Fields, Field{Name: string(d.text()), Value: string(d.text())})
	}
	if d.bad {
		return Entry{}, false
	}
	return e, true
}

type decoder struct {
	b   []byte
	bad bool
}

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
