package alias

import (
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"sync"
	"time"
)

// lookEvery is how often a file is asked whether it has changed.
const lookEvery = time.Second

// A watched is a file that is read again when it changes. One that was never
// there is empty; while it cannot be read, there is an error. A version that
// cannot be understood leaves what the one before it said.
type watched[T any] struct {
	path  string
	what  string // it holds, for errors
	parse func(path, text string) (T, error)

	mu     sync.Mutex
	looked time.Time
	mtime  time.Time
	size   int64
	read   bool // has been, once
	value  T
	err    error
	fault  error // what is wrong with a version that was not taken
}

func (w *watched[T]) get() (T, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.path != "" && time.Since(w.looked) >= lookEvery {
		w.refresh()
	}
	return w.value, w.err
}

// fresh is get without waiting for lookEvery; it tells of a version that was not
// taken, too.
func (w *watched[T]) fresh() (T, error) {
	w.mu.Lock()
	w.looked = time.Time{}
	w.mu.Unlock()
	value, err := w.get()
	w.mu.Lock()
	defer w.mu.Unlock()
	return value, errors.Join(err, w.fault)
}

func (w *watched[T]) refresh() {
	w.looked = time.Now()
	st, err := os.Stat(w.path)
	if errors.Is(err, iofs.ErrNotExist) && !w.read {
		w.err = nil
		return
	}
	if err == nil && st.ModTime().Equal(w.mtime) && st.Size() == w.size && w.err == nil {
		return
	}
	var text []byte
	if err == nil {
		text, err = os.ReadFile(w.path)
	}
	if err != nil {
		w.err = fmt.Errorf("read %s: %w", w.what, err)
		return
	}
	w.mtime, w.size = st.ModTime(), st.Size()
	value, err := w.parse(w.path, string(text))
	switch {
	case err == nil:
		w.value, w.read, w.err, w.fault = value, true, nil, nil
	case w.read:
		w.err, w.fault = nil, err
	default:
		w.err = err
	}
}
