package netserve

import (
	"container/list"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A lobby is where connections wait that have been greeted and have not spoken,
// without a goroutine: each would cost more memory than all the rest of such a
// connection, and nobody needs as many of them as who wants to do harm.
//
// It has one goroutine, which waits for all of them by epoll(7). A guest leaves
// when there is something to read, the end of the connection too, when its time is
// over, or when all are called.
type lobby struct {
	epoll *os.File
	fd    int
	ended chan struct{}

	mu     sync.Mutex
	guests map[int32]*list.Element // by descriptor
	queue  list.List               // of *guest, as they came
	closed bool
}

// A guest is one connection.
type guest struct {
	fd    int32
	until time.Time // when it has waited long enough
	leave func(late bool)
}

// crowded is how many connections there are before any waits in the lobby: below
// that a goroutine is simpler, and costs nothing that matters.
const crowded = 500

func newLobby() (*lobby, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make lobby: %w", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // so the runtime can wait for it
		unix.Close(fd)
		return nil, fmt.Errorf("make lobby: %w", err)
	}
	l := &lobby{epoll: os.NewFile(uintptr(fd), "lobby"), fd: fd, ended: make(chan struct{}), guests: map[int32]*list.Element{}}
	go l.run()
	return l, nil
}

// admit takes a connection until it is time for leave, which gets a goroutine of
// its own. It is false when the connection cannot wait here.
func (l *lobby) admit(c syscall.Conn, patience time.Duration, leave func(late bool)) bool {
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	admitted := false
	err = raw.Control(func(fd uintptr) {
		admitted = l.add(&guest{fd: int32(fd), until: time.Now().Add(patience), leave: leave})
	})
	return err == nil && admitted
}

func (l *lobby) add(g *guest) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP, Fd: g.fd}
	if unix.EpollCtl(l.fd, unix.EPOLL_CTL_ADD, int(g.fd), &event) != nil {
		return false
	}
	l.guests[g.fd] = l.queue.PushBack(g)
	if l.queue.Len() == 1 {
		l.epoll.SetReadDeadline(g.until)
	}
	return true
}

// run lets guests go until the lobby is closed.
func (l *lobby) run() {
	defer close(l.ended)
	raw, err := l.epoll.SyscallConn()
	if err != nil {
		return
	}
	events := make([]unix.EpollEvent, 128)
	for {
		n := 0
		err := raw.Read(func(fd uintptr) bool {
			n, _ = unix.EpollWait(int(fd), events, 0)
			return n > 0
		})
		for _, e := range events[:max(n, 0)] {
			l.let(e.Fd)
		}
		if l.expire(time.Now()) || err != nil && !os.IsTimeout(err) {
			return
		}
	}
}

// let lets one guest go.
func (l *lobby) let(fd int32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.guests[fd]; e != nil {
		l.dismiss(e, false)
	}
}

// dismiss lets a guest go, whose connection is open until then.
func (l *lobby) dismiss(e *list.Element, late bool) {
	g := l.queue.Remove(e).(*guest)
	delete(l.guests, g.fd)
	unix.EpollCtl(l.fd, unix.EPOLL_CTL_DEL, int(g.fd), nil) // fails only for what is not in it
	go g.leave(late)
}

// expire lets those go whose time is over, and says when the next one's is. True
// is for a lobby that is closed.
func (l *lobby) expire(now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	next := time.Time{} // no guest, no time
	for e := l.queue.Front(); e != nil; e = l.queue.Front() {
		if next = e.Value.(*guest).until; next.After(now) {
			break
		}
		l.dismiss(e, true)
		next = time.Time{}
	}
	l.epoll.SetReadDeadline(next)
	return l.closed
}

// close lets all guests go, and ends the lobby.
func (l *lobby) close() {
	l.mu.Lock()
	l.closed = true
	for e := l.queue.Front(); e != nil; e = l.queue.Front() {
		l.dismiss(e, false)
	}
	l.epoll.SetReadDeadline(past)
	l.mu.Unlock()
	<-l.ended
	l.epoll.Close()
}
