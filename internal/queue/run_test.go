package queue

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"postbag/internal/deliver"
	"postbag/internal/durable"
	"postbag/internal/message"
	"postbag/internal/spool"
)

// until waits for something that other goroutines do.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within 20 s", what)
		}
	}
}

// start runs the queue; the function ends it.
func (w *world) start() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := w.runner.Run(ctx); err != nil {
			w.t.Error(err)
		}
	})
	until(w.t, "a runner", func() bool { active, _ := w.spool.RunnerActive(); return active })
	return func() {
		cancel()
		running.Wait()
	}
}

func TestAParkedMessageTakesNoGoroutine(t *testing.T) {
	w := newWorld(t)
	w.remote.hang = make(chan struct{})
	for i := range 300 {
		w.send("x@far.example", fmt.Sprintf("u%d@dead.example", i))
	}
	before := runtime.NumGoroutine()
	stop := w.start()
	defer stop()
	defer close(w.remote.hang)
	// One for elsewhere comes through while all slots of dead.example are taken.
	w.send("x@far.example", "ann@here.example", "bob@here.example")
	until(t, "local mail", func() bool { return len(w.box("ann")) == 1 && len(w.box("bob")) == 1 })
	var grown int
	until(t, "parking", func() bool {
		grown = runtime.NumGoroutine() - before
		return grown < 8+3*firstWindow
	})
	w.remote.mu.Lock()
	defer w.remote.mu.Unlock()
	if len(w.remote.sent) != 0 {
		t.Errorf("sent: %v", w.remote.sent)
	}
}

func TestWhatIsDroppedIsDelivered(t *testing.T) {
	w := newWorld(t)
	stop := w.start()
	defer stop()
	d, err := w.spool.Drop(t.Context(), &spool.Envelope{From: addr("x@far.example"), To: []spool.Recipient{{Address: addr("ann")}}})
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(d, "Subject: x\n\n")
	if err := d.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := w.spool.Wake(t.Context()); err != nil {
		t.Fatal(err)
	}
	until(t, "the drop", func() bool { return len(w.box("ann")) == 1 && len(w.queued()) == 0 })
}

func TestHeldMailWaitsForItsRelease(t *testing.T) {
	w := newWorld(t)
	stop := w.start()
	defer stop()
	id := w.take(&spool.Envelope{Hold: true, UID: -1, Arrived: w.now, To: []spool.Recipient{{Address: addr("ann@here.example")}}})
	other := w.send("x@far.example", "bob@here.example", "postmaster@here.example")
	until(t, "the other", func() bool { return len(w.box("bob")) == 1 })
	if len(w.box("ann")) != 0 {
		t.Errorf("delivered; %s came after %s", id, other)
	}
	if err := w.spool.Release(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	w.spool.Wake(t.Context(), id)
	until(t, "its release", func() bool { return len(w.box("ann")) == 1 })
}

func TestARetryIsMadeAtOnce(t *testing.T) {
	w := newWorld(t)
	stop := w.start()
	defer stop()
	id := w.send("x@far.example", "wait@far.example")
	attempts := func() int {
		e, err := w.spool.Lookup(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		return e.Progress.Attempts
	}
	until(t, "the first attempt", func() bool { return attempts() == 1 })
	w.spool.Wake(t.Context(), id)
	time.Sleep(50 * time.Millisecond)
	if attempts() != 1 {
		t.Error("a wake alone made an attempt before its time")
	}
	until(t, "its lock", func() bool { return w.spool.Retry(t.Context(), id) == nil })
	w.spool.Wake(t.Context(), id)
	until(t, "the second", func() bool { return attempts() == 2 })
}

func TestTheWaitDoublesWithinBounds(t *testing.T) {
	w := newWorld(t)
	arrived := w.now
	for age, want := range map[time.Duration]time.Duration{
		0: 5 * time.Minute, 6 * time.Minute: 6 * time.Minute, time.Hour: time.Hour, 10 * time.Hour: 4 * time.Hour,
		5*24*time.Hour - time.Minute: time.Minute,
	} {
		w.now = arrived.Add(age)
		a := &attempt{work: w.runner.newWork(t.Context(), true), e: &spool.Entry{Envelope: spool.Envelope{Arrived: arrived}}}
		if got := a.next().Sub(w.now); got < want || got > want+want/10 {
			t.Errorf("at the age of %v: %v, want %v", age, got, want)
		}
	}
}

func TestAReportIsNotWrittenTwiceAfterACrash(t *testing.T) {
	w := newWorld(t)
	id := w.send("ann@here.example", "nobody@here.example", "no@far.example")
	l, err := w.spool.Lock(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	// The crash came when the report was in the queue and that not yet recorded.
	if err := l.Record(t.Context(),
		spool.Event{Kind: spool.Failed, Rcpt: 0, Time: w.now, Status: "5.1.1"}, spool.Event{Kind: spool.Settled, Rcpt: 0},
		spool.Event{Kind: spool.Failed, Rcpt: 1, Time: w.now, Status: "5.1.1"}, spool.Event{Kind: spool.Settled, Rcpt: 1}); err != nil {
		t.Fatal(err)
	}
	a := &attempt{work: w.runner.newWork(t.Context(), true), l: l, e: l.Entry()}
	n := notice{kind: "failed", about: spool.ReportBounce, rcpts: []int{0, 1}, at: time.UnixMicro(w.now.UnixMicro())}
	first, err := a.notify(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	l.Unlock()
	w.once()
	if got := w.box("ann"); len(got) != 1 || !strings.Contains(got[0], string(first)) || len(w.queued()) != 0 {
		t.Errorf("%d reports, %d queued", len(got), len(w.queued()))
	}
}

func TestAMessageWithTheIDOfAReportIsNotTakenForIt(t *testing.T) {
	w := newWorld(t)
	id := w.send("ann@here.example", "no@far.example", "eve@far.example")
	taken := id.Derive(w.now, notice{kind: message.Failed, rcpts: []int{0}}.what())
	w.take(&spool.Envelope{ID: taken, From: addr("eve@here.example"), To: []spool.Recipient{{Address: addr("wait@far.example")}}, UID: -1})
	w.once()
	if got := w.box("ann"); len(got) != 1 {
		t.Errorf("%d reports, want 1", len(got))
	}
	if left := w.queued(); len(left) != 1 || left[0].ID != taken {
		t.Errorf("%d messages are in the queue, want the other one", len(left))
	}
}

func TestTheRunnerStopsWithAttemptsUnderWay(t *testing.T) {
	w := newWorld(t)
	w.remote.hang = make(chan struct{})
	stop := w.start()
	id := w.send("x@far.example", "u@dead.example")
	until(t, "the attempt", func() bool { e, err := w.spool.Lookup(t.Context(), id); return err == nil && e.Active })
	go func() {
		time.Sleep(50 * time.Millisecond)
		close(w.remote.hang)
	}()
	stop()
	if len(w.remote.sent) != 1 || len(w.queued()) != 0 {
		t.Errorf("sent %v, %d queued", w.remote.sent, len(w.queued()))
	}
}

func TestADirectWayThatIsBarredLeadsIntoTheQueue(t *testing.T) {
	w := newWorld(t)
	// Not a Maildir, and none can be made there.
	w.intake.Resolver = fakeResolver{"/proc/none"}
	w.send("x@far.example", "ann@here.example")
	if len(w.queued()) != 1 {
		t.Errorf("%d queued", len(w.queued()))
	}
}

// BenchmarkIntake takes letters of 4 KiB in, each for one mailbox here: one file,
// one sync of it, one rename, one sync of the directory that all share.
func BenchmarkIntake(b *testing.B) {
	dir := b.TempDir()
	fs := durable.New()
	s, err := spool.Open(fs, filepath.Join(dir, "spool"), spool.Options{})
	if err != nil {
		b.Fatal(err)
	}
	in := &Intake{Spool: s, Resolver: fakeResolver{dir}, Local: &deliver.Local{FS: fs, Hostname: "here.example"}}
	text := []byte("Subject: x\n\n" + strings.Repeat("0123456789abcde\n", 255))
	b.SetParallelism(32)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			env := &spool.Envelope{From: addr("x@far.example"), UID: -1, To: []spool.Recipient{{Address: addr("ann@here.example")}}}
			tx, err := in.Begin(b.Context(), env)
			if err == nil {
				_, err = tx.Write(text)
			}
			if err == nil {
				_, err = tx.Commit(b.Context())
			}
			if err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// steps notes what is done to the disk.
type steps struct {
	mu   sync.Mutex
	done []durable.OpKind
}

func (s *steps) Step(op durable.Op, do func() error) error {
	s.mu.Lock()
	s.done = append(s.done, op.Kind)
	s.mu.Unlock()
	return do()
}

// TestALetterCostsOneFileAndTwoSyncs holds what each of the two ways costs: a
// file, one sync of it, and one of its directory, which sessions share.
func TestALetterCostsOneFileAndTwoSyncs(t *testing.T) {
	for name, to := range map[string][]string{
		"the direct way": {"ann@here.example"},
		"the queue":      {"ann@here.example", "bob@here.example"},
	} {
		w, trace := newWorld(t), &steps{}
		w.send("x@far.example", "ann@here.example") // makes the Maildir
		fs := durable.NewTraced(trace)
		s, err := spool.Open(fs, filepath.Join(w.dir, "spool"), spool.Options{})
		if err != nil {
			t.Fatal(err)
		}
		w.intake.Spool, w.intake.Local = s, &deliver.Local{FS: fs, Hostname: "here.example"}
		w.send("x@far.example", to...)
		if got, want := fmt.Sprint(trace.done), "[create write sync close rename syncdir]"; got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}
