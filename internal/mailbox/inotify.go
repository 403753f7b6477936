package mailbox

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// A notifier is an inotify instance. The kernel queues an event before the call
// that made the change returns, so whoever finds the queue empty knows of every
// change so far: hear is what the folders need of it and libraries do not have.
type notifier struct {
	file *os.File
	tell func(dir, name string, mask uint32) // quick, for mu is held; no dir: events were lost

	mu     sync.Mutex
	fd     int                // -1 when it is closed
	dirs   map[int32][]string // paths of each watch: several may lead to one directory
	wds    map[string]int32
	events [16 << 10]byte
}

// What is asked for of a folder's directory and of those whose names are
// followed, and of the directories of letters.
const (
	namesMask = unix.IN_CREATE | unix.IN_MOVED_TO | unix.IN_MOVED_FROM | unix.IN_DELETE
	dirMask   = namesMask | unix.IN_ATTRIB | unix.IN_MODIFY
)

func newNotifier(tell func(dir, name string, mask uint32)) (*notifier, error) {
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("inotify: %w", err)
	}
	return &notifier{
		file: os.NewFile(uintptr(fd), "inotify"), tell: tell, fd: fd,
		dirs: map[int32][]string{}, wds: map[string]int32{},
	}, nil
}

// run takes events as they come, until the notifier is closed.
func (n *notifier) run() {
	raw, err := n.file.SyscallConn()
	if err != nil {
		return // closed already
	}
	raw.Read(func(uintptr) bool { // an error is that it has been closed
		n.mu.Lock()
		defer n.mu.Unlock()
		for n.take() > 0 {
		}
		return n.fd < 0
	})
}

// hear has all events told that are in the queue now; false when it is closed.
func (n *notifier) hear() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.fd < 0 {
		return false
	}
	left, err := unix.IoctlGetInt(n.fd, unix.TIOCINQ)
	for left > 0 && err == nil {
		got := n.take()
		if got <= 0 {
			break
		}
		left -= got
	}
	return err == nil
}

// take reads events once, and says how many octets. The caller holds mu.
func (n *notifier) take() int {
	for n.fd >= 0 {
		size, err := unix.Read(n.fd, n.events[:])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		n.parse(n.events[:max(size, 0)])
		return size
	}
	return 0
}

// parse takes events as inotify(7) has them: watch 4, mask 4, cookie 4, length 4,
// name with zero octets behind it.
func (n *notifier) parse(b []byte) {
	for len(b) >= unix.SizeofInotifyEvent {
		wd := int32(binary.NativeEndian.Uint32(b))
		mask := binary.NativeEndian.Uint32(b[4:])
		end := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(b[12:]))
		name, _, _ := bytes.Cut(b[unix.SizeofInotifyEvent:end], []byte{0})
		n.event(wd, mask, string(name))
		b = b[end:]
	}
}

func (n *notifier) event(wd int32, mask uint32, name string) {
	switch {
	case mask&unix.IN_Q_OVERFLOW != 0:
		n.tell("", "", mask)
	case mask&unix.IN_IGNORED != 0:
		n.forget(wd) // the directory is gone
	case name != "":
		for _, dir := range n.dirs[wd] {
			n.tell(dir, name, mask)
		}
	}
}

func (n *notifier) forget(wd int32) {
	for _, dir := range n.dirs[wd] {
		delete(n.wds, dir)
	}
	delete(n.dirs, wd)
}

// add watches a directory.
func (n *notifier) add(dir string, mask uint32) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	wd, err := unix.InotifyAddWatch(n.fd, dir, mask|unix.IN_ONLYDIR|unix.IN_MASK_ADD)
	if err != nil {
		return fmt.Errorf("watch %s: %w", dir, err)
	}
	if old, known := n.wds[dir]; known && old == int32(wd) {
		return nil
	}
	n.drop(dir)
	n.wds[dir] = int32(wd)
	n.dirs[int32(wd)] = append(n.dirs[int32(wd)], dir)
	return nil
}

// remove ends that, if it is watched.
func (n *notifier) remove(dir string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.drop(dir)
}

func (n *notifier) drop(dir string) {
	wd, known := n.wds[dir]
	if !known {
		return
	}
	delete(n.wds, dir)
	left := slices.DeleteFunc(n.dirs[wd], func(d string) bool { return d == dir })
	if n.dirs[wd] = left; len(left) == 0 {
		delete(n.dirs, wd)
		unix.InotifyRmWatch(n.fd, uint32(wd)) // an error means that it is gone already
	}
}

func (n *notifier) close() error {
	n.mu.Lock()
	n.fd = -1
	n.mu.Unlock()
	return n.file.Close()
}
