package mailbox

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"postbag/internal/durable"
)

// heard waits for a call of f, and takes those that came before.
func heard(t *testing.T, c <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(time.Minute):
		t.Fatalf("nobody tells that %s", what)
	}
}

func TestAttendTellsOfNames(t *testing.T) {
	for _, noWatch := range []bool{false, true} {
		s := NewStore(durable.New(), Options{NoWatch: noWatch})
		defer s.Close()
		dir := t.TempDir()
		c := make(chan struct{}, 1)
		cancel := s.Attend(dir, func() { signal(c) })
		os.Mkdir(filepath.Join(dir, ".A"), 0o700)
		heard(t, c, "a directory came")
		heard(t, c, "what came may be complete now")
		os.Rename(filepath.Join(dir, ".A"), filepath.Join(dir, ".B"))
		heard(t, c, "a directory has another name")
		cancel()
	}
}

// A folder and the names in its directory are watched by one inotify instance:
// who no longer needs one of them does not take the other away.
func TestAttendAndSubscribeShareAWatch(t *testing.T) {
	x := newFixture(t)
	made := filepath.Join(x.dir, ".A")
	names := make(chan struct{}, 1)
	cancel := x.store.Attend(x.dir, func() {
		if _, err := os.Stat(made); err == nil {
			signal(names)
		}
	})
	f := x.open(x.store)
	f.Subscribe(func() {})
	f.Close()
	for w := x.store.watcher(); w.aboutToTell(x.dir); {
		time.Sleep(time.Millisecond) // of what opening the folder has made
	}
	os.Mkdir(made, 0o700)
	heard(t, names, "a directory came, after the folder was closed")

	x.deliver("a: b\n\nc\n")
	f = x.open(x.store)
	x.must(f.Sync(x.ctx))
	changes := make(chan struct{}, 1)
	defer f.Subscribe(telling(changes))()
	cancel()
	old, other := f.View(), x.open(x.process())
	x.must(other.Sync(x.ctx))
	if _, err := other.Store(x.ctx, []uint32{1}, FlagChange{SetKeywords: []string{"k"}}, Always); err != nil {
		t.Fatal(err)
	}
	for f.View().HighestModSeq() == old.HighestModSeq() {
		heard(t, changes, "a keyword came, after the names were of no more interest")
	}
}

// aboutToTell reports whether those who follow the names in dir are about to be told
// a second time.
func (w *watcher) aboutToTell(dir string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.dirs[dir].again
}

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
