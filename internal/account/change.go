package account

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"postbag/internal/mailbox"
)

const deletedPrefix = "postbag.deleted."

// Create makes a folder, for special uses (RFC 6154 section 3) if there are any.
// It is there, whole, after a crash.
func (t *Tree) Create(ctx context.Context, name string, uses ...string) error {
	name = t.Canonical(name)
	dir, err := t.newDir(name)
	if err != nil {
		return err
	}
	return t.change(ctx, func() error {
		uses, err := t.checkUses(name, uses)
		if err != nil {
			return fmt.Errorf("create %s: %w", name, err)
		}
		return t.create(name, dir, "", uses...)
	})
}

// create goes from nothing, or from what a crash has left of a folder without
// cur/, to a folder with the metadata of the one at like, if that is not empty.
// cur/ comes last, so nobody sees half a folder.
func (t *Tree) create(name, dir, like string, uses ...string) error {
	if t.isFolder(dir) {
		return fmt.Errorf("create %s: %w", name, ErrExists)
	}
	for _, sub := range []string{"", "tmp", "new"} {
		if err := t.fs.Mkdir(filepath.Join(dir, sub), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("create %s: %w", name, err)
		}
	}
	// The marker by which delivery agents know a folder from an INBOX.
	if err := t.fs.WriteFile(filepath.Join(dir, "maildirfolder"), nil, 0o600); err != nil {
		return fmt.Errorf("create %s: %w", name, err)
	}
	if err := errors.Join(t.writeUses(dir, uses), t.copyMetadata(like, dir)); err != nil {
		return fmt.Errorf("create %s: %w", name, err)
	}
	if err := t.fs.SyncDir(t.root); err != nil {
		return fmt.Errorf("create %s: %w", name, err)
	}
	if err := t.fs.Mkdir(filepath.Join(dir, "cur"), 0o700); err != nil {
		return fmt.Errorf("create %s: %w", name, err)
	}
	if err := t.fs.SyncDir(dir); err != nil {
		return fmt.Errorf("create %s: %w", name, err)
	}
	return nil
}

// Delete removes a folder and its letters. Its children stay (RFC 9051 section
// 6.3.5).
func (t *Tree) Delete(ctx context.Context, name string) error {
	name = t.Canonical(name)
	if name == Inbox {
		return fmt.Errorf("delete: %w", ErrInbox)
	}
	dir, err := t.dir(name)
	if err != nil {
		return err
	}
	return t.change(ctx, func() error {
		if !t.isFolder(dir) {
			return fmt.Errorf("delete %s: %w", name, ErrNoFolder)
		}
		t.store.Release(dir)
		grave := filepath.Join(t.root, deletedPrefix+rand.Text())
		if err := t.fs.Rename(dir, grave); err != nil {
			return fmt.Errorf("delete %s: %w", name, err)
		}
		if err := t.fs.SyncDir(t.root); err != nil {
			return fmt.Errorf("delete %s: %w", name, err)
		}
		t.remove(grave)         // what stays is swept by the next Open
		_ = t.Quota().Recount() // else whoever asks for room counts
		return nil
	})
}

// remove removes a tree as far as it can.
func (t *Tree) remove(path string) {
	st, err := t.fs.Lstat(path)
	if err != nil {
		return
	}
	if st.IsDir() {
		files, _ := t.fs.ReadDir(path)
		for _, f := range files {
			t.remove(filepath.Join(path, f.Name()))
		}
	}
	t.fs.Remove(path)
}

// sweep removes what is left of deleted folders.
func (t *Tree) sweep() {
	files, _ := t.fs.ReadDir(t.root)
	for _, f := range files {
		if strings.HasPrefix(f.Name(), deletedPrefix) {
			t.remove(filepath.Join(t.root, f.Name()))
		}
	}
}

// Rename renames a folder and its children. INBOX's letters move to the new
// folder, and INBOX stays, empty; its children stay too (RFC 9051 section
// 6.3.6).
func (t *Tree) Rename(ctx context.Context, from, to string) error {
	from, to = t.Canonical(from), t.Canonical(to)
	dst, err := t.newDir(to)
	if err != nil {
		return err
	}
	if strings.HasPrefix(to+string(t.sep), from+string(t.sep)) && to != from && from != Inbox {
		return fmt.Errorf("rename %s to %s: %w: below itself", from, to, ErrBadName)
	}
	return t.change(ctx, func() error {
		if t.isFolder(dst) {
			return fmt.Errorf("rename %s to %s: %w", from, to, ErrExists)
		}
		if from == Inbox {
			return t.emptyInbox(ctx, to, dst)
		}
		return t.rename(from, to)
	})
}

func (t *Tree) rename(from, to string) error {
	all, err := t.folders()
	if err != nil {
		return err
	}
	moves := map[string]string{}
	for name, f := range all {
		rest, below := strings.CutPrefix(name, from+string(t.sep))
		switch {
		case name == from:
			moves[f.Dir], err = t.dir(to)
		case below:
			moves[f.Dir], err = t.dir(to + string(t.sep) + rest)
		default:
			continue
		}
		if err != nil {
			return err
		}
	}
	if len(moves) == 0 {
		return fmt.Errorf("rename %s: %w", from, ErrNoFolder)
	}
	for _, dst := range moves {
		if t.isFolder(dst) {
			return fmt.Errorf("rename %s to %s: %w", from, to, ErrExists)
		}
	}
	if err := t.renameAll(moves); err != nil {
		return fmt.Errorf("rename %s to %s: %w", from, to, err)
	}
	if err := t.fs.SyncDir(t.root); err != nil {
		return fmt.Errorf("rename %s to %s: %w", from, to, err)
	}
	return nil
}

// renameAll renames directories: all, or as far as that goes none.
func (t *Tree) renameAll(moves map[string]string) error {
	sources := slices.Sorted(maps.Keys(moves))
	for i, src := range sources {
		t.store.Release(src)
		if err := t.fs.RenameUnique(src, moves[src]); err != nil {
			for _, done := range slices.Backward(sources[:i]) {
				t.fs.Rename(moves[done], done)
			}
			return err
		}
	}
	return nil
}

// emptyInbox moves all letters of INBOX to a new folder, which has INBOX's
// metadata, too (RFC 5464 section 4.1).
func (t *Tree) emptyInbox(ctx context.Context, to, dst string) error {
	if err := t.create(to, dst, t.root); err != nil {
		return err
	}
	src, err := t.store.Open(ctx, t.root)
	if err != nil {
		return err
	}
	defer src.Close()
	into, err := t.store.Open(ctx, dst)
	if err != nil {
		return err
	}
	defer into.Close()
	if err := src.Sync(ctx); err != nil {
		return err
	}
	v := src.View()
	uids := make([]uint32, v.Len())
	for i := range uids {
		uids[i] = v.At(i).UID
	}
	if _, _, err := mailbox.Move(ctx, src, uids, into); err != nil {
		return err
	}
	return into.PayDebts(ctx)
}
