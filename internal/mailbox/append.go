package mailbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"time"

	"postbag/internal/maildir"
	"postbag/internal/mboxlog"
	"postbag/internal/quota"
)

// An Append adds letters to a folder, all of them or none.
type Append struct {
	b     *box
	items []item
	freed quota.Usage // by what goes for them, below 0
}

// An item is a letter that lies in tmp/ and is on its way to a UID.
type item struct {
	arrival
	size    int64 // of its file
	discard func()
}

// NewAppend begins an Append. Nothing of it is visible before Commit.
func (f *Folder) NewAppend() *Append { return &Append{b: f.b} }

// Add reads a letter in wire form and makes it durable in tmp/. A zero
// internal means now.
func (a *Append) Add(flags Flags, keywords []string, internal time.Time, r io.Reader) error {
	b := a.b
	l, wire, err := b.receive(r)
	if err != nil {
		return fmt.Errorf("append to %s: %w", b.dir, err)
	}
	if internal.IsZero() {
		internal = b.store.o.Now() // the file itself would have another second now and then
	}
	if err := l.Sync(internal); err != nil {
		l.Discard()
		return fmt.Errorf("append to %s: %w", b.dir, err)
	}
	a.items = append(a.items, item{
		arrival: arrival{
			id: randomID(), flags: flags, keywords: keywords,
			internal: internal.Unix(), wire: wire,
			base: sizedName(l.Unique(), l.Size(), wire), tmp: l.Unique(),
		},
		size: l.Size(), discard: l.Discard,
	})
	return nil
}

// sizedName adds the sizes of a letter to its name, in disk and in wire form.
func sizedName(unique string, size, wire int64) string {
	return unique + ",S=" + strconv.FormatInt(size, 10) + ",W=" + strconv.FormatInt(wire, 10)
}

// Instead says that a letter of the account goes when these have come: only what they
// take beyond that needs room (RFC 8508 section 3.4).
func (a *Append) Instead(ctx context.Context, f *Folder, uid uint32) error {
	return f.b.reach(ctx, uid, func(path string) error {
		st, err := f.b.store.fs.Lstat(path)
		if err == nil {
			a.freed = a.freed.Add(quota.Usage{Bytes: -st.Size(), Letters: -1})
		}
		return err
	})
}

// Commit gives the letters UIDs and makes them visible. When it returns, all
// of that survives a crash; after an error none of them is there.
func (a *Append) Commit(ctx context.Context) (uids []uint32, err error) {
	if len(a.items) == 0 {
		return nil, nil
	}
	defer a.Discard()
	b := a.b
	if err := b.room(ctx, usage(a.items).Add(a.freed)); err != nil {
		return nil, fmt.Errorf("append to %s: %w", b.dir, err)
	}
	if err := b.lockCtx(ctx); err != nil {
		return nil, err
	}
	defer b.unlock()
	err = b.exclusive(ctx, func() (err error) {
		uids, err = b.insert(a.items)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("append to %s: %w", b.dir, err)
	}
	a.items = nil
	b.payLater(0)
	return uids, b.publish()
}

// Discard lets go of letters that have not been committed.
func (a *Append) Discard() {
	for i := range a.items {
		a.items[i].discard()
	}
	a.items = nil
}

// insert gives letters that lie synced in tmp/ their UIDs. b is locked.
func (b *box) insert(items []item) (uids []uint32, err error) {
	err = b.withRegister(func(r *register) (err error) {
		uids, err = b.insertWith(r, items)
		return err
	})
	if err == nil {
		b.quota.Note(usage(items))
	}
	return uids, err
}

// room tells whether the account may have that much more. What has been expunged
// and is still there makes room first.
func (b *box) room(ctx context.Context, need quota.Usage) error {
	if need.Bytes <= 0 && need.Letters <= 0 {
		return nil
	}
	err := b.quota.Check(need)
	if errors.Is(err, ErrOverQuota) && b.store.payAccount(ctx, maildir.Root(b.store.fs, b.dir)) > 0 {
		err = b.quota.Check(need)
	}
	return err
}

// payAccount pays the debts of all folders of an account that are open here, and
// tells how many had any.
func (s *Store) payAccount(ctx context.Context, root string) (n int) {
	s.mu.Lock()
	var boxes []*box
	for at, b := range s.boxes {
		if at.dir == root || filepath.Dir(at.dir) == root {
			boxes = append(boxes, b)
		}
	}
	s.mu.Unlock()
	for _, b := range boxes {
		if b.indebted() && b.payAll(ctx) == nil {
			n++
		}
	}
	return n
}

func (b *box) indebted() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.st.debts()
}

func usage(items []item) (sum quota.Usage) {
	for i := range items {
		sum = sum.Add(quota.Usage{Bytes: items[i].size, Letters: 1})
	}
	return sum
}

func (b *box) insertWith(r *register, items []item) (uids []uint32, err error) {
	uid, modseq, recs, err := b.number(len(items))
	if err != nil {
		return nil, err
	}
	list := make([]arrival, len(items))
	now := uint32(b.store.o.Now().Unix())
	for i := range items {
		items[i].uid, items[i].saved = uid+uint32(i), now
		if err := b.assign(items[i].keywords); err != nil {
			return nil, err
		}
		letters, named := b.st.split(items[i].keywords)
		items[i].flags, items[i].keywords = items[i].flags&system|letters, named
		uids = append(uids, items[i].uid)
		list[i] = items[i].arrival
	}
	if err := b.enlist(r, nil, list); err != nil {
		return nil, err
	}
	if len(list) == 1 {
		return uids, b.insertOne(recs, modseq, list[0])
	}
	// One frame for all: they are there together or not at all. From its sync
	// on, whoever finds it brings the letters from tmp/ into their places.
	if err := b.store.fs.SyncDir(b.path("tmp")); err != nil {
		return nil, err
	}
	return uids, b.commit(append(recs, encodeLetters(modseq, list))...)
}

// insertOne goes from tmp/X, synced, to cur/X with a UID in the log, both
// unsynced, to both synced. The two syncs are made at once: if a crash keeps
// only the name, it is a letter that nobody has acknowledged and is found as any
// other; if it keeps only the UID, that letter is gone and the UID is not given
// again.
func (b *box) insertOne(recs []mboxlog.Record, modseq uint64, l arrival) error {
	at := usual(l.base, l.flags)
	if err := b.certify(func() error { return b.settleIn(l.tmp, at) }); err != nil {
		return err
	}
	l.tmp = ""
	err := b.note(append(recs, encodeLetters(modseq, []arrival{l}))...)
	if err == nil {
		named := make(chan error, 1)
		go func() { named <- b.store.fs.SyncDir(b.path("cur")) }()
		err = errors.Join(b.log.Sync(), <-named)
	}
	if err != nil {
		// It shall not be there when the client is told that it is not.
		err = errors.Join(err, b.store.fs.Remove(b.path(at)))
	}
	return err
}
