// Package netserve accepts connections and looks after them: what smtpd, popd and
// imapd share below their protocols.
//
// Listeners are opened at URLs (TCP, Unix), handed over by systemd, or there is
// one session on standard input and output (inetd). A PROXY header is read where
// it must come. Each connection is a Conn: every read and write has a deadline,
// writes are put together until the session reads again, TLS can be started.
//
// When the server stops it accepts nothing more; sessions that wait for a command
// end at once, those in the middle of something have Options.StopTimeout.
package netserve

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"postbag/internal/maillog"
	"postbag/internal/status"
)

// Options of a server. Protocols and Handle are needed.
type Options struct {
	Protocols []string // that this program speaks; see ports
	Listen    []string // URLs; sockets of systemd come before them
	Inetd     bool
	Stdin     *os.File // of inetd
	Stdout    *os.File

	TLS           *Certificates // nil: no TLS
	ProxyFrom     []netip.Prefix
	MaxConns      int // 0: no limit
	MaxPerAddress int // 0: no limit; the loopback is not counted
	StopTimeout   time.Duration
	Log           *maillog.Log // nil: silent

	// Handle runs one session. The Conn is closed behind it.
	Handle func(ctx context.Context, c *Conn) error
	// Busy is what a client is told that is one too many; nil: nothing.
	Busy func(proto string) string
	// Signals end (SIGTERM, SIGINT) and reload (SIGHUP) the server.
	Signals <-chan os.Signal
	// Reload reads configuration anew; nil: nothing to read.
	Reload func() error
	// Ready is called once all listeners are open.
	Ready func()
}

// A server is one call of Run.
type server struct {
	Options
	cancel   context.CancelFunc // ends what sessions do
	draining chan struct{}
	sessions sync.WaitGroup

	mu    sync.Mutex
	conns map[*Conn]bool
	peers map[netip.Prefix]int
}

// Run serves until a signal or the end of ctx, and returns when all sessions have
// ended. Errors of the start have the right exit code.
func Run(ctx context.Context, o Options) error {
	sctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	s := &server{Options: o, cancel: cancel, draining: make(chan struct{}), conns: map[*Conn]bool{}, peers: map[netip.Prefix]int{}}
	raiseLimit()
	handed, conn, err := s.handedOver()
	if err != nil {
		return err
	}
	if conn != nil || o.Inetd {
		return s.single(sctx, ctx, conn)
	}
	listeners := handed
	if len(listeners) == 0 {
		if listeners, err = s.listenAll(); err != nil {
			return err
		}
	}
	return s.serve(sctx, ctx, listeners)
}

// raiseLimit lets this process have as many descriptors as it may.
func raiseLimit() {
	var l syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l) == nil && l.Cur < l.Max {
		l.Cur = l.Max
		syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l) // a lower limit is the system's wish
	}
}

// single runs the session of inetd, or of a connection that systemd accepted.
func (s *server) single(sctx, ctx context.Context, c *Conn) error {
	if c == nil {
		var err error
		if c, err = s.stdio(); err != nil {
			return err
		}
	}
	s.add(c)
	stop := make(chan struct{})
	go func() {
		s.await(ctx, stop)
	}()
	s.session(sctx, c)
	close(stop)
	return nil
}

// serve accepts on all listeners until it shall stop.
func (s *server) serve(sctx, ctx context.Context, listeners []listener) error {
	for _, l := range listeners {
		s.Log.Listening(ctx, l.proto, l.Addr().String())
		go s.accept(sctx, l)
	}
	if s.Ready != nil {
		s.Ready()
	}
	notify("READY=1")
	stopWatchdog := watchdog()
	defer stopWatchdog()
	ended := make(chan struct{})
	go func() {
		s.await(ctx, nil)
		for _, l := range listeners {
			l.Close()
		}
		s.sessions.Wait()
		close(ended)
	}()
	<-ended
	return nil
}

// await handles signals until the server shall stop, and then makes it.
func (s *server) await(ctx context.Context, stop <-chan struct{}) {
	why := "end of context"
	for {
		select {
		case sig := <-s.Signals:
			if sig == syscall.SIGHUP {
				s.reload(ctx)
				continue
			}
			why = sig.String()
		case <-ctx.Done():
		case <-stop:
			return
		}
		break
	}
	s.Log.Stopping(ctx, why)
	notify("STOPPING=1")
	s.drain(stop)
}

// reload reads anew and tells systemd around it.
func (s *server) reload(ctx context.Context) {
	notify(reloading())
	var err error
	if s.Reload != nil {
		err = s.Reload()
	}
	if s.TLS != nil {
		err = errors.Join(err, s.TLS.Check())
	}
	s.Log.Reloaded(ctx, "configuration", err)
	notify("READY=1")
}

// drain tells all sessions to end, and ends those that do not in time, or at a
// second signal.
func (s *server) drain(stop <-chan struct{}) {
	close(s.draining)
	deadline := time.Now().Add(s.StopTimeout)
	s.mu.Lock()
	for c := range s.conns {
		c.drain(deadline)
	}
	s.mu.Unlock()
	go func() {
		select {
		case <-time.After(time.Until(deadline)):
		case <-s.Signals:
		case <-stop:
			return
		}
		s.abort()
	}()
}

// abort ends all sessions now.
func (s *server) abort() {
	s.cancel()
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.abort()
	}
}

// accept takes connections of one listener.
func (s *server) accept(ctx context.Context, l listener) {
	for {
		nc, err := l.Accept()
		switch {
		case err == nil:
			s.sessions.Add(1)
			go func() {
				defer s.sessions.Done()
				s.begin(ctx, l, nc)
			}()
		case errors.Is(err, net.ErrClosed):
			return
		default:
			// Out of descriptors, mostly: others will end.
			s.Log.Trouble(ctx, "accept connection on "+l.Addr().String(), err)
			time.Sleep(100 * time.Millisecond)
		}
	}
}

// begin makes a Conn of a connection and runs its session.
func (s *server) begin(ctx context.Context, l listener, nc net.Conn) {
	c, err := s.wrap(nc, l.proto)
	if err != nil {
		s.Log.Lost(ctx, nc.RemoteAddr().String(), "connect", err)
		nc.Close()
		return
	}
	if !s.add(c) {
		s.refuse(c)
		return
	}
	s.session(ctx, c)
}

// session runs one session to its end.
func (s *server) session(ctx context.Context, c *Conn) {
	defer s.remove(c)
	defer c.Close()
	if implicit(c.proto) {
		if err := c.StartTLS(ctx); err != nil {
			s.Log.Lost(ctx, c.PeerString(), "TLS", err)
			return
		}
	}
	if err := s.Handle(ctx, c); err != nil {
		s.Log.Lost(ctx, c.PeerString(), c.proto, err)
	}
}

// add counts a connection; false when there are too many.
func (s *server) add(c *Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.MaxConns > 0 && len(s.conns) >= s.MaxConns {
		return false
	}
	if net, counted := c.network(); counted && s.MaxPerAddress > 0 {
		if s.peers[net] >= s.MaxPerAddress {
			return false
		}
		s.peers[net]++
	}
	s.conns[c] = true
	select {
	case <-s.draining:
		c.drain(time.Now().Add(s.StopTimeout))
	default:
	}
	return true
}

func (s *server) remove(c *Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	if net, counted := c.network(); counted && s.MaxPerAddress > 0 {
		if s.peers[net]--; s.peers[net] <= 0 {
			delete(s.peers, net)
		}
	}
}

// refuse says goodbye to a client that is one too many.
func (s *server) refuse(c *Conn) {
	defer c.Close()
	if s.Busy == nil || implicit(c.proto) {
		return
	}
	c.SetIdleTimeout(time.Second)
	c.Write([]byte(s.Busy(c.proto)))
	c.Flush()
}

func startError(code int, op string, err error) error { return status.Exit(code, op, err) }

var errNoListener = errors.New("nothing to listen at")

func notProtocol(name string, all []string) error {
	return fmt.Errorf("protocol %q is none of %v", name, all)
}
