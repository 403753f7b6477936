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
	d := &daemon{log: filepath.Join(b.dir, program+".log"), addr: map[string]string{}}
	log, err := os.Create(d.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	d.cmd = exec.Command(filepath.Join(b.bin, program), args...)
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
