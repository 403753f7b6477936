package durable

import (
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestFileSystemsTellOfChanges(t *testing.T) {
	for kind, want := range map[int64]FileSystem{
		unix.EXT4_SUPER_MAGIC: {FineTimes: true}, unix.TMPFS_MAGIC: {FineTimes: true},
		unix.NFS_SUPER_MAGIC: {Remote: true}, unix.FUSE_SUPER_MAGIC: {Remote: true}, 0xFE534D42: {Remote: true},
		unix.MSDOS_SUPER_MAGIC: {}, 0: {},
	} {
		if got := (FileSystem{hasFineTimes(kind), isRemote(kind)}); got != want {
			t.Errorf("file system %#x: %+v, want %+v", kind, got, want)
		}
	}
	var st unix.Statfs_t
	dir := t.TempDir()
	if err := unix.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	kind := int64(uint32(st.Type))
	if got, want := New().FileSystem(dir), (FileSystem{hasFineTimes(kind), isRemote(kind)}); got != want {
		t.Errorf("FileSystem = %+v, want %+v", got, want)
	}
	if got := New().FileSystem(filepath.Join(dir, "none")); got != (FileSystem{}) {
		t.Errorf("of what is not there: %+v", got)
	}
}
