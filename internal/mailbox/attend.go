package mailbox

import (
	"time"

	"golang.org/x/sys/unix"

	"postbag/internal/durable"
)

// completeTime is how long a program may take between making a directory and what
// makes it a folder, before those who follow the names are told a second time.
const completeTime = 300 * time.Millisecond

// An attended directory is one whose names somebody follows. Guarded by the
// watcher's mu.
type attended struct {
	followers map[*follower]bool
	watched   bool // by inotify; else the clock tells
	again     bool // they are about to be told a second time
}

type follower struct{ tell func() }

// Attend has f called after names in a directory have come, gone or been
// replaced, or a file's times have been set, until cancel is called. It may be
// called more often than that. f must not block.
func (s *Store) Attend(dir string, f func()) (cancel func()) {
	w := s.watcher()
	if w == nil {
		return func() {}
	}
	who := &follower{f}
	w.attend(s.fs, dir, who)
	return func() { w.unattend(dir, who) }
}

func (w *watcher) attend(by *durable.FS, dir string, who *follower) {
	w.change.Lock()
	defer w.change.Unlock()
	a, first := w.follow(dir, who)
	if !first || w.notify == nil {
		return
	}
	if err := w.addWatch(by, dir, dirMask); err != nil {
		w.store.o.Log.Warn("cannot watch names of folders, looking by the clock", "dir", dir, "err", err)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	a.watched = true
}

func (w *watcher) follow(dir string, who *follower) (a *attended, first bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	a = w.dirs[dir]
	if first = a == nil; first {
		a = &attended{followers: map[*follower]bool{}}
		w.dirs[dir] = a
	}
	a.followers[who] = true
	return a, first
}

func (w *watcher) unattend(dir string, who *follower) {
	w.change.Lock()
	defer w.change.Unlock()
	if w.unfollow(dir, who) && w.notify != nil {
		w.notify.remove(dir)
	}
}

// unfollow reports whether nobody needs a watch of the directory any more.
func (w *watcher) unfollow(dir string, who *follower) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	a := w.dirs[dir]
	if a == nil || !a.followers[who] {
		return false
	}
	if delete(a.followers, who); len(a.followers) > 0 {
		return false
	}
	delete(w.dirs, dir)
	return w.boxes[dir] == nil
}

// unwatch ends the watches of a folder's directories, but those whose names are
// followed. The caller holds change.
func (w *watcher) unwatch(dirs []string) {
	for _, dir := range dirs {
		w.mu.Lock()
		needed := w.dirs[dir] != nil
		w.mu.Unlock()
		if !needed && w.notify != nil {
			w.notify.remove(dir)
		}
	}
}

// named is an event in a directory whose names may be followed.
func (w *watcher) named(dir string, mask uint32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	a := w.dirs[dir]
	if a == nil || mask&(namesMask|unix.IN_ATTRIB) == 0 {
		return
	}
	a.tell()
	if a.again {
		return
	}
	a.again = true
	time.AfterFunc(completeTime, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		a.again = false
		a.tell()
	})
}

// tell tells everybody who follows the names. The caller holds mu.
func (a *attended) tell() {
	for who := range a.followers {
		who.tell()
	}
}
