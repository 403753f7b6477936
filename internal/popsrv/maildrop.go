package popsrv

import (
	"context"
	"slices"

	"postbag/internal/mailbox"
)

// A maildrop is a mailbox as a session sees it, from its login on.
type maildrop struct {
	folder  *mailbox.Folder
	view    *mailbox.View
	order   []int   // positions in the view, by number; nil when they are the same
	sizes   []int64 // in wire form; -1 for a letter that has gone
	deleted map[int]bool

	next  int            // the letter after the one that was read last
	ahead *mailbox.Ahead // of next and those behind it; nil while it is not clear that they will be asked for

	retrieved int   // letters given
	octets    int64 // of them
	expunged  int   // deleted by QUIT
}

// openDrop looks at a mailbox. It owns the folder, also when it fails.
func openDrop(ctx context.Context, folder *mailbox.Folder) (*maildrop, error) {
	if err := folder.Sync(ctx); err != nil {
		folder.Close()
		return nil, err
	}
	d := &maildrop{folder: folder, view: folder.View(), deleted: map[int]bool{}}
	d.order = folder.POP3Order(d.view)
	d.sizes = make([]int64, d.view.Len())
	for i := range d.sizes {
		size, err := folder.Size(ctx, d.letter(i))
		if err != nil && !isGone(err) {
			folder.Close()
			return nil, err
		}
		if err != nil {
			size = -1
		}
		d.sizes[i] = size
	}
	return d, nil
}

func (d *maildrop) close() {
	d.stopAhead()
	d.folder.Close()
}

// open opens a letter. Who reads two in a row will read the others, too.
func (d *maildrop) open(ctx context.Context, i int) (*mailbox.Content, error) {
	follows := i > 0 && i == d.next
	if !follows {
		d.stopAhead()
	}
	if d.next = i + 1; d.ahead != nil {
		return d.ahead.Next()
	}
	text, err := d.folder.Content(ctx, d.letter(i))
	if follows && d.next < len(d.sizes) {
		d.ahead = d.folder.ReadAhead(ctx, d.next, len(d.sizes), d.letter)
	}
	return text, err
}

func (d *maildrop) stopAhead() {
	if d.ahead != nil {
		d.ahead.Close()
		d.ahead = nil
	}
}

// letter gives the letter that has a number, counted from 0.
func (d *maildrop) letter(i int) *mailbox.Letter {
	if d.order != nil {
		i = d.order[i]
	}
	return d.view.At(i)
}

// there reports whether the letter at a position is still to be seen.
func (d *maildrop) there(i int) bool {
	return i >= 0 && i < len(d.sizes) && d.sizes[i] >= 0 && !d.deleted[i]
}

// stat counts letters and their octets.
func (d *maildrop) stat() (count int, octets int64) {
	for i, size := range d.sizes {
		if d.there(i) {
			count++
			octets += size
		}
	}
	return count, octets
}

// update deletes what is marked. When it returns nil, that is so for good.
func (d *maildrop) update(ctx context.Context) (int, error) {
	if len(d.deleted) == 0 {
		return 0, nil
	}
	uids := make([]uint32, 0, len(d.deleted))
	for i := range d.sizes {
		if d.deleted[i] {
			uids = append(uids, d.letter(i).UID)
		}
	}
	slices.Sort(uids)
	if _, err := d.folder.Expunge(ctx, uids); err != nil {
		return 0, err
	}
	d.expunged = len(uids)
	return d.expunged, nil
}
