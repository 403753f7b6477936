package mailtest

import (
	"fmt"
	iofs "io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"postbag/internal/durable"
)

// An event is one step that succeeded, as a disk would see it.
type event struct {
	kind   durable.OpKind
	path   string // below the root
	to     string // of rename, replace, link; the text of an answer
	ino    uint64 // of steps on a file
	offset int64
	data   []byte
	begun  int // so many events had ended when this one began
}

func (e event) String() string { return strings.TrimSpace(fmt.Sprint(e.kind, " ", e.path, " ", e.to)) }

// A recorder is a Tracer that writes down what is done below a root, by all who
// share it. Steps end one at a time, so that their order is known; one that had
// to wait for others has begun before they ended.
type recorder struct {
	root  string
	ended atomic.Int64 // len(events)

	mu     sync.Mutex
	events []event
}

// Step implements durable.Tracer.
func (r *recorder) Step(op durable.Op, do func() error) error {
	begun := int(r.ended.Load())
	r.mu.Lock()
	defer r.mu.Unlock()
	e := event{kind: op.Kind, path: r.below(op.Path), to: op.To, offset: op.Offset, data: slices.Clone(op.Data), begun: begun}
	if op.Kind != durable.OpAnswer {
		e.to = r.below(op.To)
	}
	if op.File != nil {
		if st, err := op.File.Stat(); err == nil {
			e.ino = inode(st)
		}
	}
	err := do()
	if err != nil {
		return err
	}
	if op.Kind == durable.OpCreate || op.Kind == durable.OpOpen {
		if st, err := os.Lstat(op.Path); err == nil {
			e.ino = inode(st)
		}
	}
	r.events = append(r.events, e)
	r.ended.Add(1)
	return nil
}

func (r *recorder) below(path string) string {
	if rel, err := filepath.Rel(r.root, path); err == nil {
		return rel
	}
	return path
}

func inode(st iofs.FileInfo) uint64 { return st.Sys().(*syscall.Stat_t).Ino }

// A node is a file or directory of the model. It has what programs see, and what
// the disk has for certain.
type node struct {
	dir bool

	data, synced []byte    // of a file: now, and after its last sync
	unsynced     []version // what it was since, each different from synced; the last is data

	names, kept map[string]*node // of a directory: now, and after its last sync
	pending     []*change        // from kept to names, in order
}

// A version of a file's content is what one step has made it.
type version struct {
	step int
	data []byte
}

// A change is one name in a directory that is not certain yet.
type change struct {
	step int // that made it
	name string
	node *node   // nil: the name goes
	with *change // of a name that goes by a rename: the one that comes; it goes only then
	sure bool    // it has to be there, since what depends on it is
}

// A disk is the model of a file system.
type disk struct {
	root    *node
	inodes  map[uint64]*node
	steps   int // taken
	answers []string
}

func newDir() *node { return &node{dir: true, names: map[string]*node{}, kept: map[string]*node{}} }

// readDisk takes what is below root for durable.
func readDisk(t *testing.T, root string) *disk {
	t.Helper()
	d := &disk{root: newDir(), inodes: map[uint64]*node{}}
	err := filepath.WalkDir(root, func(path string, de iofs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		st, err := os.Lstat(path)
		if err != nil {
			return err
		}
		n := d.inodes[inode(st)] // another name of a file that is known
		if n == nil {
			n = newDir()
		}
		if !de.IsDir() {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			n.dir, n.data, n.synced = false, data, data
		}
		d.inodes[inode(st)] = n
		parent, name := d.split(rel)
		parent.names[name], parent.kept[name] = n, n
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// find walks to a node; nil when there is none.
func (d *disk) find(path string) *node {
	n := d.root
	for _, part := range strings.Split(path, string(filepath.Separator)) {
		if part == "." {
			continue
		}
		if n == nil || !n.dir {
			return nil
		}
		n = n.names[part]
	}
	return n
}

func (d *disk) split(path string) (parent *node, name string) {
	return d.find(filepath.Dir(path)), filepath.Base(path)
}

// set changes a name, which is not certain before the directory is synced.
func (d *disk) set(path string, n *node, with *change) *change {
	parent, name := d.split(path)
	if parent == nil {
		return nil // not below the root
	}
	if n == nil {
		delete(parent.names, name)
	} else {
		parent.names[name] = n
	}
	c := &change{step: d.steps, name: name, node: n, with: with}
	parent.pending = append(parent.pending, c)
	return c
}

// apply takes one step.
func (d *disk) apply(e event) {
	d.step(e)
	d.steps++
}

func (d *disk) step(e event) {
	file := d.inodes[e.ino]
	if file == nil {
		file = &node{} // not below the root
	}
	switch e.kind {
	case durable.OpCreate:
		d.create(e)
	case durable.OpOpen:
		if there := d.find(e.path); there == nil {
			d.create(e)
		} else {
			d.inodes[e.ino] = there
		}
	case durable.OpMkdir:
		d.set(e.path, newDir(), nil)
	case durable.OpWrite:
		file.write(d.steps, e.offset, e.data)
	case durable.OpTruncate:
		file.truncate(d.steps, e.offset)
	case durable.OpSync:
		file.syncData(e.begun)
	case durable.OpSyncNamed:
		file.syncData(e.begun)
		d.sureOf(e.path, file)
	case durable.OpRename, durable.OpReplace:
		n := d.find(e.path)
		d.set(e.path, nil, d.set(e.to, n, nil))
	case durable.OpLink:
		d.set(e.to, d.find(e.path), nil)
	case durable.OpRemove:
		d.set(e.path, nil, nil)
	case durable.OpSyncDir:
		if n := d.find(e.path); n != nil {
			n.syncNames(e.begun)
		}
	case durable.OpAnswer:
		d.answers = append(d.answers, e.to)
	}
}

func (d *disk) create(e event) {
	n := &node{}
	d.inodes[e.ino] = n
	d.set(e.path, n, nil)
}

// sureOf makes the name of a new file certain with the file.
func (d *disk) sureOf(path string, n *node) {
	parent, name := d.split(path)
	if parent == nil {
		return
	}
	for _, c := range parent.pending {
		if c.name == name && c.node == n {
			c.sure = true
		}
	}
}

// write never changes data in place: synced and versions share it.
func (n *node) write(step int, at int64, p []byte) {
	data := make([]byte, max(int64(len(n.data)), at+int64(len(p))))
	copy(data, n.data)
	copy(data[at:], p)
	n.change(step, data)
}

func (n *node) truncate(step int, size int64) {
	data := make([]byte, size)
	copy(data, n.data)
	n.change(step, data)
}

func (n *node) change(step int, data []byte) {
	n.data, n.unsynced = data, append(n.unsynced, version{step, data})
}

// syncData makes certain what had been written when the sync began.
func (n *node) syncData(begun int) {
	for len(n.unsynced) > 0 && n.unsynced[0].step < begun {
		n.synced, n.unsynced = n.unsynced[0].data, n.unsynced[1:]
	}
}

// syncNames makes the names of a directory certain that were there when the sync
// began. Where a file went away from here by a rename, it has arrived elsewhere: a
// rename is not torn.
func (n *node) syncNames(begun int) {
	kept := maps.Clone(n.kept)
	for len(n.pending) > 0 && n.pending[0].step < begun {
		c := n.pending[0]
		n.pending = n.pending[1:]
		if c.node != nil {
			kept[c.name] = c.node
			continue
		}
		if c.with != nil {
			c.with.sure = true
		}
		delete(kept, c.name)
	}
	n.kept = kept
}
