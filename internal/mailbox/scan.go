package mailbox

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"postbag/internal/durable"
	"postbag/internal/maildir"
)

// A stamp is what tells that a directory has changed.
type stamp struct {
	ino          uint64
	mtime, ctime syscall.Timespec
}

// isFine reports whether the time of change is not one of a clock of whole
// milliseconds.
func (s *stamp) isFine() bool { return s.ctime.Nsec%1e6 != 0 }

func stampOf(st os.FileInfo) stamp {
	sys := st.Sys().(*syscall.Stat_t)
	return stamp{sys.Ino, sys.Mtim, sys.Ctim}
}

// stamps are those of new/ and cur/. The zero value equals none that is real.
type stamps struct {
	sub [2]stamp
	// settled, for each: it was so old when the scan began, or when the last event
	// was looked at, that no change which came later could have left it as it is.
	// Others may trust it too.
	settled [2]bool
	// firm: settled, or this process has been watching the directories, so that
	// what the stamps do not show is among the events.
	firm bool
	// young: the clock that gives directories their times has not gone on since
	// the last change, so that the next one may leave the stamps as they are.
	young bool
}

func (s *stamps) old() bool { return s.settled[0] && s.settled[1] }

// settleTime is how old a stamp must be when a scan begins for the scan to be
// trusted, where the file system may give times of a clock of whole seconds, or
// those of another host.
const settleTime = 2 * time.Second

var subdirs = [2]string{"new", "cur"}

func (b *box) stamps() (s stamps, err error) {
	var changed [2]int64
	for i, sub := range subdirs {
		var st syscall.Stat_t
		if err := b.store.fs.StatInto(b.path(sub), &st); err != nil {
			return s, fmt.Errorf("stat %s: %w", b.path(sub), err)
		}
		s.sub[i] = stamp{st.Ino, st.Mtim, st.Ctim}
		changed[i] = max(st.Mtim.Nano(), st.Ctim.Nano())
	}
	now, tick := b.store.o.Now().UnixNano(), tick()
	for i, c := range changed {
		young := c >= tick
		s.young = s.young || young
		s.settled[i] = !young && (b.fine && s.sub[i].isFine() || now-c >= int64(settleTime))
	}
	return s, nil
}

// learnFileSystem finds out how far times and events of the folder can be trusted.
func (b *box) learnFileSystem() {
	fresh, old := b.store.fs.FileSystem(b.path("new")), b.store.fs.FileSystem(b.path("cur"))
	b.fine, b.remote = fresh.FineTimes && old.FineTimes, fresh.Remote || old.Remote
}

// tick is the time that a file changed now would get: file systems go by the
// coarse clock, which stands still for some milliseconds.
func tick() int64 {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_REALTIME_COARSE, &t) != nil {
		return 1<<63 - 1 // never sure
	}
	return t.Nano()
}

// A listing is one scan of new/ and cur/.
type listing struct {
	before, after stamps
	entries       []entry
}

// stable reports whether nothing came or went while the scan was made.
func (l *listing) stable() bool { return l.before.sub == l.after.sub }

// calm reports whether that is certain, so that what the scan did not show is
// not there.
func (l *listing) calm() bool { return l.stable() && !l.before.young }

// grow waits for the clock of the directories to go on, for some time.
func (b *box) grow() {
	for range 10 {
		now, err := b.stamps()
		if err != nil || !now.young {
			return
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// calm scans until a scan is calm, some times. Whoever asks waits for the clock
// to go on first.
func (b *box) calm() (l *listing, err error) {
	for range scans {
		b.grow()
		if l, err = b.list(); err != nil || l.calm() {
			break
		}
	}
	return l, err
}

// An entry is a file in new/ or cur/.
type entry struct {
	at    string // below the folder
	size  uint32 // of its base name
	flags Flags
}

// base is the name up to the flags.
func (e entry) base() string { return e.at[4:][:e.size] }

// keyOf gives the part of a base name by which a letter is known. Programs add
// to what follows the comma and take away from it (sizes; mbsync its own
// number), and the letter stays the same.
func keyOf(base string) string {
	if at := strings.IndexByte(base, ','); at > 0 {
		return base[:at]
	}
	return base
}

// list scans the folder: new/ first, since letters go from there to cur/. A
// rename during the scan may hide a letter or show it twice: absence is to be
// believed only as sync.go does.
func (b *box) list() (*listing, error) {
	l := &listing{}
	var err error
	if l.before, err = b.stamps(); err != nil {
		return nil, gone(err)
	}
	for _, sub := range subdirs {
		if err := l.read(b.store.fs, b.path(sub), sub, b.st.keys.mask()); err != nil {
			return nil, gone(err)
		}
	}
	if l.after, err = b.stamps(); err != nil {
		return nil, gone(err)
	}
	return l, nil
}

func (l *listing) read(by *durable.FS, dir, sub string, mask Flags) error {
	places, n, err := readPlaces(by, dir, sub)
	l.entries = slices.Grow(l.entries, n)
	for _, some := range places {
		l.add(some, mask)
	}
	return err
}

// readPlaces reads a directory. It gives the places of its files, each with a zero
// octet behind it, and how many there are.
func readPlaces(by *durable.FS, dir, sub string) (places []string, count int, err error) {
	d, err := by.OpenFD(dir, syscall.O_RDONLY|syscall.O_DIRECTORY, 0)
	if err != nil {
		return nil, 0, err
	}
	defer syscall.Close(d)
	r := placeReader{by: by, dir: dir, sub: sub}
	buf := make([]byte, 64<<10)
	for {
		n, err := syscall.ReadDirent(d, buf)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return nil, 0, fmt.Errorf("read %s: %w", dir, err)
		}
		if n <= 0 {
			return places, r.count, nil
		}
		places = append(places, r.parse(buf[:n]))
	}
}

// A placeReader understands what is read of a directory.
type placeReader struct {
	by       *durable.FS
	dir, sub string
	count    int
	text     []byte // scratch
}

// parse takes entries as getdents64(2) gives them: inode 8, offset 8, length 2,
// type 1, name with a zero octet at its end.
func (r *placeReader) parse(b []byte) (places string) {
	r.text = r.text[:0]
	for len(b) > 19 {
		size := int(binary.NativeEndian.Uint16(b[16:]))
		name, kind := b[19:size], b[18]
		name = name[:bytes.IndexByte(name, 0)]
		b = b[size:]
		if name[0] == '.' || kind == syscall.DT_DIR || kind == syscall.DT_UNKNOWN && r.isDir(name) {
			continue
		}
		r.text = append(append(append(append(r.text, r.sub...), '/'), name...), 0)
		r.count++
	}
	return string(r.text)
}

// isDir asks the file, on a file system that does not tell.
func (r *placeReader) isDir(name []byte) bool {
	st, err := r.by.Lstat(filepath.Join(r.dir, string(name)))
	return err == nil && st.IsDir()
}

// add takes places. All the entries share the text, so whoever keeps the place
// of one for long copies it.
func (l *listing) add(places string, mask Flags) {
	for places != "" {
		end := strings.IndexByte(places, 0)
		e := entryAt(places[:end])
		e.flags &= mask
		l.entries = append(l.entries, e)
		places = places[end+1:]
	}
}

// entryAt understands the name of a file below new/ or cur/. A name with no
// info, with an info of another kind, or with letters of other programs is mail
// all the same. What the letters a to z stand for is for the folder to say.
func entryAt(at string) entry {
	base, flags := maildir.SplitName(at[4:])
	return entry{at: at, size: uint32(len(base)), flags: parseFlags(flags)}
}

// exists reports whether there is a file at a place below the folder.
func (b *box) exists(at string) (bool, error) {
	st, err := b.store.fs.Lstat(b.path(at))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && !st.IsDir(), err
}
