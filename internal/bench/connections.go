package main

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
)

// connections measures what sessions of smtpd cost that do nothing: such as have
// not spoken, such as have said EHLO, and such as are under TLS.
func connections(b *bench) error {
	if err := raiseFiles(); err != nil {
		return err
	}
	d, err := b.start("smtpd", "--spool", b.dir+"/connections", "--hostname", "mx."+domain, "--domain", domain,
		"--max-connections", fmt.Sprint(2*b.idle), "--listen", "smtp://127.0.0.1:0", "--listen", "submissions://127.0.0.1:0")
	if err != nil {
		return err
	}
	pid := d.cmd.Process.Pid
	fmt.Printf("  %-40s %6.1f MiB\n", "no connection", memory(pid))
	open := func(proto string) ([]net.Conn, error) {
		return openAll(b.idle, func() (net.Conn, error) { return connect(proto, d.addr[proto]) })
	}
	plain, err := open("smtp")
	if err != nil {
		return err
	}
	fmt.Printf("  %6d %-33s %6.1f MiB\n", b.idle, "that have not spoken", memory(pid))
	for _, c := range plain {
		if err := hello(c); err != nil {
			return err
		}
	}
	fmt.Printf("  %6d %-33s %6.1f MiB\n", b.idle, "after EHLO", memory(pid))
	closeAll(plain)
	protected, err := open("submissions")
	if err != nil {
		return err
	}
	defer closeAll(protected)
	fmt.Printf("  %6d %-33s %6.1f MiB\n", b.idle, "under TLS", memory(pid))
	return nil
}

// raiseFiles lets this process have as many descriptors as it may.
func raiseFiles() error {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return err
	}
	l.Cur = l.Max
	return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l)
}

// memory is the resident memory of a process in MiB, once it has come to rest.
func memory(pid int) float64 {
	time.Sleep(3 * time.Second)
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	var kib float64
	fmt.Sscan(rest, &kib)
	return kib / 1024
}

// connect makes one connection, which has been greeted.
func connect(proto, addr string) (net.Conn, error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	if proto == "submissions" {
		c = tls.Client(c, &tls.Config{InsecureSkipVerify: true}) // nothing is sent that matters
	}
	return c, reply(c)
}

// reply reads one reply.
func reply(c net.Conn) error {
	c.SetReadDeadline(time.Now().Add(patience))
	r := bufio.NewReaderSize(c, 512)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return err
		}
		if len(line) > 3 && line[3] == ' ' {
			if line[0] != '2' {
				return fmt.Errorf("server says %q", line)
			}
			return nil
		}
	}
}

func hello(c net.Conn) error {
	if _, err := c.Write([]byte("EHLO client.test\r\n")); err != nil {
		return err
	}
	return reply(c)
}

// openers is how many connections are made at the same time.
const openers = 8

// openAll makes n connections.
func openAll(n int, connect func() (net.Conn, error)) ([]net.Conn, error) {
	all, errs := make([]net.Conn, n), make([]error, openers)
	var wg sync.WaitGroup
	for k := range openers {
		wg.Go(func() {
			for i := k; i < n && errs[k] == nil; i += openers {
				all[i], errs[k] = connect()
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			closeAll(all)
			return nil, err
		}
	}
	return all, nil
}

func closeAll(all []net.Conn) {
	for _, c := range all {
		if c != nil {
			c.Close()
		}
	}
}
