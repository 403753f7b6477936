package account

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

const (
	// metadataName is the file in a folder that holds its metadata, an entry a
	// line, name and value quoted as Go does it. It lies there so that it goes
	// with the folder, whoever renames or removes it.
	metadataName = "postbag.metadata"
	// serverName is that of the account, at the root.
	serverName = "postbag.metadata.account"
)

// Limits of metadata (RFC 5464 section 4.1 has at least 1,024 octets and 10
// entries).
const (
	MaxValue   = 16 << 10 // octets of a value
	maxEntries = 100      // of a folder, or of the account
)

// SpecialUse is the entry of a folder that says what it is for, as LIST does (RFC
// 6154 section 4). It is not among what Metadata gives.
const SpecialUse = "/private/specialuse"

// ErrTooMany means that there is no room for more metadata: NO [METADATA TOOMANY].
var ErrTooMany = errors.New("too many metadata entries")

// Metadata are values that clients keep with a folder or an account (RFC 5464), by
// the names of their entries in small letters.
type Metadata map[string]string

// Changed gives the names whose values differ, sorted.
func (m Metadata) Changed(now Metadata) (names []string) {
	all := maps.Clone(m)
	if all == nil {
		all = Metadata{}
	}
	maps.Copy(all, now)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		before, was := m[name]
		if after, is := now[name]; was != is || before != after {
			names = append(names, name)
		}
	}
	return names
}

// metadataPath is the file for a folder, or with "" for the account.
func (t *Tree) metadataPath(folder string) (string, error) {
	if folder == "" {
		return filepath.Join(t.root, serverName), nil
	}
	dir, err := t.dir(folder)
	if err == nil && !t.isFolder(dir) {
		err = fmt.Errorf("metadata of %s: %w", folder, ErrNoFolder)
	}
	return filepath.Join(dir, metadataName), err
}

// Metadata gives what is kept with a folder, or with "" for the account.
func (t *Tree) Metadata(folder string) (Metadata, error) {
	path, err := t.metadataPath(folder)
	if err != nil {
		return nil, err
	}
	m, err := t.readMetadata(path)
	if err == nil && len(m) == 0 { // if it has just got another name, it has not lost them
		_, err = t.metadataPath(folder)
	}
	if err != nil {
		return nil, fmt.Errorf("read metadata of %q: %w", folder, err)
	}
	return m, nil
}

// SetMetadata changes entries of a folder, or with "" of the account; nil removes
// one. What is refused changes nothing. It is on the disk when SetMetadata returns,
// and the modseq of the folder is greater.
func (t *Tree) SetMetadata(ctx context.Context, folder string, set map[string]*string) error {
	return t.change(ctx, func() error {
		path, err := t.metadataPath(folder)
		if err != nil {
			return err
		}
		m, err := t.readMetadata(path)
		if err != nil {
			return fmt.Errorf("read metadata of %q: %w", folder, err)
		}
		m.set(set)
		if len(m) > maxEntries {
			return fmt.Errorf("set metadata of %q: %w", folder, ErrTooMany)
		}
		err = t.alter(ctx, folder, func() error {
			uses, given := set[SpecialUse]
			if err := t.setUses(folder, uses, given); err != nil {
				return err
			}
			return t.fs.WriteFile(path, m.encode(), 0o600)
		})
		if err != nil {
			return fmt.Errorf("set metadata of %q: %w", folder, err)
		}
		return nil
	})
}

// alter does something to a folder that raises its modseq. "" is the account, which
// has none.
func (t *Tree) alter(ctx context.Context, folder string, do func() error) error {
	if folder == "" {
		return do()
	}
	f, err := t.Open(ctx, folder)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Alter(ctx, do)
}

// set changes entries; a special use lies elsewhere.
func (m Metadata) set(values map[string]*string) {
	for name, v := range values {
		if v == nil || name == SpecialUse {
			delete(m, name)
			continue
		}
		m[name] = *v
	}
}

func (m Metadata) encode() (b []byte) {
	for _, name := range slices.Sorted(maps.Keys(m)) {
		b = strconv.AppendQuote(b, name)
		b = strconv.AppendQuote(append(b, ' '), m[name])
		b = append(b, '\n')
	}
	return b
}

// readMetadata reads a file, which may be missing. Lines that nobody understands
// are passed over.
func (t *Tree) readMetadata(path string) (Metadata, error) {
	b, err := t.fs.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Metadata{}, nil
	}
	if err != nil {
		return nil, err
	}
	m := Metadata{}
	for line := range strings.Lines(string(b)) {
		quoted, err := strconv.QuotedPrefix(line)
		if err != nil {
			continue
		}
		name, err1 := strconv.Unquote(quoted)
		value, err2 := strconv.Unquote(strings.TrimSpace(line[len(quoted):]))
		if err1 == nil && err2 == nil {
			m[name] = value
		}
	}
	return m, nil
}

// copyMetadata gives a folder that is being made the metadata of another one, or
// none: some may be left of a folder whose making a crash has ended.
func (t *Tree) copyMetadata(from, to string) error {
	path := filepath.Join(to, metadataName)
	if from != "" {
		m, err := t.readMetadata(filepath.Join(from, metadataName))
		if err != nil {
			return err
		}
		if len(m) > 0 {
			return t.fs.WriteFile(path, m.encode(), 0o600)
		}
	}
	if err := t.fs.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Made says when, and as which file, the marker of a folder was made: it is the
// same after a rename. The zero value knows nothing, as of a folder without one.
type Made struct {
	inode uint64
	time  int64 // nanoseconds since 1970
}

// Made gives the folder's.
func (t *Tree) Made(f *Folder) Made {
	st, err := t.fs.Stat(filepath.Join(f.Dir, "maildirfolder"))
	if err != nil {
		return Made{}
	}
	return Made{st.Sys().(*syscall.Stat_t).Ino, st.ModTime().UnixNano()}
}
