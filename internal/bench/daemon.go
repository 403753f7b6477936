package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// domain is the local one of all servers.
const domain = "bench.test"

// A daemon is one of our programs, running.
type daemon struct {
	cmd  *exec.Cmd
	log  string
	addr map[string]string // protocol to host:port
}

// start runs a daemon until the bench ends, and waits until it listens.
func (b *bench) start(program string, args ...string) (*daemon, error) {
	return b.startOf(b.bin, program, args...)
}

// startOf starts a program of the build in the directory bin.
func (b *bench) startOf(bin, program string, args ...string) (*daemon, error) {
	log, err := os.CreateTemp(b.dir, program+".*.log")
	if err != nil {
		return nil, err
	}
	defer log.Close()
	d := &daemon{log: log.Name(), addr: map[string]string{}}
	d.cmd = exec.Command(filepath.Join(bin, program), args...)
	d.cmd.Stderr = log
	d.cmd.Env = environ()
	if err := d.cmd.Start(); err != nil {
		return nil, err
	}
	b.atEnd(d.stop)
	return d, d.waitReady()
}

// environ is ours without any configuration of postbag.
func environ() []string {
	var env []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "POSTBAG_") {
			env = append(env, e)
		}
	}
	return env
}

var listening = regexp.MustCompile(`msg=listening.* proto=(\w+) addr=(\S+)`)

func (d *daemon) waitReady() error {
	return until("start "+d.cmd.Path, func() bool {
		text, _ := os.ReadFile(d.log)
		for _, m := range listening.FindAllStringSubmatch(string(text), -1) {
			d.addr[m[1]] = m[2]
		}
		return len(d.addr) > 0
	})
}

func (d *daemon) stop() {
	d.cmd.Process.Signal(syscall.SIGTERM)
	timer := time.AfterFunc(10*time.Second, func() { d.cmd.Process.Kill() })
	d.cmd.Wait()
	timer.Stop()
}

// patience is how long until waits.
const patience = 2 * time.Minute

// until waits for something that another process does.
func until(what string, done func() bool) error {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if done() {
			return nil
		}
	}
	return fmt.Errorf("%s: not done in %v", what, patience)
}
