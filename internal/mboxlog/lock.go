package mboxlog

import (
	"errors"
	"fmt"
	"io/fs"

	"postbag/internal/durable"
)

// Lock tries to lock the log, once; it reports false when another process has
// it. When it reports true, r has been given all that the log holds, and the
// log is sound and settled.
func (l *Log) Lock(r Reader) (bool, error) {
	for {
		ok, err := l.file.TryLock()
		if err != nil {
			return false, fmt.Errorf("lock %s: %w", l.path, err)
		}
		if !ok {
			return false, nil
		}
		same, err := l.Current()
		if err == nil && same {
			break
		}
		l.file.Unlock()
		if err == nil {
			err = l.reopen()
		}
		if err != nil {
			return false, err
		}
	}
	l.held = true
	if err := l.mend(r); err != nil {
		l.Unlock()
		return false, err
	}
	return true, nil
}

// Unlock gives the lock back.
func (l *Log) Unlock() error {
	l.held = false
	if err := l.file.Unlock(); err != nil {
		return fmt.Errorf("unlock %s: %w", l.path, err)
	}
	return nil
}

// mend brings the log, which is locked, from any of the states of the package
// comment into the good one, and r up to date.
func (l *Log) mend(r Reader) error {
	if l.failed {
		return l.salvage(r, l.mark)
	}
	tail, err := l.catchUp(r)
	if err == nil && len(tail) > 0 {
		// Perhaps what was read before is no longer there: another process
		// took back what it failed to sync. Then the file itself is sound.
		l.reset = true
		tail, err = l.catchUp(r)
	}
	if err != nil {
		return err
	}
	if l.pos.Offset == 0 {
		return l.begin(r)
	}
	if len(tail) > 0 {
		if lostSynced(tail, l.pos) {
			return l.salvage(r, -1)
		}
		// Nobody was told what the tail says: telling follows Sync.
		if err := l.cut(); err != nil {
			return err
		}
	}
	l.mark = l.pos.Offset
	return l.settle()
}

// lostSynced reports whether a sound frame in tail says that the unsound
// octets at its start had been on the disk.
func lostSynced(tail []byte, p Position) bool {
	for len(tail) > 0 {
		at, f, ok := findFrame(tail, p.ID, p.Offset)
		if !ok {
			return false
		}
		if f.synced > p.Offset {
			return true
		}
		tail = tail[at+1:]
		p.Offset += int64(at) + 1
	}
	return false
}

// cut ends the log at the position.
func (l *Log) cut() error {
	if err := l.file.Truncate(l.pos.Offset); err != nil {
		return fmt.Errorf("truncate %s: %w", l.path, err)
	}
	if err := l.file.Sync(); err != nil {
		l.failed, l.reset = true, true
		return fmt.Errorf("sync %s: %w", l.path, err)
	}
	l.synced = l.pos.Offset
	return nil
}

// begin makes a log of a file that has no sound head: one that is new, whose
// maker died, or whose head is damaged.
func (l *Log) begin(r Reader) error {
	size, err := l.Size()
	if err != nil {
		return err
	}
	if size > headSize {
		return l.salvage(r, -1)
	}
	if err := l.file.Truncate(0); err != nil {
		return fmt.Errorf("truncate %s: %w", l.path, err)
	}
	id := newID()
	if _, err := l.file.Write(encodeHead(id)); err != nil {
		return fmt.Errorf("write %s: %w", l.path, err)
	}
	l.pos = Position{ID: id, Offset: headSize}
	l.mark = headSize
	return l.settle()
}

// settle makes sure that the log's name survives a crash before anybody is
// told what the log says. The frame that notes it needs no sync: without it
// the directory is synced again.
func (l *Log) settle() error {
	if l.settled {
		return nil
	}
	if err := l.Sync(); err != nil {
		return err
	}
	if err := l.fs.SyncDir(l.dir()); err != nil {
		return fmt.Errorf("sync %s: %w", l.dir(), err)
	}
	if err := l.Append(Record{Kind: kindSettled, Payload: []byte{1}}); err != nil {
		return err
	}
	l.settled = true
	return nil
}

// salvage writes a new log from the sound frames of this one up to limit (all
// when it is negative), with a KindDamage frame wherever frames are missing
// between them, and goes on with that.
func (l *Log) salvage(r Reader, limit int64) error {
	b, err := l.fs.ReadFile(l.path)
	if err != nil {
		return fmt.Errorf("salvage %s: %w", l.path, err)
	}
	if limit >= 0 {
		b = b[:min(limit, int64(len(b)))]
	} else if err := l.fs.WriteFile(l.path+".bad", b, 0o600); err != nil {
		return fmt.Errorf("salvage %s: %w", l.path, err)
	}
	recs := soundFrames(b)
	if err := l.replace(func(yield func(Record) bool) {
		for _, rec := range recs {
			if !yield(rec) {
				return
			}
		}
	}); err != nil {
		return err
	}
	r.Reset()
	l.pos, l.reset = Position{}, false
	return l.mend(r)
}

// soundFrames finds every sound frame of a log that may be damaged anywhere.
// Frames of this package are left out; gaps are noted.
func soundFrames(b []byte) []Record {
	gap := Record{Kind: KindDamage, Payload: []byte{1}}
	id, ok := decodeHead(b)
	if !ok {
		return []Record{gap}
	}
	var recs []Record
	b, p := b[headSize:], Position{ID: id, Offset: headSize}
	for len(b) > 0 {
		at, f, ok := findFrame(b, p.ID, p.Offset)
		if !ok {
			break // a torn tail
		}
		if at > 0 || f.prev != p.CRC {
			recs = append(recs, gap)
		}
		if f.Kind >= KindUser || f.Kind == KindDamage {
			recs = append(recs, f.Record)
		}
		b = b[f.end.Offset-p.Offset:]
		p = f.end
	}
	return recs
}

// Compact replaces the log, which is locked, by one that holds recs, which
// must say the same. r is given nothing: it has it all. Other processes find
// out by the name's new inode.
func (l *Log) Compact(recs func(yield func(Record) bool)) error {
	if !l.held {
		return fmt.Errorf("compact %s: not locked", l.path)
	}
	return l.replace(recs)
}

// replace goes from LOG alone to LOG and a complete, synced LOG.new, then by
// one rename to the new LOG alone. Killed before the rename, the old log
// holds; after it, the new one, without `settled` until the directory is
// synced.
func (l *Log) replace(recs func(yield func(Record) bool)) error {
	tmp := l.path + ".new"
	if err := l.fs.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("compact %s: %w", l.path, err)
	}
	f, err := l.fs.OpenAppend(tmp, 0o600)
	if err != nil {
		return fmt.Errorf("compact %s: %w", l.path, err)
	}
	pos, err := l.fill(f, recs)
	if err != nil {
		f.Discard()
		return fmt.Errorf("compact %s: %w", l.path, err)
	}
	if !l.failed && l.pos.Offset >= headSize {
		// Readers without the lock stop here and look at the name.
		if err := l.Append(Record{Kind: kindSealed, Payload: []byte{1}}); err != nil {
			f.Discard()
			return err
		}
	}
	if err := l.fs.Replace(tmp, l.path); err != nil {
		f.Discard()
		return fmt.Errorf("compact %s: %w", l.path, err)
	}
	l.swap(f) // closing the old file gives its lock back; the new one is locked
	l.pos, l.synced, l.mark, l.reset = pos, pos.Offset, pos.Offset, false
	l.held = true
	return l.settle()
}

// fill writes a whole log into f, locked and synced.
func (l *Log) fill(f *durable.File, recs func(yield func(Record) bool)) (Position, error) {
	if ok, err := f.TryLock(); err != nil || !ok {
		return Position{}, errors.Join(err, errors.New("new log is locked"))
	}
	pos := Position{ID: newID(), Offset: headSize}
	b := encodeHead(pos.ID)
	var err error
	for rec := range recs {
		b, pos = appendFrame(b, pos, 0, rec)
		if len(b) < 1<<20 {
			continue
		}
		if _, err = f.Write(b); err != nil {
			return Position{}, err
		}
		b = b[:0]
	}
	if _, err = f.Write(b); err != nil {
		return Position{}, err
	}
	return pos, f.Sync()
}
