package mailbox

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"postbag/internal/durable"
	"postbag/internal/maildir"
	"postbag/internal/mailtest"
)

// his is a Maildir of another uid, and the Store in its name.
func his(t *testing.T) (x *fixture, as *Store) {
	t.Helper()
	x = &fixture{t: t, dir: filepath.Join(mailtest.RootDir(t), "mail"), ctx: t.Context()}
	who := durable.Owner{UID: 1500, GID: 1501}
	x.must(maildir.InitFor(durable.New(), who, x.dir, filepath.Dir(x.dir)))
	x.store = x.process()
	return x, x.store.As(who)
}

// Who comes to a folder in two names has two boxes, and one inotify instance.
func TestTwoOwnersOfAFolderAreBothTold(t *testing.T) {
	x, as := his(t)
	// The files are his: he comes before root makes any.
	for _, first := range []*Store{as, x.store} {
		second := x.store
		if first == second {
			second = as
		}
		one, other := x.open(first), x.open(second)
		heardOne, heardOther := make(chan struct{}, 1), make(chan struct{}, 1)
		cancelOne, cancelOther := one.Subscribe(telling(heardOne)), other.Subscribe(telling(heardOther))
		x.deliver("a: b\n\nc\n")
		want := len(x.files())
		for one.View().Len() < want {
			heard(t, heardOne, "a letter came, to who came first")
		}
		for other.View().Len() < want {
			heard(t, heardOther, "a letter came, to who came second")
		}
		cancelOne()
		cancelOther()
		one.Close()
		other.Close()
	}
}

func TestAWatchNeedsTheRightsOfTheOwner(t *testing.T) {
	x, as := his(t)
	secret, link := mailtest.RootDir(t), filepath.Join(x.dir, ".link")
	x.must(errors.Join(os.Chmod(secret, 0o711), os.Symlink(secret, link)))
	w := as.watcher()
	if err := w.addWatch(as.fs, link, dirMask); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("watch of a directory that he may not read: %v", err)
	}
	if err := w.addWatch(as.fs, x.dir, dirMask); err != nil {
		t.Errorf("watch of his own: %v", err)
	}
}

func TestAPipeIsNoLetterThatIsCopied(t *testing.T) {
	x := newFixture(t)
	x.deliver("a: b\n\nc\n")
	f := x.open(x.store)
	x.must(f.Sync(x.ctx))
	pipe := filepath.Join(x.dir, "pipe")
	x.must(syscall.Mkfifo(pipe, 0o600))
	if err := f.b.duplicate(pipe, "unique"); !errors.Is(err, durable.ErrNotRegular) {
		t.Errorf("%v, want %v", err, durable.ErrNotRegular)
	}
}
