package mailbox

import "sync"

// feed tells subscribers of new versions.
type feed struct {
	mu   sync.Mutex
	subs map[chan<- struct{}]int
}

func (f *feed) tell() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for c := range f.subs {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

func (f *feed) add(c chan<- struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.subs == nil {
		f.subs = map[chan<- struct{}]int{}
	}
	f.subs[c]++
}

func (f *feed) empty() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.subs) == 0
}

func (f *feed) remove(c chan<- struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.subs[c]--; f.subs[c] <= 0 {
		delete(f.subs, c)
	}
}
