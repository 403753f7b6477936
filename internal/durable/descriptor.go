package durable

import (
	"io"
	iofs "io/fs"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// A descriptor is an open file as the kernel knows it, for what each letter
// needs: an *os.File asks the kernel for the flags of what it is made of, which
// costs as much as a small write. For all else there is file.
type descriptor struct {
	name string

	mu sync.RWMutex // held while fd is used, so that it is not closed meanwhile
	fd int          // -1 once it is closed
	f  *os.File     // nil until somebody needs it; it owns fd then
}

// openDescriptor opens a file for writing.
func openDescriptor(path string, flags int, perm iofs.FileMode) (*descriptor, error) {
	fd, err := openFD(path, flags, perm)
	if err != nil {
		return nil, err
	}
	return &descriptor{name: path, fd: fd}, nil
}

// use calls do with the descriptor.
func (d *descriptor) use(do func(fd int) error) error {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.fd < 0 {
		return &iofs.PathError{Op: "use", Path: d.name, Err: os.ErrClosed}
	}
	return do(d.fd)
}

// Write writes all of p or fails.
func (d *descriptor) Write(p []byte) (done int, err error) {
	err = d.use(func(fd int) error {
		for err == nil && done < len(p) {
			var n int
			n, err = unix.Write(fd, p[done:])
			if err == unix.EINTR {
				n, err = 0, nil
			} else if err == nil && n == 0 {
				err = io.ErrUnexpectedEOF
			}
			done += max(n, 0)
		}
		if err != nil {
			err = &iofs.PathError{Op: "write", Path: d.name, Err: err}
		}
		return err
	})
	return done, err
}

// file is the same as an *os.File; nil, with which each method fails, once it is
// closed.
func (d *descriptor) file() *os.File {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.f == nil && d.fd >= 0 {
		d.f = os.NewFile(uintptr(d.fd), d.name)
	}
	return d.f
}

// Close waits for who uses the descriptor.
func (d *descriptor) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fd < 0 {
		return &iofs.PathError{Op: "close", Path: d.name, Err: os.ErrClosed}
	}
	fd := d.fd
	d.fd = -1
	if d.f != nil {
		return d.f.Close()
	}
	if err := unix.Close(fd); err != nil && err != unix.EINTR { // closed all the same
		return &iofs.PathError{Op: "close", Path: d.name, Err: err}
	}
	return nil
}
