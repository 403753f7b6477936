package mailbox

import "sync"

// maxEvents is how many names are kept for a folder; more mean a scan.
const maxEvents = 4096

// events are what inotify has told of a folder and nobody has looked at yet.
type events struct {
	mu       sync.Mutex
	active   bool
	overflow bool            // only a scan helps
	names    map[string]bool // below the folder; true if it came, false if it went
}

func (e *events) start() { e.set(true, true) }
func (e *events) end()   { e.set(false, true) }

func (e *events) set(active, overflow bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.active, e.overflow, e.names = active, overflow, nil
}

func (e *events) add(name string, came bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.overflow {
		return
	}
	if len(e.names) >= maxEvents {
		e.overflow, e.names = true, nil
		return
	}
	if e.names == nil {
		e.names = map[string]bool{}
	}
	e.names[name] = came
}

func (e *events) lose() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.overflow, e.names = true, nil
}

// take gives the events and forgets them; whole is false when some were lost.
func (e *events) take() (names map[string]bool, whole bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	names, whole = e.names, e.active && !e.overflow
	e.names, e.overflow = nil, false
	return names, whole
}

// drop forgets what is expected, as far as it is the last that was told of a name.
func (e *events) drop(expected map[string]bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for name, came := range e.names {
		if want, known := expected[name]; known && want == came {
			delete(e.names, name)
		}
	}
}

// clear forgets what a scan that begins now will find anyway.
func (e *events) clear() { e.take() }

// lost reports whether the folder must be looked at though its stamps are as
// they were.
func (e *events) lost() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.active && (e.overflow || len(e.names) > 0)
}

// watching reports whether every change since the last clear is among the
// events.
func (e *events) watching() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.active && !e.overflow
}
