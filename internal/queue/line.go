package queue

import "time"

// headStart is what a step of priority (RFC 6710) is worth: a letter goes before
// those of the step below that have waited less than so much longer. So none waits
// for ever: what becomes due 18 head starts after the least urgent letter goes
// after it, however urgent it is.
const headStart = time.Hour

// A line is items that wait for their turn, in the order of their ranks: a heap.
// Who leaves it otherwise stays in it, and is passed over by whoever takes it out.
type line struct {
	heap []waiter
	n    uint64 // how many have come
}

type waiter struct {
	it   *item
	rank int64  // microseconds
	nth  uint64 // of those with the same rank the first to come is the first
}

func (w waiter) before(v waiter) bool {
	return w.rank < v.rank || w.rank == v.rank && w.nth < v.nth
}

// rank orders items: by the time since which they wait, less what they have for
// their priority.
func (it *item) rank() int64 {
	return it.since.UnixMicro() - int64(it.priority)*headStart.Microseconds()
}

func (l *line) len() int { return len(l.heap) }

func (l *line) push(it *item) {
	l.n++
	l.heap = append(l.heap, waiter{it, it.rank(), l.n})
	for i := len(l.heap) - 1; i > 0; {
		above := (i - 1) / 2
		if !l.heap[i].before(l.heap[above]) {
			return
		}
		l.heap[i], l.heap[above] = l.heap[above], l.heap[i]
		i = above
	}
}

// pop takes the first out; there must be one.
func (l *line) pop() *item {
	first, last := l.heap[0].it, len(l.heap)-1
	l.heap[0], l.heap[last] = l.heap[last], waiter{}
	l.heap = l.heap[:last]
	for i := 0; ; {
		next := i
		for child := 2*i + 1; child <= 2*i+2 && child < last; child++ {
			if l.heap[child].before(l.heap[next]) {
				next = child
			}
		}
		if next == i {
			return first
		}
		l.heap[i], l.heap[next] = l.heap[next], l.heap[i]
		i = next
	}
}
