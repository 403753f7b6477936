package mailbox

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// A listener is a notifier whose queue is read only by hear.
type listener struct {
	*fixture
	n     *notifier
	heard []string
}

func newListener(t *testing.T) *listener {
	l := &listener{fixture: &fixture{t: t, dir: t.TempDir()}}
	n, err := newNotifier(func(dir, name string, _ uint32) {
		rel, err := filepath.Rel(l.dir, dir)
		l.must(err)
		l.heard = append(l.heard, rel+"/"+name)
	})
	l.must(err)
	l.n = n
	t.Cleanup(func() { n.close() })
	return l
}

func (l *listener) path(name string) string { return filepath.Join(l.dir, name) }

// want asks for what has happened since the last time.
func (l *listener) want(events ...string) {
	l.t.Helper()
	if !l.n.hear() || !slices.Equal(l.heard, events) {
		l.t.Errorf("heard %q, want %q", l.heard, events)
	}
	l.heard = nil
}

func TestWhatHasHappenedIsHeardAtOnce(t *testing.T) {
	l := newListener(t)
	l.must(os.Mkdir(l.path("a"), 0o700))
	l.must(l.n.add(l.path("a"), namesMask))
	l.write("a/x", "")
	l.rename("a/x", "a/y")
	l.want("a/x", "a/x", "a/y")
	for range 1000 { // more than are read at once
		l.rename("a/y", "a/z")
		l.rename("a/z", "a/y")
	}
	l.n.hear()
	if len(l.heard) != 4000 {
		t.Errorf("%d events heard, want 4000", len(l.heard))
	}
	l.n.remove(l.path("a"))
	l.heard = nil
	l.write("a/x", "")
	l.want()
}

// A directory that two paths lead to has one watch, for both.
func TestTwoPathsToADirectoryAreHeard(t *testing.T) {
	l := newListener(t)
	l.must(os.Mkdir(l.path("a"), 0o700))
	l.must(os.Symlink("a", l.path("b")))
	l.must(l.n.add(l.path("a"), namesMask))
	l.must(l.n.add(l.path("b"), namesMask))
	l.write("a/x", "")
	l.want("a/x", "b/x")
	l.n.remove(l.path("a"))
	l.write("a/y", "")
	l.want("b/y")
}

func TestADirectoryMadeAnewIsHeardWhenItIsAddedAgain(t *testing.T) {
	l := newListener(t)
	for range 2 {
		l.must(os.Mkdir(l.path("a"), 0o700))
		l.must(l.n.add(l.path("a"), namesMask))
		l.write("a/x", "")
		l.must(os.RemoveAll(l.path("a")))
		l.want("a/x", "a/x")
	}
	l.must(os.Mkdir(l.path("a"), 0o700))
	l.must(l.n.add(l.path("a"), namesMask))
	l.rename("a", "b")
	l.must(os.Mkdir(l.path("a"), 0o700))
	l.must(l.n.add(l.path("a"), namesMask)) // what has this name now
	l.write("b/x", "")
	l.write("a/x", "")
	l.want("a/x")
	l.n.close()
	if l.n.hear() || l.n.add(l.path("b"), namesMask) == nil {
		t.Error("it works on when it is closed")
	}
}
