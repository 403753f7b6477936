package mailtest

import (
	"crypto/sha256"
	"fmt"
	"hash"
	"os"
	"path/filepath"
	"slices"
)

// An uncertainty is a name or a file of which a crash may leave this or that.
type uncertainty struct {
	change *change
	file   *node
	what   string
}

// A way is what a crash leaves of an uncertainty: of names lost or kept, of files
// more.
type way int

const (
	lost    way = iota // the old content
	kept               // the new
	zeros              // of the new length, but without what was written
	early              // the first sector of what was written, and the new length
	late               // all but the last sector of it
	holed              // not the first sector of it, but what follows
	unsized            // what was written, but the old length
	ways
)

// String is a word for a report.
func (w way) String() string {
	return [ways]string{"lost", "kept", "zeros", "only the first sector", "without the last sector", "without the first sector", "of the old length"}[w]
}

func (u uncertainty) ways() way {
	if u.file == nil {
		return kept + 1
	}
	return ways
}

// open lists what is not certain, and can be reached.
func (d *disk) open() []uncertainty {
	f := finder{visited: map[*node]bool{}}
	f.visit("", d.root)
	return f.found
}

type finder struct {
	visited map[*node]bool
	found   []uncertainty
}

func (f *finder) visit(path string, n *node) {
	if n == nil || f.visited[n] {
		return
	}
	f.visited[n] = true
	if !n.dir {
		if len(n.unsynced) > 0 {
			f.found = append(f.found, uncertainty{file: n, what: "content of " + path})
		}
		return
	}
	for _, c := range n.pending {
		what := "name "
		if c.node == nil {
			what = "removal of "
		}
		f.found = append(f.found, uncertainty{change: c, what: what + filepath.Join(path, c.name)})
	}
	for _, name := range sorted(n.names) {
		f.visit(filepath.Join(path, name), n.names[name])
	}
	for _, c := range n.pending { // names that have gone since
		f.visit(filepath.Join(path, c.name), c.node)
	}
	for _, name := range sorted(n.kept) {
		f.visit(filepath.Join(path, name), n.kept[name])
	}
}

func sorted(m map[string]*node) []string {
	all := make([]string, 0, len(m))
	for name := range m {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

// A wreck is a disk after a crash.
type wreck struct {
	open    []uncertainty
	choice  []way
	keep    map[*change]bool // names that have survived, of those
	pending map[*change]bool // that were not certain
	file    map[*node]way
}

func newWreck(open []uncertainty, choice []way) *wreck {
	w := &wreck{open: open, choice: choice, keep: map[*change]bool{}, pending: map[*change]bool{}, file: map[*node]way{}}
	for i, u := range open {
		if u.file != nil {
			w.file[u.file] = choice[i]
			continue
		}
		w.pending[u.change] = true
		if choice[i] == kept {
			w.keep[u.change] = true
		}
	}
	return w
}

// String says what the crash has left.
func (w *wreck) String() (text string) {
	for i, u := range w.open {
		text += fmt.Sprintf("\n\t%v: %s", w.choice[i], u.what)
	}
	return text
}

// kept tells whether a change of names has survived.
func (w *wreck) kept(c *change) bool {
	if c.node == nil && c.with != nil && w.pending[c.with] {
		return w.keep[c] && (w.keep[c.with] || c.with.sure)
	}
	return w.keep[c] || c.sure
}

// entries are the names of a directory after the crash.
func (w *wreck) entries(n *node) map[string]*node {
	if len(n.pending) == 0 {
		return n.kept
	}
	names := map[string]*node{}
	for name, child := range n.kept {
		names[name] = child
	}
	for _, c := range n.pending {
		switch {
		case !w.kept(c):
		case c.node == nil:
			delete(names, c.name)
		default:
			names[c.name] = c.node
		}
	}
	return names
}

// sector is what a disk writes as a whole.
const sector = 512

// content is what a file is after the crash.
func (w *wreck) content(n *node) []byte {
	way, uncertain := w.file[n]
	switch {
	case !uncertain || way == lost:
		return n.synced
	case way == kept:
		return n.data
	case way == unsized:
		old := slices.Clone(n.synced)
		copy(old, n.data)
		return old
	}
	torn := make([]byte, len(n.data))
	copy(torn, n.synced)
	first := n.firstChange() / sector * sector
	switch next := min(first+sector, len(n.data)); way {
	case early:
		copy(torn[first:], n.data[first:next])
	case late:
		if last := (len(n.data) - 1) / sector * sector; last > first {
			copy(torn[first:], n.data[first:last])
		}
	case holed:
		copy(torn[next:], n.data[next:])
	}
	return torn
}

// firstChange is where the content of a file begins to differ from what was
// synced.
func (n *node) firstChange() int {
	same := 0
	for same < len(n.data) && same < len(n.synced) && n.data[same] == n.synced[same] {
		same++
	}
	return same
}

// state sums up a wreck of a disk.
func (w *wreck) state(d *disk) (s state) {
	sum := sha256.New()
	fmt.Fprintln(sum, len(d.answers))
	w.sum(sum, d.root, "", map[*node]string{})
	sum.Sum(s[:0])
	return s
}

func (w *wreck) sum(sum hash.Hash, n *node, path string, done map[*node]string) {
	if first, ok := done[n]; ok {
		fmt.Fprintf(sum, "%s = %s\n", path, first)
		return
	}
	done[n] = path
	if !n.dir {
		data := w.content(n)
		fmt.Fprintf(sum, "%s %d\n", path, len(data))
		sum.Write(data)
		return
	}
	fmt.Fprintf(sum, "%s/\n", path)
	names := w.entries(n)
	for _, name := range sorted(names) {
		w.sum(sum, names[name], path+"/"+name, done)
	}
}

// write makes a tree of files of a wreck.
func (w *wreck) write(n *node, path string, done map[*node]string) error {
	if first, ok := done[n]; ok && !n.dir {
		return os.Link(first, path)
	}
	done[n] = path
	if !n.dir {
		return os.WriteFile(path, w.content(n), 0o600)
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	names := w.entries(n)
	for _, name := range sorted(names) {
		if err := w.write(names[name], filepath.Join(path, name), done); err != nil {
			return err
		}
	}
	return nil
}
