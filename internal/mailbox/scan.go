package mailbox

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
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
	base  string
	flags Flags
	at    string // below the folder
}

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
	l := &listing{entries: make([]entry, 0, b.st.rows.length+64)}
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
	d, err := by.OpenFD(dir, syscall.O_RDONLY|syscall.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer syscall.Close(d)
	buf := make([]byte, 64<<10)
	for {
		n, err := syscall.ReadDirent(d, buf)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", dir, err)
		}
		if n <= 0 {
			return nil
		}
		l.parse(by, dir, sub, mask, buf[:n])
	}
}

// parse takes entries as getdents64(2) gives them: inode 8, offset 8, length 2,
// type 1, name with a zero octet at its end.
func (l *listing) parse(by *durable.FS, dir, sub string, mask Flags, b []byte) {
	for len(b) > 19 {
		size := int(binary.NativeEndian.Uint16(b[16:]))
		name, _, _ := bytes.Cut(b[19:size], []byte{0})
		kind := b[18]
		b = b[size:]
		if name[0] == '.' || kind == syscall.DT_DIR {
			continue
		}
		e := entryAt(sub + "/" + string(name))
		e.flags &= mask
		if kind == syscall.DT_UNKNOWN {
			// A file system that does not tell.
			if st, err := by.Lstat(filepath.Join(dir, e.at[4:])); err == nil && st.IsDir() {
				continue
			}
		}
		l.entries = append(l.entries, e)
	}
}

// entryAt understands the name of a file below new/ or cur/. A name with no
// info, with an info of another kind, or with letters of other programs is mail
// all the same. What the letters a to z stand for is for the folder to say.
func entryAt(at string) entry {
	n := maildir.ParseName(at[4:])
	return entry{base: n.Base, flags: parseFlags(n.Flags), at: at}
}

// exists reports whether there is a file at a place below the folder.
func (b *box) exists(at string) (bool, error) {
	st, err := b.store.fs.Lstat(b.path(at))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && !st.IsDir(), err
}

// arrivedAt orders letters that have no UID yet: by the seconds and the
// microseconds that their names begin with (SECONDS.M<usec>), then by name. No
// file is looked at.
func arrivedAt(base string) (sec, usec uint64) {
	first, rest, _ := strings.Cut(base, ".")
	sec, err := strconv.ParseUint(first, 10, 62)
	if err != nil {
		return 1 << 62, 0 // not a usual name: after the others
	}
	if rest, ok := strings.CutPrefix(rest, "M"); ok {
		end := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
		if end < 0 {
			end = len(rest)
		}
		usec, _ = strconv.ParseUint(rest[:end], 10, 62)
	}
	return sec, usec
}

// sortArrivals puts new letters into the order in which they get UIDs.
func sortArrivals(found []entry) {
	type key struct {
		sec, usec uint64
		at        int
	}
	keys := make([]key, len(found))
	for i := range found {
		sec, usec := arrivedAt(found[i].base)
		keys[i] = key{sec, usec, i}
	}
	slices.SortFunc(keys, func(a, b key) int {
		if a.sec != b.sec || a.usec != b.usec {
			return cmp.Or(cmp.Compare(a.sec, b.sec), cmp.Compare(a.usec, b.usec))
		}
		return cmp.Or(strings.Compare(keyOf(found[a.at].base), keyOf(found[b.at].base)), cmp.Compare(a.at, b.at))
	})
	if slices.IsSortedFunc(keys, func(a, b key) int { return cmp.Compare(a.at, b.at) }) {
		return
	}
	unsorted := slices.Clone(found)
	for i, k := range keys {
		found[i] = unsorted[k.at]
	}
}

// idOf is the EMAILID of a letter that was delivered: derived from its base
// name, so that it outlives our log. Names that are no usual ones may be used
// again for other letters; those get a random id (0 here).
func idOf(base string) uint64 {
	if sec, _ := arrivedAt(base); sec >= 1<<62 || sec < 1e8 || !strings.Contains(base, ".") {
		return 0
	}
	h := uint64(14695981039346656037) // FNV-1a
	for _, c := range []byte(keyOf(base)) {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return h
}
