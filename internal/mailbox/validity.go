package mailbox

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"postbag/internal/durable"
	"postbag/internal/maildir"
)

// validityName is the file at a Maildir's root that remembers every
// UIDVALIDITY given in the tree, a decimal a line. Only appended to, so that a
// crash can take nothing back; the greatest whole line counts.
const validityName = "postbag.uidvalidity"

// nextValidity gives a UIDVALIDITY that no folder of the tree has ever had, here or
// with Dovecot: max(now, last + 1), or notes given, if it is not 0, as one that has
// been given by another server. It is on the disk when nextValidity returns.
func nextValidity(s *Store, dir string, given uint32) (uint32, error) {
	root := maildir.Root(s.fs, dir)
	f, err := s.fs.OpenAppend(filepath.Join(root, validityName), 0o600)
	if err != nil {
		return 0, err
	}
	defer f.Close() // gives the lock back; what was written has been synced
	if err := lockFile(f, s.o.LockWait); err != nil {
		return 0, err
	}
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if st.Size() > durable.MaxRead {
		return 0, fmt.Errorf("read %s: %w", validityName, syscall.EFBIG)
	}
	b := make([]byte, st.Size())
	if _, err := f.ReadAt(b, 0); err != nil && len(b) > 0 {
		return 0, err
	}
	next := given
	if next == 0 {
		next = max(uint32(s.o.Now().Unix()), lastValidity(string(b))+1, dovecotValidity(s.fs, root)+1)
	}
	line := strconv.FormatUint(uint64(next), 10) + "\n"
	if n := len(b); n > 0 && b[n-1] != '\n' {
		line = "\n" + line // a torn line stays one of its own
	}
	if _, err := f.Write([]byte(line)); err != nil {
		return 0, fmt.Errorf("write %s: %w", validityName, err)
	}
	if err := f.Sync(); err != nil {
		return 0, fmt.Errorf("sync %s: %w", validityName, err)
	}
	return next, s.fs.SyncDir(root)
}

// lastValidity is the greatest number in the file's lines. A line that a crash
// tore can only be too small, or is no number.
func lastValidity(text string) uint32 {
	last := uint32(0)
	for line := range strings.Lines(text) {
		if n, err := strconv.ParseUint(strings.TrimSpace(line), 10, 32); err == nil {
			last = max(last, uint32(n))
		}
	}
	return last
}

// dovecotPrefix begins the names of files in which Dovecot remembers the last
// UIDVALIDITY that it has given in a tree, in hexadecimal.
const dovecotPrefix = "dovecot-uidvalidity."

// dovecotValidity is the greatest of those; 0 when Dovecot was never there.
func dovecotValidity(fs *durable.FS, root string) (last uint32) {
	files, err := fs.ReadDir(root)
	if err != nil {
		return 0 // whoever makes a folder there says so
	}
	for _, f := range files {
		hex, found := strings.CutPrefix(f.Name(), dovecotPrefix)
		if n, err := strconv.ParseUint(hex, 16, 32); found && err == nil {
			last = max(last, uint32(n))
		}
	}
	return last
}

// lockFile locks a file that is held for moments only.
func lockFile(f *durable.File, wait time.Duration) error {
	deadline := time.Now().Add(wait)
	for {
		ok, err := f.TryLock()
		if err != nil || ok {
			return err
		}
		if time.Now().After(deadline) {
			return inUse(f.Name())
		}
		time.Sleep(time.Millisecond)
	}
}
