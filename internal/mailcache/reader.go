package mailcache

import (
	"hash/crc32"
	"os"
	"slices"
)

// A Reader looks entries up; it is quick where they are asked for in the order
// of UIDs. It is for one goroutine, and for one command: what others write into
// the file is looked for once.
type Reader struct {
	c      *Cache
	looked bool // for what others have written

	file   *os.File // that the places are in
	places []place  // of the letter that is asked for next, as far as is known, and of those behind it
	run    int      // how many places are taken at a time

	block   []byte // read ahead
	blockAt int64
	ahead   int // how much is read at a time

	zone zone // of the last letter's date
}

// How much is read at a time, and for how many letters places are taken: the
// more, the more have been asked for.
const (
	minAhead, maxAhead = 4 << 10, 128 << 10
	minRun, maxRun     = 8, 256
)

// Reader makes a Reader of what is remembered; of a nil Cache nothing is.
func (c *Cache) Reader() *Reader { return &Reader{c: c, ahead: minAhead, run: minRun} }

// Get gives what is known of a letter. The Entry is valid until the next Get.
func (r *Reader) Get(uid uint32) (Entry, bool) {
	if r.c == nil || r.c.broken.Load() {
		return Entry{}, false
	}
	if !r.known(uid) {
		if e, ok := r.lookUp(uid); ok {
			return e, true
		}
		if len(r.places) == 0 {
			return Entry{}, false
		}
	}
	p := r.places[0]
	payload, err := r.read(p)
	if err != nil || crc32.Checksum(payload, castagnoli) != p.sum {
		r.c.damaged(r.file)
		r.places, r.block = nil, nil
		return Entry{}, false
	}
	return decode(payload, &r.zone)
}

// known reports whether the first of the places is the letter's.
func (r *Reader) known(uid uint32) bool {
	for len(r.places) > 0 && r.places[0].uid < uid {
		r.places = r.places[1:]
	}
	return len(r.places) > 0 && r.places[0].uid == uid
}

// lookUp asks the Cache: for an entry that is not yet in the file, or else for
// places.
func (r *Reader) lookUp(uid uint32) (Entry, bool) {
	c := r.c
	c.mu.Lock()
	defer c.mu.Unlock()
	r.places = nil
	if e, ok := c.waiting[uid]; ok || c.file == nil {
		return e, ok
	}
	i, found := c.search(uid)
	if !found && !r.looked {
		r.looked = true
		if c.scan() != nil {
			c.restart()
			return Entry{}, false
		}
		i, found = c.search(uid)
	}
	if !found {
		return Entry{}, false
	}
	if r.file != c.file {
		r.file, r.block = c.file, nil
	}
	// A copy, for the index goes on.
	r.places = slices.Clone(c.index[i:min(i+r.run, len(c.index))])
	r.run = min(2*r.run, maxRun)
	return Entry{}, false
}

// read gives a payload. Letters are mostly asked for in their order: then a
// block is read for many.
func (r *Reader) read(p place) ([]byte, error) {
	end := r.blockAt + int64(len(r.block))
	if from := p.at - r.blockAt; from >= 0 && p.at+int64(p.length) <= end {
		return r.block[from:][:p.length], nil
	}
	size := int(p.length)
	if p.at >= r.blockAt && p.at <= end+gap {
		size = max(size, r.ahead)
		r.ahead = min(2*r.ahead, maxAhead)
	}
	r.block = slices.Grow(r.block[:0], size)[:size]
	n, err := r.file.ReadAt(r.block, p.at)
	r.block, r.blockAt = r.block[:n], p.at
	if n < int(p.length) {
		return nil, err
	}
	return r.block[:p.length], nil
}

// damaged begins the file anew, if that has not been done meanwhile.
func (c *Cache) damaged(file *os.File) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.file == file && file != nil {
		c.restart()
	}
}
