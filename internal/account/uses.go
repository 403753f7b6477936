package account

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
)

// useName is the file in a folder that says what it is for, one use a line. It
// lies there so that it goes with the folder, whoever renames or removes it.
const useName = "postbag.use"

// ErrBadUse means that a folder cannot have that special use: NO [USEATTR].
var ErrBadUse = errors.New("not a special use for a mailbox")

// kept are the uses that a folder can be made for. \All and \Flagged are of
// folders that show what others hold.
var kept = []string{`\Archive`, `\Drafts`, `\Junk`, `\Sent`, `\Trash`}

// checkUses brings uses of a folder into the form in which they are listed, and
// refuses those that another one was made for.
func (t *Tree) checkUses(folder string, uses []string) ([]string, error) {
	var all []string
	for _, u := range uses {
		at := slices.IndexFunc(kept, func(k string) bool { return strings.EqualFold(k, u) })
		if at < 0 {
			return nil, fmt.Errorf("%s: %w", u, ErrBadUse)
		}
		all = append(all, kept[at])
	}
	if len(all) == 0 {
		return nil, nil
	}
	folders, err := t.folders()
	if err != nil {
		return nil, err
	}
	for _, f := range folders {
		for _, u := range t.readUses(f.Dir) {
			if f.Name != folder && slices.Contains(all, u) {
				return nil, fmt.Errorf("%s is %s's: %w", u, f.Name, ErrBadUse)
			}
		}
	}
	return all, nil
}

// writeUses says what a folder that is being made is for.
func (t *Tree) writeUses(dir string, uses []string) error {
	path := filepath.Join(dir, useName)
	if len(uses) > 0 {
		return t.fs.WriteFile(path, []byte(strings.Join(uses, "\n")+"\n"), 0o600)
	}
	// One may be left of a folder whose making a crash has ended.
	if err := t.fs.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// setUses changes what a folder is for, if a change is given: uses apart by
// blanks, or nil for none.
func (t *Tree) setUses(folder string, uses *string, given bool) error {
	if !given {
		return nil
	}
	folder = t.Canonical(folder)
	if folder == "" || folder == Inbox {
		return fmt.Errorf("%q: %w", folder, ErrBadUse)
	}
	var all []string
	if uses != nil {
		all = strings.Fields(*uses)
	}
	all, err := t.checkUses(folder, all)
	if err != nil {
		return err
	}
	dir, err := t.dir(folder)
	if err != nil {
		return err
	}
	return t.writeUses(dir, all)
}

// readUses gives what a folder was made for.
func (t *Tree) readUses(dir string) (uses []string) {
	b, err := t.fs.ReadFile(filepath.Join(dir, useName))
	if err != nil {
		return nil // it was made for nothing
	}
	for _, u := range strings.Fields(string(b)) {
		if slices.Contains(kept, u) {
			uses = append(uses, u)
		}
	}
	return uses
}
