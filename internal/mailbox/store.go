package mailbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"postbag/internal/durable"
	"postbag/internal/maildir"
	"postbag/internal/quota"
	"postbag/internal/status"
)

// Errors that callers tell apart with errors.Is.
var (
	// ErrInUse means that another process kept the folder's lock too long:
	// temporary; NO [INUSE], 4xx, -ERR [IN-USE].
	ErrInUse = errors.New("mailbox is in use")
	// ErrGone means that the folder itself is no longer there.
	ErrGone = errors.New("mailbox is gone")
	// ErrExpunged means that a letter's file is gone: NO [EXPUNGEISSUED].
	ErrExpunged = errors.New("letter is expunged")
	// ErrClosed means that the Store or the Folder has been closed.
	ErrClosed = errors.New("mailbox is closed")
	// ErrOverQuota means that there is no room for more letters: NO [OVERQUOTA].
	ErrOverQuota = quota.ErrOver
)

// Options of a Store. The zero value works.
type Options struct {
	Hostname string           // in names of letters; default "localhost"
	Now      func() time.Time // default time.Now
	Log      *slog.Logger     // what was mended and what could not be; default none
	LockWait time.Duration    // how long to try for another process's lock; default 10 s
	Linger   time.Duration    // how long after the last one has left a folder it is put in order for other processes; 0: at once
	NoWatch  bool             // do not use inotify: only look every half second
	Quota    quota.Limit      // of each account; the zero value leaves it to the account's own (package quota)
}

// A Store gives out folders. A process has one: its sessions on a folder share
// the folder's state, and all folders share one inotify instance. It is safe
// for concurrent use.
//
// Every path below a folder is gone in the name of the owner of the Store's FS:
// what somebody has put into his Maildir, links too, leads us nowhere where he
// could not go himself. As gives the Store of an account with another owner.
type Store struct {
	fs *durable.FS
	*shared
}

// shared is what the Stores of all owners have together.
type shared struct {
	o Options

	mu      sync.Mutex
	boxes   map[place]*box
	resting []*box      // those of folders that nobody has open: rest.go
	expiry  *time.Timer // when the first of them has been there for too long
	closed  bool
	watch   *watcher
	work    sync.WaitGroup // goroutines that pay debts and look for changes
	ctx     context.Context
	stop    context.CancelFunc
}

// A place is what a box is of. Who comes to a directory in another name has
// another box, as other processes have.
type place struct {
	dir   string
	owner durable.Owner
}

// NewStore makes a Store. It starts nothing until folders are opened.
func NewStore(fs *durable.FS, o Options) *Store {
	if o.Hostname == "" {
		o.Hostname = "localhost"
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	if o.LockWait == 0 {
		o.LockWait = 10 * time.Second
	}
	s := &Store{fs: fs, shared: &shared{o: o, boxes: map[place]*box{}}}
	s.ctx, s.stop = context.WithCancel(context.Background())
	return s
}

// As gives a Store that does everything in the name of somebody: see durable.FS.
// It is closed with s.
func (s *Store) As(who durable.Owner) *Store { return &Store{fs: s.fs.As(who), shared: s.shared} }

// FS is what the Store looks at and changes files with.
func (s *Store) FS() *durable.FS { return s.fs }

// Quota is that of the account which the folder in dir belongs to.
func (s *Store) Quota(dir string) *quota.Quota {
	return quota.New(s.fs, maildir.Root(s.fs, dir), s.o.Quota)
}

// Open opens the folder whose new/, cur/ and tmp/ are below dir. Letters that
// came since the last time have no UID before the first Sync. The caller closes
// the Folder.
func (s *Store) Open(ctx context.Context, dir string) (*Folder, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	b, err := s.take(dir)
	if err != nil {
		return nil, err
	}
	if err := b.open(ctx); err != nil {
		s.give(b)
		return nil, fmt.Errorf("open folder %s: %w", dir, err)
	}
	return &Folder{b: b}, nil
}

// take counts one more user of a box, making it if need be.
func (s *Store) take(dir string) (*box, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	at := place{dir, s.fs.Owner()}
	b := s.boxes[at]
	if b == nil {
		b = newBox(s, dir)
		s.boxes[at] = b
	}
	b.users++
	s.awaken(b)
	return b, nil
}

// give counts one user less.
func (s *Store) give(b *box) { dismiss(s.leave(b)) }

// Close pays what debts it can and gives everything back. Folders still open
// are of no more use.
func (s *Store) Close() error {
	s.mu.Lock()
	s.closed = true
	s.stopExpiry()
	boxes := make([]*box, 0, len(s.boxes))
	for _, b := range s.boxes {
		boxes = append(boxes, b)
	}
	s.mu.Unlock()
	s.stop()
	s.work.Wait()
	for _, b := range boxes {
		b.lock()
		b.close()
		b.unlock()
	}
	return s.endWatch()
}

func (s *Store) endWatch() error {
	s.mu.Lock()
	w := s.watch
	s.watch = nil
	s.mu.Unlock()
	if w == nil {
		return nil
	}
	return w.close()
}

// start runs f in the background unless the Store is closing.
func (s *Store) start(f func(ctx context.Context)) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.work.Add(1)
	go func() {
		defer s.work.Done()
		f(s.ctx)
	}()
	return true
}

// inUse is the error for a lock that did not come.
func inUse(what string) error {
	return status.Temp("lock "+what, "4.2.0", "mailbox is in use by another process", ErrInUse)
}
