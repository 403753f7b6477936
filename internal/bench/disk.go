package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"postbag/internal/durable"
)

// childArg makes this program the bare disk: a process of its own, so that its
// processor time can be told from ours.
const childArg = "bare-disk"

// A turn is what one contender did in one round.
type turn struct {
	Letters int
	Elapsed time.Duration
	CPU     time.Duration // of all processes of the contender
}

func (t turn) rate() float64 { return float64(t.Letters) / t.Elapsed.Seconds() }

// cpu is milliseconds of processor time a letter.
func (t turn) cpu() float64 { return t.CPU.Seconds() * 1000 / float64(t.Letters) }

// disk is the contender without a protocol: each writer creates and writes a
// file, calls fdatasync, renames it, and calls fsync on the directory. Shared
// says that those who want the same directory synced at the same time share
// the call, as all our programs do (package durable).
type disk struct {
	b      *bench
	shared bool
	n      int
}

func (d *disk) name() string {
	if d.shared {
		return "bare disk, shared fsync"
	}
	return "bare disk"
}

func (d *disk) turn(sessions int) (turn, error) {
	d.n++
	dir := filepath.Join(d.b.dir, fmt.Sprintf("disk-%t-%d-%d", d.shared, sessions, d.n))
	for m := range d.b.mailboxes {
		for _, sub := range []string{"tmp", "new"} {
			if err := os.MkdirAll(filepath.Join(dir, strconv.Itoa(m), sub), 0o700); err != nil {
				return turn{}, err
			}
		}
	}
	self, err := os.Executable()
	if err != nil {
		return turn{}, err
	}
	cmd := exec.Command(self, childArg, dir, strconv.Itoa(d.b.mailboxes), strconv.Itoa(sessions), strconv.Itoa(d.b.letters), strconv.FormatBool(d.shared))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return turn{}, fmt.Errorf("bare disk: %w", err)
	}
	var t turn
	return t, json.Unmarshal(out, &t)
}

// bareDisk is the child: directory, mailboxes, writers, letters, shared.
func bareDisk(args []string) error {
	if len(args) != 5 {
		return fmt.Errorf("%s: five arguments", childArg)
	}
	mailboxes, _ := strconv.Atoi(args[1])
	writers, _ := strconv.Atoi(args[2])
	letters, _ := strconv.Atoi(args[3])
	put := plainPut
	if args[4] == "true" {
		fs := durable.New()
		put = func(dir, name string, text []byte) error { return durablePut(fs, dir, name, text) }
	}
	text := letterText()
	var next atomic.Int64
	var failed atomic.Pointer[error]
	var wg sync.WaitGroup
	cpu, start := ownCPU(), time.Now()
	for range writers {
		wg.Go(func() {
			for {
				i := int(next.Add(1))
				if i > letters {
					return
				}
				if err := put(filepath.Join(args[0], strconv.Itoa(i%mailboxes)), strconv.Itoa(i), text); err != nil {
					failed.Store(&err)
					return
				}
			}
		})
	}
	wg.Wait()
	t := turn{Letters: letters, Elapsed: time.Since(start), CPU: ownCPU() - cpu}
	if err := failed.Load(); err != nil {
		return *err
	}
	return json.NewEncoder(os.Stdout).Encode(t)
}

// plainPut has the four system calls and nothing else.
func plainPut(dir, name string, text []byte) error {
	from, to := dir+"/tmp/"+name, dir+"/new/"+name
	fd, err := syscall.Open(from, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	if _, err = syscall.Write(fd, text); err == nil {
		err = syscall.Fdatasync(fd)
	}
	syscall.Close(fd)
	if err != nil {
		return err
	}
	if err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE); err != nil {
		return err
	}
	return syncDir(dir + "/new")
}

func syncDir(dir string) error {
	fd, err := syscall.Open(dir, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer syscall.Close(fd)
	return syscall.Fsync(fd)
}

// durablePut is the same by the package that our programs use.
func durablePut(fs *durable.FS, dir, name string, text []byte) error {
	f, err := fs.Create(dir+"/tmp/"+name, 0o600)
	if err != nil {
		return err
	}
	if _, err := f.Write(text); err != nil {
		return err
	}
	if err := f.Commit(); err != nil {
		return err
	}
	if err := fs.Rename(dir+"/tmp/"+name, dir+"/new/"+name); err != nil {
		return err
	}
	return fs.SyncDir(dir + "/new")
}
