package netserve

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"golang.org/x/sys/unix"

	"postbag/internal/status"
)

// A listener accepts connections of one protocol.
type listener struct {
	net.Listener
	proto string
}

// ports are the protocols with their standard ports, and those of a private
// spool, whose owner may not open the others.
var ports = []struct {
	proto            string
	standard, highly int
}{
	{"smtp", 25, 2525}, {"submission", 587, 1587}, {"submissions", 465, 1465},
	{"imap", 143, 1143}, {"imaps", 993, 1993}, {"pop3", 110, 1110}, {"pop3s", 995, 1995},
	{"lmtp", 24, 2424},
}

// DefaultListen gives the URLs that a program listens at when it is told none.
func DefaultListen(protocols []string, private bool) []string {
	var all []string
	for _, p := range ports {
		if p.proto == "lmtp" || !slices.Contains(protocols, p.proto) {
			continue
		}
		if private {
			all = append(all, fmt.Sprintf("%s://127.0.0.1:%d", p.proto, p.highly))
		} else {
			all = append(all, fmt.Sprintf("%s://:%d", p.proto, p.standard))
		}
	}
	return all
}

// implicit tells whether a protocol begins with TLS.
func implicit(proto string) bool {
	return proto == "submissions" || proto == "imaps" || proto == "pop3s"
}

// ValidListen checks a URL to listen at.
func ValidListen(protocols []string) func(string) error {
	return func(s string) error {
		_, _, _, err := parseListen(s, protocols)
		return err
	}
}

// parseListen reads PROTOCOL://HOST:PORT and lmtp:///PATH.
func parseListen(s string, protocols []string) (proto, network, addr string, err error) {
	u, err := url.Parse(s)
	if err != nil || u.Opaque != "" || u.User != nil || u.RawQuery != "" {
		return "", "", "", fmt.Errorf("%q is no PROTOCOL://HOST:PORT", s)
	}
	if !slices.Contains(protocols, u.Scheme) {
		return "", "", "", notProtocol(u.Scheme, protocols)
	}
	if u.Host == "" && strings.HasPrefix(u.Path, "/") && u.Scheme == "lmtp" {
		return u.Scheme, "unix", u.Path, nil
	}
	port, perr := strconv.ParseUint(u.Port(), 10, 16)
	if perr != nil || u.Path != "" {
		return "", "", "", fmt.Errorf("%q has no HOST:PORT", s)
	}
	return u.Scheme, "tcp", net.JoinHostPort(u.Hostname(), strconv.Itoa(int(port))), nil
}

// listenAll opens a listener for each URL, or none at all.
func (s *server) listenAll() ([]listener, error) {
	var all []listener
	for _, u := range s.Listen {
		l, err := s.listen(u)
		if err != nil {
			for _, open := range all {
				open.Close()
			}
			return nil, err
		}
		all = append(all, l)
	}
	if len(all) == 0 {
		return nil, startError(status.ExConfig, "listen", errNoListener)
	}
	return all, nil
}

func (s *server) listen(u string) (listener, error) {
	proto, network, addr, err := parseListen(u, s.Protocols)
	if err != nil {
		return listener{}, startError(status.ExConfig, "listen", err)
	}
	var l net.Listener
	if network == "unix" {
		l, err = listenUnix(addr)
	} else {
		l, err = net.Listen(network, addr)
	}
	if err != nil {
		code := status.ExUnavailable
		if errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.EPERM) {
			code = status.ExNoPerm
		}
		return listener{}, startError(code, "listen at "+u, cause(err))
	}
	return listener{l, proto}, nil
}

// cause takes the words of package net off, which only say the address again.
func cause(err error) error {
	var op *net.OpError
	if errors.As(err, &op) && op.Err != nil {
		var sys *os.SyscallError
		if errors.As(op.Err, &sys) {
			return sys.Err
		}
		return op.Err
	}
	return err
}

// listenUnix opens a socket of mode 0660. One that nobody listens at any more is
// replaced; a living one is in use.
func listenUnix(path string) (net.Listener, error) {
	if st, err := os.Lstat(path); err == nil && st.Mode()&os.ModeSocket != 0 {
		c, err := net.DialTimeout("unix", path, time.Second)
		if err == nil {
			c.Close()
			return nil, syscall.EADDRINUSE
		}
		if errors.Is(err, syscall.ECONNREFUSED) {
			if err := os.Remove(path); err != nil {
				return nil, err
			}
		}
	}
	old := syscall.Umask(0o117) // no moment with another mode
	l, err := net.Listen("unix", path)
	syscall.Umask(old)
	return l, err
}

// handedOver takes the sockets of systemd: listeners (Accept=no), or one
// connection (Accept=yes).
func (s *server) handedOver() ([]listener, *Conn, error) {
	var all []listener
	for _, f := range activation.Files(true) {
		accepting, err := unix.GetsockoptInt(int(f.Fd()), unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
		if err != nil {
			return nil, nil, startError(status.ExConfig, fmt.Sprintf("descriptor %d of systemd", f.Fd()), err)
		}
		proto, err := s.protoOf(f)
		if err != nil {
			return nil, nil, err
		}
		if accepting == 0 {
			nc, err := net.FileConn(f)
			if err != nil {
				return nil, nil, startError(status.ExConfig, "connection of systemd", err)
			}
			f.Close()
			return nil, newConn(s, nc, proto), nil
		}
		l, err := net.FileListener(f)
		if err != nil {
			return nil, nil, startError(status.ExConfig, "socket of systemd", err)
		}
		f.Close()
		all = append(all, listener{l, proto})
	}
	return all, nil, nil
}

// protoOf finds out what a socket of systemd is for: its name, the last part of
// its unit's name, or its port.
func (s *server) protoOf(f *os.File) (string, error) {
	name := strings.TrimSuffix(f.Name(), ".socket")
	if at := strings.LastIndexAny(name, "-_."); at >= 0 && !slices.Contains(s.Protocols, name) {
		name = name[at+1:]
	}
	if slices.Contains(s.Protocols, name) {
		return name, nil
	}
	port := localPort(int(f.Fd()))
	for _, p := range ports {
		if (port == p.standard || port == p.highly) && slices.Contains(s.Protocols, p.proto) {
			return p.proto, nil
		}
	}
	return "", startError(status.ExConfig, fmt.Sprintf("descriptor %d of systemd (%s)", f.Fd(), f.Name()),
		fmt.Errorf("neither its name nor its port %d tells which of %v it is for", port, s.Protocols))
}

func localPort(fd int) int {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return 0
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return sa.Port
	case *unix.SockaddrInet6:
		return sa.Port
	}
	return 0
}
