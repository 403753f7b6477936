package fetch

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"postbag/internal/durable"
	"postbag/internal/status"
)

// An mboxFile is an mbox, open and locked.
type mboxFile struct {
	fs   *durable.FS
	file *durable.File
	dot  string // the dot lock, "" when its directory would not have one
}

// lockTime is how long another program may keep its lock on an mbox, and
// staleTime when a dot lock is taken for one that was forgotten.
const (
	lockTime  = 30 * time.Second
	staleTime = 5 * time.Minute
)

// open opens an mbox, makes it if it is not there, and locks it in both ways
// that are customary.
func (s *mboxSink) open(path string) (*mboxFile, error) {
	box := &mboxFile{fs: s.FS}
	deadline := time.Now().Add(lockTime)
	for {
		busy, err := box.tryLock(path)
		if err != nil {
			box.close()
			return nil, err
		}
		if !busy {
			break
		}
		if time.Now().After(deadline) {
			box.close()
			return nil, status.Exit(status.ExTempFail, "lock "+path, errors.New("another program keeps it locked"))
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-s.ctx.Done():
			box.close()
			return nil, s.ctx.Err()
		}
	}
	if err := s.FS.SyncDir(filepath.Dir(path)); err != nil { // it may be new
		box.close()
		return nil, err
	}
	return box, nil
}

// tryLock takes what locks are missing; it reports whether one is taken.
func (b *mboxFile) tryLock(path string) (busy bool, err error) {
	if b.dot == "" {
		if busy, err = b.dotLock(path + ".lock"); busy || err != nil {
			return busy, err
		}
	}
	if b.file == nil {
		if b.file, err = b.fs.OpenAppend(path, 0o600); err != nil {
			return false, err
		}
	}
	free, err := b.file.TryLock()
	return !free, err
}

// dotLock makes the dot lock, whole with the number of this process in it: one
// that is killed must not leave a lock of which nobody knows the owner.
func (b *mboxFile) dotLock(path string) (busy bool, err error) {
	own := fmt.Sprintf("%s.%d", path, os.Getpid())
	f, err := b.fs.Create(own, 0o600)
	switch {
	case errors.Is(err, fs.ErrPermission): // as in a mail spool that belongs to root
		return false, nil
	case errors.Is(err, fs.ErrExist): // left by a process that had our number
		return true, b.fs.Remove(own)
	case err != nil:
		return false, err
	}
	defer b.fs.Remove(own)
	if _, err := fmt.Fprintf(f, "%d\n", os.Getpid()); err != nil {
		f.Close()
		return false, err
	}
	if err := f.Close(); err != nil {
		return false, err
	}
	err = b.fs.Link(own, path)
	if errors.Is(err, fs.ErrExist) && forgotten(path) {
		if err := b.fs.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
		err = b.fs.Link(own, path)
	}
	switch {
	case errors.Is(err, fs.ErrExist):
		return true, nil
	case err != nil:
		return false, err
	}
	b.dot = path
	return false, nil
}

// forgotten reports whether a dot lock's owner is gone: its process number
// stands in it, as is customary.
func forgotten(path string) bool {
	info, err := os.Stat(path)
	if err != nil {
		return false
	}
	if time.Since(info.ModTime()) > staleTime {
		return true
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return false
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid <= 0 {
		return false
	}
	// Our own number was somebody's before the machine, or the container, began
	// anew: we have no such lock.
	return pid == os.Getpid() || errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
}

func (b *mboxFile) close() {
	if b.file != nil {
		b.file.Close()
	}
	if b.dot != "" {
		b.fs.Remove(b.dot)
	}
}

// end is where the next letter may begin: after an empty line, which is added
// if it is missing.
func (b *mboxFile) end() (int64, error) {
	size, err := b.size()
	if err != nil || size == 0 {
		return size, err
	}
	last := make([]byte, min(size, 2))
	if _, err := b.file.ReadAt(last, size-int64(len(last))); err != nil {
		return 0, err
	}
	missing := ""
	if last[len(last)-1] != '\n' {
		missing = "\n\n"
	} else if len(last) == 2 && last[0] != '\n' {
		missing = "\n"
	}
	if missing != "" {
		if _, err := io.WriteString(b.file, missing); err != nil {
			return 0, err
		}
	}
	return size + int64(len(missing)), nil
}

func (b *mboxFile) size() (int64, error) {
	info, err := b.file.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// copyFrom appends a staged file, durably.
func (b *mboxFile) copyFrom(path string) error {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	if err := copyLetter(b.file, in); err != nil {
		return err
	}
	return b.file.Sync()
}

// settle finds out how much of a staged file has been appended at offset. All
// of it: it makes sure that it stays, and reports true. Else it takes back what
// is there, as long as that is nobody else's.
func (b *mboxFile) settle(path string, offset int64) (whole bool, err error) {
	want, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		// It is removed after `done` alone; and where the removal survived a
		// crash, what came before it on the disk did, too.
		return true, nil
	}
	if err != nil {
		return false, err
	}
	defer want.Close()
	size, err := b.size()
	if err != nil {
		return false, err
	}
	same, rest, err := compare(want, io.NewSectionReader(b.file, offset, max(0, size-offset)))
	if err != nil {
		return false, err
	}
	info, err := want.Stat()
	if err != nil {
		return false, err
	}
	if same == info.Size() {
		return true, b.file.Sync()
	}
	if size <= offset || !torn(rest) {
		return false, nil
	}
	if err := b.file.Truncate(offset); err != nil {
		return false, err
	}
	return false, b.file.Sync()
}

// torn reports whether what stands where a staged file and an mbox begin to
// differ is the rest of an append that a crash broke off: nothing, or what
// disks leave there. A letter of another program is none.
func torn(rest []byte) bool {
	return len(rest) == 0 || bytes.IndexByte(rest, 0) >= 0 && !bytes.Contains(rest, []byte("\nFrom "))
}

// compare reads both as far as they are the same: so many octets, and what b
// has then, up to a limit.
func compare(a, b io.Reader) (same int64, rest []byte, err error) {
	ra, rb := bufio.NewReaderSize(a, 64<<10), bufio.NewReaderSize(b, 64<<10)
	for {
		x, xerr := ra.ReadByte()
		y, yerr := rb.ReadByte()
		if xerr != nil && xerr != io.EOF || yerr != nil && yerr != io.EOF {
			return same, nil, errors.Join(xerr, yerr)
		}
		if yerr == io.EOF {
			return same, nil, nil
		}
		if xerr == io.EOF || x != y {
			rb.UnreadByte()
			rest, err := io.ReadAll(io.LimitReader(rb, 64<<20))
			return same, rest, err
		}
		same++
	}
}
