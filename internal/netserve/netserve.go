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
	"strings"
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
	MaxConns      int // 0: as many as there are descriptors for
	MaxPerAddress int // 0: no limit; the loopback is not counted
	StopTimeout   time.Duration
	Log           *maillog.Log // nil: silent
	Counts        Counts

	// Handle runs one session. The Conn is closed behind it.
	Handle func(ctx context.Context, c *Conn) error
	// Begin is for protocols in which the server speaks first, instead of Handle:
	// it greets, and gives what is to run once the client has spoken.
	Begin func(ctx context.Context, c *Conn) (rest func() error)
	// Busy is what a client is told that is one too many, of its address or of
	// all; nil: nothing.
	Busy func(proto string, ofAddress bool) string
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
	running  sync.WaitGroup // sessions, accepting loops, and who ends them
	lobby    *lobby         // nil: every session has a goroutine from the start

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
	s.limitConns()
	listeners, conn, err := s.handedOver()
	if err != nil {
		return err
	}
	if conn == nil && o.Inetd {
		conn = s.stdio()
	}
	if conn != nil {
		return s.single(sctx, ctx, conn)
	}
	if len(listeners) == 0 {
		if listeners, err = s.listenAll(); err != nil {
			return err
		}
	}
	return s.serve(sctx, ctx, listeners)
}

// reservedFiles is how many descriptors are kept for letters, logs and look-ups.
const reservedFiles = 200

// limitConns lets this process have as many descriptors as it may, and takes no
// more connections than these are enough for.
func (s *server) limitConns() {
	var l syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l) != nil {
		return
	}
	if l.Cur < l.Max {
		l.Cur = l.Max
		syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l) // a lower limit is the system's wish
		syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l)
	}
	most := max(1, int(min(l.Cur, 1<<30))-reservedFiles)
	if s.MaxConns == 0 || s.MaxConns > most {
		s.MaxConns = most
	}
}

// single runs the session of inetd, or of a connection that systemd accepted.
func (s *server) single(sctx, ctx context.Context, c *Conn) error {
	stop := make(chan struct{})
	s.running.Go(func() {
		if s.await(ctx, stop) {
			s.drain(stop)
		}
	})
	s.begin(sctx, c)
	close(stop)
	s.running.Wait()
	return nil
}

// serve accepts on all listeners until it shall stop.
func (s *server) serve(sctx, ctx context.Context, listeners []listener) error {
	s.openLobby(ctx)
	for _, l := range listeners {
		s.Log.Listening(ctx, l.proto, l.Addr().String())
		s.running.Go(func() { s.accept(sctx, l) })
	}
	if s.Ready != nil {
		s.Ready()
	}
	notify("READY=1\nSTATUS=" + serving(listeners))
	stopWatchdog := watchdog()
	defer stopWatchdog()
	s.await(ctx, nil)
	for _, l := range listeners {
		l.Close()
	}
	ended := make(chan struct{})
	go func() { s.running.Wait(); close(ended) }()
	s.drain(ended)
	<-ended
	return nil
}

// serving is the line that systemctl status shows.
func serving(listeners []listener) string {
	var all []string
	for _, l := range listeners {
		all = append(all, l.proto+" at "+l.Addr().String())
	}
	return "serving " + strings.Join(all, ", ")
}

// await handles signals until the server shall stop; false when there is nothing
// left to stop.
func (s *server) await(ctx context.Context, over <-chan struct{}) bool {
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
		case <-over:
			return false
		}
		break
	}
	s.Log.Stopping(ctx, why)
	notify("STOPPING=1\nSTATUS=finishing sessions")
	return true
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

// drain tells all sessions to end, and waits until they have. It ends those that
// do not in time, and all at a second signal.
func (s *server) drain(over <-chan struct{}) {
	deadline := time.Now().Add(s.StopTimeout)
	s.mu.Lock()
	close(s.draining)
	for c := range s.conns {
		c.drain(deadline)
	}
	s.mu.Unlock()
	if s.lobby != nil {
		s.lobby.close()
	}
	timer := time.NewTimer(s.StopTimeout)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case sig := <-s.Signals:
			if sig == syscall.SIGHUP {
				continue
			}
		case <-over:
			return
		}
		s.abort()
	}
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

// acceptPause is how long a server waits that has run out of something, for
// others to end.
const acceptPause = 100 * time.Millisecond

// accept takes connections of one listener. Trouble is told once, until a
// connection comes again.
func (s *server) accept(ctx context.Context, l listener) {
	troubled := false
	for {
		nc, err := l.Accept()
		switch {
		case err == nil:
			troubled = false
			s.running.Go(func() { s.begin(ctx, newConn(s, nc, l.proto)) })
		case errors.Is(err, net.ErrClosed):
			return
		default:
			if !troubled {
				s.Log.Trouble(ctx, "accept connection on "+l.Addr().String(), err)
			}
			troubled = true
			time.Sleep(acceptPause)
		}
	}
}

// begin runs the session of a connection, if it is not one too many, or has it
// wait in the lobby until its client speaks.
func (s *server) begin(ctx context.Context, c *Conn) {
	if !s.add(c) {
		s.refuse(c, false)
		return
	}
	rest := s.welcome(ctx, c)
	switch {
	case rest == nil:
		c.nc.Close()
		s.remove(c)
	case !s.park(ctx, c, rest):
		s.finish(ctx, c, rest)
	}
}

// welcome brings a connection to where its session goes on; nil when there is
// none.
func (s *server) welcome(ctx context.Context, c *Conn) (rest func() error) {
	if err := s.readProxyHeader(c); err != nil {
		s.Log.Lost(ctx, c.PeerString(), "PROXY header", err)
		return nil
	}
	if !s.count(c) {
		s.refuse(c, true)
		return nil
	}
	if implicit(c.proto) {
		if err := c.StartTLS(ctx); err != nil {
			s.Log.Lost(ctx, c.PeerString(), "TLS", err)
			return nil
		}
	}
	if s.Begin != nil {
		return s.Begin(ctx, c)
	}
	return func() error { return s.Handle(ctx, c) }
}

// openLobby makes the lobby where sessions can wait in one.
func (s *server) openLobby(ctx context.Context) {
	if s.Begin == nil {
		return
	}
	var err error
	if s.lobby, err = newLobby(); err != nil {
		s.Log.Trouble(ctx, "serve", err)
	}
}

// park has a connection that was greeted wait in the lobby, where there are many.
func (s *server) park(ctx context.Context, c *Conn, rest func() error) bool {
	nc, ok := c.nc.(syscall.Conn)
	if s.lobby == nil || !ok || c.tls != nil || c.proxied || !s.crowded() || c.Flush() != nil {
		return false
	}
	s.running.Add(1)
	parked := s.lobby.admit(nc, c.patience(), func(late bool) {
		defer s.running.Done()
		if late {
			c.expire()
		}
		s.finish(ctx, c, rest)
	})
	if !parked {
		s.running.Done()
	}
	return parked
}

func (s *server) crowded() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns) > crowded
}

// finish runs a session to its end.
func (s *server) finish(ctx context.Context, c *Conn, rest func() error) {
	defer s.remove(c)
	defer c.Close()
	if err := rest(); err != nil {
		s.Log.Lost(ctx, c.PeerString(), c.proto, err)
	}
}

// add takes a connection into the books; false when there are too many.
func (s *server) add(c *Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.conns) >= s.MaxConns {
		return false
	}
	s.conns[c] = true
	s.Counts.accepted.With(c.proto).Inc()
	s.Counts.open.Add(1)
	select {
	case <-s.draining: // it came in at the last moment
		c.drain(time.Now().Add(s.StopTimeout))
	default:
	}
	return true
}

// count adds a connection to those of its address, which a PROXY header may have
// told; false when there are too many.
func (s *server) count(c *Conn) bool {
	net, limited := c.network()
	if !limited || s.MaxPerAddress == 0 {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.peers[net] >= s.MaxPerAddress {
		return false
	}
	s.peers[net]++
	c.counted = true
	return true
}

func (s *server) remove(c *Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	s.Counts.open.Add(-1)
	if !c.counted {
		return
	}
	net, _ := c.network()
	if s.peers[net]--; s.peers[net] == 0 {
		delete(s.peers, net)
	}
}

// refuse says goodbye to a client that is one too many.
func (s *server) refuse(c *Conn, ofAddress bool) {
	defer c.Close()
	s.Counts.refused.With(c.proto).Inc()
	if s.Busy == nil || implicit(c.proto) {
		return
	}
	c.Write([]byte(s.Busy(c.proto, ofAddress)))
}

func startError(code int, op string, err error) error { return status.Exit(code, op, err) }

var errNoListener = errors.New("nothing to listen at")

func notProtocol(name string, all []string) error {
	return fmt.Errorf("protocol %q is none of %v", name, all)
}
