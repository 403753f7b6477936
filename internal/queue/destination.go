package queue

import (
	"slices"
	"time"
)

// A destination has slots: so many attempts at it may be under way at a time.
type destination struct {
	busy    int
	window  int  // slots it is given now
	waiting line // parked here

	proven  bool      // it has answered, and has not failed since
	failed  int       // attempts without an answer since it last answered
	rounds  int       // suspensions since then
	until   time.Time // it is suspended until then
	why     error     // and why
	pace    pace
	recent  []time.Time // when attempts have begun, those that the pace still counts
	free    time.Time   // when the next may begin
	crowded bool        // it waits in slots.crowd
}

// rules are the same for all destinations.
type rules struct {
	limit    int           // slots of one
	unproven int           // of all that have not answered yet, together
	suspend  time.Duration // how long the first suspension is
	most     time.Duration // and the longest
}

// slots are those of all destinations.
//
// The window of a destination begins at firstWindow, grows by one with each answer
// and is halved by an attempt without one. When as many attempts have failed in a
// row as are still under way, and at least two, it is suspended: what is for it is
// put off for the same reason without another attempt, so that the letters for a
// dead host cost nobody anything; then a single one tries again.
//
// Attempts at destinations that have not answered yet are bounded all together.
// Each of them may hang for minutes, and there may be hundreds: the rest is for
// those that do answer.
type slots struct {
	rules
	dests  map[string]*destination
	paused map[string]*destination // those whose pace keeps somebody waiting
	begun  int                     // attempts at unproven ones
	crowd  []string                // unproven ones with somebody waiting for one of those
}

// firstWindow is how many attempts at a destination start before one has
// succeeded; one alone where many destinations have not answered yet.
const firstWindow = 5

func newSlots(r rules) slots {
	return slots{rules: r, dests: map[string]*destination{}, paused: map[string]*destination{}}
}

func (s *slots) dest(key string) *destination {
	d := s.dests[key]
	if d == nil {
		d = &destination{window: min(firstWindow, s.limit)}
		s.dests[key] = d
	}
	return d
}

func (d *destination) suspended(now time.Time) bool { return now.Before(d.until) }

// open is how many attempts at a destination may begin now.
func (s *slots) open(d *destination, now time.Time) int {
	n := d.window - d.busy
	if !d.proven {
		if s.begun >= s.unproven/4 {
			n = min(n, 1-d.busy)
		}
		n = min(n, s.unproven-s.begun)
	}
	return max(min(n, d.allowed(now)), 0)
}

// acquire takes a slot of a destination, if there is one. why says that the
// destination is suspended; an eager one tries it all the same.
func (s *schedule) acquire(key string, p pace, eager bool) (ok bool, why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, now := s.dest(key), s.clock()
	d.pace = p
	if d.suspended(now) && !eager {
		return false, d.why
	}
	if s.open(d, now) == 0 {
		return false, nil
	}
	d.busy++
	if !d.proven {
		s.begun++
	}
	d.begin(now)
	return true, nil
}

// release gives a slot back. failure says why the destination did not answer; nil
// when it did.
func (s *schedule) release(key string, failure error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.dest(key)
	d.busy--
	if !d.proven {
		s.begun--
	}
	if failure == nil {
		s.answered(d)
	} else {
		s.unanswered(d, failure)
	}
	s.offer(key, d)
	s.offerCrowd()
	if d.busy == 0 && d.waiting.len() == 0 && d.failed == 0 && !d.counted(s.clock()) {
		delete(s.dests, key)
	}
}

func (s *schedule) answered(d *destination) {
	if !d.proven {
		s.begun -= d.busy
	}
	d.proven, d.failed, d.rounds, d.until, d.why = true, 0, 0, time.Time{}, nil
	d.window = min(d.window+1, s.limit)
}

func (s *schedule) unanswered(d *destination, failure error) {
	d.failed++
	d.window = max(d.window/2, 1)
	if d.failed < 2 || d.failed <= d.busy || d.suspended(s.clock()) {
		return
	}
	if d.proven {
		s.begun += d.busy
	}
	wait := min(s.suspend<<min(d.rounds, 16), s.most)
	d.proven, d.window, d.why = false, 1, failure
	d.until, d.rounds = s.clock().Add(wait), d.rounds+1
}

// offer makes those ready that wait for a destination and may begin, or be put
// off.
func (s *schedule) offer(key string, d *destination) {
	now := s.clock()
	n := s.open(d, now)
	if d.suspended(now) {
		n = d.waiting.len()
	}
	for n > 0 && d.waiting.len() > 0 {
		it := d.waiting.pop()
		// It may have become due, or have gone, since it was parked.
		if !it.active && slices.Contains(it.parked, key) {
			s.ready.push(it)
			n--
		}
	}
	switch {
	case d.waiting.len() == 0:
		delete(s.paused, key)
	case now.Before(d.free):
		s.paused[key] = d
	case !d.proven && d.busy == 0 && !d.crowded:
		d.crowded = true
		s.crowd = append(s.crowd, key)
	}
}

// offerCrowd lets the next ones begin that wait because too many destinations
// have not answered yet, one for each.
func (s *schedule) offerCrowd() {
	for n := min(s.unproven-s.begun, len(s.crowd)); n > 0; n-- {
		key := s.crowd[0]
		s.crowd = s.crowd[1:]
		if d := s.dests[key]; d != nil {
			d.crowded = false
			s.offer(key, d)
		}
	}
}

// offerPaused offers slots of destinations whose time has come.
func (s *schedule) offerPaused(now time.Time) {
	for key, d := range s.paused {
		if !now.Before(d.free) {
			delete(s.paused, key)
			s.offer(key, d)
		}
	}
}

// nextPause is when the first of these times comes; zero is never.
func (s *slots) nextPause() (next time.Time) {
	for _, d := range s.paused {
		if next.IsZero() || d.free.Before(next) {
			next = d.free
		}
	}
	return next
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

// tidy forgets destinations that failed long ago and that nobody waits for.
func (s *schedule) tidy() {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock()
	for key, d := range s.dests {
		if d.busy == 0 && d.waiting.len() == 0 && d.until.Add(s.most).Before(now) && !d.counted(now) {
			delete(s.dests, key)
		}
	}
}
