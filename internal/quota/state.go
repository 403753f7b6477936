package quota

import (
	"fmt"
	iofs "io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"postbag/internal/durable"
	"postbag/internal/maildir"
)

// A state is what the file says.
type state struct {
	limit   Limit
	usage   Usage
	lines   int       // after the first
	counted time.Time // or noted, the last time
}

// firm reports whether the state is a count of just now, and no sum of notes.
func (s *state) firm() bool { return s.lines <= 1 && time.Since(s.counted) < fresh }

// format begins a file with a state.
func (s *state) format() []byte {
	return fmt.Appendf(nil, "%s\n%12d %12d\n", s.limit, s.usage.Bytes, s.usage.Letters)
}

// parse reads a file; ok is false when something in it makes no sense. A line
// that is not whole is still being written.
func parse(text []byte) (s state, ok bool) {
	ok = true
	first, rest, _ := strings.Cut(string(text), "\n")
	if s.limit, ok = parseLimit(first); !ok {
		return s, false
	}
	for line := range strings.Lines(rest) {
		if !strings.HasSuffix(line, "\n") {
			break
		}
		var u Usage
		if n, err := fmt.Sscan(line, &u.Bytes, &u.Letters); n != 2 || err != nil {
			ok = false
			continue
		}
		s.usage, s.lines = s.usage.Add(u), s.lines+1
	}
	return s, ok && s.lines > 0 && s.usage.Bytes >= 0 && s.usage.Letters >= 0
}

// String is the limit as the file has it.
func (l Limit) String() string {
	var parts []string
	if l.Bytes > 0 {
		parts = append(parts, strconv.FormatInt(l.Bytes, 10)+"S")
	}
	if l.Letters > 0 {
		parts = append(parts, strconv.FormatInt(l.Letters, 10)+"C")
	}
	return strings.Join(parts, ",")
}

// parseLimit reads the first line. Kinds of limits that others may add are
// passed over.
func parseLimit(line string) (l Limit, ok bool) {
	for part := range strings.SplitSeq(strings.TrimSpace(line), ",") {
		if part == "" {
			continue
		}
		n, err := strconv.ParseInt(part[:len(part)-1], 10, 64)
		if err != nil || n < 0 {
			return Limit{}, false
		}
		switch part[len(part)-1] {
		case 'S':
			l.Bytes = n
		case 'C':
			l.Letters = n
		}
	}
	return l, true
}

// countLetters counts what is in the folders of a Maildir; calm is false when
// letters came or went meanwhile.
func countLetters(fs *durable.FS, root string) (u Usage, calm bool, err error) {
	files, err := fs.ReadDir(root)
	if err != nil {
		return u, false, err
	}
	calm = true
	dirs := []string{root}
	for _, f := range files {
		if _, folder := maildir.Split(f.Name()); folder && f.IsDir() {
			dirs = append(dirs, filepath.Join(root, f.Name()))
		}
	}
	for _, dir := range dirs {
		for _, sub := range []string{"new", "cur"} {
			part, still, err := countDir(fs, filepath.Join(dir, sub))
			if err != nil && !os.IsNotExist(err) {
				return u, false, err
			}
			u, calm = u.Add(part), calm && still
		}
	}
	return u, calm, nil
}

// countDir counts one directory.
func countDir(fs *durable.FS, dir string) (u Usage, calm bool, err error) {
	before, err := fs.Stat(dir)
	if err != nil {
		return u, os.IsNotExist(err), err
	}
	files, err := fs.ReadDir(dir)
	if err != nil {
		return u, false, err
	}
	for _, f := range files {
		if size, ok := sizeOf(fs, dir, f); ok {
			u = u.Add(Usage{size, 1})
		}
	}
	after, err := fs.Stat(dir)
	return u, err == nil && after.ModTime().Equal(before.ModTime()), nil
}

// sizeOf gives the size of a letter; false for what is none.
func sizeOf(fs *durable.FS, dir string, f iofs.DirEntry) (int64, bool) {
	if f.IsDir() || strings.HasPrefix(f.Name(), ".") {
		return 0, false
	}
	if n := maildir.ParseName(f.Name()); n.Size >= 0 {
		return n.Size, true
	}
	st, err := fs.Lstat(filepath.Join(dir, f.Name()))
	if err != nil {
		return 0, false // gone meanwhile
	}
	return st.Size(), true
}
