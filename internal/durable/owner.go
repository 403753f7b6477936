package durable

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// An Owner is in whose name files are worked on. The zero Owner is this process:
// nothing is ever done for root in particular.
type Owner struct{ UID, GID int }

// As gives an FS that makes, names and removes files with the ids of o and no
// other rights; only root can do that. It shares the syncs of directories with s.
func (s *FS) As(o Owner) *FS {
	as := *s
	as.owner = o
	return &as
}

// Do runs f, which asks things of a file system that FS has no method for, in the
// name that s works in.
func (s *FS) Do(f func() error) error { return s.owner.Do(f) }

// Do runs f with the ids of o for everything that f asks of a file system. It
// takes a thread for that, not the process.
func (o Owner) Do(f func() error) error {
	if o == (Owner{}) {
		return f()
	}
	done := make(chan error)
	go func() { done <- o.run(f) }()
	return <-done
}

// run is the goroutine of Do. If its thread cannot be brought back it stays
// locked, and so ends with the goroutine.
func (o Owner) run(f func() error) error {
	runtime.LockOSThread()
	groups, err := unix.Getgroups()
	if err == nil {
		err = o.become()
	}
	if err == nil {
		err = f()
	}
	back := setFSIDs(Owner{os.Geteuid(), os.Getegid()})
	if back == nil && len(groups) == 0 {
		runtime.UnlockOSThread()
	}
	return err
}

// become takes the ids for this thread. The calls of package syscall for groups
// would take them for all threads.
func (o Owner) become() error {
	if o.UID <= 0 || o.GID <= 0 {
		return fmt.Errorf("work as uid %d, gid %d: %w", o.UID, o.GID, unix.EINVAL)
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, 0, 0, 0); errno != 0 {
		return fmt.Errorf("work as uid %d: set groups: %w", o.UID, errno)
	}
	return setFSIDs(o)
}

// setFSIDs sets what this thread is for file systems. The kernel's calls report
// no failure, only what was in force; -1 changes nothing.
func setFSIDs(o Owner) error {
	unix.SetfsgidRetGid(o.GID)
	unix.SetfsuidRetUid(o.UID)
	uid, _ := unix.SetfsuidRetUid(-1)
	gid, _ := unix.SetfsgidRetGid(-1)
	if uid != o.UID || gid != o.GID {
		return fmt.Errorf("work as uid %d, gid %d: %w", o.UID, o.GID, unix.EPERM)
	}
	return nil
}

// OwnerFor is who works for root: an account, with the first group of its uid if
// it names none, or nobody.
func OwnerFor(uid, gid int) (Owner, error) {
	if uid > 0 && gid > 0 {
		return Owner{UID: uid, GID: gid}, nil
	}
	if uid > 0 {
		u, err := user.LookupId(strconv.Itoa(uid))
		return idsOf(u, err)
	}
	return idsOf(user.Lookup("nobody"))
}

func idsOf(u *user.User, err error) (Owner, error) {
	if err != nil {
		return Owner{}, err
	}
	uid, uerr := strconv.Atoi(u.Uid)
	gid, gerr := strconv.Atoi(u.Gid)
	if err := errors.Join(uerr, gerr); err != nil || uid <= 0 || gid <= 0 {
		return Owner{}, fmt.Errorf("user %s has uid %s, gid %s", u.Username, u.Uid, u.Gid)
	}
	return Owner{UID: uid, GID: gid}, nil
}
