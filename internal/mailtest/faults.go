package mailtest

import (
	"fmt"
	"os"
	"sync"
	"syscall"
	"testing"

	"postbag/internal/durable"
)

// A FaultScenario is an operation whose steps fail.
type FaultScenario struct {
	// Setup prepares root, on a disk without faults.
	Setup func(fs *durable.FS, root string)
	// Run is the operation; one of its steps fails.
	Run func(fs *durable.FS, root string) error
	// Check looks at what it left, knowing how it ended.
	Check func(root string, err error) error
}

// A fault is what a step may end with.
type fault struct {
	err   error
	after bool // the step is done, and yet fails
	half  bool // of a write, half is done
}

func (f fault) String() string {
	switch {
	case f.half:
		return "half of it, then " + f.err.Error()
	case f.after:
		return f.err.Error() + " after success"
	}
	return f.err.Error()
}

// faults are those that disks and other programs cause.
var faults = map[durable.OpKind][]fault{
	durable.OpCreate:    {{err: syscall.ENOSPC}, {err: syscall.EROFS}},
	durable.OpOpen:      {{err: syscall.EIO}},
	durable.OpWrite:     {{err: syscall.ENOSPC}, {err: syscall.ENOSPC, half: true}, {err: syscall.EINTR}},
	durable.OpTruncate:  {{err: syscall.EIO}},
	durable.OpSync:      {{err: syscall.EIO}, {err: syscall.ENOSPC}, {err: syscall.EIO, after: true}},
	durable.OpSyncNamed: {{err: syscall.EIO}, {err: syscall.ENOSPC}},
	durable.OpClose:     {{err: syscall.EIO, after: true}, {err: syscall.ENOSPC, after: true}},
	durable.OpRename:    {{err: syscall.EDQUOT}, {err: syscall.ENOENT}, {err: syscall.EEXIST, after: true}},
	durable.OpReplace:   {{err: syscall.EDQUOT}},
	durable.OpLink:      {{err: syscall.EDQUOT}},
	durable.OpRemove:    {{err: syscall.EIO}},
	durable.OpMkdir:     {{err: syscall.ENOSPC}},
	durable.OpSyncDir:   {{err: syscall.EIO}, {err: syscall.EIO, after: true}},
}

// A breaker fails one step: the nth of a kind, for steps of several goroutines
// come in any order.
type breaker struct {
	mu    sync.Mutex
	kind  durable.OpKind
	nth   int
	fault fault
	kinds []durable.OpKind // of the steps taken
	what  string           // failed
}

// Step implements durable.Tracer.
func (b *breaker) Step(op durable.Op, do func() error) error {
	b.mu.Lock()
	now := op.Kind == b.kind && count(b.kinds, op.Kind) == b.nth
	b.kinds = append(b.kinds, op.Kind)
	if now {
		b.what = fmt.Sprint(op.Kind, " ", op.Path)
	}
	b.mu.Unlock()
	if !now {
		return do()
	}
	switch {
	case b.fault.half:
		syscall.Pwrite(int(op.File.Fd()), op.Data[:len(op.Data)/2], op.Offset)
	case b.fault.after:
		do()
	}
	return b.fault.err
}

// Faults runs an operation once for each of its steps and each fault that such a
// step may have.
func Faults(t *testing.T, s FaultScenario) {
	t.Helper()
	plain := &breaker{}
	if _, err := s.once(t, plain); err != nil {
		t.Fatalf("without a fault: %v", err)
	}
	runs, failed := 0, 0
	for at, kind := range plain.kinds {
		for _, f := range faults[kind] {
			b := &breaker{kind: kind, nth: count(plain.kinds[:at], kind), fault: f}
			runs++
			ended, err := s.once(t, b)
			if err != nil {
				t.Errorf("step %d, %s, fails with %v (operation ended with %v): %v", at, b.what, f, ended, err)
				failed++
			}
			if failed >= maxFailures {
				return
			}
		}
	}
	t.Logf("%d steps, %d faults", len(plain.kinds), runs)
}

// once runs the operation in a place of its own.
func (s FaultScenario) once(t *testing.T, b *breaker) (ended, found error) {
	root := scratch(t)
	defer os.RemoveAll(root)
	s.Setup(durable.New(), root)
	ended = s.Run(durable.NewTraced(b), root)
	return ended, s.Check(root, ended)
}

func count(kinds []durable.OpKind, kind durable.OpKind) (n int) {
	for _, k := range kinds {
		if k == kind {
			n++
		}
	}
	return n
}
