package queue

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"postbag/internal/spool"
)

// A bench of slots has a clock of its own.
type slotBench struct {
	*schedule
	now time.Time
}

func newSlotBench() *slotBench {
	b := &slotBench{now: time.Unix(1e9, 0)}
	b.schedule = newSchedule(func() time.Time { return b.now }, rules{limit: 20, unproven: 40, suspend: 5 * time.Minute, most: 20 * time.Minute})
	return b
}

// grab takes as many slots as there are.
func (b *slotBench) grab(key string) (n int) {
	for {
		if ok, _ := b.acquire(key, pace{}, false); !ok {
			return n
		}
		n++
	}
}

func (b *slotBench) give(key string, n int, failure error) {
	for range n {
		b.release(key, failure)
	}
}

var errDead = errors.New("no answer")

func TestTheWindowOfADestination(t *testing.T) {
	b := newSlotBench()
	var got []int
	for range 1000 { // or it would be forgotten
		b.dest("x").waiting.push(&item{parked: []string{"x"}})
	}
	for range 4 {
		n := b.grab("x")
		got = append(got, n)
		b.give("x", n, nil)
	}
	if want := "[5 10 20 20]"; fmt.Sprint(got) != want {
		t.Errorf("after success: %v, want %s", got, want)
	}
	b.grab("x")
	b.release("x", errDead)
	if w := b.dest("x").window; w != 10 {
		t.Errorf("after one of twenty failed: %d, want 10", w)
	}
}

func TestASuspendedDestinationIsPutOffAndThenProbed(t *testing.T) {
	b := newSlotBench()
	b.give("x", b.grab("x"), errDead)
	for round, wait := range []time.Duration{5 * time.Minute, 10 * time.Minute, 20 * time.Minute, 20 * time.Minute} {
		b.now = b.now.Add(wait - time.Second)
		if ok, why := b.acquire("x", pace{}, false); ok || why != errDead {
			t.Errorf("round %d: %v, %v; want that it is suspended", round, ok, why)
		}
		b.now = b.now.Add(time.Second)
		if n := b.grab("x"); n != 1 {
			t.Errorf("round %d: probed by %d", round, n)
		}
		b.release("x", errDead)
	}
}

func TestOneThatIsRetriedByHandIsNotPutOff(t *testing.T) {
	b := newSlotBench()
	b.give("x", b.grab("x"), errDead)
	b.add("A", b.now.Add(time.Hour), false)
	b.add("A", soon, false)
	st, _ := b.next()
	if ok, _ := b.acquire("x", pace{}, st.eager); !ok {
		t.Error("put off")
	}
	b.release("x", nil)
	if ok, _ := b.acquire("x", pace{}, false); !ok {
		t.Error("suspended although it has answered")
	}
}

func TestOneThatIsRetriedByHandStaysSoWhileItWaitsForASlot(t *testing.T) {
	b := newSlotBench()
	b.give("x", b.grab("x"), errDead)
	b.add("A", b.now.Add(time.Hour), false)
	b.add("A", soon, false)
	b.next()
	b.acquire("x", pace{}, true) // somebody else's attempt has the only slot
	if ok, why := b.acquire("x", pace{}, true); ok || why != nil {
		t.Fatalf("%v, %v; want that it has to wait", ok, why)
	}
	b.end("A", b.now.Add(time.Hour), []string{"x"})
	b.release("x", errDead)
	st, ok := b.next()
	if !ok || st.id != "A" || !st.eager {
		t.Fatalf("%+v, %v; want A, still retried", st, ok)
	}
	if ok, _ := b.acquire("x", pace{}, st.eager); !ok {
		t.Error("put off")
	}
	b.end("A", b.now.Add(time.Hour), nil)
	b.now = b.now.Add(time.Hour)
	if st, _ := b.next(); st.id != "A" || st.eager {
		t.Errorf("%+v; want A, as any other", st)
	}
}

func TestOneFailureAmongManyAnswersSuspendsNothing(t *testing.T) {
	b := newSlotBench()
	b.grab("x")
	b.release("x", errDead)
	b.release("x", nil)
	b.release("x", errDead)
	if b.dest("x").suspended(b.now) {
		t.Error("suspended")
	}
}

func TestSpacing(t *testing.T) {
	b := newSlotBench()
	for range 3 {
		if ok, _ := b.acquire("x", pace{spacing: time.Second}, false); !ok {
			t.Fatal("no slot after the time has passed")
		}
		b.now = b.now.Add(999 * time.Millisecond)
		if ok, _ := b.acquire("x", pace{spacing: time.Second}, false); ok {
			t.Fatal("a second slot within the time")
		}
		b.now = b.now.Add(time.Millisecond)
	}
	b.add("A", b.now, false)
	b.next()
	if ok, _ := b.acquire("x", pace{spacing: time.Second}, false); !ok {
		t.Fatal("no slot")
	}
	b.end("A", time.Time{}, []string{"x"})
	if st, ok := b.first(0, b.now); st != nil {
		t.Fatalf("ready at once: %v, %v", st, ok)
	}
	if d, ok := b.wait(); !ok || d != time.Second {
		t.Errorf("waits %v, %v", d, ok)
	}
	b.now = b.now.Add(time.Second)
	if st, ok := b.next(); !ok || st.id != "A" {
		t.Errorf("%v, %v", st, ok)
	}
}

func TestManySilentDestinationsLeaveRoomForThoseThatAnswer(t *testing.T) {
	b := newSlotBench()
	b.grab("good")
	b.release("good", nil)
	silent := 0
	for i := range 100 {
		silent += b.grab(fmt.Sprint("silent", i))
	}
	if silent != 40 {
		t.Errorf("%d attempts at silent ones, want 40", silent)
	}
	if n := b.grab("good"); n == 0 {
		t.Error("nothing is left for the one that answers")
	}
	// One that had to wait goes on when an attempt at a silent one ends.
	b.add("A", b.now, false)
	b.next()
	b.end("A", time.Time{}, []string{"silent99"})
	b.release("silent0", errDead)
	if st, ok := b.next(); !ok || st.id != "A" || st.only[0] != "silent99" {
		t.Errorf("%v, %v", st, ok)
	}
}

func TestFreshLettersRetriesAndWaitingOnesTakeTurns(t *testing.T) {
	b := newSlotBench()
	for i := range 5 {
		b.add(spool.ID(fmt.Sprint("due", i)), b.now.Add(time.Duration(i-10)*time.Second), false)
	}
	for i := range 2 {
		b.add(spool.ID(fmt.Sprint("new", i)), soon, false)
	}
	got := ""
	for st, ok := b.next(); ok; st, ok = b.next() {
		got += string(st.id) + " "
	}
	if want := "new0 due0 new1 due1 due2 due3 due4 "; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestAMessageIsNotStartedTwice(t *testing.T) {
	b := newSlotBench()
	b.add("A", b.now, false)
	b.next()
	b.add("A", soon, false)
	if st, ok := b.next(); ok {
		t.Errorf("started again: %v", st)
	}
	b.end("A", b.now.Add(time.Hour), nil)
	if st, ok := b.next(); !ok || st.id != "A" {
		t.Errorf("not looked at again: %v, %v", st, ok)
	}
	b.end("A", b.now.Add(time.Hour), []string{"x"})
	if st, ok := b.next(); !ok || len(st.only) != 1 {
		t.Errorf("a free slot is not offered: %v, %v", st, ok)
	}
	b.now = b.now.Add(2 * time.Hour)
	if st, ok := b.next(); ok {
		t.Errorf("started a second time as it became due: %v", st)
	}
}

func TestReportsToOneSenderAreSpread(t *testing.T) {
	var p pacer
	now := time.Unix(1e9, 0)
	for i := range reportBurst {
		if d := p.wait("ann", now); d != 0 {
			t.Fatalf("report %d waits %v", i, d)
		}
	}
	for i := range 3 {
		if d, want := p.wait("ann", now), time.Duration(i+1)*reportEvery; d != want {
			t.Errorf("report %d after the burst waits %v, want %v", i, d, want)
		}
	}
	if d := p.wait("bob", now); d != 0 {
		t.Errorf("another sender waits %v", d)
	}
	now = now.Add(time.Hour)
	p.tidy(now)
	if d := p.wait("ann", now); d != 0 || len(p.next) != 1 {
		t.Errorf("an hour later: %v, %d remembered", d, len(p.next))
	}
}
