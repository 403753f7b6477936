package mailbox

import (
	"context"
	"sync"
)

// An Ahead opens letters before they are asked for, so that files are read while
// the client takes what it has got, and by more than one processor. It is for one
// goroutine, which closes it.
type Ahead struct {
	f      *Folder
	letter func(i int) *Letter

	order   chan chan []opened // runs, in the order of the letters
	current []opened           // what is left of a run
	done    chan struct{}      // closed when no more are wanted
	workers sync.WaitGroup

	mu      sync.Mutex
	at, end int // letters that nobody has taken yet
}

type opened struct {
	text *Content
	err  error
}

const (
	aheadWorkers = 2
	aheadRun     = 4 // letters that are handed over at a time
)

// ReadAhead begins to open letters from on, up to but not including end, in this
// order; not many more at a time than Next has given.
func (f *Folder) ReadAhead(ctx context.Context, from, end int, letter func(i int) *Letter) *Ahead {
	a := &Ahead{f: f, letter: letter, order: make(chan chan []opened, aheadWorkers), done: make(chan struct{}), at: from, end: end}
	for range aheadWorkers {
		a.workers.Go(func() { a.work(ctx) })
	}
	return a
}

// Next gives the next letter, as Content does. It may be asked for as often as
// there are letters.
func (a *Ahead) Next() (*Content, error) {
	if len(a.current) == 0 {
		a.current = <-<-a.order
	}
	next := a.current[0]
	a.current = a.current[1:]
	return next.text, next.err
}

// Close lets go of what has been opened and not asked for.
func (a *Ahead) Close() {
	close(a.done)
	a.workers.Wait()
	close(a.order)
	for run := range a.order {
		a.current = append(a.current, <-run...)
	}
	for _, left := range a.current {
		if left.err == nil {
			left.text.Close()
		}
	}
}

func (a *Ahead) work(ctx context.Context) {
	for {
		run, from, end := a.take()
		if run == nil {
			return
		}
		list := make([]opened, 0, end-from)
		for i := from; i < end; i++ {
			text, err := a.f.Content(ctx, a.letter(i))
			list = append(list, opened{text, err})
		}
		run <- list
	}
}

// take gives a run, in its place among the others; nil when there is none.
func (a *Ahead) take() (run chan []opened, from, end int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	from, end = a.at, min(a.at+aheadRun, a.end)
	if from == end {
		return nil, 0, 0
	}
	run = make(chan []opened, 1)
	select {
	case a.order <- run:
		a.at = end
		return run, from, end
	case <-a.done:
		return nil, 0, 0
	}
}
