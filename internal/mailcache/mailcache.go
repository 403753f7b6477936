// Package mailcache remembers what was once found out about the letters of a
// folder and costs a reading of each file: ENVELOPE, BODY and BODYSTRUCTURE as
// IMAP has them, ready to be sent, and the header fields that searches, SORT and
// THREAD ask for.
//
// # What it promises
//
// An Entry is what was Put for that UID of that folder, or there is none. The
// file may be deleted, cut or overwritten at any time, by anybody: what it held is
// then found out anew. Nothing is synced, for nothing is lost with it. Several
// processes may append to one file at the same time.
//
// # Format
//
// A header names the format, by Version, and the folder (MAILBOXID and
// UIDVALIDITY): with another one the file is begun anew. Frames follow, each for one letter:
//
//	magic  4 octets
//	uid    4 octets, little-endian like all numbers
//	length 4 octets, of the payload
//	sum    4 octets, CRC-32C of the payload
//	check  4 octets, CRC-32C of the 16 octets before
//	payload: flags; if these say so the Sent date, seconds since 1970 and the
//	zone in seconds; then ENVELOPE, BODY, BODYSTRUCTURE and the names and values
//	of fields, each with its length before it
//
// A frame that is no frame means that the file is damaged: it is begun anew. One
// that is not there whole at the end of the file is still being written; if its
// writer has died, the next frame makes it a damaged one.
package mailcache

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"postbag/internal/durable"
)

// An Entry is what is known of a letter. It must not be changed.
type Entry struct {
	Sent          time.Time // of the Date field, in whole seconds; zero when there is none that can be read
	ASCII         bool      // the three that follow are the same for clients that have enabled UTF-8
	Envelope      []byte    // as IMAP4rev1 has it
	Body          []byte
	BodyStructure []byte
	Fields        Fields
}

// A Cache is the file of one folder. It is safe for concurrent use.
type Cache struct {
	fs           *durable.FS
	path, folder string

	mu      sync.Mutex
	file    *os.File // nil: there is none that can be used
	index   []place  // by UID
	scanned int64    // up to where the index knows the file
	pending []byte   // frames that are not yet in the file
	waiting map[uint32]Entry

	broken atomic.Bool // the disk does not take it: no more attempts
}

// A place says where a payload is.
type place struct {
	uid, length, sum uint32
	at               int64
}

const (
	frameMagic = 0x9C6C7A31
	frameSize  = 20
	// maxPayload bounds one letter's entry; a letter with more is not kept.
	maxPayload = 1 << 20
	// flushSize is when frames are written; Flush writes what is less.
	flushSize = 64 << 10
	// gap is how far behind the last block a read may be to count as the next.
	gap = 1 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Open uses the file at path, by way of fs, for a folder, whose name here stands for its
// identity: another folder in its place has another one. A file with far more
// entries than the folder has letters is begun anew. Whatever is wrong with the
// file is no error.
func Open(fs *durable.FS, path, folder string, letters int) *Cache {
	c := &Cache{fs: fs, path: path, folder: folder, waiting: map[uint32]Entry{}}
	c.open()
	if len(c.index) > 2*letters+spare {
		c.begin()
	}
	return c
}

// spare is how many letters that are gone do not matter.
const spare = 1000

// Version is the number of the format, and of what an Entry says of a letter: it
// goes up whenever the same letter gets another Entry, else files of before would
// go on answering.
const Version = 4

// head is the beginning of the file.
func (c *Cache) head() []byte { return fmt.Appendf(nil, "postbag cache %d %s\n", Version, c.folder) }

// open opens the file and reads its frames, or begins it anew.
func (c *Cache) open() {
	f, err := c.fs.OpenFile(c.path, os.O_RDWR|os.O_APPEND, 0)
	if err == nil {
		c.use(f)
		head := make([]byte, len(c.head()))
		if _, err := f.ReadAt(head, 0); err == nil && bytes.Equal(head, c.head()) && c.scan() == nil {
			return
		}
	} else if !errors.Is(err, os.ErrNotExist) {
		c.broken.Store(true)
		return
	}
	c.begin()
}

func (c *Cache) use(f *os.File) {
	if c.file != nil {
		c.file.Close()
	}
	c.file, c.index, c.scanned = f, nil, int64(len(c.head()))
}

// begin puts a new file in the place of the old one. Others go on with theirs
// until they open the folder again.
func (c *Cache) begin() {
	c.fs.Remove(c.path)
	f, err := c.fs.OpenFile(c.path, os.O_RDWR|os.O_APPEND|os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		_, err = f.Write(c.head())
	}
	if err != nil {
		c.broken.Store(true)
		return
	}
	c.use(f)
}

var errDamaged = errors.New("damaged")

// scan reads the frames that the index does not know.
func (c *Cache) scan() error {
	st, err := c.file.Stat()
	if err != nil {
		return err
	}
	if st.Size() < c.scanned {
		return errDamaged // somebody has cut it
	}
	r := &readAhead{f: c.file, at: c.scanned, end: st.Size()}
	for c.scanned+frameSize <= st.Size() {
		h, err := r.take(c.scanned, frameSize)
		if err != nil {
			return err
		}
		p, ok := parseFrame(h, c.scanned)
		if !ok {
			return errDamaged
		}
		if p.at+int64(p.length) > st.Size() {
			return nil // still being written
		}
		c.insert(p)
		c.scanned = p.at + int64(p.length)
	}
	return nil
}

// readAhead reads a file from its beginning to its end in large steps.
type readAhead struct {
	f       *os.File
	at, end int64
	buf     []byte
}

func (r *readAhead) take(at int64, n int) ([]byte, error) {
	if at < r.at || at+int64(n) > r.at+int64(len(r.buf)) {
		size := min(int64(1<<20), r.end-at)
		r.buf = slices.Grow(r.buf[:0], int(size))[:size]
		r.at = at
		if _, err := r.f.ReadAt(r.buf, at); err != nil && err != io.EOF {
			return nil, err
		}
	}
	return r.buf[at-r.at:][:n], nil
}

func parseFrame(h []byte, at int64) (place, bool) {
	p := place{
		uid: binary.LittleEndian.Uint32(h[4:]), length: binary.LittleEndian.Uint32(h[8:]),
		sum: binary.LittleEndian.Uint32(h[12:]), at: at + frameSize,
	}
	ok := binary.LittleEndian.Uint32(h) == frameMagic && p.length <= maxPayload &&
		binary.LittleEndian.Uint32(h[16:]) == crc32.Checksum(h[:16], castagnoli)
	return p, ok
}

// insert keeps the first of several entries for one letter.
func (c *Cache) insert(p place) {
	if n := len(c.index); n == 0 || c.index[n-1].uid < p.uid {
		c.index = append(c.index, p)
		return
	}
	if i, found := c.search(p.uid); !found {
		c.index = slices.Insert(c.index, i, p)
	}
}

func (c *Cache) search(uid uint32) (int, bool) {
	return slices.BinarySearchFunc(c.index, uid, func(p place, uid uint32) int {
		return int(int64(p.uid) - int64(uid))
	})
}

// Close gives the file back, with what was Put.
func (c *Cache) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flush()
	if c.file != nil {
		c.file.Close()
		c.file = nil
	}
}
