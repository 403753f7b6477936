package durable

import "golang.org/x/sys/unix"

// A FileSystem is what directories of it can be trusted to tell of changes.
type FileSystem struct {
	FineTimes bool // a change that comes after the kernel's coarse clock has gone on shows in a directory's times
	Remote    bool // other hosts may change it, or programs in user space: inotify does not tell of that
}

// FileSystem tells what a directory is on; nothing is promised where that is not
// known.
func (s *FS) FileSystem(dir string) FileSystem {
	var st unix.Statfs_t
	if s.Do(func() error { return unix.Statfs(dir, &st) }) != nil {
		return FileSystem{}
	}
	kind := int64(uint32(st.Type))
	return FileSystem{FineTimes: hasFineTimes(kind), Remote: isRemote(kind)}
}

// Numbers that the package of the system's calls does not have.
const (
	zfsMagic    = 0x2FC12FC1
	lustreMagic = 0x0BD00BD0
	gfs2Magic   = 0x01161970
)

// hasFineTimes tells the file systems of this host alone that give directories the
// times of the kernel's clock.
func hasFineTimes(kind int64) bool {
	switch kind {
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.F2FS_SUPER_MAGIC, unix.TMPFS_MAGIC, zfsMagic:
		return true
	}
	return false
}

// isRemote tells the file systems of several hosts, and those in user space.
func isRemote(kind int64) bool {
	switch kind {
	case unix.NFS_SUPER_MAGIC, unix.SMB_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC, unix.FUSE_SUPER_MAGIC,
		unix.V9FS_MAGIC, unix.CEPH_SUPER_MAGIC, unix.AFS_SUPER_MAGIC, unix.OCFS2_SUPER_MAGIC, lustreMagic, gfs2Magic:
		return true
	}
	return false
}
