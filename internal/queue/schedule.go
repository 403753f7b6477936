package queue

import (
	"container/heap"
	"sync"
	"time"

	"postbag/internal/spool"
)

// A schedule holds what is due when, and who may speak to which destination
// (destination.go). Of a message it keeps little: the queue may be long.
type schedule struct {
	clock func() time.Time

	mu    sync.Mutex // attempts acquire and release slots from their goroutines
	items map[spool.ID]*item
	due   dueHeap
	fresh line // woken: new letters, and those that somebody has retried
	ripe  line // those whose time has come
	ready line // parked ones for which a slot has become free
	turn  int  // of the three above, who was served last
	slots
}

// An item is one queued message. It is in one place: being attempted (active),
// fresh, ripe, parked at destinations, or only due at a time.
type item struct {
	id       spool.ID
	at       time.Time // when all of it is due; zero is never
	since    time.Time // when it came to wait for its turn
	index    int       // in the heap; -1 when not there
	priority int8      // RFC 6710; 0 until an attempt has looked at it, or who queued it has told
	active   bool
	fresh    bool
	ripe     bool
	again    bool     // somebody woke it while it was active
	force    bool     // whatever its progress says about the next attempt
	eager    bool     // although its destinations are suspended: somebody has retried it
	parked   []string // slots it waits for; these need no time to come
}

// soon is before every present: what is due then is due whoever looks when.
var soon = time.Unix(0, 1)

func newSchedule(now func() time.Time, r rules) *schedule {
	return &schedule{clock: now, items: map[spool.ID]*item{}, slots: newSlots(r)}
}

// add makes a message due at a time, or earlier if it already is. One that is
// being attempted is looked at again afterwards.
func (s *schedule) add(id spool.ID, at time.Time, force bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	it := s.item(id)
	it.force = it.force || force
	s.bring(it, at)
}

// call is add for a message that is due at once and whose priority may be known.
func (s *schedule) call(c spool.Call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	it := s.item(c.ID)
	if c.Priority != 0 {
		it.priority = int8(c.Priority)
	}
	s.bring(it, soon)
}

// rank tells the priority of a message that is being attempted.
func (s *schedule) rank(id spool.ID, priority int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.item(id).priority = int8(priority)
}

func (s *schedule) item(id spool.ID) *item {
	it := s.items[id]
	if it == nil {
		it = &item{id: id, index: -1}
		s.items[id] = it
	}
	return it
}

func (s *schedule) bring(it *item, at time.Time) {
	switch {
	case it.active:
		it.again = true
	case at.Equal(soon):
		it.eager = it.eager || it.index >= 0 || it.ripe
		s.freshen(it)
	case !it.fresh && !it.ripe && (it.index < 0 || at.Before(it.at)):
		s.setDue(it, at)
	}
}

func (s *schedule) freshen(it *item) {
	if it.fresh {
		return
	}
	s.setDue(it, time.Time{})
	it.fresh, it.ripe, it.since = true, false, s.clock()
	s.fresh.push(it)
}

// ripen finds those whose time has come.
func (s *schedule) ripen(now time.Time) {
	for len(s.due) > 0 && !s.due[0].at.After(now) {
		it := heap.Pop(&s.due).(*item)
		it.ripe, it.since = true, it.at
		s.ripe.push(it)
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
	eager bool
}

// next takes what may start now: by turns a letter that just came, one that has
// been waiting for its time, and one that has been waiting for a slot, so that none
// of the three keeps the others out. Of each of these the first of its line goes.
func (s *schedule) next() (start, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock()
	s.offerPaused(now)
	for range 3 {
		s.turn = (s.turn + 1) % 3
		it, only := s.first(s.turn, now)
		if it != nil {
			return s.begin(it, only), true
		}
	}
	return start{}, false
}

// first takes the first of one of the three kinds. Those that were taken
// otherwise since they came are passed over.
func (s *schedule) first(kind int, now time.Time) (it *item, only []string) {
	switch kind {
	case 0:
		for s.ready.len() > 0 {
			if it := s.ready.pop(); !it.active && len(it.parked) > 0 {
				return it, it.parked
			}
		}
	case 1:
		for s.fresh.len() > 0 {
			if it := s.fresh.pop(); !it.active && it.fresh {
				return it, nil
			}
		}
	case 2:
		s.ripen(now)
		for s.ripe.len() > 0 {
			if it := s.ripe.pop(); !it.active && it.ripe {
				return it, nil
			}
		}
	}
	return nil, nil
}

func (s *schedule) begin(it *item, only []string) start {
	if it.index >= 0 {
		heap.Remove(&s.due, it.index)
	}
	st := start{it.id, only, it.force, it.eager}
	it.active, it.fresh, it.ripe, it.force, it.parked = true, false, false, false, nil
	return st
}

// wait says how long nothing becomes due; ok is false when nothing will.
func (s *schedule) wait() (d time.Duration, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ready.len() > 0 || s.fresh.len() > 0 || s.ripe.len() > 0 {
		return 0, true
	}
	next := s.nextPause()
	if len(s.due) > 0 && (next.IsZero() || s.due[0].at.Before(next)) {
		next = s.due[0].at
	}
	return max(next.Sub(s.clock()), 0), !next.IsZero()
}

// end takes a message back from an attempt. next is when it is due again; zero
// is never, and with no slot to wait for it is forgotten.
func (s *schedule) end(id spool.ID, next time.Time, parked []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	it := s.items[id]
	it.active = false
	it.eager = it.eager && len(parked) > 0 // what has to wait for a slot is still retried
	if it.again {
		it.again = false
		s.freshen(it)
		return
	}
	if next.IsZero() && len(parked) == 0 {
		delete(s.items, id)
		return
	}
	s.setDue(it, next)
	it.parked = parked
	for _, key := range parked {
		d := s.dest(key)
		d.waiting.push(it)
		s.offer(key, d)
	}
}

// idle reports whether nothing is parked or due by now.
func (s *schedule) idle() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock()
	for _, it := range s.items {
		if it.active || it.fresh || it.ripe || len(it.parked) > 0 || it.index >= 0 && !it.at.After(now) {
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
