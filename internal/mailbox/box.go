package mailbox

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"postbag/internal/durable"
	"postbag/internal/mailcache"
	"postbag/internal/mboxlog"
	"postbag/internal/quota"
)

// Files of ours in a folder. None begins with a dot: in a Maildir++ tree other
// programs take what does for a folder.
const (
	logName     = "postbag.log"
	snapName    = "postbag.snap" // and stampsName
	cacheName   = "postbag.cache"
	openName    = "postbag.open"     // each process that has the folder open holds a shared lock on it
	expungedDir = "postbag.expunged" // expunged letters that some session may still read
)

// A box is what the sessions of one process share of a folder.
//
// Two locks guard it. sem is held by whoever may change the folder, for as
// long as that takes, waiting for other processes included; mu guards the
// state's memory and is held for moments only, so that reading letters goes on
// meanwhile. sem comes before mu.
type box struct {
	store      *Store
	dir        string
	users      int       // guarded by store.mu, as are the two that follow
	restsSince time.Time // of a box at rest
	restsWith  int64     // so much memory

	sem chan struct{}

	log      *mboxlog.Log
	openFile *durable.File
	snap     *mboxlog.Snapshot // kept open until the names have been read
	seen     stamps            // the directories as the state knows them
	snapSeen stamps            // what others can know from the disk
	snapEnd  int64             // up to where of the log it goes
	snapSum  uint32            // which it is; 0: none that the state is built on
	locked   bool
	resting  bool            // nobody has it open: rest.go
	lingers  bool            // whether somebody has is looked at later: linger.go
	register known           // what has been read of another server's list of UIDs
	own      map[string]bool // what events will say of renames that are under way
	swept    time.Time       // when expungedDir was looked at
	keysSeen stamp           // dovecot-keywords, as the log knows it
	leastUID uint32          // below it that list has given UIDs
	quota    *quota.Quota
	fine     bool         // the file system's times are of the kernel's clock
	remote   bool         // other hosts may change the folder
	anew     bool         // the log was read from its beginning: perhaps it is another folder's
	paying   atomic.Bool  // a goroutine pays debts
	changed  atomic.Int64 // when somebody has last changed the folder here, in Unix nanoseconds
	kicked   atomic.Bool  // a goroutine is about to look at the folder
	settling atomic.Bool  // new letters are to be moved to cur/ by somebody

	mu    sync.Mutex
	st    state
	facts map[uint32]fact // learnt since the last record of facts

	cacheMu sync.Mutex
	cache   *mailcache.Cache // opened when it is asked for
	cacheOf identity         // the folder that it is of

	view  atomic.Pointer[View]
	feed  feed
	event events
}

func newBox(s *Store, dir string) *box {
	b := &box{store: s, dir: dir, sem: make(chan struct{}, 1), facts: map[uint32]fact{}}
	b.st.reset()
	return b
}

func (b *box) lock()   { b.sem <- struct{}{} }
func (b *box) unlock() { <-b.sem }

// lockCtx is lock, unless the caller has given up.
func (b *box) lockCtx(ctx context.Context) error {
	select {
	case b.sem <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// path gives the path of a file of the folder.
func (b *box) path(name string) string { return filepath.Join(b.dir, name) }

// Reset and Apply make a box the reader of its log.
func (b *box) Reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.st.reset()
	b.seen, b.anew = stamps{}, true
	b.snapSeen, b.snapEnd, b.snapSum = stamps{}, 0, 0
	b.closeSnap()
}

// Apply is part of mboxlog.Reader.
func (b *box) Apply(rec mboxlog.Record) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.st.apply(rec)
}

// open makes the box ready, if it is not, and publishes its first version.
func (b *box) open(ctx context.Context) error {
	if err := b.lockCtx(ctx); err != nil {
		return err
	}
	defer b.unlock()
	if !b.shut() {
		return nil
	}
	if st, err := b.store.fs.Stat(b.path("cur")); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = ErrGone
		}
		return err
	} else if !st.IsDir() {
		return fmt.Errorf("cur: %w", syscall.ENOTDIR)
	}
	b.complete()
	if b.resting {
		if b.wake(ctx) == nil {
			return nil
		}
		b.drop()
	}
	b.learnFileSystem()
	b.quota = b.store.Quota(b.dir)
	log, err := mboxlog.Open(b.store.fs, b.path(logName))
	if err != nil {
		return gone(err)
	}
	b.log = log
	if err := b.ready(ctx); err != nil {
		b.close()
		return err
	}
	return nil
}

// complete makes what other programs have left out of a Maildir. Where it
// cannot, whoever needs it says so.
func (b *box) complete() {
	for _, sub := range []string{"new", "tmp"} {
		if _, err := b.store.fs.Stat(b.path(sub)); errors.Is(err, fs.ErrNotExist) {
			if b.store.fs.Mkdir(b.path(sub), 0o700) == nil {
				b.store.fs.SyncDir(b.dir)
			}
		}
	}
}

func (b *box) ready(ctx context.Context) error {
	if err := b.holdOpen(); err != nil {
		return err
	}
	b.loadSnapshot()
	b.loadStamps()
	return b.firstVersion(ctx)
}

// firstVersion brings the state up to date and publishes it.
func (b *box) firstVersion(ctx context.Context) error {
	if err := b.refresh(); err != nil {
		return err
	}
	if !b.well() {
		// A lock is enough: it brings the log into order.
		if err := b.exclusive(ctx, func() error { return nil }); err != nil {
			return err
		}
	}
	return b.publish()
}

// holdOpen takes the shared lock that tells other processes to keep what they
// expunge readable.
func (b *box) holdOpen() error {
	f, err := b.store.fs.OpenAppend(b.path(openName), 0o600)
	if err != nil {
		return gone(err)
	}
	for range 100 {
		ok, err := f.TryRLock()
		if err != nil {
			f.Close()
			return fmt.Errorf("lock %s: %w", openName, err)
		}
		if ok {
			b.openFile = f
			return nil
		}
		time.Sleep(time.Millisecond) // somebody is just asking whether he is alone
	}
	f.Close()
	return inUse(b.dir)
}

// alone reports whether nobody else has the folder open.
func (b *box) alone() bool {
	if b.openFile == nil {
		return false
	}
	ok, err := b.openFile.TryLock()
	if err != nil || !ok {
		return false
	}
	b.openFile.TryRLock() // from exclusive to shared always works
	b.store.mu.Lock()
	defer b.store.mu.Unlock()
	return b.users <= 1
}

// close gives back what the box holds; open makes it whole again.
func (b *box) close() {
	b.retire()
	b.drop()
}

// retire leaves the folder in order.
func (b *box) retire() {
	if !b.shut() && b.openFile != nil { // it was opened well
		b.tidy()
	}
}

// drop gives everything back.
func (b *box) drop() {
	if b.log == nil {
		return
	}
	b.store.unwatch(b)
	b.log.Close()
	if b.openFile != nil {
		b.openFile.Close()
	}
	b.closeSnap()
	b.closeCache()
	b.log, b.openFile, b.locked, b.resting = nil, nil, false, false
	b.seen, b.snapSeen, b.snapEnd, b.snapSum = stamps{}, stamps{}, 0, 0
	b.mu.Lock()
	b.st.reset()
	b.mu.Unlock()
}

func (b *box) closeSnap() {
	if b.snap != nil {
		b.snap.Close()
		b.snap = nil
	}
}

// well reports whether the log says who the folder is and is whole.
func (b *box) well() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.st.born && !b.st.damaged && b.log.Settled() && b.st.inode == b.inode()
}

// refresh reads what other processes have written, without a lock. It may not
// be on the disk yet; publish sees to that.
func (b *box) refresh() error {
	if b.shut() {
		return ErrClosed
	}
	if err := b.log.Read(b); err != nil {
		if !errors.Is(err, mboxlog.ErrSnapshot) {
			return gone(err)
		}
		b.log.Restart() // the snapshot's names are no good
		if err := b.log.Read(b); err != nil {
			return gone(err)
		}
	}
	return b.follows()
}

// follows makes sure that what the box holds and watches is the folder that
// has the name now, after another log than before was found there.
func (b *box) follows() error {
	if !b.anew {
		return nil
	}
	if b.openFile != nil {
		if same, err := b.store.fs.Same(b.openFile, b.path(openName)); err == nil && same {
			b.anew = false
			return nil
		}
		b.openFile.Close()
		b.openFile = nil
	}
	if err := b.holdOpen(); err != nil {
		return err
	}
	b.anew = false
	b.store.unwatch(b)
	if !b.feed.empty() {
		b.store.attend(b)
	}
	return nil
}

// loadNames makes the names of letters known, which scans and debts need.
func (b *box) loadNames() error {
	b.mu.Lock()
	err := b.st.loadNames()
	b.mu.Unlock()
	if err == nil {
		return nil
	}
	b.log.Restart()
	return b.refresh()
}

// publish makes the state a version, if it differs from the newest, and tells
// the subscribers. What a version says is on the disk, whoever wrote it.
func (b *box) publish() error {
	if b.published() {
		return nil
	}
	if err := b.log.Sync(); err != nil {
		return err
	}
	b.mu.Lock()
	b.view.Store(b.st.view())
	b.mu.Unlock()
	b.feed.tell()
	return nil
}

func (b *box) published() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	old := b.view.Load()
	return old != nil && old.modseq == b.st.modseq && old.uidNext == b.st.uidNext &&
		old.validity == b.st.validity && old.length == b.st.rows.length
}

func mailboxID(id [16]byte) string { return "F" + hex.EncodeToString(id[:]) }

// inode is the inode number of the folder; 0 when it is not there.
func (b *box) inode() uint64 {
	var st syscall.Stat_t
	if err := b.store.fs.StatInto(b.dir, &st); err != nil {
		return 0
	}
	return st.Ino
}

// gone names the one error that callers tell apart.
func gone(err error) error {
	if errors.Is(err, mboxlog.ErrGone) || errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", ErrGone, err)
	}
	return err
}
