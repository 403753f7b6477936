package maillog

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A counter is a writer that counts what a system call would be.
type counter struct {
	mu sync.Mutex
	bytes.Buffer
	calls int
}

func (c *counter) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls++
	return c.Buffer.Write(p)
}

func (c *counter) got() (calls, lines int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.calls, strings.Count(c.String(), "\n")
}

func TestBatch(t *testing.T) {
	for name, c := range map[string]struct {
		do           func(l *Log, b *Batch)
		calls, lines int
	}{
		"lines wait for others": {func(l *Log, b *Batch) {
			l.Removed(context.Background(), "A")
			l.Removed(context.Background(), "B")
		}, 0, 0},
		"lines that have waited are written together": {func(l *Log, b *Batch) {
			l.Removed(context.Background(), "A")
			l.Removed(context.Background(), "B")
			time.Sleep(2 * batchDelay)
		}, 1, 2},
		"lines after a batch make the next one": {func(l *Log, b *Batch) {
			l.Removed(context.Background(), "A")
			time.Sleep(2 * batchDelay)
			l.Removed(context.Background(), "B")
			time.Sleep(2 * batchDelay)
		}, 2, 2},
		"an error takes along what waits": {func(l *Log, b *Batch) {
			l.Removed(context.Background(), "A")
			l.Trouble(context.Background(), "write letter", errors.New("disk is full"))
		}, 1, 2},
		"a full batch does not wait": {func(l *Log, b *Batch) {
			b.Write(append(bytes.Repeat([]byte{'x'}, batchSize), '\n'))
		}, 1, 1},
		"the end of the program writes the rest": {func(l *Log, b *Batch) {
			l.Removed(context.Background(), "A")
			l.Flush()
			l.Flush()
		}, 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var w counter
				b := NewBatch(&w)
				l, err := New(b, Form{Level: "info", Format: "text"})
				if err != nil {
					t.Fatal(err)
				}
				c.do(l, b)
				synctest.Wait()
				if calls, lines := w.got(); calls != c.calls || lines != c.lines {
					t.Errorf("%d calls with %d lines, want %d with %d", calls, lines, c.calls, c.lines)
				}
			})
		})
	}
}
