package alias

import (
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"postbag/internal/durable"
)

// maxForward bounds a .forward file.
const maxForward = 64 << 10

// An Owner is the account whose .forward file is asked for.
type Owner struct {
	Home     string
	UID, GID int
}

// Forward reads the .forward file of an account: that of a subaddress, as
// .forward+detail, comes first. ok is false where there is none that counts: it
// must be a regular file of the account or of root that others cannot write to.
// It is read with the ids of the account, so that it cannot show what that may
// not see.
//
// A line that cannot be understood is an error, and keeps mail waiting.
func Forward(o Owner, delim, detail string) (targets []Target, ok bool, err error) {
	if !filepath.IsAbs(o.Home) || o.Home == "/" {
		return nil, false, nil
	}
	names := []string{".forward"}
	if detail != "" && !strings.ContainsAny(detail, "/\x00") && delim != "" {
		names = []string{".forward" + delim[:1] + detail, ".forward"}
	}
	for _, name := range names {
		path := filepath.Join(o.Home, name)
		text, ok, err := o.read(path)
		if err != nil {
			return nil, false, fmt.Errorf("read %s: %w", path, err)
		}
		if ok {
			targets, err = parseForward(path, text)
			return targets, len(targets) > 0, err
		}
	}
	return nil, false, nil
}

func parseForward(path, text string) ([]Target, error) {
	var all []Target
	for _, l := range logicalLines(text) {
		raw, err := split(l.text)
		for _, r := range raw {
			var t Target
			if t, err = parseTarget(r); err != nil {
				break
			}
			if strings.HasPrefix(t.Text, include) {
				err = errors.New("files cannot be included here")
				break
			}
			all = append(all, t)
		}
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, l.number, err)
		}
	}
	return all, nil
}

// read reads a file as the account.
func (o Owner) read(path string) (text string, ok bool, err error) {
	if o.UID == os.Geteuid() {
		return o.readHere(path)
	}
	if os.Geteuid() != 0 {
		return "", false, nil // we could not do what it says either
	}
	err = durable.Owner{UID: o.UID, GID: o.GID}.Do(func() (err error) {
		text, ok, err = o.readHere(path)
		return err
	})
	return text, ok, err
}

// absent are reasons why there is no file that counts: none, or none that the
// account itself could read.
var absent = []error{iofs.ErrNotExist, syscall.ENOTDIR, syscall.ELOOP, syscall.EACCES, syscall.ENXIO}

func (o Owner) readHere(path string) (text string, ok bool, err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	for _, no := range absent {
		if errors.Is(err, no) {
			return "", false, nil
		}
	}
	if err != nil {
		return "", false, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil || !o.counts(st) {
		return "", false, err
	}
	b, err := io.ReadAll(io.LimitReader(f, maxForward+1))
	if err == nil && len(b) > maxForward {
		err = fmt.Errorf("is longer than %d octets", maxForward)
	}
	return string(b), err == nil, err
}

// counts tells whether nobody else can have written the file.
func (o Owner) counts(st iofs.FileInfo) bool {
	sys, ok := st.Sys().(*syscall.Stat_t)
	return ok && st.Mode().IsRegular() && (int(sys.Uid) == o.UID || sys.Uid == 0) && st.Mode().Perm()&0o002 == 0
}
