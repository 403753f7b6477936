package queue

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"postbag/internal/durable"
	"postbag/internal/spool"
)

// BenchmarkOpen opens a queue of 100,000 messages, as the scheduler does at its
// start: each has a letter of 2 KiB for one recipient, a third were attempted.
func BenchmarkOpen(b *testing.B) {
	const messages = 100_000
	dir := b.TempDir()
	fillQueue(b, dir, messages)
	s, err := spool.Open(durable.New(), dir, spool.Options{})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		r := &Runner{Spool: s, Hostname: "here.example"}
		w := r.newWork(b.Context(), false)
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		used := processorTime()
		w.rescan(b.Context())
		b.ReportMetric((processorTime() - used).Seconds(), "cpu-s/op")
		if len(w.items) != messages {
			b.Fatalf("%d messages", len(w.items))
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/messages, "octets/message")
		b.ReportMetric(float64(after.Sys)/(1<<20), "MiB-in-all")
		runtime.KeepAlive(w)
	}
}

// untouched is a disk without syncs: a queue is made fast.
type untouched struct{}

func (untouched) Step(op durable.Op, do func() error) error {
	if op.Kind == durable.OpSync || op.Kind == durable.OpSyncDir {
		return nil
	}
	return do()
}

func fillQueue(t testing.TB, dir string, messages int) {
	s, err := spool.Open(durable.NewTraced(untouched{}), dir, spool.Options{})
	if err != nil {
		t.Fatal(err)
	}
	text := "Subject: x\n\n" + strings.Repeat("0123456789abcde\n", 127)
	for i := range messages {
		env := &spool.Envelope{From: addr("x@far.example"), UID: -1, Proto: "ESMTP", HELO: "far.example", ClientIP: "192.0.2.1",
			To: []spool.Recipient{{Address: addr(fmt.Sprintf("u%d@d%d.example", i, i%1000))}}}
		d, err := s.Create(context.Background(), env)
		if err == nil {
			_, err = io.WriteString(d, text)
		}
		if err == nil {
			err = d.Commit(context.Background())
		}
		if err == nil && i%3 == 0 {
			err = defer1(s, env.ID)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// defer1 records one attempt that failed.
func defer1(s *spool.Spool, id spool.ID) error {
	l, err := s.Lock(context.Background(), id)
	if err != nil {
		return err
	}
	defer l.Unlock()
	if err := l.Begin(context.Background(), spool.Event{Kind: spool.Attempted, Next: 1}); err != nil {
		return err
	}
	return l.Record(context.Background(), spool.Event{Kind: spool.Deferred, Dest: "remote:x", Status: "4.4.1", Host: "mx.example", Reply: "450 4.2.0 try again later"})
}

func processorTime() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
