package mailbox

import (
	"errors"
	"io"
	"io/fs"
	"syscall"

	"postbag/internal/durable"
)

// A letterFile is a letter's file, open for reading. Beside os.File it spares
// the poller, which knows nothing of files anyway, and the read that would only
// say that the end is reached: letters are many and small.
type letterFile struct {
	fd   int
	path string
	off  int64
	size int64 // as it was at the opening; files of letters do not grow
}

func (f *letterFile) open(by *durable.FS, path string) error {
	const flags = syscall.O_RDONLY | syscall.O_NONBLOCK // it may be a pipe
	// The time of the first reading is for nobody, and would be written to the disk.
	fd, err := by.OpenFD(path, flags|syscall.O_NOATIME, 0)
	if errors.Is(err, syscall.EPERM) { // somebody else's file
		fd, err = by.OpenFD(path, flags, 0)
	}
	if err == nil {
		*f = letterFile{fd: fd, path: path}
	}
	return err
}

// look makes sure that it is a letter's file, and learns its size. Reading
// needs it before.
func (f *letterFile) look() error {
	var st syscall.Stat_t
	if err := syscall.Fstat(f.fd, &st); err != nil {
		return &fs.PathError{Op: "stat", Path: f.path, Err: err}
	}
	if st.Mode&syscall.S_IFMT != syscall.S_IFREG {
		return &fs.PathError{Op: "open", Path: f.path, Err: durable.ErrNotRegular}
	}
	f.size = st.Size
	return nil
}

// Read implements io.Reader.
func (f *letterFile) Read(p []byte) (int, error) {
	if f.off >= f.size {
		return 0, io.EOF
	}
	if len(p) == 0 {
		return 0, nil
	}
	n, err := f.readAt(p, f.off)
	switch {
	case err != nil:
		return 0, err
	case n == 0: // somebody has cut it
		return 0, io.EOF
	}
	f.off += int64(n)
	if f.off >= f.size {
		return n, io.EOF
	}
	return n, nil
}

func (f *letterFile) readAt(p []byte, off int64) (int, error) {
	for {
		n, err := syscall.Pread(f.fd, p, off)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			return 0, &fs.PathError{Op: "read", Path: f.path, Err: err}
		}
		return n, nil
	}
}

// rewind begins again.
func (f *letterFile) rewind() { f.off = 0 }

// Close implements io.Closer. A second one does nothing: the number may be
// another file's by then.
func (f *letterFile) Close() error {
	fd := f.fd
	if f.fd = -1; fd < 0 {
		return nil
	}
	return syscall.Close(fd)
}
