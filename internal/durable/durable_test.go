package durable

import (
	"errors"
	iofs "io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

func TestRenameNeverReplaces(t *testing.T) {
	for name, rename := range map[string]func(from, to string) error{
		"by renameat2": New().Rename,
		"by link":      linkUnlink,
	} {
		dir := t.TempDir()
		a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
		os.WriteFile(a, []byte("a"), 0o600)
		os.WriteFile(b, []byte("b"), 0o600)
		if err := rename(a, b); !errors.Is(err, iofs.ErrExist) {
			t.Errorf("%s: %v, want that it exists", name, err)
		}
		if text, _ := os.ReadFile(b); string(text) != "b" {
			t.Errorf("%s: b was replaced", name)
		}
		if err := rename(a, filepath.Join(dir, "c")); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := rename(a, filepath.Join(dir, "d")); !errors.Is(err, iofs.ErrNotExist) {
			t.Errorf("%s: %v, want that there is none", name, err)
		}
	}
}

func TestCreateIsExclusive(t *testing.T) {
	fs, path := New(), filepath.Join(t.TempDir(), "x")
	f, err := fs.Create(path, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if _, err := fs.Create(path, 0o600); !errors.Is(err, iofs.ErrExist) {
		t.Errorf("%v, want that it exists", err)
	}
}

func TestWriteFileReplacesAndLeavesNothingBeside(t *testing.T) {
	fs, dir := New(), t.TempDir()
	path := filepath.Join(dir, "x")
	for _, text := range []string{"one", "two"} {
		if err := fs.WriteFile(path, []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
		if b, _ := os.ReadFile(path); string(b) != text {
			t.Errorf("%q, want %q", b, text)
		}
	}
	files, _ := os.ReadDir(dir)
	st, _ := os.Stat(path)
	if len(files) != 1 || st.Mode().Perm() != 0o640 {
		t.Errorf("%d files, mode %v", len(files), st.Mode())
	}
}

// failing makes steps of one kind fail.
type failing struct {
	kind OpKind
	err  error
	n    atomic.Int32
}

func (f *failing) Step(op Op, do func() error) error {
	if op.Kind == f.kind {
		f.n.Add(1)
		return f.err
	}
	return do()
}

func TestAFailedSyncIsFinal(t *testing.T) {
	tr := &failing{kind: OpSync, err: syscall.EIO}
	fs := NewTraced(tr)
	f, err := fs.Create(filepath.Join(t.TempDir(), "x"), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	tr.kind = ""
	_, werr := f.Write([]byte("x"))
	for what, err := range map[string]error{"write": werr, "sync": f.Sync(), "commit": f.Commit()} {
		if !errors.Is(err, syscall.EIO) {
			t.Errorf("%s after a failed sync: %v", what, err)
		}
	}
}

func TestWriteFileThatFailsLeavesTheOldOne(t *testing.T) {
	for _, kind := range []OpKind{OpCreate, OpWrite, OpSync, OpReplace} {
		dir := t.TempDir()
		path := filepath.Join(dir, "x")
		os.WriteFile(path, []byte("old"), 0o600)
		fs := NewTraced(&failing{kind: kind, err: syscall.ENOSPC})
		if err := fs.WriteFile(path, []byte("new"), 0o600); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%s: %v", kind, err)
		}
		files, _ := os.ReadDir(dir)
		if text, _ := os.ReadFile(path); string(text) != "old" || len(files) != 1 {
			t.Errorf("%s: %q and %d files", kind, text, len(files))
		}
	}
}

// slow counts syncs of directories that begin, each taking a while.
type slow struct {
	mu     sync.Mutex
	begun  []time.Time
	amount time.Duration
}

func (s *slow) Step(op Op, do func() error) error {
	if op.Kind == OpSyncDir {
		s.mu.Lock()
		s.begun = append(s.begun, time.Now())
		s.mu.Unlock()
		time.Sleep(s.amount)
	}
	return do()
}

func (s *slow) last() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.begun[len(s.begun)-1]
}

func TestSyncsOfADirectoryAreShared(t *testing.T) {
	tr := &slow{amount: 20 * time.Millisecond}
	fs, dir := NewTraced(tr), t.TempDir()
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			asked := time.Now()
			if err := fs.SyncDir(dir); err != nil {
				t.Error(err)
			}
			if tr.last().Before(asked) {
				t.Error("answered by a sync that had begun before")
			}
		})
	}
	wg.Wait()
	if n := len(tr.begun); n > 4 {
		t.Errorf("%d syncs for 64 who asked together", n)
	}
	if len(fs.dirs) != 0 {
		t.Error("the directory is not forgotten")
	}
}

func TestTheErrorOfASharedSyncReachesAll(t *testing.T) {
	fs, dir := NewTraced(&failing{kind: OpSyncDir, err: syscall.EIO}), t.TempDir()
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			if err := fs.SyncDir(dir); !errors.Is(err, syscall.EIO) {
				t.Errorf("%v, want EIO", err)
			}
		})
	}
	wg.Wait()
}

func TestLocksAreBetweenOpenFiles(t *testing.T) {
	fs, path := New(), filepath.Join(t.TempDir(), "x")
	a, _ := fs.OpenAppend(path, 0o600)
	b, _ := fs.OpenAppend(path, 0o600)
	must := func(f func() (bool, error), want bool) {
		t.Helper()
		if ok, err := f(); ok != want || err != nil {
			t.Errorf("%v, %v; want %v", ok, err, want)
		}
	}
	must(a.TryLock, true)
	must(b.TryLock, false)
	must(b.TryRLock, false)
	a.Unlock()
	must(b.TryRLock, true)
	must(a.TryRLock, true)
	must(a.TryLock, false)
	b.Close()
	must(a.TryLock, true)
}

func TestSame(t *testing.T) {
	fs, dir := New(), t.TempDir()
	path := filepath.Join(dir, "x")
	f, _ := fs.OpenAppend(path, 0o600)
	for _, want := range []bool{true, false} {
		if same, err := fs.Same(f, path); same != want || err != nil {
			t.Errorf("%v, %v; want %v", same, err, want)
		}
		fs.Remove(path)
	}
}

func TestMkdirAllSyncsEachParent(t *testing.T) {
	tr := &slow{}
	fs, dir := NewTraced(tr), t.TempDir()
	if err := fs.MkdirAll(filepath.Join(dir, "a", "b", "c"), 0o700); err != nil {
		t.Fatal(err)
	}
	if len(tr.begun) != 3 {
		t.Errorf("%d syncs for 3 new directories", len(tr.begun))
	}
	os.WriteFile(filepath.Join(dir, "f"), nil, 0o600)
	if err := fs.MkdirAll(filepath.Join(dir, "f"), 0o700); !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("%v, want ENOTDIR", err)
	}
}

func TestAppendsGoToTheEnd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	for range 2 {
		f, err := New().OpenAppend(path, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		f.Write([]byte("ab"))
		f.Close()
	}
	if b, _ := os.ReadFile(path); string(b) != "abab" {
		t.Errorf("%q", b)
	}
}
