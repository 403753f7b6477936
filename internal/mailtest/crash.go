package mailtest

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"postbag/internal/durable"
)

// A Scenario is what a program does, and what must hold after a crash.
type Scenario struct {
	// Setup prepares root; what it leaves there is on the disk for good.
	Setup func(fs *durable.FS, root string)
	// Run is what may crash. It says with fs.Answered what a peer was told.
	Run func(fs *durable.FS, root string)
	// Recover is what the next process does.
	Recover func(fs *durable.FS, root string) error
	// Check compares what is there with what had been told before the crash.
	Check func(root string, answers []string) error
}

// Sizes of a search; with POSTBAG_CRASH=full it takes long.
type effort struct {
	all     int // so many open steps have all their subsets tried
	samples int // of more, so many random ones
}

func howMuch() effort {
	if os.Getenv("POSTBAG_CRASH") == "full" {
		return effort{all: 10, samples: 1000}
	}
	return effort{all: 4, samples: 12}
}

// Crash runs a scenario once, and then recovers and checks what a crash at each
// of its steps may have left. The disk is as weak as POSIX allows: the content
// of a file is certain after its sync, names are certain after a sync of their
// directory. Before that each name is there or not by itself, but a rename takes
// the old name away only if it makes the new one; content is old, new, zero, or
// torn at 512 octets. Recovery is crashed, too.
func Crash(t *testing.T, s Scenario) {
	t.Helper()
	root := scratch(t)
	defer os.RemoveAll(root)
	s.Setup(durable.New(), root)
	d := readDisk(t, root)
	rec := &recorder{root: root}
	s.Run(durable.NewTraced(rec), root)
	x := &search{t: t, s: s, root: root, effort: howMuch(), seen: map[[32]byte]bool{}, random: rand.New(rand.NewPCG(1, 2))}
	x.crash(d, rec.events, true)
	t.Logf("%d steps, %d states", len(rec.events), len(x.seen))
}

// scratch makes a directory, in memory where that can be: the syncs of a real
// disk prove nothing here. The caller removes it.
func scratch(t *testing.T) string {
	t.Helper()
	base := ""
	if st, err := os.Stat("/dev/shm"); err == nil && st.IsDir() {
		base = "/dev/shm"
	}
	dir, err := os.MkdirTemp(base, "crash")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// A search goes through the states that crashes leave.
type search struct {
	t      *testing.T
	s      Scenario
	root   string // always the same: programs write down paths
	effort effort
	seen   map[[32]byte]bool
	random *rand.Rand
	failed int
}

const maxFailures = 3

// crash crashes after each step; deep crashes the recoveries, too.
func (x *search) crash(d *disk, events []event, deep bool) {
	for i := -1; i < len(events); i++ {
		at := "before the first step"
		if i >= 0 {
			d.apply(events[i])
			at = fmt.Sprintf("after step %d, %s", i, events[i])
		}
		open := d.open()
		for n, choice := range x.choices(open) {
			if x.failed >= maxFailures || x.t.Failed() && x.failed == 0 {
				return
			}
			x.try(d, open, choice, at, deep && n < 2)
		}
	}
}

// An uncertainty is a name or a file of which a crash may leave this or that.
type uncertainty struct {
	change *change
	file   *node
	what   string
}

// open lists what is not certain, and can be reached.
func (d *disk) open() (all []uncertainty) {
	visited := map[*node]bool{}
	var visit func(path string, n *node)
	visit = func(path string, n *node) {
		if n == nil || visited[n] {
			return
		}
		visited[n] = true
		if !n.dir {
			if n.dirty {
				all = append(all, uncertainty{file: n, what: "content of " + path})
			}
			return
		}
		for _, c := range n.pending {
			what := "name "
			if c.node == nil {
				what = "removal of "
			}
			all = append(all, uncertainty{change: c, what: what + filepath.Join(path, c.name)})
		}
		for _, name := range sorted(n.names) {
			visit(filepath.Join(path, name), n.names[name])
		}
		for _, c := range n.pending { // names that have gone since
			visit(filepath.Join(path, c.name), c.node)
		}
		for _, name := range sorted(n.kept) {
			visit(filepath.Join(path, name), n.kept[name])
		}
	}
	visit("", d.root)
	return all
}

func sorted(m map[string]*node) []string {
	var all []string
	for name := range m {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

// What a crash leaves of an uncertainty: for names lost or kept.
const (
	lost  = iota // the old content
	kept         // the new
	zeros        // of the new size, but without what was written
	torn         // new up to a boundary of 512 octets, zero behind it
	ways
)

// choices gives, for each try, a way for each uncertainty: first all lost and all
// kept.
func (x *search) choices(open []uncertainty) [][]int {
	fill := func(way int) []int { return slices.Repeat([]int{way}, len(open)) }
	all := [][]int{fill(lost), fill(kept)}
	for i, u := range open {
		for _, rest := range []int{lost, kept} {
			for way := range ways {
				if way == rest || u.file == nil && way > kept {
					continue
				}
				one := fill(rest)
				one[i] = way
				all = append(all, one)
			}
		}
	}
	if len(open) <= x.effort.all {
		for bits := range 1 << len(open) {
			one := fill(lost)
			for i := range one {
				one[i] = bits >> i & 1
			}
			all = append(all, one)
		}
		return all
	}
	for range x.effort.samples {
		one := fill(lost)
		for i, u := range open {
			one[i] = x.random.IntN(2)
			if u.file != nil {
				one[i] = x.random.IntN(ways)
			}
		}
		all = append(all, one)
	}
	return all
}

// A wreck is a disk after a crash.
type wreck struct {
	keep map[*change]bool
	file map[*node]int
}

func newWreck(open []uncertainty, choice []int) *wreck {
	w := &wreck{keep: map[*change]bool{}, file: map[*node]int{}}
	for i, u := range open {
		if u.file != nil {
			w.file[u.file] = choice[i]
		} else if choice[i] == kept {
			w.keep[u.change] = true
		}
	}
	return w
}

// kept tells whether a change of names has survived.
func (w *wreck) kept(c *change, all map[*change]bool) bool {
	if c.node == nil && c.with != nil && all[c.with] {
		return w.keep[c] && (w.keep[c.with] || c.with.sure)
	}
	return w.keep[c] || c.sure
}

// entries are the names of a directory after the crash.
func (w *wreck) entries(n *node, pending map[*change]bool) map[string]*node {
	names := map[string]*node{}
	for name, child := range n.kept {
		names[name] = child
	}
	for _, c := range n.pending {
		switch {
		case !w.kept(c, pending):
		case c.node == nil:
			delete(names, c.name)
		default:
			names[c.name] = c.node
		}
	}
	return names
}

// content is what a file is after the crash.
func (w *wreck) content(n *node) []byte {
	way, uncertain := w.file[n]
	if !uncertain {
		return n.synced
	}
	switch way {
	case kept:
		return n.data
	case zeros:
		data := make([]byte, len(n.data))
		copy(data, n.synced)
		return data
	case torn:
		data := make([]byte, len(n.data))
		same := 0
		for same < len(n.data) && same < len(n.synced) && n.data[same] == n.synced[same] {
			same++
		}
		cut := (same + (len(n.data)-same)/2 + 511) / 512 * 512
		copy(data, n.synced)
		copy(data, n.data[:min(cut, len(n.data))])
		return data
	}
	return n.synced
}

// try recovers and checks one state, once.
func (x *search) try(d *disk, open []uncertainty, choice []int, at string, deep bool) {
	w := newWreck(open, choice)
	pending := map[*change]bool{}
	for _, u := range open {
		if u.change != nil {
			pending[u.change] = true
		}
	}
	sum := sha256.New()
	fmt.Fprintln(sum, len(d.answers))
	root := x.root
	os.RemoveAll(root)
	if err := w.write(d.root, root, pending, map[*node]string{}, func(path string, data []byte) {
		rel, _ := filepath.Rel(root, path)
		fmt.Fprintf(sum, "%s %d %x\n", rel, len(data), data)
	}); err != nil {
		x.t.Fatal(err)
	}
	key := [32]byte(sum.Sum(nil))
	if x.seen[key] {
		return
	}
	x.seen[key] = true
	fs, rec := durable.New(), &recorder{root: root}
	var before *disk
	if deep {
		before = readDisk(x.t, root)
		before.answers = d.answers
		fs = durable.NewTraced(rec)
	}
	err := x.s.Recover(fs, root)
	if err == nil {
		err = x.s.Check(root, d.answers)
	}
	if err != nil {
		x.fail(err, at, open, choice)
		return
	}
	if deep {
		recovery := *x
		recovery.effort = effort{all: 2, samples: 2}
		recovery.crash(before, rec.events, false)
		x.failed = recovery.failed
	}
}

// fail says what the crash left.
func (x *search) fail(err error, at string, open []uncertainty, choice []int) {
	x.failed++
	text := ""
	for i, u := range open {
		text += "\n\t" + [ways]string{"lost", "kept", "zeros", "torn"}[choice[i]] + ": " + u.what
	}
	x.t.Errorf("crash %s: %v%s", at, err, text)
}

// write makes a tree of files of a wreck.
func (w *wreck) write(n *node, path string, pending map[*change]bool, done map[*node]string, note func(string, []byte)) error {
	if first := done[n]; first != "" && !n.dir {
		note(path, w.content(n))
		return os.Link(first, path)
	}
	done[n] = path
	if !n.dir {
		data := w.content(n)
		note(path, data)
		return os.WriteFile(path, data, 0o600)
	}
	note(path, nil)
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	names := w.entries(n, pending)
	for _, name := range sorted(names) {
		if err := w.write(names[name], filepath.Join(path, name), pending, done, note); err != nil {
			return err
		}
	}
	return nil
}
