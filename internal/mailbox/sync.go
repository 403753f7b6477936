package mailbox

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"

	"postbag/internal/maildir"
	"postbag/internal/mboxlog"
)

// sync brings the state from what it was to what log and directory are now.
// The caller holds sem.
func (b *box) sync(ctx context.Context) error {
	if err := b.refresh(); err != nil {
		return err
	}
	now, err := b.heard()
	if err != nil {
		return gone(err)
	}
	if b.well() && b.unchanged(now) {
		return b.publish()
	}
	done, err := b.follow(ctx, now)
	if err == nil && !done {
		err = b.rescan(ctx)
	}
	if err != nil {
		return err
	}
	return b.publish()
}

// heard gives the stamps, and has all events told that led to them.
func (b *box) heard() (now stamps, err error) {
	if now, err = b.stamps(); err == nil && !b.store.hear() {
		b.event.end() // nobody watches
	}
	return now, err
}

// unchanged reports whether the directories are known to be as the state says,
// given stamps whose events have been told.
func (b *box) unchanged(now stamps) bool {
	if !b.seen.firm || now.sub != b.seen.sub {
		return false
	}
	if b.event.watching() {
		return b.attested(now)
	}
	return b.seen.old() && (!b.event.lost() || b.caughtUp())
}

// attested reports whether no event says that a directory is not as it was: then
// stamps that have settled meanwhile are right.
func (b *box) attested(now stamps) bool {
	if b.event.lost() {
		return false
	}
	for i, settled := range now.settled {
		b.seen.settled[i] = b.seen.settled[i] || settled
	}
	return true
}

// caughtUp makes the events those of what happens from here on, if the stamps,
// which are old, tell that nothing has happened up to here: the watch has just
// begun, or has lost events.
func (b *box) caughtUp() bool {
	b.event.clear()
	if now, err := b.stamps(); err == nil && now.sub == b.seen.sub {
		return true
	}
	b.event.lose()
	return false
}

// rescan compares the folder with the state. The scan is made before the lock
// is taken, and verified under it.
func (b *box) rescan(ctx context.Context) error {
	if err := b.loadNames(); err != nil {
		return err
	}
	b.seen = stamps{}
	b.event.clear()
	l, err := b.list()
	if err != nil {
		return err
	}
	d, at := b.compare(l), b.log.Position()
	if !d.logged() && b.well() && !b.keysChanged() {
		b.adopt(l, d)
		return nil
	}
	return b.exclusive(ctx, func() error {
		if b.log.Position() != at {
			d = b.compare(l) // others have written meanwhile, or the log is new
		}
		return b.record(l, d)
	})
}

// adopt takes what a scan found that no other process needs to know.
func (b *box) adopt(l *listing, d *difference) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, m := range d.moved {
		if r := b.st.rows.find(m.uid); r != nil {
			b.st.place(r, m.at)
		}
	}
	for _, e := range d.returned {
		for uid, gone := range b.st.doomed {
			if keyOf(gone.base) == keyOf(e.base()) {
				gone.at = strings.Clone(e.at)
				b.st.doomed[uid] = gone
			}
		}
	}
	b.seen = stamps{}
	if l.stable() {
		b.seen = l.before
		b.seen.firm = l.before.old() || b.event.watching()
	}
}

// scans is how often a scan is repeated to get one during which nothing moved.
const scans = 4

// record writes what a scan found into the log, which is locked: d is how l
// differs from the state. The scan was made before the lock; when others have
// changed the folder since, it is made anew.
func (b *box) record(l *listing, d *difference) error {
	if b.keysChanged() {
		if err := b.learnKeys(); err != nil {
			return err
		}
		l.after = stamps{} // look again: letters in names may mean something now
	}
	if now, err := b.stamps(); err != nil {
		return gone(err)
	} else if now.sub != l.after.sub || !l.stable() {
		if l, err = b.list(); err != nil {
			return err
		}
		d = b.compare(l)
	}
	if len(d.absent) > 0 || len(d.twins) > 0 {
		var err error
		if l, d, err = b.confirm(d); err != nil {
			return err
		}
	}
	if err := b.part(d.twins); err != nil {
		return err
	}
	if err := b.write(d); err != nil {
		return err
	}
	b.adopt(l, d)
	if len(d.twins) > 0 || len(d.absent) > 0 {
		b.seen = stamps{} // look again
	}
	return nil
}

// confirm scans again. A letter is gone only if two scans missed it, the second
// with nothing moving meanwhile; a base name is there twice only if such a scan
// shows it twice. What cannot be confirmed is left for the next time.
func (b *box) confirm(d *difference) (*listing, *difference, error) {
	missed := map[uint32]bool{}
	for _, uid := range d.absent {
		missed[uid] = true
	}
	l, err := b.calm()
	if err != nil {
		return nil, nil, err
	}
	d = b.compare(l)
	if !l.calm() {
		d.absent, d.twins = nil, nil
		return l, d, nil
	}
	kept := d.absent[:0]
	for _, uid := range d.absent {
		if missed[uid] {
			kept = append(kept, uid)
		}
	}
	d.absent = kept
	return l, d, nil
}

// write turns a difference into records.
func (b *box) write(d *difference) error {
	slices.SortFunc(d.changed, func(a, b observed) int { return cmp.Compare(a.uid, b.uid) })
	if len(d.fresh) == 0 {
		return b.writeWith(nil, d)
	}
	return b.withRegister(func(r *register) error { return b.writeWith(r, d) })
}

// writeWith is write with the list of UIDs that another server keeps.
func (b *box) writeWith(r *register, d *difference) error {
	arrived, uidls, fresh := b.takeUIDs(r, d.fresh)
	uid, modseq, recs, err := b.number(len(fresh))
	if err != nil {
		return err
	}
	if len(d.absent) > 0 {
		recs = append(recs, encodeRemoved(kindGone, modseq, d.absent))
	}
	if len(d.changed) > 0 {
		recs = append(recs, encodeObserved(modseq, d.changed))
	}
	if r == nil {
		return b.writeFresh(recs, modseq, uid, fresh)
	}
	given := arrivals(nil, fresh, uid, b.store.o.Now())
	if err := b.enlist(r, arrived, given); err != nil {
		return err
	}
	for given = append(arrived, given...); len(given) > 0; given = given[min(len(given), lettersPerFrame):] {
		recs = append(recs, encodeLetters(modseq, given[:min(len(given), lettersPerFrame)]))
	}
	if recs = append(recs, uidls...); len(recs) == 0 {
		return nil
	}
	return b.commit(recs...)
}

// writeFresh gives letters UIDs, after some other records. There may be very many
// letters: they go into the log frame by frame.
func (b *box) writeFresh(recs []mboxlog.Record, modseq uint64, uid uint32, fresh []entry) error {
	if len(recs) > 0 {
		if err := b.note(recs...); err != nil {
			return err
		}
	}
	b.expect(fresh)
	now := b.store.o.Now()
	var list []arrival
	var scratch []byte
	for ; len(fresh) > 0; fresh = fresh[len(list):] {
		list = arrivals(list[:0], fresh[:min(len(fresh), lettersPerFrame)], uid, now)
		var err error
		if scratch, err = b.noteLetters(scratch, modseq, list); err != nil {
			return err
		}
		uid += uint32(len(list))
	}
	return b.log.Sync()
}

// expect makes room for letters.
func (b *box) expect(fresh []entry) {
	if len(fresh) < chunkRows {
		return
	}
	octets := 0
	for i := range fresh {
		octets += len(fresh[i].base())
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.st.rows.room(len(fresh))
	b.st.names.room(len(fresh), octets)
	if b.st.rows.length == 0 {
		b.st.names.finder.room(len(fresh)) // the next who looks will ask for names
	}
}

// lettersPerFrame bounds frames to about a mebioctet.
const lettersPerFrame = 8192

// part deals with two files of one base name, which a scan with nothing moving
// showed. Two links to one file are what a rename by link and unlink left: one
// goes. Two files are two letters: one gets a name of its own and will be found
// as new.
func (b *box) part(twins []twin) error {
	for _, t := range twins {
		extra, err1 := b.store.fs.Lstat(b.path(t.extra))
		keeps, err2 := b.store.fs.Lstat(b.path(t.keeps))
		if errors.Is(err1, fs.ErrNotExist) || errors.Is(err2, fs.ErrNotExist) {
			continue
		}
		err := errors.Join(err1, err2)
		switch {
		case err != nil:
		case os.SameFile(extra, keeps):
			err = b.store.fs.Remove(b.path(t.extra))
		default:
			b.store.o.Log.Info("two files had one name", "dir", b.dir, "name", t.extra)
			err = b.rename(t.extra, b.otherName(t.extra))
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// otherName gives a fresh name for a file that cannot keep its own.
func (b *box) otherName(at string) string {
	e := entryAt(at)
	return usual(maildir.Unique(b.store.o.Now(), b.store.o.Hostname), e.flags)
}

// rename renames a file below the folder. It never replaces one.
func (b *box) rename(from, to string) error {
	err := b.store.fs.Rename(b.path(from), b.path(to))
	if err == nil {
		b.did(from, to)
	}
	return err
}

// settleIn renames a file from tmp/ to its place, under a name that no other file
// ever has.
func (b *box) settleIn(tmp, at string) error {
	err := b.store.fs.RenameUnique(b.path("tmp/"+tmp), b.path(at))
	if err == nil {
		b.did("tmp/"+tmp, at)
	}
	return err
}

var _ mboxlog.Reader = (*box)(nil)
