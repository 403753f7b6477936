package netserve

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// stdio makes a Conn of standard input and output. The client is who is at the
// other end of the socket, else who the environment says (ucspi-tcp), else
// unknown: a pipe and a socket without a name (socat makes such) can lead
// anywhere.
func (s *server) stdio() *Conn {
	if nc, err := net.FileConn(s.Stdin); err == nil {
		if c := newConn(s, nc, s.Protocols[0]); c.peer.IsValid() {
			return c
		}
		nc.Close() // a copy
	}
	c := newConn(s, &pipes{in: s.Stdin, out: s.Stdout}, s.Protocols[0])
	c.peer, c.local = fromEnvironment("TCPREMOTE"), fromEnvironment("TCPLOCAL")
	return c
}

// fromEnvironment is what tcpserver and its like say of one end.
func fromEnvironment(end string) netip.AddrPort {
	ip, err := netip.ParseAddr(os.Getenv(end + "IP"))
	if err != nil {
		return netip.AddrPort{}
	}
	port, _ := strconv.ParseUint(os.Getenv(end+"PORT"), 10, 16)
	return netip.AddrPortFrom(ip.Unmap(), uint16(port))
}

// pipes are a connection over two files. Both are left blocking, for others may
// have them too; so it is poll(2) that waits, and looks at the deadlines.
type pipes struct {
	in, out *os.File

	mu                    sync.Mutex
	readUntil, writeUntil time.Time
}

const (
	// pollStep is how long a change of a deadline may go unnoticed.
	pollStep = 50 * time.Millisecond
	// pipeBuf is what a pipe that can be written to takes without waiting
	// (PIPE_BUF of Linux).
	pipeBuf = 4096
)

func (p *pipes) Read(b []byte) (int, error) {
	if err := p.wait(p.in, unix.POLLIN, &p.readUntil); err != nil {
		return 0, err
	}
	return p.in.Read(b)
}

func (p *pipes) Write(b []byte) (int, error) {
	total := 0
	for total < len(b) {
		if err := p.wait(p.out, unix.POLLOUT, &p.writeUntil); err != nil {
			return total, err
		}
		n, err := p.out.Write(b[total:min(len(b), total+pipeBuf)])
		total += n
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

// wait returns when the file is ready (at its end, too) or the time has come.
func (p *pipes) wait(f *os.File, event int16, until *time.Time) error {
	for {
		left := p.left(until)
		if left <= 0 {
			return os.ErrDeadlineExceeded
		}
		fds := []unix.PollFd{{Fd: int32(f.Fd()), Events: event}}
		n, err := unix.Poll(fds, int(min(left, pollStep)/time.Millisecond)+1)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return os.NewSyscallError("poll", err)
		case n > 0:
			return nil
		}
	}
}

func (p *pipes) left(until *time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if until.IsZero() {
		return pollStep
	}
	return time.Until(*until)
}

func (p *pipes) Close() error         { return errors.Join(p.in.Close(), p.out.Close()) }
func (p *pipes) LocalAddr() net.Addr  { return &net.UnixAddr{Name: "stdin", Net: "pipe"} }
func (p *pipes) RemoteAddr() net.Addr { return &net.UnixAddr{Name: "stdout", Net: "pipe"} }

func (p *pipes) SetDeadline(t time.Time) error {
	return errors.Join(p.SetReadDeadline(t), p.SetWriteDeadline(t))
}

func (p *pipes) SetReadDeadline(t time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.readUntil = t
	return nil
}

func (p *pipes) SetWriteDeadline(t time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.writeUntil = t
	return nil
}
