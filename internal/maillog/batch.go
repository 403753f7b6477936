package maillog

import (
	"io"
	"sync"
	"time"
)

const (
	// batchDelay is how long a line may wait for others.
	batchDelay = 20 * time.Millisecond
	// batchSize is how many octets of lines are enough not to wait.
	batchSize = 32 << 10
)

// A Batch collects the lines of a busy server and passes them on together,
// within batchDelay: a system call for each line costs more than the line. A
// program that is killed loses the lines of that time. What cannot be written is
// lost, as with any log. It is safe for concurrent use.
type Batch struct {
	mu    sync.Mutex
	w     io.Writer
	lines []byte // waiting
	timer *time.Timer
}

// NewBatch collects lines for w.
func NewBatch(w io.Writer) *Batch {
	b := &Batch{w: w}
	b.timer = time.AfterFunc(time.Hour, b.Flush)
	b.timer.Stop() // nothing waits yet
	return b
}

// Write takes a line. It blocks only while w does.
func (b *Batch) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.lines) == 0 {
		b.timer.Reset(batchDelay)
	}
	b.lines = append(b.lines, p...)
	if len(b.lines) >= batchSize {
		b.pass()
	}
	return len(p), nil
}

// Flush passes on what waits.
func (b *Batch) Flush() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.pass()
}

func (b *Batch) pass() {
	if len(b.lines) > 0 {
		_, _ = b.w.Write(b.lines) // there is no other log to tell
		b.lines = b.lines[:0]
	}
}
