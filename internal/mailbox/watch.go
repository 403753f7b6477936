package mailbox

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"postbag/internal/durable"
)

// pollEvery is how often folders that somebody waits on are looked at when
// they are not watched.
const pollEvery = 500 * time.Millisecond

// A watcher is the one inotify instance of a process, and the clock for
// folders that it cannot watch. One goroutine reads the events and never waits
// for anything.
type watcher struct {
	store  *Store
	notify *notifier // nil when there is none to be had

	// change is held while watches are added and removed, mu only for the maps:
	// whoever reads events needs mu.
	change sync.Mutex

	mu    sync.Mutex
	boxes map[string]*box      // by each directory watched
	dirs  map[string]*attended // directories whose names are followed
	poll  map[*box]bool        // folders to look at by the clock
	stop  chan struct{}
	done  sync.WaitGroup
}

func newWatcher(s *Store) *watcher {
	w := &watcher{store: s, boxes: map[string]*box{}, dirs: map[string]*attended{}, poll: map[*box]bool{}, stop: make(chan struct{})}
	if !s.o.NoWatch {
		n, err := newNotifier(w.event)
		if err != nil {
			s.o.Log.Warn("no inotify, looking at folders by the clock", "err", err)
		} else {
			w.notify = n
			w.done.Go(n.run)
		}
	}
	w.done.Go(w.tick)
	return w
}

func (w *watcher) close() error {
	close(w.stop)
	var err error
	if w.notify != nil {
		err = w.notify.close()
	}
	w.done.Wait()
	return err
}

// attend has changes of a folder looked for in the background from now on.
func (s *Store) attend(b *box) {
	if w := s.watcher(); w != nil {
		w.add(b)
	}
}

// watcher gives the one of this process; nil when the Store is closed.
func (s *Store) watcher() *watcher {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	if s.watch == nil {
		s.watch = newWatcher(s)
	}
	return s.watch
}

// hear has all events told of what has happened up to now; false when there are
// none.
func (s *Store) hear() bool {
	s.mu.Lock()
	w := s.watch
	s.mu.Unlock()
	return w != nil && w.notify != nil && w.notify.hear()
}

// unwatch ends that.
func (s *Store) unwatch(b *box) {
	s.mu.Lock()
	w := s.watch
	s.mu.Unlock()
	if w != nil {
		w.remove(b)
	}
}

func (w *watcher) add(b *box) {
	w.change.Lock()
	defer w.change.Unlock()
	switch entered, taken := w.enter(b); {
	case taken:
		w.byClock(b)
		return
	case !entered:
		return
	}
	if w.notify == nil || !w.watch(b) || b.remote {
		w.byClock(b)
		return
	}
	// What happened before is found by a scan; from here on events tell.
	b.event.start()
	b.kick()
}

// enter notes whose events those of a folder's directories are, unless that is
// known already. They are taken by one who came to the folder in another name.
func (w *watcher) enter(b *box) (entered, taken bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if there := w.boxes[b.dir]; there != nil {
		return false, there != b
	}
	for _, dir := range b.watched() {
		w.boxes[dir] = b
	}
	return true, false
}

// byClock has a folder looked at by the clock from now on: it cannot be
// watched, or no longer.
func (w *watcher) byClock(b *box) {
	w.mu.Lock()
	defer w.mu.Unlock()
	b.event.end()
	w.poll[b] = true
}

func (b *box) watched() []string { return []string{b.dir, b.path("new"), b.path("cur")} }

func (w *watcher) watch(b *box) bool {
	for i, dir := range b.watched() {
		mask := uint32(namesMask)
		if dir == b.dir {
			mask = dirMask
		}
		if err := w.addWatch(b.store.fs, dir, mask); err != nil {
			w.unwatch(b.watched()[:i])
			w.store.o.Log.Warn("cannot watch folder, looking at it by the clock", "dir", b.dir, "err", err)
			return false
		}
	}
	return true
}

// addWatch watches a directory in the name of its owner, who may read it, then:
// the kernel follows the path once, here, and the watch is of what it leads to.
func (w *watcher) addWatch(by *durable.FS, dir string, mask uint32) error {
	return by.Do(func() error { return w.notify.add(dir, mask) })
}

func (w *watcher) remove(b *box) {
	w.change.Lock()
	defer w.change.Unlock()
	w.mu.Lock()
	delete(w.poll, b)
	known := w.boxes[b.dir] == b
	if known {
		for _, dir := range b.watched() {
			delete(w.boxes, dir)
		}
	}
	w.mu.Unlock()
	b.event.end()
	if known {
		w.unwatch(b.watched())
	}
}

// event is what happened to a name in a directory.
func (w *watcher) event(dir, name string, mask uint32) {
	if mask&unix.IN_Q_OVERFLOW != 0 {
		w.overflow()
		return
	}
	w.named(dir, mask)
	w.mu.Lock()
	b := w.boxes[dir]
	w.mu.Unlock()
	if b == nil {
		return
	}
	if dir == b.dir {
		switch {
		case name == logName:
			b.kick() // another process has written, or we have
		case (name == "new" || name == "cur") && mask&(unix.IN_MOVED_FROM|unix.IN_DELETE) != 0:
			w.byClock(b) // the watch went with the directory
		}
		return
	}
	if mask&namesMask != 0 {
		b.event.add(filepath.Base(dir)+"/"+name, mask&(unix.IN_CREATE|unix.IN_MOVED_TO) != 0)
		b.kick()
	}
}

// overflow: events were lost, so every folder is scanned.
func (w *watcher) overflow() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, b := range w.boxes {
		b.event.lose()
		b.kick()
	}
	for _, a := range w.dirs {
		a.tell()
	}
}

// tick looks at the folders that are not watched.
func (w *watcher) tick() {
	t := time.NewTicker(pollEvery)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-w.stop:
			return
		}
		w.mu.Lock()
		for b := range w.poll {
			b.kick()
		}
		for _, a := range w.dirs {
			if !a.watched {
				a.tell()
			}
		}
		w.mu.Unlock()
	}
}

// kick has the folder looked at in the background, if somebody is subscribed.
// It never waits; kicks while it is looked at make for one more look.
func (b *box) kick() {
	if b.feed.empty() || !b.kicked.CompareAndSwap(false, true) {
		return
	}
	if !b.store.start(b.look) {
		b.kicked.Store(false)
	}
}

func (b *box) look(ctx context.Context) {
	if err := b.lockCtx(ctx); err != nil {
		b.kicked.Store(false)
		return
	}
	defer b.unlock()
	b.kicked.Store(false) // what happens from here on is a new kick
	if b.shut() {
		return
	}
	err := b.sync(ctx)
	if err != nil && ctx.Err() == nil && !errors.Is(err, ErrGone) {
		b.store.o.Log.Error("look for new mail", "dir", b.dir, "err", err)
	}
	if errors.Is(err, ErrGone) {
		b.feed.tell() // sessions find out by their next Sync
	}
	b.payLater(payWait)
}
