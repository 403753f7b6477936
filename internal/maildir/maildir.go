// Package maildir puts letters into Maildirs and knows their names.
//
// A letter is in the Maildir from the moment Letter.SyncDir (or Deliver)
// returns nil, across crashes of the machine; before that no reader has seen a
// torn one. The order is what makes that true:
//
//  1. Begin and Write: tmp/X is written. Readers never look there.
//  2. Sync: the octets of tmp/X are on the disk.
//  3. Place: tmp/X is renamed, without replacing, to new/X,S=..,W=.. or cur/.
//  4. SyncDir: that name is on the disk. Only now may a peer be told.
//
// # Names
//
// SECONDS.M<usec>P<pid>R<random>.host[,S=size,W=size][:2,flags]. The first two
// parts put letters in the order of their arrival without a stat; S is the size
// on the disk, W the size with CRLF line ends. Names of other programs are read
// with the same tolerance: what cannot be understood is still mail.
//
// go-maildir has the letters of flags and the syntax of Maildir++ folders. Its
// deliveries are not used, for they never sync and make files that the group can
// read; nor Init, which makes tmp/ before there is a new/, nor Clean, which goes by
// a time that delivery itself sets; nor its look-up, which moves new/ to cur/ and
// is for one process alone.
package maildir

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"postbag/internal/durable"
)

// subdirs are what makes a directory a Maildir.
var subdirs = [...]string{"tmp", "new", "cur"}

// TmpAge is how old a file in tmp/ is before anybody may take it for the rest
// of a delivery that died (maildir(5) says 36 hours).
const TmpAge = 36 * time.Hour

// Init makes dir a Maildir: durably, with its parents. What is there already is
// left as it is. tmp/ comes last, when the others are durable: where it is, a
// letter can be begun and will find a place.
func Init(fs *durable.FS, dir string, perm iofs.FileMode) error {
	if err := fs.MkdirAll(dir, perm); err != nil {
		return fmt.Errorf("make maildir %s: %w", dir, err)
	}
	if err := makeDirs(fs, dir, perm, "new", "cur"); err != nil {
		return fmt.Errorf("make maildir %s: %w", dir, err)
	}
	if err := makeDirs(fs, dir, perm, "tmp"); err != nil {
		return fmt.Errorf("make maildir %s: %w", dir, err)
	}
	return nil
}

// InitFor is Init in the name of somebody. What he may not make because it lies in
// trusted, a directory that is root's alone, root makes and gives him.
func InitFor(fs *durable.FS, who durable.Owner, dir, trusted string) error {
	his := fs.As(who)
	err := Init(his, dir, 0o700)
	if who == (durable.Owner{}) || !errors.Is(err, iofs.ErrPermission) || filepath.Dir(dir) != trusted {
		return err
	}
	if err := fs.Mkdir(dir, 0o700); err != nil && !errors.Is(err, iofs.ErrExist) {
		return fmt.Errorf("make maildir %s: %w", dir, err)
	}
	if err = fs.Chown(dir, who); err == nil {
		err = fs.SyncDir(trusted)
	}
	if err != nil {
		return fmt.Errorf("make maildir %s: %w", dir, err)
	}
	return Init(his, dir, 0o700)
}

func makeDirs(fs *durable.FS, dir string, perm iofs.FileMode, subs ...string) error {
	for _, sub := range subs {
		err := fs.Mkdir(filepath.Join(dir, sub), perm)
		if err != nil && !errors.Is(err, iofs.ErrExist) {
			return err
		}
	}
	return fs.SyncDir(dir)
}

// Unique gives a name that no other letter has, on this host or another: time,
// process, 64 random bits and the host's name.
func Unique(now time.Time, hostname string) string {
	var random [8]byte
	rand.Read(random[:])
	b := make([]byte, 0, 64)
	b = strconv.AppendInt(b, now.Unix(), 10)
	b = append(b, ".M"...)
	b = appendMicroseconds(b, now.Nanosecond()/1000)
	b = append(b, 'P')
	b = strconv.AppendInt(b, pid, 10)
	b = append(b, 'R')
	b = hex.AppendEncode(b, random[:])
	b = append(b, '.')
	return string(appendHost(b, hostname))
}

// pid never changes, and asking for it costs a system call.
var pid = int64(os.Getpid())

// appendMicroseconds pads to six digits, so that names sort as they arrived.
func appendMicroseconds(b []byte, usec int) []byte {
	for limit := 100000; limit > 1 && usec < limit; limit /= 10 {
		b = append(b, '0')
	}
	return strconv.AppendInt(b, int64(usec), 10)
}

// appendHost writes what may not stand in a name as \ooo, as maildir(5) asks.
func appendHost(b []byte, hostname string) []byte {
	if hostname == "" {
		hostname = "localhost"
	}
	for i := range len(hostname) {
		switch c := hostname[i]; {
		case c == '/' || c == ':' || c == ',' || c <= ' ' || c == 0x7F:
			b = fmt.Appendf(b, "\\%03o", c)
		default:
			b = append(b, c)
		}
	}
	return b
}

// Deliver puts one letter, read in disk form, into new/ and returns the name of
// its file. When it returns nil the letter survives a crash.
func Deliver(fs *durable.FS, dir, hostname string, now time.Time, r io.Reader) (name string, err error) {
	l, err := Begin(fs, dir, Unique(now, hostname))
	if err != nil {
		return "", err
	}
	defer l.Discard()
	if _, err = io.Copy(l, r); err != nil {
		return "", fmt.Errorf("deliver to %s: %w", dir, err)
	}
	if err = l.Sync(time.Time{}); err != nil {
		return "", err
	}
	if name, err = l.Place(context.Background(), "new", ""); err != nil {
		return "", err
	}
	return name, l.SyncDir()
}

// Clean removes files in tmp/ that nobody has touched for olderThan. It goes by
// the change time, which nothing but the kernel can set: a letter fetched from
// elsewhere gets its old date as modification time while it still lies in tmp/.
func Clean(fs *durable.FS, dir string, olderThan time.Duration) error {
	tmp := filepath.Join(dir, "tmp")
	files, err := fs.ReadDir(tmp)
	if err != nil {
		return fmt.Errorf("clean %s: %w", tmp, err)
	}
	before := time.Now().Add(-olderThan)
	var errs []error
	for _, f := range files {
		at := filepath.Join(tmp, f.Name())
		st, err := fs.Lstat(at)
		if err != nil || !st.Mode().IsRegular() || !changed(st).Before(before) {
			continue
		}
		if err := fs.Remove(at); err != nil && !errors.Is(err, iofs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("clean %s: %w", at, err))
		}
	}
	return errors.Join(errs...)
}

// changed is the time of the last change of a file or its names.
func changed(st iofs.FileInfo) time.Time {
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		return time.Unix(sys.Ctim.Unix())
	}
	return st.ModTime()
}

// IsMaildir reports whether dir has the three directories of a Maildir.
func IsMaildir(fs *durable.FS, dir string) bool {
	for _, sub := range subdirs {
		if st, err := fs.Stat(filepath.Join(dir, sub)); err != nil || !st.IsDir() {
			return false
		}
	}
	return true
}

// has reports whether new/ or cur/ of dir has a letter with that base name,
// whatever its flags.
func has(fs *durable.FS, dir, base string) (bool, error) {
	for _, sub := range subdirs[1:] {
		files, err := fs.ReadDir(filepath.Join(dir, sub))
		if err != nil {
			return false, err
		}
		for _, f := range files {
			if b, _, _ := strings.Cut(f.Name(), ":"); b == base {
				return true, nil
			}
		}
	}
	return false, nil
}
