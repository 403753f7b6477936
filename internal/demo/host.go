package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A host is one of the two: its programs, configuration and spool.
type host struct {
	*demo
	name, user string
	ip         string
	port       int // of SMTP
	dir        string
	running    []*exec.Cmd
	addr       map[string]string // protocol to host:port
}

const password = "correct horse"

// prepare writes aliases, users and configuration.
func (h *host) prepare() error {
	h.dir = filepath.Join(h.demo.dir, h.name)
	h.addr = map[string]string{}
	if err := os.MkdirAll(filepath.Join(h.dir, "spool"), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(h.dir, "aliases"), []byte("postmaster: "+h.user+"\n"), 0o600); err != nil {
		return err
	}
	users := fmt.Sprintf("%s:{PLAIN}%s\n", h.user, password)
	if err := os.WriteFile(filepath.Join(h.dir, "users"), []byte(users), 0o600); err != nil {
		return err
	}
	return os.WriteFile(h.config(), []byte(h.configText()), 0o600)
}

func (h *host) config() string { return filepath.Join(h.dir, "postbag.toml") }

func (h *host) configText() string {
	return fmt.Sprintf(`hostname = "mx.%s"
origin = "%s"
domain = ["%s", "mx.%s", "localhost"]
spool = "%s/spool"
users = "%s/users"
aliases = "%s/aliases"
[smtpd]
listen = ["smtp://%s:%d"]
resolver = "%s"
smtp-port = %d
[popd]
listen = ["pop3://127.0.0.1:0"]
[imapd]
listen = ["imap://127.0.0.1:0"]
`, h.name, h.name, h.name, h.name, h.dir, h.dir, h.dir, h.ip, h.port, h.dns.Addr, h.port)
}

// environ is that of the programs: nothing of the caller's configuration.
func environ() []string {
	var env []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "POSTBAG_") {
			env = append(env, e)
		}
	}
	return env
}

func (h *host) command(program string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(h.bin, program), append([]string{"--config", h.config()}, args...)...)
	cmd.Env = environ()
	cmd.Dir = h.demo.dir
	return cmd
}

// run runs a program to its end and gives what it printed.
func (h *host) run(program, stdin string, args ...string) (string, error) {
	cmd := h.command(program, args...)
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, strings.TrimSpace(errs.String()))
	}
	return out.String(), nil
}

// start runs daemons and waits until they listen.
func (h *host) start(programs ...string) error {
	for _, p := range programs {
		log, err := os.Create(filepath.Join(h.dir, p+".log"))
		if err != nil {
			return err
		}
		cmd := h.command(p)
		cmd.Stderr = log
		err = cmd.Start()
		log.Close()
		if err != nil {
			return fmt.Errorf("start %s: %w", p, err)
		}
		h.running = append(h.running, cmd)
		if err := h.waitReady(log.Name(), p); err != nil {
			return err
		}
	}
	return nil
}

var listening = regexp.MustCompile(`listening.*proto=(\w+).*addr="?([^" \n]+)`)

// waitReady reads the addresses from the lines that tell of them.
func (h *host) waitReady(log, program string) error {
	_, err := h.until(program+" of "+h.name+" to listen", func() (string, bool) {
		b, _ := os.ReadFile(log)
		m := listening.FindStringSubmatch(string(b))
		if m == nil {
			return string(b), false
		}
		h.addr[m[1]] = m[2]
		return "", true
	})
	if err == nil {
		say("  %s of %s is up", program, h.name)
	}
	return err
}

// stop ends the daemons, politely first.
func (h *host) stop() {
	for _, cmd := range h.running {
		cmd.Process.Signal(syscall.SIGTERM)
	}
	for _, cmd := range h.running {
		timer := time.AfterFunc(10*time.Second, func() { cmd.Process.Kill() })
		cmd.Wait()
		timer.Stop()
	}
	h.running = nil
}

// freePort finds one that is free on all of the addresses.
func freePort(ips ...string) (int, error) {
	for range 50 {
		l, err := net.Listen("tcp", ips[0]+":0")
		if err != nil {
			return 0, err
		}
		port := l.Addr().(*net.TCPAddr).Port
		l.Close()
		if isFree(port, ips[1:]) {
			return port, nil
		}
	}
	return 0, fmt.Errorf("find a port: %w", errTimeout)
}

func isFree(port int, ips []string) bool {
	for _, ip := range ips {
		l, err := net.Listen("tcp", net.JoinHostPort(ip, strconv.Itoa(port)))
		if err != nil {
			return false
		}
		l.Close()
	}
	return true
}
