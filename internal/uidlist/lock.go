package uidlist

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"postbag/internal/durable"
)

// staleAge is how long a dot lock may be left alone before it counts as
// forgotten: Dovecot says the same of ours.
const staleAge = 2 * time.Minute

// A DotLock is a file whose existence is the lock.
type DotLock struct {
	fs   *durable.FS
	path string
}

// Lock takes the dot lock of a file of Dovecot's, as Dovecot does; ok is false
// when somebody else has it for longer than wait. The lock of a process of this
// host that is no more counts as forgotten at once.
func Lock(fsys *durable.FS, file string, wait time.Duration) (l *DotLock, ok bool, err error) {
	l = &DotLock{fsys, file + ".lock"}
	hostname, _ := os.Hostname() // the name that Dovecot writes
	for end := time.Now().Add(wait); ; {
		f, err := fsys.Create(l.path, 0o600)
		if err == nil {
			// Dovecot asks whether the process lives that the lock names.
			_, err = fmt.Fprintf(f, "%d:%s", os.Getpid(), hostname)
			if err = errors.Join(err, f.Close()); err != nil {
				l.Unlock()
			}
			return l, err == nil, err
		}
		if !errors.Is(err, fs.ErrExist) {
			return nil, false, err
		}
		if l.forgotten(hostname) {
			fsys.Remove(l.path)
			continue
		}
		if time.Now().After(end) {
			return nil, false, nil
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// forgotten reports whether nobody is left who would give the lock back.
func (l *DotLock) forgotten(hostname string) bool {
	st, err := l.fs.Stat(l.path)
	if err != nil {
		return false
	}
	if time.Since(st.ModTime()) > staleAge {
		return true
	}
	text, _ := l.fs.ReadFile(l.path)
	number, host, _ := strings.Cut(string(text), ":")
	pid, err := strconv.Atoi(number)
	return err == nil && pid > 0 && hostname != "" && host == hostname && syscall.Kill(pid, 0) == syscall.ESRCH
}

// Unlock gives the lock back.
func (l *DotLock) Unlock() { l.fs.Remove(l.path) }
