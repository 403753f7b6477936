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
	sizes   []int64 // by number, in wire form; -1 for a letter that has gone
	deleted map[int]bool

	next    int            // the letter after the one that was read last
	follows bool           // that one came after the one before it
	ahead   *mailbox.Ahead // of next and perhaps those behind it; nil while it is not clear that they will be asked for

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
	var err error
	if d.sizes, err = d.measure(ctx); err != nil {
		folder.Close()
		return nil, err
	}
	return d, nil
}

// measure gives the sizes of the letters.
func (d *maildrop) measure(ctx context.Context) ([]int64, error) {
	byPosition, err := d.folder.Sizes(ctx, d.view)
	if err != nil || d.order == nil {
		return byPosition, err
	}
	sizes := make([]int64, len(byPosition))
	for i, at := range d.order {
		sizes[i] = byPosition[at]
	}
	return sizes, nil
}

func (d *maildrop) close() {
	d.stopAhead()
	d.folder.Close()
}

// open opens a letter. Who reads two in a row will read the others, too; of those so
// many have been asked for as commands are waiting.
func (d *maildrop) open(ctx context.Context, i int, waiting func() int) (text *mailbox.Content, err error) {
	if d.follows = i > 0 && i == d.next; !d.follows {
		d.stopAhead()
	}
	d.next = i + 1
	if d.ahead == nil && d.follows {
		d.openMany(ctx, i, waiting())
	}
	if d.ahead == nil {
		return d.folder.Content(ctx, d.letter(i))
	}
	text, last, err := d.ahead.Next(ctx)
	if last {
		d.stopAhead()
	}
	return text, err
}

// severalLetters are worth a second goroutine.
const severalLetters = 8

// openMany opens a letter and those behind it that commands are waiting for, if they
// are several.
func (d *maildrop) openMany(ctx context.Context, i, waiting int) {
	if n := min(1+waiting, len(d.sizes)-i); n >= severalLetters {
		d.ahead = d.folder.Ahead(i, i+n, d.letter)
		d.ahead.Help(ctx)
	}
}

// openNext opens the letter that the client will ask for, if it is clear which: while
// it takes what it has got, which costs us nothing.
func (d *maildrop) openNext(ctx context.Context) {
	if d.ahead == nil && d.follows && d.there(d.next) {
		d.ahead = d.folder.Ahead(d.next, d.next+1, d.letter)
		d.ahead.Open(ctx)
	}
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
