package queue

import (
	"container/heap"
	"slices"
	"sync"
	"time"

	"postbag/internal/spool"
)

// A schedule holds what is due when, and who may speak to which destination.
// Of a message it keeps little: the queue may be long.
type schedule struct {
	mu    sync.Mutex // attempts acquire and release slots from their goroutines
	limit int        // slots of a destination

	items map[spool.ID]*item
	due   dueHeap
	ready []*item // parked ones for which a slot has become free
	dests map[string]*destination
}

// An item is one queued message. It is in one place: being attempted (active),
// parked at destinations, or only due at a time.
type item struct {
	id     spool.ID
	at     time.Time // when all of it is due; zero is never
	index  int       // in the heap; -1 when not there
	active bool
	again  bool     // somebody woke it while it was active
	force  bool     // whatever its progress says about the next attempt
	parked []string // slots it waits for; these need no time to come
}

// A destination has slots.
type destination struct {
	busy    int
	window  int // slots it is given now; grows with success up to the limit
	waiting []*item
}

// soon is before every present: what is due then is due whoever looks when.
var soon = time.Unix(0, 1)

// firstWindow is how many attempts at a destination start before one has
// succeeded.
const firstWindow = 5

func newSchedule(limit int) *schedule {
	return &schedule{limit: limit, items: map[spool.ID]*item{}, dests: map[string]*destination{}}
}

// add makes a message due at a time, or earlier if it already is. One that is
// being attempted is looked at again afterwards.
func (s *schedule) add(id spool.ID, at time.Time, force bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	it := s.items[id]
	if it == nil {
		it = &item{id: id, index: -1}
		s.items[id] = it
	}
	it.force = it.force || force
	if it.active {
		it.again = true
		return
	}
	if it.index < 0 || at.Before(it.at) {
		s.setDue(it, at)
	}
}

func (s *schedule) setDue(it *item, at time.Time) {
	it.at = at
	switch {
	case at.IsZero() && it.index >= 0:
		heap.Remove(&s.due, it.index)
	case at.IsZero():
	case it.index < 0:
		heap.Push(&s.due, it)
	default:
		heap.Fix(&s.due, it.index)
	}
}

// A start is a message to be attempted now.
type start struct {
	id    spool.ID
	only  []string // nil: all destinations; else those it has waited for
	force bool
}

// next takes what may start at now.
func (s *schedule) next(now time.Time) (start, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.ready) > 0 {
		it := s.ready[0]
		s.ready = s.ready[1:]
		// It may have become due, or have been given up, since.
		if !it.active && len(it.parked) > 0 {
			return s.begin(it, it.parked), true
		}
	}
	if len(s.due) > 0 && !s.due[0].at.After(now) {
		return s.begin(s.due[0], nil), true
	}
	return start{}, false
}

func (s *schedule) begin(it *item, only []string) start {
	if only == nil {
		heap.Remove(&s.due, it.index)
	}
	it.active, it.parked = true, nil
	st := start{it.id, only, it.force}
	it.force = false
	return st
}

// wait says how long nothing becomes due; ok is false when nothing will.
func (s *schedule) wait(now time.Time) (d time.Duration, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.ready) > 0 {
		return 0, true
	}
	if len(s.due) == 0 {
		return 0, false
	}
	return max(s.due[0].at.Sub(now), 0), true
}

// end takes a message back from an attempt. next is when it is due again; zero
// is never, and with no slot to wait for it is forgotten.
func (s *schedule) end(id spool.ID, next time.Time, parked []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	it := s.items[id]
	it.active = false
	if it.again {
		it.again = false
		next, parked = soon, nil
	}
	if next.IsZero() && len(parked) == 0 {
		if it.index >= 0 {
			heap.Remove(&s.due, it.index)
		}
		delete(s.items, id)
		return
	}
	s.setDue(it, next)
	it.parked = parked
	for _, key := range parked {
		d := s.dest(key)
		if d.busy < d.window {
			s.ready = append(s.ready, it)
		} else {
			d.waiting = append(d.waiting, it)
		}
	}
}

func (s *schedule) dest(key string) *destination {
	d := s.dests[key]
	if d == nil {
		d = &destination{window: min(firstWindow, s.limit)}
		s.dests[key] = d
	}
	return d
}

// acquire takes a slot of a destination, if there is one.
func (s *schedule) acquire(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.dest(key)
	if d.busy >= d.window {
		return false
	}
	d.busy++
	return true
}

// release gives a slot back. A destination that answered gets one more, one
// that did not keeps a single one until it does: what waits for it costs nobody
// else anything.
func (s *schedule) release(key string, answered bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.dest(key)
	d.busy--
	d.window = 1
	if answered {
		d.window = min(d.window+d.busy+1, s.limit)
	}
	s.offer(key, d)
	if d.busy == 0 && len(d.waiting) == 0 && answered {
		delete(s.dests, key)
	}
}

// offer makes those ready that wait for free slots.
func (s *schedule) offer(key string, d *destination) {
	for n := d.window - d.busy; n > 0 && len(d.waiting) > 0; {
		it := d.waiting[0]
		d.waiting = d.waiting[1:]
		// It may have become due, or have gone, since it was parked.
		if !it.active && slices.Contains(it.parked, key) {
			s.ready = append(s.ready, it)
			n--
		}
	}
}

// pass offers slots of destinations to the next, after the attempt for which
// they were offered has ended: it may have used none.
func (s *schedule) pass(keys []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, key := range keys {
		if d := s.dests[key]; d != nil {
			s.offer(key, d)
		}
	}
}

// idle reports whether nothing is parked or due by now.
func (s *schedule) idle(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, it := range s.items {
		if it.active || len(it.parked) > 0 || it.index >= 0 && !it.at.After(now) {
			return false
		}
	}
	return true
}

// dueHeap orders items by time.
type dueHeap []*item

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h dueHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}
func (h *dueHeap) Push(x any) {
	it := x.(*item)
	it.index = len(*h)
	*h = append(*h, it)
}
func (h *dueHeap) Pop() any {
	old := *h
	it := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	it.index = -1
	return it
}
