package durable

import (
	iofs "io/fs"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// dirSyncs are those of all directories that somebody syncs now.
type dirSyncs struct {
	mu   sync.Mutex
	dirs map[string]*dirSync
}

func newDirSyncs() *dirSyncs { return &dirSyncs{dirs: map[string]*dirSync{}} }

// A dirSync shares the syncs of one directory: the first who asks does it, and
// all who ask while it runs wait for the next, which one of them does for all.
// It is there as long as somebody waits.
type dirSync struct {
	users int // guarded by dirSyncs.mu

	mu   sync.Mutex
	now  *syncRound // the sync that runs
	next *syncRound // the one after it, which has not begun
}

// A syncRound is one sync that several wait for.
type syncRound struct {
	done chan struct{}
	err  error // set before done is closed
}

// SyncDir makes the names in the directories durable: those made, changed and
// removed before the call. Callers at the same time share a sync.
func (s *FS) SyncDir(dirs ...string) error {
	for _, dir := range dirs {
		if err := s.syncDir(dir); err != nil {
			return err
		}
	}
	return nil
}

func (s *FS) syncDir(dir string) error {
	d := s.dirOf(dir)
	defer s.releaseDir(dir, d)
	round, lead := d.join()
	if lead {
		round.err = s.syncNow(dir)
		d.end(round)
	}
	<-round.done
	return round.err
}

// join gives the round to wait for, and whether the caller is to do its sync
// now. A sync that has begun may miss what the caller did, so it never counts.
func (d *dirSync) join() (round *syncRound, lead bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.next != nil {
		return d.next, false
	}
	round = &syncRound{done: make(chan struct{})}
	if d.now == nil {
		d.now = round
		return round, true
	}
	d.next = round
	before := d.now
	d.mu.Unlock()
	<-before.done
	d.mu.Lock()
	d.now, d.next = round, nil // from here on nobody joins
	return round, true
}

func (d *dirSync) end(round *syncRound) {
	d.mu.Lock()
	if d.now == round {
		d.now = nil
	}
	d.mu.Unlock()
	close(round.done)
}

// dirOf gives the dirSync of a directory, which exists while it is used.
func (s *dirSyncs) dirOf(dir string) *dirSync {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.dirs[dir]
	if d == nil {
		d = &dirSync{}
		s.dirs[dir] = d
	}
	d.users++
	return d
}

func (s *dirSyncs) releaseDir(dir string, d *dirSync) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d.users--; d.users == 0 {
		delete(s.dirs, dir)
	}
}

// syncNow opens the directory anew each time: it may have been replaced.
func (s *FS) syncNow(dir string) error {
	return s.step(Op{Kind: OpSyncDir, Path: dir}, func() error {
		fd, err := openDir(dir)
		if err != nil {
			return &iofs.PathError{Op: "open", Path: dir, Err: err}
		}
		defer unix.Close(fd)
		if err := ignoringEINTR(func() error { return unix.Fsync(fd) }); err != nil {
			return &iofs.PathError{Op: "fsync", Path: dir, Err: err}
		}
		return nil
	})
}

func openDir(dir string) (fd int, err error) {
	for {
		fd, err = syscall.Open(dir, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_CLOEXEC, 0)
		if err != syscall.EINTR {
			return fd, err
		}
	}
}
