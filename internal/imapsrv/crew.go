package imapsrv

import (
	"errors"
	"runtime"
	"slices"
	"sync"

	"postbag/internal/mailbox"
)

const (
	// fewLetters are answered for by the session alone.
	fewLetters = 16
	// crewRun is how many letters in a row one goroutine takes at most: what is
	// read from the cache is read in runs.
	crewRun = 256
	textRun = 32 // the same where texts are asked for
	// pieceSize is about how much is handed over at a time.
	pieceSize = 64 << 10
	// maxPieces bounds, for each goroutine, what the client has not taken yet.
	maxPieces = 4
	maxCrew   = 4
)

// A crew makes the FETCH responses for many letters, by several goroutines, each
// for a run of letters at a time. They never write to the client, nor change
// anything of the session: that waits for them.
type crew struct {
	s     *session
	items []item
	run   int

	order   chan chan piece // runs, in the order of the letters
	free    chan []byte     // storage of pieces that have been written
	done    chan struct{}   // closed when no more are wanted
	workers sync.WaitGroup

	mu        sync.Mutex
	positions []int // of letters that nobody has taken yet
}

// A piece is the responses for some letters in a row.
type piece struct {
	text    []byte
	letters int
	end     ending
}

// An ending says what is to be done about the letter that follows a piece.
type ending uint8

const (
	goesOn  ending = iota // nothing
	isLarge               // the session answers for it meanwhile: it does not fit into memory
	isAlone               // the session answers for it alone, because something of it changes
)

var (
	errAlone = errors.New("the session itself has to answer")
	errLarge = errors.New("the letter is large")
)

func (s *session) newCrew(positions []int, items []item) *crew {
	n := min(runtime.GOMAXPROCS(0), maxCrew)
	c := &crew{s: s, items: items, run: crewRun, positions: positions, order: make(chan chan piece, n), free: make(chan []byte, n*maxPieces), done: make(chan struct{})}
	if asksText(items) {
		c.run = textRun
	}
	c.run = max(1, min(c.run, len(positions)/n/2))
	for range n {
		c.workers.Go(c.work)
	}
	go func() { c.workers.Wait(); close(c.order) }()
	return c
}

// stop ends the work, and waits for that.
func (c *crew) stop() {
	close(c.done)
	c.workers.Wait()
}

func (c *crew) stopped() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

func (c *crew) work() {
	f := c.s.newFetching(c.items)
	f.gathers, f.source.smallOnly = true, asksText(c.items)
	for {
		run, out := c.take()
		if run == nil || !c.answer(f, run, out) {
			return
		}
	}
}

// asksText reports whether some items give parts of letters' texts.
func asksText(items []item) bool { return slices.ContainsFunc(items, item.isText) }

// take gives a run, and what its pieces are handed over by.
func (c *crew) take() (run []int, out chan piece) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := min(c.run, len(c.positions))
	if n == 0 || c.stopped() {
		return nil, nil
	}
	out = make(chan piece, maxPieces)
	select {
	case c.order <- out:
		run, c.positions = c.positions[:n], c.positions[n:]
	case <-c.done:
	}
	return run, out
}

// answer makes the responses for a run; false when no more are wanted.
func (c *crew) answer(f *fetching, run []int, out chan<- piece) bool {
	defer close(out)
	for len(run) > 0 && !c.stopped() {
		p := c.piece(f, run)
		select {
		case out <- p:
		case <-c.done:
			return false
		}
		if p.end == isAlone {
			return false
		}
		run = run[p.letters:]
		if p.end == isLarge {
			run = run[1:]
		}
	}
	return true
}

// piece makes the first responses of a run.
func (c *crew) piece(f *fetching, run []int) (p piece) {
	select {
	case f.b = <-c.free:
	default:
		f.b = make([]byte, 0, pieceSize+pieceSize/4)
	}
	for p.letters < len(run) && len(f.b) < pieceSize && p.end == goesOn {
		whole := len(f.b)
		err := f.one(run[p.letters])
		switch {
		case err == nil:
			p.letters++
			continue
		case errors.Is(err, errLarge):
			p.end = isLarge
		default:
			p.end = isAlone // and finds the error
		}
		f.b = f.b[:whole]
	}
	p.text = f.b
	return p
}

// reuse takes back the storage of a piece.
func (c *crew) reuse(text []byte) {
	select {
	case c.free <- text[:0]:
	default:
	}
}

// fetchTogether writes the responses for letters up to one that only the session
// can answer for, and tells for how many.
func (s *session) fetchTogether(positions []int, items []item) (n int, err error) {
	if len(positions) < fewLetters {
		return 0, nil
	}
	c := s.newCrew(positions, items)
	defer c.stop()
	own := s.newFetching(items)
	own.steady = true
	for out := range c.order {
		for p := range out {
			if _, err := s.c.Write(p.text); err != nil {
				return n, &connError{err}
			}
			c.reuse(p.text)
			n += p.letters
			if p.end == isLarge {
				err = own.one(positions[n])
			}
			switch {
			case p.end == isAlone, errors.Is(err, mailbox.ErrExpunged):
				return n, nil
			case err != nil:
				return n, err
			case p.end == isLarge:
				n++
			}
		}
	}
	return n, nil
}
