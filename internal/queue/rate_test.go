package queue

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"postbag/internal/deliver"
	"postbag/internal/durable"
	"postbag/internal/mailtest"
	"postbag/internal/recipient"
	"postbag/internal/spool"
)

// A diary is a Remote that notes when it was asked to send to which domain.
type diary struct {
	mu   sync.Mutex
	sent map[string][]time.Time
}

func (f *diary) Key(d recipient.Destination) string { return d.Address.Domain }

func (f *diary) Send(_ context.Context, d recipient.Destination, _ deliver.Mail, to []spool.Recipient) []deliver.Outcome {
	f.mu.Lock()
	f.sent[d.Address.Domain] = append(f.sent[d.Address.Domain], time.Now())
	f.mu.Unlock()
	time.Sleep(time.Second)
	return make([]deliver.Outcome, len(to))
}

// TestARateIsKept sends more letters to two destinations than one of them may get
// at once: that one gets as many as it may, in any minute, and the other is not
// kept waiting.
func TestARateIsKept(t *testing.T) {
	dir := mailtest.Memory(t)
	synctest.Test(t, func(t *testing.T) {
		s, err := spool.Open(durable.NewTraced(untouched{}), dir, spool.Options{})
		if err != nil {
			t.Fatal(err)
		}
		remote := &diary{sent: map[string][]time.Time{}}
		local := &deliver.Local{FS: durable.New(), Hostname: "here.example"}
		runner := &Runner{Spool: s, Resolver: fakeResolver{dir}, Local: local, Remote: remote, Hostname: "here.example", Rate: slowDomain}
		intake := &Intake{Spool: s, Resolver: fakeResolver{dir}, Local: local}
		ctx, cancel := context.WithCancel(t.Context())
		w := runner.newWork(ctx, false)
		var running sync.WaitGroup
		running.Go(func() { w.loop(ctx, nil) })
		for i := range 25 {
			for _, domain := range []string{"slow.example", "fast.example"} {
				w.add(queueOne(t, intake, fmt.Sprintf("user%d@%s", i, domain)), soon, false)
			}
		}
		begun := time.Now()
		time.Sleep(10 * time.Minute)
		cancel()
		running.Wait()
		w.attempts.Wait()
		slow, fast := remote.sent["slow.example"], remote.sent["fast.example"]
		if len(slow) != 25 || len(fast) != 25 {
			t.Fatalf("%d and %d were sent, want 25 each", len(slow), len(fast))
		}
		if last := fast[24].Sub(begun); last > 30*time.Second {
			t.Errorf("a destination without a rate had to wait %v", last)
		}
		for i := range slow[10:] {
			if d := slow[i+10].Sub(slow[i]); d < time.Minute {
				t.Errorf("11 letters in %v", d)
			}
		}
		if last := slow[24].Sub(begun); last > 3*time.Minute {
			t.Errorf("the last had to wait %v", last)
		}
	})
}

func slowDomain(d recipient.Destination) Rate {
	if strings.HasPrefix(d.Address.Domain, "slow.") {
		return Rate{Letters: 10, In: time.Minute}
	}
	return Rate{}
}

func queueOne(t *testing.T, in *Intake, to string) spool.ID {
	t.Helper()
	env := &spool.Envelope{From: addr("ann@here.example"), UID: -1, To: []spool.Recipient{{Address: addr(to)}}}
	tx, err := in.Begin(t.Context(), env)
	if err == nil {
		_, err = tx.Write([]byte("Subject: x\n\n"))
	}
	if err == nil {
		_, err = tx.Commit(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	return env.ID
}

func TestARateAndASpacingHoldTogether(t *testing.T) {
	b := newSlotBench()
	p := pace{spacing: time.Second, rate: Rate{Letters: 3, In: 10 * time.Second}}
	var at []string
	for range 25 {
		if ok, _ := b.acquire("x", p, false); ok {
			at = append(at, fmt.Sprint(b.now.Unix()-1e9))
			b.release("x", nil)
		}
		b.now = b.now.Add(time.Second)
	}
	if got, want := strings.Join(at, " "), "0 1 2 10 11 12 20 21 22"; got != want {
		t.Errorf("at %s seconds, want %s", got, want)
	}
}

// A destination that has nothing to do is forgotten, but not while its past counts.
func TestARateOutlivesItsLetters(t *testing.T) {
	b := newSlotBench()
	p := pace{rate: Rate{Letters: 1, In: time.Hour}}
	b.acquire("x", p, false)
	b.release("x", nil)
	b.now = b.now.Add(59 * time.Minute)
	b.tidy()
	if ok, _ := b.acquire("x", p, false); ok {
		t.Error("a second letter within the hour")
	}
	b.now = b.now.Add(time.Minute)
	b.tidy()
	if len(b.dests) != 0 {
		t.Errorf("%d destinations are remembered", len(b.dests))
	}
}
