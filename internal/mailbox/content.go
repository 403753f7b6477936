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

// A Content is the text of a letter, open for reading in wire form. The file
// stays readable until Close, whoever removes it meanwhile.
type Content struct {
	file *letterFile
	r    io.Reader // the file, or its wire form
	size int64
}

// Content opens a letter that is in any version which this session holds, also
// one that others have expunged since. ErrExpunged means that the file itself
// is gone.
func (f *Folder) Content(ctx context.Context, l *Letter) (*Content, error) {
	b := f.b
	var file *letterFile
	err := b.reach(ctx, l.UID, func(path string) (err error) {
		file, err = openLetter(path)
		return err
	})
	if err != nil {
		return nil, err
	}
	c := &Content{file: file}
	if err := c.prepare(b, l.UID); err != nil {
		file.Close()
		return nil, fmt.Errorf("read letter %d of %s: %w", l.UID, b.dir, err)
	}
	return c, nil
}

// prepare finds out about line ends and size.
func (c *Content) prepare(b *box, uid uint32) (err error) {
	size := c.file.size
	if c.verbatim(size) {
		c.r, c.size = c.file, size
		return nil
	}
	if n, ok := b.knownSize(uid); ok && b.honest(uid, size) {
		c.r, c.size = message.ToWire(c.file), n
		return nil
	}
	if c.size, err = message.WireSize(c.file); err != nil {
		return err
	}
	b.learn(uid, fact{internal: unknownTime, wire: c.size})
	c.file.rewind()
	c.r = message.ToWire(c.file)
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

// Read reads the letter in wire form.
func (c *Content) Read(p []byte) (int, error) { return c.r.Read(p) }

// WriteTo writes the rest of the letter in wire form.
func (c *Content) WriteTo(w io.Writer) (int64, error) { return io.Copy(w, c.r) }

// Rewind begins again at the beginning.
func (c *Content) Rewind() error {
	c.file.rewind()
	if c.r != io.Reader(c.file) {
		c.r = message.ToWire(c.file)
	}
	return nil
}

// Close gives the file back.
func (c *Content) Close() error { return c.file.Close() }

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
	places, err := b.places(uid)
	if err != nil {
		return err
	}
	err = fs.ErrNotExist
	for _, at := range places {
		if err = do(b.path(at)); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return err
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
