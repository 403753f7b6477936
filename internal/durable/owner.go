package durable

import (
	"errors"
	"fmt"
	"os/user"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// An Owner is in whose name files are worked on. The zero Owner is this process:
// nothing is ever done for root in particular.
type Owner struct{ UID, GID int }

// As gives an FS that opens, makes, names and removes files with the ids of o and
// no other rights; only root can do that. A file once open needs none. It shares the syncs of directories with s.
func (s *FS) As(o Owner) *FS {
	as := *s
	as.owner = o
	return &as
}

// Owner is in whose name s works.
func (s *FS) Owner() Owner { return s.owner }

// Do runs f, which asks things of a file system that FS has no method for, in the
// name that s works in.
func (s *FS) Do(f func() error) error { return s.owner.Do(f) }

// Do runs f with the ids of o for everything that f asks of a file system. It
// takes the thread that it runs on for that, not the process, and f must not hand
// on to other goroutines what is to be asked in this name. A thread that cannot be
// brought back stays with its goroutine and ends with it.
func (o Owner) Do(f func() error) error {
	if o == (Owner{}) {
		return f()
	}
	runtime.LockOSThread()
	was, err := o.become()
	defer was.comeBack()
	if err != nil {
		return err
	}
	return f()
}

// become takes the ids for this thread, and gives those that it had. The calls of
// package syscall for groups would take them for all threads. What root is in
// besides is dropped for good: root needs no group for anything.
func (o Owner) become() (was Owner, err error) {
	if o.UID <= 0 || o.GID <= 0 {
		return fsIDs(), fmt.Errorf("work as uid %d, gid %d: %w", o.UID, o.GID, unix.EINVAL)
	}
	if n, _, _ := unix.RawSyscall(unix.SYS_GETGROUPS, 0, 0, 0); n != 0 {
		if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, 0, 0, 0); errno != 0 {
			return fsIDs(), fmt.Errorf("work as uid %d: set groups: %w", o.UID, errno)
		}
	}
	return setFSIDs(o)
}

// comeBack ends what become began.
func (o Owner) comeBack() {
	if _, err := setFSIDs(o); err == nil {
		runtime.UnlockOSThread()
	}
}

// fsIDs is what this thread is for file systems; -1 changes nothing.
func fsIDs() Owner {
	gid, _ := unix.SetfsgidRetGid(-1)
	uid, _ := unix.SetfsuidRetUid(-1)
	return Owner{uid, gid}
}

// setFSIDs sets it, and gives what it was. The kernel's calls report no failure,
// only what was in force.
func setFSIDs(o Owner) (was Owner, err error) {
	was.GID, _ = unix.SetfsgidRetGid(o.GID)
	was.UID, _ = unix.SetfsuidRetUid(o.UID)
	if fsIDs() != o {
		err = fmt.Errorf("work as uid %d, gid %d: %w", o.UID, o.GID, unix.EPERM)
	}
	return was, err
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
