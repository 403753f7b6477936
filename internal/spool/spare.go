package spool

import (
	"sync"
	"time"

	"postbag/internal/durable"
)

// A spare is the file of a message that has left the queue, in tmp/ under the same
// name and open: the next message is written over it. Making and removing files is
// dear: ext4 without a journal looks at each inode that was freed in the last
// minutes before it takes one, and a new file is more to sync.
//
// Only who has removed a message makes it a spare, after its removal is durable.
// So no crash brings back a name of the queue for what is written over. Spares of a
// process that died are never used, and are cleaned.
type spare struct {
	file *durable.File
	path string
	size int64
	at   time.Time
}

// spares are those of one process.
type spares struct {
	mu   sync.Mutex
	most int // 0: none are kept
	all  []*spare
}

const (
	maxSpares = 32
	// spareAge is how long a spare is good. It must not exceed maildir.TmpAge.
	spareAge = time.Hour
)

// keep takes a spare if there is room; else its file is removed.
func (s *Spool) keepSpare(sp *spare) {
	s.spares.mu.Lock()
	room := len(s.spares.all) < s.spares.most
	if room {
		s.spares.all = append(s.spares.all, sp)
	}
	s.spares.mu.Unlock()
	if !room {
		s.dropSpare(sp)
	}
}

func (s *Spool) dropSpare(sp *spare) {
	sp.file.Close()
	s.fs.Remove(sp.path)
}

// wantsSpares reports whether there is room for one more.
func (s *Spool) wantsSpares() bool {
	s.spares.mu.Lock()
	defer s.spares.mu.Unlock()
	return len(s.spares.all) < s.spares.most
}

// takeSpare gives a spare, nil for none.
func (s *Spool) takeSpare() *spare {
	s.spares.mu.Lock()
	defer s.spares.mu.Unlock()
	last := len(s.spares.all) - 1
	if last < 0 {
		return nil
	}
	sp := s.spares.all[last]
	s.spares.all = s.spares.all[:last]
	if time.Since(sp.at) > spareAge {
		s.dropSpare(sp)
		return nil
	}
	return sp
}

// keepSpares says how many spares there may be, and removes the others.
func (s *Spool) keepSpares(most int) {
	s.spares.mu.Lock()
	s.spares.most = most
	n := min(most, len(s.spares.all))
	more := s.spares.all[n:]
	s.spares.all = s.spares.all[:n]
	s.spares.mu.Unlock()
	for _, sp := range more {
		s.dropSpare(sp)
	}
}

// retire takes a fresh message out of the queue and makes a spare of its file. It
// is false when nothing was done.
func (l *Locked) retire() (done bool, err error) {
	if l.file != nil || l.message == nil || !l.s.wantsSpares() {
		return false, nil
	}
	sp := &spare{file: l.message, path: l.s.Path("queue", "tmp", l.ID().fileName()), size: int64(len(l.fresh.raw)), at: time.Now()}
	if err := l.s.fs.Rename(l.s.Path(l.entry.file), sp.path); err != nil {
		return false, nil
	}
	if err := l.s.fs.SyncDir(l.s.Path("queue/new")); err != nil {
		// Its name may be there after a crash: nothing is to be written over it.
		l.s.fs.Remove(sp.path)
		return true, err
	}
	l.message = nil
	l.s.keepSpare(sp)
	return true, nil
}
