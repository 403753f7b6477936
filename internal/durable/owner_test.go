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

// his makes a directory of an owner's and gives an FS in his name.
func his(t *testing.T) (as *durable.FS, dir string) {
	t.Helper()
	dir = filepath.Join(mailtest.RootDir(t), "his")
	s, who := durable.New(), durable.Owner{UID: 1500, GID: 1501}
	if err := errors.Join(s.Mkdir(dir, 0o700), s.Chown(dir, who)); err != nil {
		t.Fatal(err)
	}
	return s.As(who), dir
}

func TestWhatLinksLeadToIsReadByTheirOwner(t *testing.T) {
	as, dir := his(t)
	secret := mailtest.RootDir(t)
	os.Chmod(secret, 0o700)
	os.WriteFile(secret+"/f", []byte("of root"), 0o600)
	if err := errors.Join(os.Symlink(secret+"/f", dir+"/file"), os.Symlink(secret, dir+"/dir")); err != nil {
		t.Fatal(err)
	}
	var st syscall.Stat_t
	_, open := as.Open(dir + "/file")
	_, fd := as.OpenFD(dir+"/file", os.O_RDONLY, 0)
	_, read := as.ReadFile(dir + "/file")
	_, write := as.OpenFile(dir+"/file", os.O_WRONLY, 0)
	_, list := as.ReadDir(dir + "/dir")
	_, stat := as.Stat(dir + "/dir/f")
	_, lstat := as.Lstat(dir + "/dir/f")
	for what, err := range map[string]error{
		"open": open, "open fd": fd, "read": read, "write": write, "list": list, "stat": stat, "lstat": lstat,
		"stat into": as.StatInto(dir+"/dir/f", &st),
	} {
		if !errors.Is(err, iofs.ErrPermission) {
			t.Errorf("%s: %v, want that it is not permitted", what, err)
		}
	}
	if _, err := as.Lstat(dir + "/file"); err != nil {
		t.Errorf("of the link itself: %v", err)
	}
}

func TestAnOwnersFilesAreRead(t *testing.T) {
	as, dir := his(t)
	if err := as.WriteFile(dir+"/f", []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	if text, err := as.ReadFile(dir + "/f"); string(text) != "text" || err != nil {
		t.Errorf("%q, %v", text, err)
	}
	if files, err := as.ReadDir(dir); len(files) != 1 || err != nil {
		t.Errorf("%d files, %v", len(files), err)
	}
	var st syscall.Stat_t
	if err := as.StatInto(dir+"/f", &st); err != nil || st.Uid != 1500 {
		t.Errorf("of %d, %v", st.Uid, err)
	}
}

func TestAStepWithinAStepLeavesTheOwner(t *testing.T) {
	as, dir := his(t)
	err := as.Do(func() error {
		if err := as.Mkdir(dir+"/a", 0o700); err != nil {
			return err
		}
		return os.Mkdir(dir+"/b", 0o700)
	})
	if err != nil {
		t.Fatal(err)
	}
	if uid, _ := uidOf(t, dir+"/b"); uid != 1500 {
		t.Errorf("made by %d after a step within", uid)
	}
	os.Mkdir(dir+"/c", 0o700)
	if uid, _ := uidOf(t, dir+"/c"); uid != 0 {
		t.Errorf("made by %d after all steps", uid)
	}
}

func TestStepsTakeNoMemory(t *testing.T) {
	as, dir := his(t)
	var st syscall.Stat_t
	if n := testing.AllocsPerRun(100, func() { as.StatInto(dir, &st) }); n > 1 { // the path for the kernel
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkStatOfAnOwner(b *testing.B) {
	dir := b.TempDir()
	var st syscall.Stat_t
	for name, s := range map[string]*durable.FS{"self": durable.New(), "other": durable.New().As(durable.Owner{UID: 1500, GID: 1501})} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				s.StatInto(dir, &st)
			}
		})
	}
}
