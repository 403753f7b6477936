package mailbox

import "sync"

// feed tells subscribers of new versions.
type feed struct {
	mu   sync.Mutex
	subs map[*subscriber]bool
}

type subscriber struct{ tell func() }

func (f *feed) tell() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for s := range f.subs {
		s.tell()
	}
}

func (f *feed) add(s *subscriber) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.subs == nil {
		f.subs = map[*subscriber]bool{}
	}
	f.subs[s] = true
}

func (f *feed) empty() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.subs) == 0
}

func (f *feed) remove(s *subscriber) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.subs, s)
}
