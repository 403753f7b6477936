package account

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
)

// A Folder is a line of List.
type Folder struct {
	Name        string // UTF-8, levels apart by Separator
	Dir         string
	Exists      bool // false for a level that has only children, and a subscription to nothing
	Subscribed  bool
	HasChildren bool
	SpecialUse  []string // RFC 6154: `\Sent`
}

// List lists all folders, INBOX first, then by name; names that are subscribed to
// but not there, and levels above folders and those that are none themselves,
// have Exists false.
func (t *Tree) List(ctx context.Context) ([]Folder, error) {
	all, err := t.folders()
	if err != nil {
		return nil, err
	}
	subscribed, err := t.Subscribed()
	if err != nil {
		return nil, err
	}
	for _, name := range subscribed {
		f, known := all[name]
		if !known {
			f = &Folder{Name: name}
			all[name] = f
		}
		f.Subscribed = true
	}
	t.parents(all)
	list := make([]Folder, 0, len(all))
	for _, f := range all {
		list = append(list, *f)
	}
	slices.SortFunc(list, func(a, b Folder) int {
		switch {
		case a.Name == Inbox:
			return -1
		case b.Name == Inbox:
			return 1
		}
		return strings.Compare(a.Name, b.Name)
	})
	t.specialUse(list)
	return list, nil
}

// folders reads the root. Of two directories for one name, the one in modified
// UTF-7 counts, as in dir.
func (t *Tree) folders() (map[string]*Folder, error) {
	files, err := t.fs.ReadDir(t.root)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", t.root, err)
	}
	all := map[string]*Folder{Inbox: {Name: Inbox, Dir: t.root, Exists: true}}
	for _, f := range files {
		if len(f.Name()) < 2 || f.Name()[0] != '.' {
			continue
		}
		name := t.decode(f.Name())
		dir, err := t.dir(name)
		if err != nil || t.Canonical(name) != name || !t.isFolder(filepath.Join(t.root, f.Name())) {
			continue // not a name that could be asked for
		}
		all[name] = &Folder{Name: name, Dir: dir, Exists: true}
	}
	return all, nil
}

// parents adds the levels above, and says who has children. A mere
// subscription is nobody's child.
func (t *Tree) parents(all map[string]*Folder) {
	for name, f := range maps.Clone(all) {
		for at := strings.LastIndexByte(name, t.sep); at >= 0; at = strings.LastIndexByte(name, t.sep) {
			name = name[:at]
			if all[name] == nil {
				all[name] = &Folder{Name: name}
			}
			all[name].HasChildren = all[name].HasChildren || f.Exists
		}
	}
}

// specialUses are the uses that top-level folders have by their name.
var specialUses = map[string]string{
	"sent": `\Sent`, "drafts": `\Drafts`, "trash": `\Trash`, "junk": `\Junk`, "archive": `\Archive`,
}

// specialUse gives each use to one folder: the first that was made for it, else
// the first that has its name.
func (t *Tree) specialUse(list []Folder) {
	taken := map[string]bool{}
	for i := range list {
		if !list[i].Exists {
			continue
		}
		for _, use := range t.readUses(list[i].Dir) {
			if !taken[use] {
				list[i].SpecialUse = append(list[i].SpecialUse, use)
				taken[use] = true
			}
		}
	}
	for i := range list {
		use := specialUses[strings.ToLower(list[i].Name)]
		if use != "" && list[i].Exists && !taken[use] && list[i].SpecialUse == nil {
			list[i].SpecialUse = []string{use}
			taken[use] = true
		}
	}
}
