package deliver

import (
	"sync"
	"time"

	"postbag/internal/durable"
	"postbag/internal/maildir"
	"postbag/internal/quota"
)

// freeAge bounds how long an account is believed to keep no quota, and freeMany
// of how many that is remembered. A letter that comes meanwhile is missing in the
// sums of a file that another program has just begun, until they are counted anew.
const (
	freeAge  = time.Second
	freeMany = 1000
)

// free are accounts that keep no quota, and when that was seen: to look costs a
// letter as much as to be renamed.
type free struct {
	mu   sync.Mutex
	seen map[string]time.Time // by the Maildir that letters go to
}

// quotaOf gives the quota of an account; nil if it keeps none.
func (l *Local) quotaOf(fs *durable.FS, box Mailbox) *quota.Quota {
	if l.free.lately(box.Dir) {
		return nil
	}
	q := quota.New(fs, maildir.Root(fs, box.Dir), l.Quota)
	if q.Kept() {
		return q
	}
	l.free.note(box.Dir)
	return nil
}

func (f *free) lately(dir string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	at, ok := f.seen[dir]
	return ok && time.Since(at) < freeAge
}

func (f *free) note(dir string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.seen == nil || len(f.seen) >= freeMany {
		f.seen = map[string]time.Time{}
	}
	f.seen[dir] = time.Now()
}
