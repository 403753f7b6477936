package account

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"postbag/internal/mailbox"
)

// Check looks at every folder of the account whose INBOX is at root, and says
// what it finds. Without repair it changes nothing; with it, what is found is
// mended, and what is found then is said.
func Check(ctx context.Context, store *mailbox.Store, root string, repair bool, say func(folder string, f mailbox.Finding)) error {
	root, err := filepath.Abs(root)
	if err != nil {
		return err
	}
	if _, err := store.FS().Stat(filepath.Join(root, "cur")); err != nil {
		return fmt.Errorf("check %s: %w", root, ErrNoFolder)
	}
	t := &Tree{fs: store.FS(), store: store, root: root, sep: '/'}
	all, err := t.folders()
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if repair {
			if err := store.Repair(ctx, all[name].Dir); err != nil {
				return fmt.Errorf("repair %s: %w", name, err)
			}
		}
		found, err := store.Check(all[name].Dir)
		if err != nil {
			return err
		}
		for _, f := range found {
			say(name, f)
		}
	}
	return nil
}
