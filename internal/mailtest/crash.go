package mailtest

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"postbag/internal/durable"
)

// A Scenario is what programs do, and what must hold after a crash.
type Scenario struct {
	// Setup prepares root; what it leaves there is on the disk for good.
	Setup func(fs *durable.FS, root string)
	// Run is what may crash. All processes in it share fs, so that there is one
	// history of them. It says with fs.Answered what a peer was told.
	Run func(fs *durable.FS, root string)
	// Recover is what the next process does.
	Recover func(fs *durable.FS, root string) error
	// Check compares what is there with what had been told before the crash.
	Check func(root string, answers []string) error
}

// An effort is the size of a search.
type effort struct {
	all     int // so many open steps have all their subsets tried
	samples int // of more, so many random ones
	deep    int // so many choices at each step have their recovery crashed, too
	deeper  int // so many open steps of a recovery have all their subsets tried
}

// howMuch gives the whole search with POSTBAG_CRASH=full, which takes long, and
// else one that is short enough for every day.
func howMuch() effort {
	if os.Getenv("POSTBAG_CRASH") == "full" {
		return effort{all: 10, samples: 1000, deep: 1 << 20, deeper: 6}
	}
	return effort{all: 5, samples: 20, deep: 3, deeper: 2}
}

// Crash runs a scenario once, and then recovers and checks what a crash at each
// of its steps may have left. The disk is as weak as POSIX allows: the content
// of a file is certain after its sync, names are certain after a sync of their
// directory, and a sync covers only what had ended before it began. Before that
// each name is there or not by itself, but a rename takes the old name away only
// if it makes the new one; content is old, new, zero, or torn at 512 octets, and
// its length is by itself. Recovery is crashed, too.
func Crash(t *testing.T, s Scenario) {
	t.Helper()
	root := scratch(t)
	defer os.RemoveAll(root)
	s.Setup(durable.New(), root)
	d := readDisk(t, root)
	rec := &recorder{root: root}
	s.Run(durable.NewTraced(rec), root)
	x := &search{t: t, s: s, root: root, effort: howMuch(), random: rand.New(rand.NewPCG(1, 2)),
		seen: map[state]bool{}, deep: map[state]bool{}}
	x.crash(d, rec.events, true)
	t.Logf("%d steps, %d states, %d of them crashed in their recovery", len(rec.events), len(x.seen), len(x.deep))
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

// A state tells what a crash has left and what had been told before.
type state [32]byte

// A search goes through the states that crashes leave.
type search struct {
	t          *testing.T
	s          Scenario
	root       string // always the same: programs write down paths
	effort     effort
	seen, deep map[state]bool // those tried, and those whose recovery was crashed
	random     *rand.Rand
	failed     int
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
			x.try(d, newWreck(open, choice), at, deep && n < x.effort.deep)
		}
	}
}

// choices gives, for each try, a way for each uncertainty: first all lost and all
// kept.
func (x *search) choices(open []uncertainty) [][]way {
	fill := func(w way) []way { return slices.Repeat([]way{w}, len(open)) }
	all := [][]way{fill(lost), fill(kept)}
	for i, u := range open {
		for _, rest := range []way{lost, kept} {
			for w := range u.ways() {
				if w != rest {
					one := fill(rest)
					one[i] = w
					all = append(all, one)
				}
			}
		}
	}
	if len(open) <= x.effort.all {
		for bits := range 1 << len(open) {
			one := fill(lost)
			for i := range one {
				one[i] = way(bits >> i & 1)
			}
			all = append(all, one)
		}
		return all
	}
	for range x.effort.samples {
		one := fill(lost)
		for i, u := range open {
			one[i] = way(x.random.IntN(int(u.ways())))
		}
		all = append(all, one)
	}
	return all
}

// try recovers and checks one state, once.
func (x *search) try(d *disk, w *wreck, at string, deep bool) {
	key := w.state(d)
	if x.seen[key] && (!deep || x.deep[key]) {
		return
	}
	x.seen[key] = true
	os.RemoveAll(x.root)
	if err := w.write(d.root, x.root, map[*node]string{}); err != nil {
		x.t.Fatal(err)
	}
	fs, rec := durable.New(), &recorder{root: x.root}
	var before *disk
	if deep {
		x.deep[key] = true
		before = readDisk(x.t, x.root)
		before.answers = d.answers
		fs = durable.NewTraced(rec)
	}
	err := x.s.Recover(fs, x.root)
	if err == nil {
		err = x.s.Check(x.root, d.answers)
	}
	if err != nil {
		x.failed++
		x.t.Errorf("crash %s: %v%s", at, err, w)
		return
	}
	if deep {
		recovery := *x
		recovery.effort = effort{all: x.effort.deeper, samples: x.effort.deeper}
		recovery.crash(before, rec.events, false)
		x.failed = recovery.failed
	}
}
