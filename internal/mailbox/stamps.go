package mailbox

import (
	"encoding/binary"
	"os"
	"syscall"

	"postbag/internal/mboxlog"
)

// A folder's stamps change with every rename, its snapshot need not: so that the
// next process may trust the directories, a file of their stamps is enough, with
// the places of those letters that are not where one expects them. It is of one
// snapshot, and of one position in the log: when that has been read as far, the
// directories were as the state says if they still have these stamps.
const stampsName = "postbag.stamps"

func (e *encoder) stamps(seen stamps) {
	for _, st := range seen.sub {
		e.num(st.ino)
		for _, t := range []syscall.Timespec{st.mtime, st.ctime} {
			e.b = binary.AppendVarint(e.b, t.Sec)
			e.b = binary.AppendVarint(e.b, t.Nsec)
		}
	}
	settled := uint64(0)
	for i, is := range seen.settled {
		if is {
			settled |= settledBit << i
		}
	}
	e.num(settled)
}

func (d *decoder) stamps() (seen stamps) {
	for i := range seen.sub {
		seen.sub[i] = stamp{d.num(), d.timespec(), d.timespec()}
	}
	settled := d.num()
	for i := range seen.settled {
		seen.settled[i] = settled&(settledBit<<i) != 0
	}
	seen.firm = seen.old()
	return seen
}

// settledBit says that the stamp of new/ has settled, the next one that of cur/
// has. The lowest bit meant both, when both had to be.
const settledBit = 2

func (d *decoder) timespec() (t syscall.Timespec) {
	for _, n := range []*int64{&t.Sec, &t.Nsec} {
		v, size := binary.Varint(d.b)
		if size <= 0 {
			d.fail()
			return t
		}
		*n, d.b = v, d.b[size:]
	}
	return t
}

// places encodes where files are, by UID.
func (e *encoder) places(at map[uint32]string) {
	e.num(uint64(len(at)))
	for uid, name := range at {
		e.num(uint64(uid))
		e.string(name)
	}
}

func (d *decoder) places() map[uint32]string {
	at := map[uint32]string{}
	for n := d.num(); n > 0 && !d.bad; n-- {
		uid := d.num32()
		at[uid] = d.string()
	}
	return at
}

// remember writes down what saves the next opening much: a snapshot when there
// is none of ours, or the log has grown beyond it, else the stamps.
func (b *box) remember() {
	seen, better := b.lasting()
	pos := b.log.Position()
	grown := pos.Offset-b.snapEnd > snapAfter
	if !better && !grown || !b.log.Settled() || b.log.Sync() != nil {
		return
	}
	var err error
	if grown || !b.hasSnapshot() {
		err = b.writeSnapshot(seen, pos)
	} else {
		err = b.writeStamps(seen, pos)
	}
	if err != nil && !os.IsNotExist(err) {
		b.store.o.Log.Warn("write snapshot", "dir", b.dir, "err", err)
	}
}

// hasSnapshot reports whether the snapshot on the disk is the one that the state
// is built on.
func (b *box) hasSnapshot() bool {
	if b.snapSum == 0 {
		return false
	}
	s, err := mboxlog.OpenSnapshot(b.store.fs, b.path(snapName))
	if err != nil {
		return false
	}
	defer s.Close()
	return s.Sum == b.snapSum
}

func (b *box) writeStamps(seen stamps, pos mboxlog.Position) error {
	e := encoder{}
	e.num(uint64(b.snapSum))
	e.stamps(seen)
	b.mu.Lock()
	e.places(b.st.at)
	b.mu.Unlock()
	_, err := mboxlog.WriteSnapshot(b.store.fs, b.path(stampsName), pos, e.b)
	if err == nil {
		b.snapSeen = seen
	}
	return err
}

func (b *box) writeSnapshot(seen stamps, pos mboxlog.Position) error {
	if err := b.loadNames(); err != nil {
		return err
	}
	b.mu.Lock()
	labels, _ := b.st.labels()
	if len(labels) >= maxLabels {
		b.mu.Unlock()
		return nil
	}
	head := b.st.encodeSnapHead(seen)
	rows, text := b.st.snapshotRows()
	renamed := b.st.renamed()
	b.mu.Unlock()
	sum, err := mboxlog.WriteSnapshot(b.store.fs, b.path(snapName), pos, head, rows, text)
	if err != nil {
		return err
	}
	b.snapSeen, b.snapEnd, b.snapSum = seen, pos.Offset, sum
	if renamed {
		b.snapSum = 0
	}
	return nil
}

// renamed reports whether a letter has another base name than it had, as the
// snapshot will say and the state does not.
func (s *state) renamed() bool {
	for uid, at := range s.at {
		if r := s.rows.find(uid); r != nil && entryAt(at).base() != s.base(r) {
			return true
		}
	}
	return false
}

// lasting gives the stamps that the next process can trust, and reports whether
// they are more than those on the disk.
func (b *box) lasting() (seen stamps, better bool) {
	now, err := b.stamps()
	for i := range now.sub {
		if err == nil && b.seen.settled[i] && now.sub[i] == b.seen.sub[i] {
			seen.sub[i], seen.settled[i] = now.sub[i], true
			better = better || now.sub[i] != b.snapSeen.sub[i]
		}
	}
	return seen, better
}

// loadStamps takes the stamps that were written after the snapshot from which the
// state has been taken.
func (b *box) loadStamps() {
	if b.snapSum == 0 {
		return
	}
	s, err := mboxlog.OpenSnapshot(b.store.fs, b.path(stampsName))
	if err != nil {
		return
	}
	defer s.Close()
	text, err := s.Section(0)
	d := &decoder{b: text}
	of, seen, at := d.num(), d.stamps(), d.places()
	if err != nil || d.bad || of != uint64(b.snapSum) {
		return
	}
	if reached, err := b.log.ReadTo(b, s.Position); err != nil || !reached {
		return // what stands in its way is found again by who reads on
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.seen, b.snapSeen, b.st.at = seen, seen, at
}
