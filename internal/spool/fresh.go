package spool

import (
	"errors"
	iofs "io/fs"
	"os"
	"slices"
	"sync"
	"time"
)

// A handover keeps messages that this process has queued in memory, for the first
// attempt at each, which usually follows at once: it need not read what has just
// been written.
type handover struct {
	mu    sync.Mutex
	most  int // octets of all of them; 0: none is kept
	size  int
	byID  map[ID]*fresh
	order []ID // the oldest first; some have been taken since
}

// A fresh is a message as it lies on the disk.
type fresh struct {
	id  ID
	raw []byte
}

// HandOver keeps what this process queues from now on in memory until its first
// attempt, up to so many octets, and files that are done with for what comes next.
// It is for the process that makes the attempts; with 0 it ends.
func (s *Spool) HandOver(most int) {
	s.keepSpares(min(most, maxSpares))
	s.fresh.mu.Lock()
	defer s.fresh.mu.Unlock()
	s.fresh.most = most
	if s.fresh.byID == nil {
		s.fresh.byID = map[ID]*fresh{}
	}
	s.fresh.trim()
}

// trim forgets the oldest until the others have room.
func (h *handover) trim() {
	for h.size > h.most && len(h.order) > 0 {
		h.forget(h.order[0])
		h.order = h.order[1:]
	}
}

// put keeps a message, in place of older ones if need be: somebody else may have
// taken these.
func (h *handover) put(f *fresh) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.size += cap(f.raw)
	h.insert(f)
}

func (h *handover) insert(f *fresh) {
	h.trim()
	if h.size > h.most { // by those that are being attempted
		h.size -= cap(f.raw)
		return
	}
	if len(h.order) > 2*len(h.byID)+maxTaken {
		h.order = slices.DeleteFunc(h.order, func(id ID) bool { return h.byID[id] == nil })
	}
	h.byID[f.id], h.order = f, append(h.order, f.id)
}

// maxTaken bounds what is in order only.
const maxTaken = 1000

func (h *handover) forget(id ID) {
	if f := h.byID[id]; f != nil {
		delete(h.byID, id)
		h.size -= cap(f.raw)
	}
}

// take gives a message, nil for none. It counts until release or giveBack.
func (h *handover) take(id ID) *fresh {
	h.mu.Lock()
	defer h.mu.Unlock()
	f := h.byID[id]
	delete(h.byID, id)
	return f
}

func (h *handover) release(f *fresh) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.size -= cap(f.raw)
}

// giveBack keeps a message again that was not attempted.
func (h *handover) giveBack(f *fresh) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.insert(f)
}

// lockFresh is Lock for a message in memory; nil when it is not there, or when
// somebody has begun to work on it.
//
// The lock is on the message itself. Whoever else wants it makes its progress
// file first and then looks at this lock, and we look for that file once we hold
// it: so one of us two sees the other. Progress is written when it has to be: a
// message that its first attempt brings to all its recipients never has any.
func (s *Spool) lockFresh(id ID) *Locked {
	f := s.fresh.take(id)
	if f == nil {
		return nil
	}
	l, err := s.tryFresh(f)
	if err != nil {
		s.fresh.release(f)
		return nil
	}
	return l
}

func (s *Spool) tryFresh(f *fresh) (*Locked, error) {
	e, err := entryOf(f)
	if err != nil {
		return nil, err
	}
	lock, err := s.fs.OpenRW(s.Path(e.file))
	if err != nil {
		return nil, err
	}
	ok, err := lock.TryLock()
	if err == nil && !ok {
		err = ErrLocked
	}
	if err == nil {
		err = s.untouched(e)
	}
	if err != nil {
		lock.Close()
		return nil, err
	}
	return &Locked{s: s, entry: e, fresh: f, message: lock}, nil
}

// entryOf is what load gives for a message in memory.
func entryOf(f *fresh) (*Entry, error) {
	h, _, err := parseHead(f.raw)
	if err != nil {
		return nil, err
	}
	e := &Entry{Envelope: *h.env, Size: h.length, Active: true, head: h, file: "queue/new/" + f.id.fileName()}
	e.Progress = newProgress(&e.Envelope)
	return e, nil
}

// untouched checks that nobody works on a message, or has begun to, and that it
// is where it was.
func (s *Spool) untouched(e *Entry) error {
	_, err := os.Lstat(s.progressPath(e.ID))
	if err == nil {
		return ErrLocked
	}
	if !errors.Is(err, iofs.ErrNotExist) {
		return err
	}
	_, err = os.Lstat(s.Path(e.file))
	return err
}

// Who makes the progress file of a fresh message may find that somebody else has
// just locked it, to look whether he may work on it.
const (
	makeTries = 1000
	makeWait  = 5 * time.Millisecond
)

// materialize makes the progress file of a fresh message and takes its lock.
func (l *Locked) materialize() (err error) {
	f, err := l.s.fs.OpenAppend(l.s.progressPath(l.ID()), 0o600)
	if err != nil {
		return err
	}
	ok, err := f.TryLock()
	for try := 0; err == nil && !ok && try < makeTries; try++ {
		time.Sleep(makeWait)
		ok, err = f.TryLock()
	}
	if err == nil && !ok {
		err = ErrLocked
	}
	if err != nil {
		f.Close()
		return err
	}
	l.file = f
	return nil
}

// hold notes events of a fresh message in memory.
func (l *Locked) hold(events []Event) error {
	for i := range events {
		if events[i].Time.IsZero() {
			events[i].Time = l.s.now()
		}
	}
	l.held, l.owed = append(l.held, events...), true
	return nil
}

// write makes the progress file of what was held.
func (l *Locked) write() error {
	if l.file != nil || len(l.held) == 0 {
		return nil
	}
	if err := l.materialize(); err != nil {
		return err
	}
	held := l.held
	l.held = nil
	return l.append(held)
}

// leave ends a lock on a fresh message. One that was not attempted stays fresh.
func (l *Locked) leave() {
	if l.fresh == nil {
		return
	}
	if l.message != nil { // else it is a spare
		l.message.Close()
		l.message = nil
	}
	if l.file == nil && !l.owed && !l.removed {
		l.s.fresh.giveBack(l.fresh)
	} else {
		l.s.fresh.release(l.fresh)
	}
	l.fresh = nil
}
