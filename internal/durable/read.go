package durable

import (
	"errors"
	"io"
	iofs "io/fs"
	"os"
	"syscall"
)

// What follows changes nothing, so no Tracer is told. It is here because it, too,
// is done in the name of the FS's Owner; for an FS without one the calls are those
// of packages os and syscall.

// MaxRead is the size of the largest file that ReadFile reads: who owns a file may
// have made it as large as he likes.
const MaxRead = 1 << 30

// ErrNotRegular means that a path leads to no regular file.
var ErrNotRegular = errors.New("no regular file")

// Open opens a file for reading. A pipe does not keep it waiting.
func (s *FS) Open(path string) (*os.File, error) {
	return s.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
}

// OpenFile opens a file for which nothing is promised: no Tracer sees what is done
// with it.
func (s *FS) OpenFile(path string, flags int, perm iofs.FileMode) (*os.File, error) {
	fd, err := s.OpenFD(path, flags, perm)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), path), nil
}

// OpenFD is OpenFile that gives the descriptor alone.
func (s *FS) OpenFD(path string, flags int, perm iofs.FileMode) (fd int, err error) {
	if s.owner == (Owner{}) {
		return openFD(path, flags, perm)
	}
	err = s.owner.Do(func() (err error) {
		fd, err = openFD(path, flags, perm)
		return err
	})
	return fd, err
}

// openFD opens without the runtime's poller: regular files are always ready,
// and registering them costs a system call each.
func openFD(path string, flags int, perm iofs.FileMode) (int, error) {
	for {
		fd, err := syscall.Open(path, flags|syscall.O_CLOEXEC, uint32(perm.Perm()))
		if err == nil {
			return fd, nil
		}
		if err != syscall.EINTR {
			return -1, &iofs.PathError{Op: "open", Path: path, Err: err}
		}
	}
}

// ReadFile gives the content of a regular file.
func (s *FS) ReadFile(path string) ([]byte, error) {
	f, err := s.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = &iofs.PathError{Op: "read", Path: path, Err: ErrNotRegular}
	}
	if err == nil && st.Size() > MaxRead {
		err = &iofs.PathError{Op: "read", Path: path, Err: syscall.EFBIG}
	}
	if err != nil {
		return nil, err
	}
	b := make([]byte, st.Size())
	n, err := io.ReadFull(f, b)
	if err == io.EOF || err == io.ErrUnexpectedEOF { // somebody has cut it
		err = nil
	}
	return b[:n], err
}

// ReadDir lists a directory, sorted by name. What Info of an entry asks is asked
// in the name of this process: use Lstat.
func (s *FS) ReadDir(path string) (list []iofs.DirEntry, err error) {
	err = s.owner.Do(func() (err error) {
		list, err = os.ReadDir(path)
		return err
	})
	return list, err
}

// Stat describes what a path leads to.
func (s *FS) Stat(path string) (iofs.FileInfo, error) { return s.describe(path, os.Stat) }

// Lstat is Stat that does not follow a link.
func (s *FS) Lstat(path string) (iofs.FileInfo, error) { return s.describe(path, os.Lstat) }

func (s *FS) describe(path string, ask func(string) (iofs.FileInfo, error)) (st iofs.FileInfo, err error) {
	if s.owner == (Owner{}) {
		return ask(path)
	}
	err = s.owner.Do(func() (err error) {
		st, err = ask(path)
		return err
	})
	return st, err
}

// StatInto is Stat for those who ask often.
func (s *FS) StatInto(path string, st *syscall.Stat_t) error {
	if s.owner == (Owner{}) {
		return ignoringEINTR(func() error { return syscall.Stat(path, st) })
	}
	return s.owner.Do(func() error {
		return ignoringEINTR(func() error { return syscall.Stat(path, st) })
	})
}
