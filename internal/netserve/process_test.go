package netserve

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"postbag/internal/maillog"
	"postbag/internal/status"
)

// TestMain is also the program that the tests of this file start: sockets handed
// over and standard input belong to a process.
func TestMain(m *testing.M) {
	if how := os.Getenv("NETSERVE_TEST"); how != "" {
		os.Exit(program(how))
	}
	os.Exit(m.Run())
}

func program(how string) int {
	log, err := maillog.New(os.Stderr, maillog.Form{Level: "debug", Format: "text"})
	if err != nil {
		return 1
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGHUP)
	err = Run(context.Background(), Options{
		Protocols: strings.Split(os.Getenv("NETSERVE_PROTOCOLS"), ","), Listen: []string{"smtp://127.0.0.1:0"},
		Inetd: how == "inetd", Stdin: os.Stdin, Stdout: os.Stdout, Log: log, Handle: greet, Signals: signals,
		StopTimeout: time.Hour, ProxyFrom: prefixes("192.0.2.99/32"),
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
	}
	return status.ExitCode(err)
}

// A child is that program.
type child struct {
	*exec.Cmd
	t   *testing.T
	log *logBuffer
}

// spawn starts it; pid is what LISTEN_PID shall be, "$$" for its own.
func spawn(t *testing.T, how, pid string, env []string, files ...*os.File) *child {
	t.Helper()
	c := &child{exec.Command("/bin/sh", "-c", `LISTEN_PID=`+pid+` exec "$0"`, os.Args[0]), t, &logBuffer{}}
	c.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0", "NETSERVE_TEST="+how, "NETSERVE_PROTOCOLS=smtp,submission,submissions,lmtp")
	c.Env = append(c.Env, env...)
	c.ExtraFiles, c.Stderr = files, c.log
	return c
}

func (c *child) start() *child {
	c.t.Helper()
	if err := c.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { c.Process.Kill() })
	return c
}

// exits waits for the end and wants a code.
func (c *child) exits(code int) {
	c.t.Helper()
	c.Wait()
	if got := c.ProcessState.ExitCode(); got != code {
		c.t.Errorf("exit %d, want %d: %s", got, code, c.log.b.String())
	}
}

// listenFile is a listening socket as systemd would hand it over.
func listenFile(t *testing.T, network, addr string) (*os.File, string) {
	t.Helper()
	l, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var f *os.File
	switch l := l.(type) {
	case *net.TCPListener:
		f, err = l.File()
	case *net.UnixListener:
		l.SetUnlinkOnClose(false)
		f, err = l.File()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f, l.Addr().String()
}

// socketPair is a connection: our end, and the other as a file.
func socketPair(t *testing.T) (net.Conn, *os.File) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ours, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	f, err := theirs.(*net.TCPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return ours, f
}

func TestListenersOfSystemd(t *testing.T) {
	a, aAddr := listenFile(t, "tcp", "127.0.0.1:0")
	b, bAddr := listenFile(t, "tcp", "127.0.0.1:0")
	path := t.TempDir() + "/s"
	u, _ := listenFile(t, "unix", path)
	c := spawn(t, "daemon", "$$", []string{"LISTEN_FDS=3", "LISTEN_FDNAMES=smtp:postbag-submission.socket:mail.lmtp"}, a, b, u).start()
	c.log.await(t, "proto=lmtp")
	dial(t, "tcp", aAddr).hears("hello smtp from 127.0.0.1 loopback=true tls=false")
	dial(t, "tcp", bAddr).hears("hello submission from 127.0.0.1 loopback=true tls=false")
	dial(t, "unix", path).hears("hello lmtp from unknown loopback=true tls=false")
	c.Process.Signal(syscall.SIGTERM)
	c.exits(0)
	if _, err := os.Stat(path); err != nil {
		t.Error("the socket of systemd was removed:", err)
	}
}

func TestThePortTellsTheProtocol(t *testing.T) {
	var f *os.File
	var addr string
	for _, p := range []string{"127.0.0.1:1465", "127.0.0.2:1465", "127.0.0.3:1465"} {
		if l, err := net.Listen("tcp", p); err == nil {
			l.Close()
			f, addr = listenFile(t, "tcp", p)
			break
		}
	}
	if f == nil {
		t.Skip("port 1465 is in use at all of three addresses")
	}
	c := spawn(t, "daemon", "$$", []string{"LISTEN_FDS=1", "LISTEN_FDNAMES=connection"}, f).start()
	if m := c.log.await(t, `proto=(\S+) addr=(\S+)`); m[1] != "submissions" || m[2] != addr {
		t.Errorf("%v, want submissions at %s", m, addr)
	}
	c.Process.Signal(syscall.SIGTERM)
	c.exits(0)
}

func TestADescriptorThatMeansNothingIsNamed(t *testing.T) {
	f, _ := listenFile(t, "tcp", "127.0.0.1:0")
	c := spawn(t, "daemon", "$$", []string{"LISTEN_FDS=1", "LISTEN_FDNAMES=web"}, f).start()
	c.exits(status.ExConfig)
	c.log.await(t, `descriptor 3 of systemd \(web\)`)

	file, err := os.Open(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	c = spawn(t, "daemon", "$$", []string{"LISTEN_FDS=1", "LISTEN_FDNAMES=smtp"}, file).start()
	c.exits(status.ExConfig)
	c.log.await(t, `descriptor 3 of systemd`)
}

func TestLISTEN_PIDOfAnotherProcessIsIgnored(t *testing.T) {
	f, addr := listenFile(t, "tcp", "127.0.0.1:0")
	c := spawn(t, "daemon", "1", []string{"LISTEN_FDS=1", "LISTEN_FDNAMES=smtp"}, f).start()
	if m := c.log.await(t, `msg=listening proto=smtp addr=(\S+)`); m[1] == addr {
		t.Error("the socket was meant for somebody else")
	}
	c.Process.Signal(syscall.SIGTERM)
	c.exits(0)
}

func TestAConnectionOfSystemd(t *testing.T) {
	conn, f := socketPair(t)
	c := spawn(t, "daemon", "$$", []string{"LISTEN_FDS=1", "LISTEN_FDNAMES=smtp"}, f).start()
	f.Close()
	cl := newClient(t, conn)
	cl.hears("hello smtp from 127.0.0.1 loopback=true tls=false")
	cl.say("quit")
	cl.hears("")
	c.exits(0)
}

func TestInetdOnASocket(t *testing.T) {
	conn, f := socketPair(t)
	c := spawn(t, "inetd", "1", []string{"TCPREMOTEIP=203.0.113.9"})
	c.Stdin, c.Stdout = f, f
	c.start()
	f.Close()
	cl := newClient(t, conn)
	cl.hears("hello smtp from 127.0.0.1 loopback=true tls=false") // the socket knows better
	cl.say("quit")
	cl.hears("")
	c.exits(0)
}

// onPipes runs a session of inetd on two pipes.
func onPipes(t *testing.T, env ...string) (*child, *client) {
	t.Helper()
	c := spawn(t, "inetd", "1", env)
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.start()
	return c, newClient(t, &pipeEnds{in: in, out: out})
}

// pipeEnds make a net.Conn of the other ends.
type pipeEnds struct {
	net.Conn
	in  io.WriteCloser
	out io.ReadCloser
}

func (p *pipeEnds) Read(b []byte) (int, error)  { return p.out.Read(b) }
func (p *pipeEnds) Write(b []byte) (int, error) { return p.in.Write(b) }
func (p *pipeEnds) Close() error                { p.in.Close(); return p.out.Close() }
func (p *pipeEnds) SetDeadline(time.Time) error { return nil }

func TestInetdOnPipes(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		env        []string
	}{
		{"nobody says who it is", "unknown loopback=false", nil},
		{"tcpserver says it", "203.0.113.9 loopback=false", []string{"TCPREMOTEIP=203.0.113.9", "TCPREMOTEPORT=4711", "TCPLOCALIP=203.0.113.1"}},
		{"tcpserver at the loopback", "127.0.0.1 loopback=true", []string{"TCPREMOTEIP=127.0.0.1", "TCPLOCALIP=127.0.0.1"}},
		{"a loopback that is not ours", "127.0.0.1 loopback=false", []string{"TCPREMOTEIP=127.0.0.1", "TCPLOCALIP=203.0.113.1"}},
		{"tcpserver of IPv6", "192.0.2.1 loopback=false", []string{"TCPREMOTEIP=::ffff:192.0.2.1"}},
		{"nonsense", "unknown loopback=false", []string{"TCPREMOTEIP=x"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, cl := onPipes(t, tt.env...)
			cl.hears("hello smtp from " + tt.want + " tls=false")
			cl.say("one")
			cl.hears("one")
			cl.Close()
			c.exits(0)
		})
	}
}

// socat and others start programs on a socket without a name: who is behind it
// is not known.
func TestInetdOnASocketWithoutAName(t *testing.T) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "ours"), os.NewFile(uintptr(fds[1]), "theirs")
	conn, err := net.FileConn(ours)
	if err != nil {
		t.Fatal(err)
	}
	ours.Close()
	c := spawn(t, "inetd", "1", nil)
	c.Stdin, c.Stdout = theirs, theirs
	c.start()
	theirs.Close()
	cl := newClient(t, conn)
	cl.hears("hello smtp from unknown loopback=false tls=false")
	cl.say("quit")
	cl.hears("")
	c.exits(0)
}

func TestSIGTERMEndsASessionOfInetd(t *testing.T) {
	c, cl := onPipes(t)
	cl.hears("hello smtp from unknown loopback=false tls=false")
	c.Process.Signal(syscall.SIGTERM)
	cl.hears("bye")
	cl.hears("")
	c.exits(0)
}

func TestAProxyOfInetdSendsItsHeader(t *testing.T) {
	c, cl := onPipes(t, "TCPREMOTEIP=192.0.2.99")
	cl.say("PROXY TCP4 198.51.100.1 198.51.100.2 1 2")
	cl.hears("hello smtp from 198.51.100.1 loopback=false tls=false")
	cl.say("quit")
	c.exits(0)
}

// Pipes have deadlines too, though nobody makes them non-blocking.
func TestPipesHaveDeadlines(t *testing.T) {
	in, other, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	from, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	defer other.Close()
	p := &pipes{in: in, out: out}
	defer p.Close()
	p.SetReadDeadline(time.Now().Add(time.Hour))
	go p.SetReadDeadline(past)
	if _, err := p.Read(make([]byte, 1)); err != os.ErrDeadlineExceeded {
		t.Errorf("read: %v", err)
	}
	p.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
	if n, err := p.Write(make([]byte, 1<<20)); err != os.ErrDeadlineExceeded || n == 0 {
		t.Errorf("write to a full pipe: %d, %v", n, err)
	}
}
