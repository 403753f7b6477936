// Package durable changes files so that the change survives a crash of the
// machine. All syncing of this program is done here.
//
// # What it promises
//
// When Commit or Sync returns nil, the octets of the file are on the disk. When
// SyncDir returns nil, the names in the directory are as the caller left them.
// WriteFile, MkdirAll and SyncNamed do both. Nothing else is promised: a name that was made
// and not synced may be there after a crash or not, and content that was not
// synced may be absent, torn or zero.
//
// Rename never replaces what is there. A File whose sync has failed once is of
// no use any more: the kernel has dropped the pages that it could not write, so
// that a second sync would succeed without them.
//
// An FS made by New works on the disk. One made by NewTraced also tells a Tracer
// of each step, which may make it fail: that is how tests record histories,
// inject faults, and prove what is promised above.
package durable

import (
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// An FS changes files durably. It is safe for concurrent use. Make one with New.
type FS struct {
	// Synced is told how long each sync took; nil: nobody is. It is set before
	// the FS is used.
	Synced func(time.Duration)

	tracer Tracer // nil: none
	owner  Owner  // who works on names
	self   Owner  // who this process is
	*dirSyncs
}

// New returns an FS on the disk.
func New() *FS { return NewTraced(nil) }

// NewTraced returns an FS that tells t of each step before and after it.
func NewTraced(t Tracer) *FS {
	return &FS{tracer: t, self: Owner{os.Geteuid(), os.Getegid()}, dirSyncs: newDirSyncs()}
}

// Self is who this process was when the FS was made: no program of ours changes
// its ids later, and asking costs a system call.
func (s *FS) Self() Owner { return s.self }

// Create makes a new file; fs.ErrExist when there is one.
func (s *FS) Create(path string, perm iofs.FileMode) (*File, error) {
	return s.open(OpCreate, path, os.O_RDWR|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, perm)
}

// OpenAppend opens a file for reading and appending, and makes it if it is not
// there.
func (s *FS) OpenAppend(path string, perm iofs.FileMode) (*File, error) {
	return s.open(OpOpen, path, os.O_RDWR|os.O_CREATE|os.O_APPEND, perm)
}

// OpenRW opens a file that is there for reading and writing.
func (s *FS) OpenRW(path string) (*File, error) {
	return s.open(OpOpen, path, os.O_RDWR, 0)
}

func (s *FS) open(kind OpKind, path string, flags int, perm iofs.FileMode) (*File, error) {
	f := &File{fs: s, name: path}
	err := s.step(Op{Kind: kind, Path: path}, func() (err error) {
		f.f, err = openDescriptor(path, flags, perm)
		return err
	})
	if err != nil {
		return nil, err
	}
	return f, nil
}

// Rename gives a file another name, and never replaces what has that name:
// fs.ErrExist then. The names are durable after a SyncDir of their directories.
func (s *FS) Rename(from, to string) error {
	return s.step(Op{Kind: OpRename, Path: from, To: to}, func() error {
		err := ignoringEINTR(func() error {
			return unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
		})
		if err == unix.EINVAL || err == unix.ENOSYS {
			err = linkUnlink(from, to) // file systems without it: NFS, some overlays
		}
		if err != nil {
			return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
		}
		return nil
	})
}

// RenameUnique is Rename for a new name that no other file ever has. A file
// server may have done it and answered the repeated request with ENOENT or EEXIST:
// then the old name is gone and the new one there, and that is success.
func (s *FS) RenameUnique(from, to string) error {
	err := s.Rename(from, to)
	if err == nil || !errors.Is(err, iofs.ErrExist) && !errors.Is(err, iofs.ErrNotExist) {
		return err
	}
	_, left := s.Lstat(from)
	_, there := s.Lstat(to)
	if errors.Is(left, iofs.ErrNotExist) && there == nil {
		return nil
	}
	return err
}

// linkUnlink renames by a second name, which link(2) refuses where one is.
// Directories have only one; nobody else makes those that we rename.
func linkUnlink(from, to string) error {
	st, err := os.Lstat(from)
	if err != nil {
		return errors.Unwrap(err)
	}
	if st.IsDir() {
		if _, err := os.Lstat(to); err == nil {
			return unix.EEXIST
		}
		return ignoringEINTR(func() error { return unix.Rename(from, to) })
	}
	if err := ignoringEINTR(func() error { return unix.Link(from, to) }); err != nil {
		return err
	}
	return ignoringEINTR(func() error { return unix.Unlink(from) })
}

// Replace renames a file over another one.
func (s *FS) Replace(from, to string) error {
	return s.step(Op{Kind: OpReplace, Path: from, To: to}, func() error { return os.Rename(from, to) })
}

// Link gives a file a second name.
func (s *FS) Link(from, to string) error {
	return s.step(Op{Kind: OpLink, Path: from, To: to}, func() error { return os.Link(from, to) })
}

// Remove takes a name away: of a file, or of an empty directory.
func (s *FS) Remove(path string) error {
	return s.step(Op{Kind: OpRemove, Path: path}, func() error {
		err := ignoringEINTR(func() error { return unix.Unlink(path) })
		if err == unix.EISDIR {
			err = ignoringEINTR(func() error { return unix.Rmdir(path) })
		}
		if err != nil {
			return &iofs.PathError{Op: "remove", Path: path, Err: err}
		}
		return nil
	})
}

// Mkdir makes one directory.
func (s *FS) Mkdir(path string, perm iofs.FileMode) error {
	return s.step(Op{Kind: OpMkdir, Path: path}, func() error { return os.Mkdir(path, perm) })
}

// MkdirAll makes a directory and what is missing of the way to it, durably.
func (s *FS) MkdirAll(path string, perm iofs.FileMode) error {
	st, err := s.Stat(path)
	if err == nil {
		if !st.IsDir() {
			return &iofs.PathError{Op: "mkdir", Path: path, Err: syscall.ENOTDIR}
		}
		return nil
	}
	if !errors.Is(err, iofs.ErrNotExist) {
		return err
	}
	parent := filepath.Dir(path)
	if err := s.MkdirAll(parent, perm); err != nil {
		return err
	}
	if err := s.Mkdir(path, perm); err != nil && !errors.Is(err, iofs.ErrExist) {
		return err
	}
	return s.SyncDir(parent)
}

// Chmod sets the mode of a file or directory, sticky and set-gid bits too,
// whatever the umask is.
func (s *FS) Chmod(path string, mode iofs.FileMode) error {
	return s.step(Op{Kind: OpChmod, Path: path}, func() error { return os.Chmod(path, mode) })
}

// Chown gives a file or directory to somebody; of a link, the link.
func (s *FS) Chown(path string, to Owner) error {
	return s.step(Op{Kind: OpChown, Path: path}, func() error { return os.Lchown(path, to.UID, to.GID) })
}

// WriteFile makes or replaces a file, durably: after a crash there is the old
// one or the new one. It is written beside, under a name that begins with a dot.
func (s *FS) WriteFile(path string, data []byte, perm iofs.FileMode) error {
	tmp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+"."+unique())
	f, err := s.Create(tmp, perm)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if _, err := f.Write(data); err != nil {
		f.Discard()
		return fmt.Errorf("write %s: %w", path, err)
	}
	err = f.Commit()
	if err == nil {
		err = s.Replace(tmp, path)
	}
	if err != nil {
		s.Remove(tmp)
		return fmt.Errorf("write %s: %w", path, err)
	}
	return s.SyncDir(filepath.Dir(path))
}

// Same reports whether path still names the file that f has open.
func (s *FS) Same(f *File, path string) (bool, error) {
	mine, err := f.Stat()
	if err != nil {
		return false, err
	}
	there, err := s.Stat(path)
	if errors.Is(err, iofs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return os.SameFile(mine, there), nil
}

func ignoringEINTR(f func() error) error {
	for {
		if err := f(); err != syscall.EINTR {
			return err
		}
	}
}
