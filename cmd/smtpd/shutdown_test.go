package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// TestAFileSystemThatIsShutDownHasAllThatWasAcknowledged cuts the power of real
// file systems under load: an image on a loop device loses, by FS_IOC_SHUTDOWN,
// all that is not yet in its log, smtpd is killed, and the image mounted again.
// Every letter that had its 250 must be there, whole, and once where it went
// through the queue. POSTBAG_SHUTDOWNS says how often for each file system.
func TestAFileSystemThatIsShutDownHasAllThatWasAcknowledged(t *testing.T) {
	shutdowns := 2
	if n, err := strconv.Atoi(os.Getenv("POSTBAG_SHUTDOWNS")); err == nil {
		shutdowns = n
	}
	bin := build(t)
	for _, kind := range []string{"ext4", "xfs", "btrfs"} {
		t.Run(kind, func(t *testing.T) {
			disk := newLoopDisk(t, kind)
			k := newKiller(t, bin)
			k.spool = filepath.Join(disk.at, "spool")
			for range shutdowns {
				// A power cut stops the processes, too. Here an fsync that runs
				// meanwhile can succeed although its log is thrown away (XFS
				// unpins the inode first), so later answers prove nothing.
				k.round(func() { k.setLate(true) }, disk.shutDown)
				disk.unmount()
				disk.mount()
			}
			k.drain()
			k.check()
			t.Logf("%d shutdowns, %d letters acknowledged", shutdowns, len(k.acknowledged))
		})
	}
}

// A loopDisk is a file system in a file.
type loopDisk struct {
	t               *testing.T
	kind, image, at string
	mounted         bool
}

// newLoopDisk makes and mounts one, where this machine lets us.
func newLoopDisk(t *testing.T, kind string) *loopDisk {
	mkfs, err := exec.LookPath("mkfs." + kind)
	switch {
	case os.Geteuid() != 0:
		t.Skip("only root can mount")
	case err != nil:
		t.Skipf("mkfs.%s is not installed", kind)
	}
	if out, err := exec.Command("losetup", "-f").CombinedOutput(); err != nil {
		t.Skipf("no loop device: %v: %s", err, out)
	}
	dir := t.TempDir()
	d := &loopDisk{t: t, kind: kind, image: filepath.Join(dir, "image"), at: filepath.Join(dir, "disk")}
	if err := errors.Join(os.WriteFile(d.image, nil, 0o600), os.Truncate(d.image, 1<<30), os.Mkdir(d.at, 0o700)); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(mkfs, "-q", d.image).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", mkfs, err, out)
	}
	if out, err := exec.Command("mount", "-o", "loop", d.image, d.at).CombinedOutput(); err != nil {
		t.Skipf("cannot mount %s here: %v: %s", kind, err, out)
	}
	d.mounted = true
	t.Cleanup(func() {
		if d.mounted {
			d.unmount()
		}
	})
	if err := d.goDown(); errors.Is(err, unix.ENOTTY) {
		t.Skipf("this kernel does not shut %s down", kind)
	} else if err != nil {
		t.Fatalf("shut down: %v", err)
	}
	d.unmount()
	d.mount()
	return d
}

func (d *loopDisk) mount() {
	if out, err := exec.Command("mount", "-o", "loop", d.image, d.at).CombinedOutput(); err != nil {
		d.t.Fatalf("mount: %v: %s", err, out)
	}
	d.mounted = true
}

func (d *loopDisk) unmount() {
	if out, err := exec.Command("umount", d.at).CombinedOutput(); err != nil {
		d.t.Fatalf("umount: %v: %s", err, out)
	}
	d.mounted = false
}

// shutDown loses what is not in the log, and all that is written later.
func (d *loopDisk) shutDown() {
	if err := d.goDown(); err != nil {
		d.t.Errorf("shut down: %v", err)
	}
}

func (d *loopDisk) goDown() error {
	const ioctl, withoutLogFlush = 0x8004587d, 2 // FS_IOC_SHUTDOWN, FSOP_GOING_FLAGS_NOLOGFLUSH of linux/fs.h
	dir, err := os.Open(d.at)
	if err != nil {
		return err
	}
	defer dir.Close()
	return unix.IoctlSetPointerInt(int(dir.Fd()), ioctl, withoutLogFlush)
}
