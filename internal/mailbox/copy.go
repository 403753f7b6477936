package mailbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"
	"sync/atomic"

	"postbag/internal/durable"
	"postbag/internal/maildir"
)

// Copy copies letters, with flags, keywords, dates and EMAILIDs. UIDs that are
// not there are passed over; from[i] has become to[i]. All letters are copied
// or none; what Copy returns survives a crash.
func Copy(ctx context.Context, src *Folder, uids []uint32, dst *Folder) (from, to []uint32, err error) {
	items, from, err := gather(ctx, src.b, uids, dst.b)
	if err != nil || len(items) == 0 {
		return nil, nil, wrapCopy(src, dst, err)
	}
	defer discard(&items)
	if err := dst.b.room(ctx, usage(items)); err != nil {
		return nil, nil, wrapCopy(src, dst, err)
	}
	err = dst.change(ctx, func() (err error) {
		to, err = dst.b.insert(items)
		return err
	})
	if err != nil {
		return nil, nil, wrapCopy(src, dst, err)
	}
	items = nil
	return from, to, nil
}

// Move is Copy and Expunge of what was copied. Killed in between, it leaves
// letters in both folders, never in none.
func Move(ctx context.Context, src *Folder, uids []uint32, dst *Folder) (from, to []uint32, err error) {
	items, from, err := gather(ctx, src.b, uids, dst.b)
	if err != nil || len(items) == 0 {
		return nil, nil, wrapCopy(src, dst, err)
	}
	defer discard(&items)
	err = both(ctx, src.b, dst.b, func() error {
		// What others have expunged since is no longer there to be moved.
		if len(src.b.expungeable(from)) != len(from) {
			return errors.New("letters were expunged meanwhile")
		}
		if to, err = dst.b.insert(items); err != nil {
			return err
		}
		items = nil
		return src.b.expunge(from)
	})
	if err != nil {
		return nil, nil, wrapCopy(src, dst, err)
	}
	return from, to, nil
}

func wrapCopy(src, dst *Folder, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("copy from %s to %s: %w", src.b.dir, dst.b.dir, err)
}

// both runs f with both folders locked, always in the order of their
// MAILBOXIDs, so that two who move in opposite directions do not wait for each
// other.
func both(ctx context.Context, x, y *box, f func() error) error {
	first, second := x, y
	if xid, yid := x.view.Load().id, y.view.Load().id; bytes.Compare(xid[:], yid[:]) > 0 {
		first, second = y, x
	}
	if err := first.lockCtx(ctx); err != nil {
		return err
	}
	defer first.unlock()
	if first != second {
		if err := second.lockCtx(ctx); err != nil {
			return err
		}
		defer second.unlock()
	}
	err := first.exclusive(ctx, func() error { return second.exclusive(ctx, f) })
	if err != nil {
		return err
	}
	first.payLater(first.patience())
	second.payLater(second.patience())
	return errors.Join(first.publish(), second.publish())
}

// gather brings copies of letters into dst's tmp/, synced.
func gather(ctx context.Context, src *box, uids []uint32, dst *box) (items []item, from []uint32, err error) {
	uids = sorted(uids)
	found := make([]item, len(uids)) // where a letter is not there, without discard
	err = several(len(uids), func(i int) error {
		a, ok, err := src.describe(uids[i])
		if err == nil && ok {
			found[i], err = dst.bring(ctx, src, uids[i], a)
		}
		return err
	})
	for i := range found {
		if found[i].discard != nil {
			items, from = append(items, found[i]), append(from, uids[i])
		}
	}
	if err != nil {
		discard(&items)
		return nil, nil, err
	}
	return items, from, nil
}

const (
	// maxSyncs is how many letters are synced at a time: the disk makes them
	// durable together.
	maxSyncs = 16
	// leastShare is how many letters are worth a goroutine.
	leastShare = 4
)

// several calls do with 0 to n-1, some at a time if they are many. It stops soon
// after an error.
func several(n int, do func(i int) error) error {
	errs := make([]error, max(1, min(maxSyncs, n/leastShare)))
	var next atomic.Int64
	var failed atomic.Bool
	var all sync.WaitGroup
	for w := range errs {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && !failed.Load(); i = int(next.Add(1)) - 1 {
				if errs[w] = do(i); errs[w] != nil {
					failed.Store(true)
				}
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// describe gives what goes with a letter into another folder.
func (b *box) describe(uid uint32) (a arrival, ok bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.st.loadNames(); err != nil {
		return a, false, err
	}
	r := b.st.rows.find(uid)
	if r == nil {
		return a, false, nil
	}
	base, _ := b.st.name(r)
	return arrival{
		id: r.id, flags: r.flags & system, keywords: b.st.keys.keywords(b.st.sets, r),
		internal: r.internal, wire: r.size(), base: base,
	}, true, nil
}

// bring makes a copy of a letter in tmp/: a link where that goes.
func (b *box) bring(ctx context.Context, src *box, uid uint32, a arrival) (item, error) {
	a.tmp = maildir.Unique(b.store.o.Now(), b.store.o.Hostname)
	n := maildir.ParseName(a.base)
	a.base = a.tmp
	if n.Size >= 0 && n.Wire >= 0 {
		a.base = sizedName(a.tmp, n.Size, n.Wire)
	}
	tmp := b.path("tmp/" + a.tmp)
	it := item{arrival: a}
	err := src.reach(ctx, uid, func(path string) error {
		err := b.link(path, tmp)
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return b.duplicate(path, a.tmp)
	})
	if err != nil {
		return item{}, err
	}
	it.discard = func() { b.store.fs.Remove(tmp) }
	if it.size = n.Size; n.Size < 0 {
		it.size = b.fileSize(tmp)
	}
	return it, nil
}

// fileSize is the size of a file; 0 when it is not there.
func (b *box) fileSize(path string) int64 {
	st, err := b.store.fs.Lstat(path)
	if err != nil {
		return 0
	}
	return st.Size()
}

// link makes tmp another name of a letter. What other programs delivered may
// not be on the disk yet, so it is synced.
func (b *box) link(path, tmp string) error {
	if err := b.store.fs.Link(path, tmp); err != nil {
		return err
	}
	f, err := b.store.fs.OpenRW(tmp)
	if err == nil {
		err = errors.Join(f.Sync(), f.Close())
	}
	if err != nil {
		b.store.fs.Remove(tmp)
	}
	return err
}

// duplicate copies a letter's octets, where no link can be made.
func (b *box) duplicate(path, unique string) error {
	from, err := b.store.fs.Open(path)
	if err != nil {
		return err
	}
	defer from.Close()
	st, err := from.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = &fs.PathError{Op: "copy", Path: path, Err: durable.ErrNotRegular}
	}
	if err != nil {
		return err
	}
	l, err := maildir.Begin(b.store.fs, b.dir, unique)
	if err != nil {
		return err
	}
	if _, err = io.Copy(l, from); err == nil {
		err = l.Sync(st.ModTime())
	}
	if err != nil {
		l.Discard()
	}
	return err
}

func discard(items *[]item) {
	for i := range *items {
		(*items)[i].discard()
	}
	*items = nil
}
