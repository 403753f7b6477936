package spool

import (
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"postbag/internal/durable"
)

// ErrNoRunner says that no process schedules this spool at the moment.
var ErrNoRunner = errors.New("no queue runner")

// A RunnerLock is held by the one process that schedules a spool. It dies with
// the process, and another takes over.
type RunnerLock struct{ file *durable.File }

// LockRunner takes the scheduler's lock; ErrLocked when another process has it.
func (s *Spool) LockRunner(ctx context.Context) (*RunnerLock, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	f, err := s.fs.OpenAppend(s.Path("run", "runner.lock"), 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock queue: %w", err)
	}
	ok, err := f.TryLock()
	if err == nil && !ok {
		err = ErrLocked
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock queue: %w", err)
	}
	return &RunnerLock{f}, nil
}

// Unlock lets another process schedule.
func (r *RunnerLock) Unlock() { r.file.Close() }

// RunnerActive reports whether some process schedules this spool.
func (s *Spool) RunnerActive() (bool, error) {
	f, err := os.Open(s.Path("run", "runner.lock"))
	if errors.Is(err, iofs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for queue runner: %w", err)
	}
	defer f.Close()
	return locked(f)
}

// A Call is a message that is new or has become due.
type Call struct {
	ID       ID
	Priority int // 0 when it is not known: whoever attempts the message will see it
}

// A Listener hears what other goroutines and processes want of the scheduler.
type Listener struct {
	s     *Spool
	conn  *net.UnixConn
	calls chan Call
	all   chan struct{}
	dir   *os.File
}

// Listen makes the holder of the RunnerLock reachable by Wake.
func (s *Spool) Listen(ctx context.Context) (*Listener, error) {
	l := &Listener{s: s, calls: make(chan Call, 1024), all: make(chan struct{}, 1)}
	var err error
	if l.dir, err = os.Open(s.Path("run")); err != nil {
		return nil, fmt.Errorf("listen for queue: %w", err)
	}
	// What a dead runner left; a living one has the lock that we hold.
	if err := s.fs.Remove(s.Path("run", "queue")); err != nil && !errors.Is(err, iofs.ErrNotExist) {
		l.dir.Close()
		return nil, fmt.Errorf("listen for queue: %w", err)
	}
	l.conn, err = net.ListenUnixgram("unixgram", socketAddr(l.dir))
	if err != nil {
		l.dir.Close()
		return nil, fmt.Errorf("listen for queue: %w", err)
	}
	// Every user may submit, so every user may say that there is something.
	if err := s.fs.Chmod(s.Path("run", "queue"), 0o666); err != nil {
		l.Close()
		return nil, fmt.Errorf("listen for queue: %w", err)
	}
	s.mu.Lock()
	s.listener = l
	s.mu.Unlock()
	go l.read()
	return l, nil
}

// socketAddr names the socket by a descriptor of its directory: the path of a
// spool may be longer than the 108 octets of a socket's address.
func socketAddr(dir *os.File) *net.UnixAddr {
	return &net.UnixAddr{Name: fmt.Sprintf("/proc/self/fd/%d/queue", dir.Fd()), Net: "unixgram"}
}

// Calls gives messages that are new or have become due.
func (l *Listener) Calls() <-chan Call { return l.calls }

// All says that the whole queue is to be looked at again.
func (l *Listener) All() <-chan struct{} { return l.all }

// Close stops hearing.
func (l *Listener) Close() {
	l.s.mu.Lock()
	if l.s.listener == l {
		l.s.listener = nil
	}
	l.s.mu.Unlock()
	l.conn.Close()
	l.s.fs.Remove(l.s.Path("run", "queue"))
	l.dir.Close()
}

// read ends when the socket is closed.
func (l *Listener) read() {
	buf := make([]byte, 64<<10)
	for {
		n, err := l.conn.Read(buf)
		if err != nil {
			return
		}
		words := strings.Fields(string(buf[:n]))
		var calls []Call
		for _, w := range words {
			if id, err := ParseID(w); err == nil {
				calls = append(calls, Call{ID: id})
			}
		}
		l.hear(calls)
	}
}

// hear never waits: a listener that cannot follow looks at the whole queue.
func (l *Listener) hear(calls []Call) {
	for _, c := range calls {
		select {
		case l.calls <- c:
		default:
			calls = nil
		}
	}
	if len(calls) == 0 {
		select {
		case l.all <- struct{}{}:
		default:
		}
	}
}

// Wake tells the scheduler, in this process or another, that messages are new
// or due; without IDs, that it shall look at the whole queue. ErrNoRunner when
// there is none: the messages wait for the next one.
func (s *Spool) Wake(ctx context.Context, ids ...ID) error {
	if l := s.here(); l != nil {
		calls := make([]Call, len(ids))
		for i, id := range ids {
			calls[i].ID = id
		}
		l.hear(calls)
		return nil
	}
	return s.wakeOther(ctx, ids)
}

// WakeFor is Wake for one message that has just been queued. A scheduler of this
// process hears its priority; what others say of that is not to be believed, for
// every user may write to the socket.
func (s *Spool) WakeFor(ctx context.Context, e *Envelope) error {
	if l := s.here(); l != nil {
		l.hear([]Call{{e.ID, e.Priority}})
		return nil
	}
	return s.wakeOther(ctx, []ID{e.ID})
}

// here is the scheduler of this process; nil: none.
func (s *Spool) here() *Listener {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.listener
}

func (s *Spool) wakeOther(ctx context.Context, ids []ID) error {
	var b strings.Builder
	b.WriteString("wake")
	for _, id := range ids {
		if b.Len() > 32<<10 {
			b.Reset() // too many for one datagram: all of them
			break
		}
		b.WriteString("\n" + string(id))
	}
	return s.send(ctx, b.String())
}

func (s *Spool) send(ctx context.Context, text string) error {
	dir, err := os.Open(s.Path("run"))
	if err != nil {
		return fmt.Errorf("wake queue: %w", err)
	}
	defer dir.Close()
	conn, err := net.DialUnix("unixgram", nil, socketAddr(dir))
	if errors.Is(err, iofs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("wake queue: %w", ErrNoRunner)
	}
	if err != nil {
		return fmt.Errorf("wake queue: %w", err)
	}
	defer conn.Close()
	deadline := time.Now().Add(time.Second)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	conn.SetWriteDeadline(deadline)
	if _, err := conn.Write([]byte(text)); err != nil {
		return fmt.Errorf("wake queue: %w", err)
	}
	return nil
}
