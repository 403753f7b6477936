// Package mboxlog keeps one folder's log: an append-only file of frames that
// several processes read and write at the same time. It knows no directory of
// letters and no IMAP; what a record means is its caller's affair.
//
// # Guarantees
//
// After Append and Sync returned nil, the records survive a crash of the
// machine, and every process that reads the log later sees them, once, in the
// order in which they were appended. Whoever reads without the lock may see
// records that are not on the disk yet; he calls Sync before he tells anybody
// what they say.
//
// # Locks
//
// The lock is an open-file-description lock on the log itself. A log can be
// replaced by a compacted one, so whoever has the lock compares the file that
// he locked with the file of that name, and begins again when they differ.
//
// # Crashes
//
// States of LOG, and what the next holder of the lock makes of them:
//
//	absent or empty             made new: head, sync, directory sync, `settled`
//	without `settled`           directory sync, `settled`: nobody has been told
//	                            anything that only this log knows
//	octets after the last frame cut, and the cut synced, unless a sound frame
//	                            after them says that they had been synced: then
//	                            it is damage. LOG.bad keeps the damaged file;
//	                            what is sound on both sides goes into a new log
//	                            with a KindDamage frame at the gap
//	ends in `sealed`            the compaction died before its rename: goes on
//	LOG.new exists              the same: removed by the next compaction
package mboxlog

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"postbag/internal/durable"
)

// A Reader takes what is in a log.
type Reader interface {
	// Reset forgets everything: the log is read again from its beginning.
	Reset()
	// Apply takes one record. Its payload is valid during the call only. An
	// error means that the record makes no sense to the reader; it ends the
	// reading.
	Apply(Record) error
}

// ErrGone means that the directory of the log is no longer there.
var ErrGone = errors.New("folder is gone")

// A Log is one process's hold on a log. It is not safe for concurrent use.
type Log struct {
	fs   *durable.FS
	path string
	file *durable.File

	pos     Position // up to where the log has been read
	synced  int64    // up to where this process knows the log to be on the disk
	mark    int64    // while locked: up to where the log holds if a sync fails
	reset   bool     // the reader is to forget what it has
	settled bool
	held    bool   // the lock is ours
	frames  []byte // scratch, for Appends that follow each other
	failed  bool   // a sync failed: of the file only what stands before mark counts
}

// Open opens the log at path, or makes an empty file there. Nothing is read
// yet; the first Read begins with Reset.
func Open(fsys *durable.FS, path string) (*Log, error) {
	l := &Log{fs: fsys, path: path}
	if err := l.reopen(); err != nil {
		return nil, err
	}
	return l, nil
}

// reopen lets go of the file, and its lock, and takes what has the name now.
func (l *Log) reopen() error {
	f, err := l.fs.OpenAppend(l.path, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("open %s: %w", l.path, ErrGone)
	}
	if err != nil {
		return fmt.Errorf("open %s: %w", l.path, err)
	}
	l.swap(f)
	l.held = false
	return nil
}

// swap makes f the log's file and forgets all that was read from the old one.
func (l *Log) swap(f *durable.File) {
	if l.file != nil {
		l.file.Close() // nothing unsynced that anybody was told of
	}
	l.file, l.pos, l.synced = f, Position{}, 0
	l.reset, l.settled, l.failed = true, false, false
}

// Close gives the file back, and the lock with it.
func (l *Log) Close() error { return l.file.Close() }

// Position is the end of what has been read and appended.
func (l *Log) Position() Position { return l.pos }

// Settled reports whether the log's name is on the disk.
func (l *Log) Settled() bool { return l.settled }

// Size is the length of the file in octets; with Position it tells whether
// there is anything to read.
func (l *Log) Size() (int64, error) {
	st, err := l.file.Stat()
	if err != nil {
		return 0, fmt.Errorf("stat %s: %w", l.path, err)
	}
	return st.Size(), nil
}

// Current reports whether the file is still the one of that name.
func (l *Log) Current() (bool, error) {
	same, err := l.fs.Same(l.file, l.path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("compare %s: %w", l.path, err)
	}
	return same, nil
}

// Resume goes on at a position that a snapshot of a settled log remembers,
// instead of at the beginning. It reports whether the log is that one. It must
// come before the first Read.
func (l *Log) Resume(p Position) bool {
	head := make([]byte, headSize)
	if _, err := l.file.ReadAt(head, 0); err != nil {
		return false
	}
	size, err := l.Size()
	id, ok := decodeHead(head)
	if err != nil || !ok || id != p.ID || p.Offset < headSize || p.Offset > size {
		return false
	}
	l.pos, l.reset, l.settled = p, false, true
	l.synced = p.Offset // whoever has written the snapshot had synced it
	return true
}

// Read gives r all that came since the last Read. Without the lock it stops
// at what another process is just writing.
func (l *Log) Read(r Reader) error {
	if !l.held {
		switch same, err := l.Current(); {
		case err != nil:
			return err
		case !same:
			if err := l.reopen(); err != nil {
				return err
			}
		}
	}
	_, err := l.catchUp(r)
	return err
}

// ReadTo gives r what came since the last Read, up to a position, if that is one
// of this log.
func (l *Log) ReadTo(r Reader, p Position) (reached bool, err error) {
	size, err := l.Size()
	if err != nil || l.reset || p.ID != l.pos.ID || p.Offset < l.pos.Offset || p.Offset > size {
		return false, err
	}
	b, err := l.rest(p.Offset)
	if err == nil {
		_, err = l.walk(b, r)
	}
	return l.pos == p, err
}

// catchUp gives r what is sound after the position and returns what follows
// that.
func (l *Log) catchUp(r Reader) ([]byte, error) {
	size, err := l.Size()
	if err != nil {
		return nil, err
	}
	if l.reset || size < l.pos.Offset {
		r.Reset()
		l.pos, l.reset, l.settled = Position{}, false, false
	}
	b, err := l.rest(size)
	if err != nil {
		return nil, err
	}
	return l.walk(b, r)
}

// rest reads what stands in the file after the position, without a head.
func (l *Log) rest(size int64) ([]byte, error) {
	if l.pos.Offset == 0 {
		head := make([]byte, headSize)
		n, err := l.file.ReadAt(head, 0)
		if n < headSize && size >= headSize {
			return nil, fmt.Errorf("read %s: %w", l.path, err)
		}
		id, ok := decodeHead(head[:n])
		if !ok {
			return nil, nil
		}
		l.pos = Position{ID: id, Offset: headSize}
	}
	if size <= l.pos.Offset {
		return nil, nil
	}
	if size-l.pos.Offset > durable.MaxRead {
		return nil, fmt.Errorf("read %s: %w", l.path, syscall.EFBIG)
	}
	b := make([]byte, size-l.pos.Offset)
	n, err := l.file.ReadAt(b, l.pos.Offset)
	if n < len(b) && !errors.Is(err, os.ErrClosed) {
		return b[:n], nil // cut by another process since Size
	}
	return b[:n], err
}

// walk gives r the sound frames at the start of b and returns what follows
// them.
func (l *Log) walk(b []byte, r Reader) ([]byte, error) {
	for len(b) > 0 {
		f, ok := decodeFrame(b, l.pos.ID, l.pos.Offset)
		if !ok || f.prev != l.pos.CRC {
			break
		}
		if err := l.apply(f.Record, r); err != nil {
			return b, fmt.Errorf("%s at %d: %w", l.path, l.pos.Offset, err)
		}
		b = b[f.end.Offset-l.pos.Offset:]
		l.pos = f.end
	}
	return b, nil
}

func (l *Log) apply(rec Record, r Reader) error {
	switch rec.Kind {
	case kindSettled:
		l.settled = true
		return nil
	case kindSealed:
		return nil // Current tells whether the rename came about
	}
	return r.Apply(rec)
}

// Append adds records at the end of the log, which the caller has locked. They
// are on the disk after Sync. On an error none of them is there.
func (l *Log) Append(recs ...Record) error {
	if !l.held || l.failed {
		return fmt.Errorf("append to %s: not locked", l.path)
	}
	size := 0
	for _, r := range recs {
		size += frameHead + len(r.Payload)
	}
	b := slices.Grow(l.frames[:0], size)
	l.frames = b
	end := l.pos
	for _, r := range recs {
		b, end = appendFrame(b, end, l.synced, r)
	}
	if _, err := l.file.Write(b); err != nil {
		l.undo(l.pos.Offset)
		return fmt.Errorf("append to %s: %w", l.path, err)
	}
	l.pos = end
	return nil
}

// undo cuts off what was written but shall not count. When that does not work
// either, the torn tail is cut by whoever locks next.
func (l *Log) undo(size int64) {
	if err := l.file.Truncate(size); err != nil {
		l.failed = true
	}
	l.reset = true
}

// Sync makes all that has been read and appended durable. After an error what
// was appended since the last Sync does not count, and the next Read begins
// with Reset: a failed sync says nothing about the file, so it is not repeated;
// the next Lock writes a new log from what is known to be good.
func (l *Log) Sync() error {
	l.frames = nil
	if l.synced >= l.pos.Offset {
		return nil
	}
	if err := l.file.Sync(); err != nil {
		if l.held {
			l.undo(l.mark)
			l.failed = true
		}
		l.reset = true
		return fmt.Errorf("sync %s: %w", l.path, err)
	}
	l.synced, l.mark = l.pos.Offset, l.pos.Offset
	return nil
}

func newID() uint64 {
	var b [8]byte
	rand.Read(b[:]) // never fails
	return binary.LittleEndian.Uint64(b[:])
}

func (l *Log) dir() string { return filepath.Dir(l.path) }

// Restart makes the next Read or Lock begin with Reset, at the log's beginning.
func (l *Log) Restart() { l.reset = true }
