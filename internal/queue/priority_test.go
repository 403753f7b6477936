package queue

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"postbag/internal/spool"
)

// order starts all that may start now.
func (b *slotBench) order() string {
	var ids []string
	for st, ok := b.next(); ok; st, ok = b.next() {
		ids = append(ids, string(st.id))
	}
	return strings.Join(ids, " ")
}

func TestTheMostUrgentOfTheNewLettersGoesFirst(t *testing.T) {
	b := newSlotBench()
	for i, priority := range []int{0, -9, 3, 0, 9, 3} {
		b.call(spool.Call{ID: spool.ID(fmt.Sprint(i)), Priority: priority})
	}
	if got, want := b.order(), "4 2 5 0 3 1"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestTheMostUrgentOfThoseThatAreDueGoesFirst(t *testing.T) {
	b := newSlotBench()
	for i, priority := range []int{0, -1, 2, 9} {
		id := spool.ID(fmt.Sprint(i))
		b.add(id, b.now, false)
		b.next()
		b.rank(id, priority) // as the first attempt does
		b.end(id, b.now.Add(time.Duration(i+1)*time.Minute), nil)
	}
	b.now = b.now.Add(3 * time.Minute)
	if got, want := b.order(), "2 0 1"; got != want {
		t.Errorf("after three minutes %s, want %s", got, want)
	}
	b.now = b.now.Add(time.Minute)
	if got := b.order(); got != "3" {
		t.Errorf("a minute later %s, want 3", got)
	}
}

func TestTheMostUrgentGetsTheNextSlot(t *testing.T) {
	b := newSlotBench()
	n := b.grab("x")
	for i, priority := range []int{0, 1, -1, 9} {
		id := spool.ID(fmt.Sprint(i))
		b.call(spool.Call{ID: id, Priority: priority})
		b.next()
		b.end(id, time.Time{}, []string{"x"})
		b.now = b.now.Add(time.Minute)
	}
	got := ""
	for range n - 1 {
		b.release("x", nil) // opens one slot more each time
	}
	for st, ok := b.next(); ok; st, ok = b.next() {
		got += string(st.id)
		b.acquire("x", pace{}, false)
	}
	if got != "3102" {
		t.Errorf("%s, want 3102", got)
	}
}

// What comes later and is more urgent goes first for 18 head starts at most.
func TestTheLeastUrgentDoesNotWaitForEver(t *testing.T) {
	b := newSlotBench()
	b.call(spool.Call{ID: "low", Priority: -9})
	for i := range 19 {
		b.call(spool.Call{ID: spool.ID(fmt.Sprint("high", i)), Priority: 9})
		if st, _ := b.next(); (st.id == "low") != (i == 18) {
			t.Fatalf("after %d hours it is the turn of %s", i, st.id)
		}
		b.now = b.now.Add(headStart)
	}
}

func TestALineKeepsItsOrder(t *testing.T) {
	var l line
	for i := range 1000 {
		l.push(&item{id: spool.ID(fmt.Sprintf("%03d", i)), priority: int8(i * 7 % 5)})
	}
	var last *item
	for l.len() > 0 {
		it := l.pop()
		if last != nil && (it.priority > last.priority || it.priority == last.priority && it.id < last.id) {
			t.Fatalf("%s of %d comes after %s of %d", it.id, it.priority, last.id, last.priority)
		}
		last = it
	}
}

// A scheduler that finds letters in the queue learns from them how urgent they
// are, as soon as they have to wait for anything.
func TestAPriorityIsReadFromTheQueue(t *testing.T) {
	w := newWorld(t)
	w.runner.Concurrency = 1
	var ids []spool.ID
	for _, priority := range []int{0, -2, 5} {
		to := []spool.Recipient{{Address: addr("eve@far.example")}}
		ids = append(ids, w.take(&spool.Envelope{From: addr("x@far.example"), UID: -1, Arrived: w.now, Priority: priority, To: to}))
	}
	work := w.runner.newWork(t.Context(), true)
	for _, id := range ids {
		work.add(id, soon, false)
	}
	work.acquire("far.example", pace{}, false)
	for range ids {
		st, _ := work.next()
		work.run(st)
	}
	var got []spool.ID
	for range ids {
		work.release("far.example", nil)
		st, ok := work.next()
		if !ok {
			t.Fatal("nobody gets the slot")
		}
		got = append(got, st.id)
		work.acquire("far.example", pace{}, false)
	}
	if got[0] != ids[2] || got[1] != ids[0] || got[2] != ids[1] {
		t.Errorf("%v, want the last, the first and the second of %v", got, ids)
	}
}

// RFC 6710: the next host is told, and a report is as urgent as what it is about.
func TestThePriorityGoesOn(t *testing.T) {
	w := newWorld(t)
	w.take(&spool.Envelope{From: addr("eve@far.example"), UID: -1, Arrived: w.now, Priority: 4, To: []spool.Recipient{{Address: addr("no@far.example")}}})
	w.once()
	w.once()
	if n := len(w.remote.mails); n != 2 || w.remote.mails[0].Priority != 4 || w.remote.mails[1].Priority != 4 || !w.remote.mails[1].From.IsNull() {
		t.Errorf("%d sent: %+v", n, w.remote.mails)
	}
}
