package durable_test

import (
	"errors"
	iofs "io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"postbag/internal/durable"
	"postbag/internal/mailtest"
)

func uidOf(t *testing.T, path string) (uid, gid uint32) {
	t.Helper()
	st, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	sys := st.Sys().(*syscall.Stat_t)
	return sys.Uid, sys.Gid
}

func TestFilesAreMadeInTheNameOfTheirOwner(t *testing.T) {
	top := mailtest.RootDir(t)
	who := durable.Owner{UID: 1500, GID: 1501}
	s := durable.New()
	his := filepath.Join(top, "his")
	if err := errors.Join(s.Mkdir(his, 0o700), s.Chown(his, who)); err != nil {
		t.Fatal(err)
	}
	as := s.As(who)
	if err := as.Mkdir(his+"/d", 0o700); err != nil {
		t.Fatal(err)
	}
	f, err := as.Create(his+"/d/f", 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(as.Rename(his+"/d/f", his+"/f"), as.SyncDir(his)); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{his + "/d", his + "/f"} {
		if uid, gid := uidOf(t, path); uid != 1500 || gid != 1501 {
			t.Errorf("%s belongs to %d:%d", path, uid, gid)
		}
	}
}

func TestAnOwnerHasNoRightsOfRoot(t *testing.T) {
	top := mailtest.RootDir(t)
	as := durable.New().As(durable.Owner{UID: 1500, GID: 1501})
	private := filepath.Join(top, "private")
	if err := os.Mkdir(private, 0o770); err != nil { // its group is root, too
		t.Fatal(err)
	}
	if err := os.Chmod(private, 0o770); err != nil {
		t.Fatal(err)
	}
	_, err := as.Create(private+"/f", 0o600)
	for what, err := range map[string]error{"create": err, "mkdir": as.Mkdir(private+"/d", 0o700), "sync": as.SyncDir(private), "remove": as.Remove(private)} {
		if !errors.Is(err, iofs.ErrPermission) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := (durable.Owner{GID: 5}).Do(func() error { return nil }); err == nil {
		t.Error("worked as uid 0")
	}
}

func TestThreadsAreRootsAgainAfterwards(t *testing.T) {
	top := mailtest.RootDir(t)
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() { durable.Owner{UID: 1500, GID: 1501}.Do(func() error { return nil }) })
	}
	all.Wait()
	for i := range 50 {
		all.Go(func() {
			path := filepath.Join(top, string(rune('A'+i)))
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Error(err)
			} else if uid, _ := uidOf(t, path); uid != 0 {
				t.Errorf("belongs to %d", uid)
			}
		})
	}
	all.Wait()
}
