package imapsrv

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"postbag/internal/imapwire"
)

// progressEvery is how often a client that waits for one command is told how far
// it is (RFC 9585 section 4: 10 to 15 seconds).
const progressEvery = 12 * time.Second

// maxRun is how many numbers in a row one goroutine of eachOf takes at most: what
// is read from the cache is read in runs.
const maxRun = 512

// eachOf calls do with 0 to n-1; with dear on all processors at once, each with a
// do of its own, and then it tells the client how far it is. It stops soon after
// an error.
func (s *session) eachOf(n int, dear bool, worker func() (do func(i int) error)) error {
	if !dear {
		return eachIn(0, n, worker())
	}
	errs := make([]error, max(1, min(runtime.GOMAXPROCS(0), n/8)))
	run := max(1, min(n/len(errs)/4, maxRun))
	var next, done atomic.Int64
	var all sync.WaitGroup
	for w := range errs {
		all.Go(func() {
			do := worker()
			for errs[w] == nil {
				end := int(next.Add(int64(run)))
				if end-run >= n {
					return
				}
				errs[w] = eachIn(end-run, min(end, n), func(i int) error {
					defer done.Add(1)
					return do(i)
				})
			}
		})
	}
	s.wait(all.Wait, func() string { return fmt.Sprintf("%d %d", done.Load(), n) })
	return errors.Join(errs...)
}

func eachIn(from, to int, do func(i int) error) error {
	for i := from; i < to; i++ {
		if err := do(i); err != nil {
			return err
		}
	}
	return nil
}

// during does what may take long and tells nothing by itself.
func (s *session) during(do func() error) (err error) {
	s.wait(func() { err = do() }, func() string { return "NIL NIL" })
	return err
}

// wait does something, and tells the client from time to time how far it is. What
// is done may not write.
func (s *session) wait(do func(), far func() string) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		do()
	}()
	clock := time.NewTicker(progressEvery)
	defer clock.Stop()
	for {
		select {
		case <-done:
			return
		case <-clock.C:
			s.line(fmt.Sprintf("* OK [INPROGRESS (%s %s)] still at it", imapwire.AppendString(nil, s.tag, false), far()))
			_ = s.c.Flush() // a failed write shows at the next read
		}
	}
}
