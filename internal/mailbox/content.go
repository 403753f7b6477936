package mailbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"

	"postbag/internal/maildir"
	"postbag/internal/message"
)

// A Content is the text of a letter, open for reading in wire form. It stays
// readable until Close, whoever removes the file meanwhile.
type Content struct {
	file  letterFile
	r     io.Reader // the file, or its wire form; nil for a small letter
	size  int64
	small *smallText // of a small letter, which is in memory
	text  []byte     // of small
	off   int        // up to where Read has read it
}

// Content opens a letter that is in any version which this session holds, also
// one that others have expunged since. ErrExpunged means that the file itself
// is gone.
func (f *Folder) Content(ctx context.Context, l *Letter) (*Content, error) {
	b := f.b
	c := &Content{}
	err := b.reach(ctx, l.UID, func(path string) error { return c.file.open(b.store.fs, path) })
	if err != nil {
		return nil, err
	}
	small, err := c.readSmall(b, l.UID)
	if err == nil && !small {
		err = c.prepare(b, l.UID)
	}
	if err != nil || small {
		c.file.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("read letter %d of %s: %w", l.UID, b.dir, err)
	}
	return c, nil
}

// prepare finds out about line ends and size of a letter that is not small.
func (c *Content) prepare(b *box, uid uint32) (err error) {
	size := c.file.size
	if c.verbatim(size) {
		c.r, c.size = &c.file, size
		return nil
	}
	if n, ok := b.knownSize(uid); ok && b.honest(uid, size) {
		c.r, c.size = message.ToWire(&c.file), n
		return nil
	}
	if c.size, err = message.WireSize(&c.file); err != nil {
		return err
	}
	b.learn(uid, fact{internal: unknownTime, wire: c.size})
	c.file.rewind()
	c.r = message.ToWire(&c.file)
	return nil
}

// verbatim reports whether the file is in wire form already: a letter with
// octets that the disk form cannot keep (a bare LF, say) is stored so. Its name
// says that both sizes are the same.
func (c *Content) verbatim(size int64) bool {
	n := maildir.ParseName(filepath.Base(c.file.path))
	return n.Size == size && n.Wire == size
}

// honest reports whether the sizes in a name can be believed: the one that is
// easily compared is right, or the log has the size from a look at the file.
func (b *box) honest(uid uint32, size int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.st.rows.find(uid)
	if r == nil || r.wire != noSize {
		return r != nil
	}
	if f, ok := b.facts[uid]; ok && f.wire != unknownSize {
		return true
	}
	if b.st.loadNames() != nil {
		return false
	}
	base, _ := b.st.name(r)
	return maildir.ParseName(base).Size == size
}

// Size is the number of octets that reading gives.
func (c *Content) Size() int64 { return c.size }

// Text is the letter in wire form if it is in memory, which small ones are. It
// is valid until Close and must not be changed.
func (c *Content) Text() (text []byte, ok bool) { return c.text, c.small != nil }

// Read reads the letter in wire form.
func (c *Content) Read(p []byte) (int, error) {
	if c.small == nil {
		return c.r.Read(p)
	}
	if c.off == len(c.text) {
		return 0, io.EOF
	}
	n := copy(p, c.text[c.off:])
	c.off += n
	return n, nil
}

// WriteTo writes the rest of the letter in wire form.
func (c *Content) WriteTo(w io.Writer) (int64, error) {
	if c.small == nil {
		return io.Copy(w, c.r)
	}
	n, err := w.Write(c.text[c.off:])
	c.off += n
	return int64(n), err
}

// Rewind begins again at the beginning.
func (c *Content) Rewind() error {
	c.off = 0
	if c.small != nil {
		return nil
	}
	c.file.rewind()
	if c.r != io.Reader(&c.file) {
		c.r = message.ToWire(&c.file)
	}
	return nil
}

// Close gives the file or the memory back.
func (c *Content) Close() error {
	if c.small != nil {
		smallTexts.Put(c.small)
		c.small, c.text = nil, nil
	}
	return c.file.Close()
}

// searches is how often a letter that others rename all the time is looked for.
const searches = 8

// reach calls do with the path of a letter's file. Where that is may be known
// no longer, since others rename files: then it is looked for, until do has met
// it or a scan has shown that it is gone. A letter that always moves away before
// it is reached is not gone: the error is a temporary one.
func (b *box) reach(ctx context.Context, uid uint32, do func(path string) error) error {
	err := b.tryPlaces(uid, do)
	for n := 0; errors.Is(err, fs.ErrNotExist); n++ {
		if n == searches {
			return inUse(fmt.Sprintf("letter %d of %s", uid, b.dir))
		}
		gone, lerr := b.locate(ctx, uid, n > 0)
		if lerr != nil {
			return lerr
		}
		if err = b.tryPlaces(uid, do); gone && errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("letter %d of %s: %w", uid, b.dir, ErrExpunged)
		}
	}
	return err
}

func (b *box) tryPlaces(uid uint32, do func(path string) error) error {
	if path, ok := b.usualPath(uid); ok {
		if err := do(path); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	places, err := b.places(uid)
	if err != nil {
		return err
	}
	err = fs.ErrNotExist
	for _, at := range places {
		if err = do(b.dir + "/" + at); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return err
}

// usualPath is where one expects the file of a letter, if nothing is known that
// speaks against it.
func (b *box) usualPath(uid uint32) (string, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.st.rows.find(uid)
	if r == nil || r.owes || b.st.loadNames() != nil {
		return "", false
	}
	if _, elsewhere := b.st.at[uid]; elsewhere {
		return "", false
	}
	var room [256]byte
	path := append(append(append(room[:0], b.dir...), "/cur/"...), b.st.names.get(r.name)...)
	return string(r.disk.append(append(path, ":2,"...))), true
}

// places lists where a letter may be, the likeliest first.
func (b *box) places(uid uint32) ([]string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.st.loadNames(); err != nil {
		return nil, nil // locate reads the log anew
	}
	var list []string
	if r := b.st.rows.find(uid); r != nil {
		list = append(list, b.st.where(r))
		if r.owes {
			list = append(list, usual(b.st.base(r), r.flags))
		}
		if tmp, ok := b.st.coming[uid]; ok {
			list = append(list, "tmp/"+tmp)
		}
		return list, nil
	}
	if d, ok := b.st.doomed[uid]; ok {
		list = append(list, d.at)
	}
	return append(list, b.expungedName(uid)), nil
}

// locate scans the folder to learn where its files are now, and reports whether
// that shows a letter to be gone: it is expunged, or a calm scan misses it. With
// wait it waits for such a scan.
func (b *box) locate(ctx context.Context, uid uint32, wait bool) (gone bool, err error) {
	if err := b.lockCtx(ctx); err != nil {
		return false, err
	}
	defer b.unlock()
	if err := b.refresh(); err != nil {
		return false, err
	}
	if err := b.loadNames(); err != nil {
		return false, err
	}
	scan := b.list
	if wait {
		scan = b.calm
	}
	l, err := scan()
	if err != nil {
		return false, err
	}
	d, seen := b.compare(l), b.seen
	b.adopt(l, d)
	b.seen = seen // flags and absences are for Sync to record
	return b.st.rows.find(uid) == nil || l.calm() && slices.Contains(d.absent, uid), nil
}
