package durable

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// A File is open for writing. Like an *os.File it may be used by several
// goroutines, each call for itself.
type File struct {
	fs     *FS
	f      *descriptor
	name   string
	failed atomic.Pointer[error] // the sync that failed
}

// Name is the path that the file was opened by.
func (f *File) Name() string { return f.name }

// Fd is the descriptor.
func (f *File) Fd() uintptr { return f.f.file().Fd() }

// Stat describes the file.
func (f *File) Stat() (iofs.FileInfo, error) { return f.f.file().Stat() }

// Read reads from the position in the file.
func (f *File) Read(p []byte) (int, error) { return f.f.file().Read(p) }

// ReadAt reads from a place in the file.
func (f *File) ReadAt(p []byte, off int64) (int, error) { return f.f.file().ReadAt(p, off) }

// Seek moves the position.
func (f *File) Seek(offset int64, whence int) (int64, error) { return f.f.file().Seek(offset, whence) }

// usable says why a file whose sync has failed takes nothing more.
func (f *File) usable() error {
	if err := f.failed.Load(); err != nil {
		return fmt.Errorf("%s: an earlier sync failed: %w", f.name, *err)
	}
	return nil
}

// Write writes all of p or fails.
func (f *File) Write(p []byte) (n int, err error) {
	if err := f.usable(); err != nil {
		return 0, err
	}
	if f.fs.tracer == nil {
		return f.f.Write(p)
	}
	at, serr := f.writeAt()
	if serr != nil {
		return 0, serr
	}
	err = f.fs.step(Op{Kind: OpWrite, Path: f.name, File: f, Offset: at, Data: p}, func() error {
		n, err = f.f.Write(p)
		return err
	})
	return n, err
}

// writeAt is where the next write goes.
func (f *File) writeAt() (int64, error) {
	flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFL, 0)
	if err != nil {
		return 0, err
	}
	if flags&unix.O_APPEND == 0 {
		return f.f.file().Seek(0, io.SeekCurrent)
	}
	st, err := f.f.file().Stat()
	if err != nil {
		return 0, err
	}
	return st.Size(), nil
}

// Truncate sets the length of the file.
func (f *File) Truncate(size int64) error {
	if err := f.usable(); err != nil {
		return err
	}
	return f.fs.step(Op{Kind: OpTruncate, Path: f.name, File: f, Offset: size}, func() error { return f.f.file().Truncate(size) })
}

// SetTimes sets the time of last modification.
func (f *File) SetTimes(mtime time.Time) error {
	at := unix.NsecToTimeval(mtime.Truncate(time.Microsecond).UnixNano()) // which would go up, to the next second even
	times := []unix.Timeval{at, at}
	if err := unix.Futimes(int(f.Fd()), times); err != nil {
		return &iofs.PathError{Op: "set times", Path: f.name, Err: err}
	}
	return nil
}

// Chmod sets the mode.
func (f *File) Chmod(mode iofs.FileMode) error { return f.f.file().Chmod(mode) }

// Sync makes what has been written durable. After an error the file is of no
// use any more.
func (f *File) Sync() error {
	return f.sync(OpSync, func(fd int) error { return syncBy("fdatasync", f.name, unix.Fdatasync, fd) })
}

// SyncNamed makes what has been written durable, and the name of a file that was
// created, for those who may not open its directory. Where the sync of a file is
// not known to keep its name, the whole file system is synced.
func (f *File) SyncNamed() error {
	return f.sync(OpSyncNamed, func(fd int) error {
		if err := syncBy("fsync", f.name, unix.Fsync, fd); err != nil || keepsNames(fd) {
			return err
		}
		return syncBy("syncfs", f.name, unix.Syncfs, fd)
	})
}

func (f *File) sync(kind OpKind, do func(fd int) error) error {
	if err := f.usable(); err != nil {
		return err
	}
	err := f.fs.step(Op{Kind: kind, Path: f.name, File: f}, func() error { return f.f.use(do) })
	if err != nil {
		f.failed.Store(&err)
	}
	return err
}

func syncBy(what, name string, sync func(fd int) error, fd int) error {
	if err := ignoringEINTR(func() error { return sync(fd) }); err != nil {
		return &iofs.PathError{Op: what, Path: name, Err: err}
	}
	return nil
}

// keepsNames reports whether the file system of a file is one that makes the
// name of a new file durable with the file.
func keepsNames(fd int) bool {
	const zfs = 0x2FC12FC1
	var st unix.Statfs_t
	if unix.Fstatfs(fd, &st) != nil {
		return false
	}
	switch st.Type {
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.TMPFS_MAGIC, zfs:
		return true
	}
	return false
}

// Commit makes the file durable and closes it.
func (f *File) Commit() error {
	err := f.Sync()
	return errors.Join(err, f.Close())
}

// Close closes the file, and gives its lock up. What was not synced is not
// durable.
func (f *File) Close() error {
	if f.fs.tracer == nil {
		return f.f.Close()
	}
	return f.fs.step(Op{Kind: OpClose, Path: f.name, File: f}, f.f.Close)
}

// Discard closes the file and removes the name that it was opened by.
func (f *File) Discard() {
	f.f.Close()
	f.fs.Remove(f.name)
}

// TryLock takes the write lock on the file; false when another open file has
// it, in this process or another. It lasts until Unlock or Close (an OFD lock:
// other descriptors of this process do not give it up).
func (f *File) TryLock() (bool, error) { return f.setLock(unix.F_WRLCK) }

// TryRLock takes a read lock, which others may have at the same time.
func (f *File) TryRLock() (bool, error) { return f.setLock(unix.F_RDLCK) }

// Unlock gives the lock up.
func (f *File) Unlock() error {
	_, err := f.setLock(unix.F_UNLCK)
	return err
}

func (f *File) setLock(kind int16) (bool, error) {
	lock := unix.Flock_t{Type: kind}
	err := ignoringEINTR(func() error { return unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &lock) })
	switch err {
	case nil:
		return true, nil
	case unix.EAGAIN, unix.EACCES:
		return false, nil
	}
	return false, &iofs.PathError{Op: "lock", Path: f.name, Err: err}
}

func unique() string {
	var b [8]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}
