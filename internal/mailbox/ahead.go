package mailbox

import (
	"context"
	"sync"
	"sync/atomic"
)

// An Ahead opens letters before one goroutine asks for them, which closes it. The
// letters are taken in runs, by that goroutine and by a second one where there is
// one (Help): whoever has nothing else to do takes the next run, so that neither
// waits for the other but at the end. Handing over letter by letter would cost
// more than opening them.
type Ahead struct {
	f      *Folder
	letter func(i int) *Letter
	runs   []run
	next   int // letter that is given next
	end    int

	taken  atomic.Int32 // runs that are opened, or are about to be
	helper sync.WaitGroup
}

// A run is a few letters in a row.
type run struct {
	from, end int
	opened    chan struct{} // closed when all are
	texts     [aheadRun]opened
}

type opened struct {
	text *Content
	err  error
}

const (
	aheadRun = 4
	// MaxAhead is how many letters are open at a time before they are asked for.
	MaxAhead = 32
)

// Ahead prepares for letters from on, up to but not including end, in this order,
// and for not more than MaxAhead.
func (f *Folder) Ahead(from, end int, letter func(i int) *Letter) *Ahead {
	a := &Ahead{f: f, letter: letter, next: from, end: min(end, from+MaxAhead)}
	for ; from < a.end; from += aheadRun {
		a.runs = append(a.runs, run{from: from, end: min(from+aheadRun, a.end), opened: make(chan struct{})})
	}
	return a
}

// Open opens a run of letters that nobody has taken, and reports whether there was
// one.
func (a *Ahead) Open(ctx context.Context) bool {
	n := int(a.taken.Add(1)) - 1
	if n >= len(a.runs) {
		return false
	}
	r := &a.runs[n]
	for i := r.from; i < r.end; i++ {
		text, err := a.f.Content(ctx, a.letter(i))
		r.texts[i-r.from] = opened{text, err}
	}
	close(r.opened)
	return true
}

// Help has a second goroutine open letters, too.
func (a *Ahead) Help(ctx context.Context) {
	a.helper.Go(func() {
		for a.Open(ctx) {
		}
	})
}

// Next gives the next letter, as Content does, and whether it was the last. It may
// be asked for as often as there are letters.
func (a *Ahead) Next(ctx context.Context) (text *Content, last bool, err error) {
	r := a.runOf(a.next)
	for !r.isOpen() && a.Open(ctx) {
	}
	<-r.opened
	o := r.texts[a.next-r.from]
	a.next++
	return o.text, a.next == a.end, o.err
}

func (a *Ahead) runOf(i int) *run { return &a.runs[(i-a.runs[0].from)/aheadRun] }

func (r *run) isOpen() bool {
	select {
	case <-r.opened:
		return true
	default:
		return false
	}
}

// Close lets go of what has been opened and not asked for.
func (a *Ahead) Close() {
	a.taken.Add(int32(len(a.runs))) // nothing is left for the helper
	a.helper.Wait()
	for ; a.next < a.end; a.next++ {
		r := a.runOf(a.next)
		if o := r.texts[a.next-r.from]; o.text != nil {
			o.text.Close()
		}
	}
}
