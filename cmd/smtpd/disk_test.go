package main

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestADiskThatFailsCostsNoLetter sends letters to an smtpd whose disk is full,
// read-only or broken: each is refused for now, with one line in the log, and
// nothing of it can be seen. When the disk is well again so is the service.
func TestADiskThatFailsCostsNoLetter(t *testing.T) {
	tests := []struct {
		name         string
		disk         func(t *testing.T) *loopDisk
		fail, mend   func(d *loopDisk)
		reply, cause string
	}{
		{"full", newTmpfs, (*loopDisk).fill, (*loopDisk).empty, "452 4.3.1 ", "no space left on device"},
		{"read-only", newTmpfs, (*loopDisk).readOnly, (*loopDisk).writable, "451 4.3.0 ", "read-only file system"},
		{"broken", newExt4, (*loopDisk).shutDown, nil, "451 4.3.0 ", "input/output error"},
	}
	bin := build(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			disk := tt.disk(t)
			k := newKiller(t, bin)
			k.spool = filepath.Join(disk.at, "spool")
			cmd, addr := k.start()
			defer cmd.Wait()
			defer cmd.Process.Kill()
			k.expect(addr, "250 2.0.0 ", "ann", "team")
			before := k.settled(3)
			tt.fail(disk)
			k.expect(addr, tt.reply, "ann", "team")
			k.log.want(t, "msg=not-taken", tt.cause, 2)
			if tt.mend == nil {
				return
			}
			if after := k.visible(); !slices.Equal(before, after) {
				t.Errorf("before: %q, after: %q", before, after)
			}
			tt.mend(disk)
			k.expect(addr, "250 2.0.0 ", "ann", "team")
			k.settled(6)
			k.check()
		})
	}
}

// logLines is what a daemon has logged.
type logLines struct {
	mu  sync.Mutex
	all []string
}

func (l *logLines) add(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, line)
}

// await waits for a line that matches.
func (l *logLines) await(t *testing.T, pattern string) {
	t.Helper()
	re := regexp.MustCompile(pattern)
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		l.mu.Lock()
		found := slices.ContainsFunc(l.all, re.MatchString)
		l.mu.Unlock()
		if found {
			return
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	t.Errorf("no line matches %s:\n%s", pattern, strings.Join(l.all, "\n"))
}

// want looks for n lines about an event with a cause; they may be on their way.
func (l *logLines) want(t *testing.T, event, cause string, n int) {
	t.Helper()
	var found int
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end) && found < n; time.Sleep(5 * time.Millisecond) {
		l.mu.Lock()
		found = 0
		for _, line := range l.all {
			if strings.Contains(line, event) && strings.Contains(line, cause) {
				found++
			}
		}
		l.mu.Unlock()
	}
	if found != n {
		t.Errorf("%d lines with %s and %q, want %d:\n%s", found, event, cause, n, strings.Join(l.all, "\n"))
	}
}

// expect sends a letter to each and wants the same final reply.
func (k *killer) expect(addr, want string, to ...string) {
	k.t.Helper()
	for _, to := range to {
		name := k.name()
		got, err := k.offer(addr, to, name)
		if err != nil || !strings.HasPrefix(got, want) {
			k.t.Fatalf("to %s: %q, %v; want %s", to, got, err, want)
		}
		if strings.HasPrefix(got, "250") {
			k.acknowledged = append(k.acknowledged, to+" "+name)
		}
	}
}

// offer sends one letter and gives the reply that decides.
func (k *killer) offer(addr, to, name string) (reply string, err error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return "", err
	}
	defer c.Close()
	r := bufio.NewReader(c)
	lines := []string{"", "HELO x", "MAIL FROM:<>", "RCPT TO:<" + to + "@example.org>", "DATA",
		"Subject: " + to + " " + name + "\r\n\r\n" + strings.Repeat("x", 9000) + "\r\n" + name + "\r\n."}
	for _, line := range lines {
		if line != "" {
			fmt.Fprint(c, line+"\r\n")
		}
		if reply, err = r.ReadString('\n'); err != nil || reply[0] > '3' {
			return reply, err
		}
	}
	return reply, nil
}

// visible lists all that a reader of the spool sees.
func (k *killer) visible() []string {
	var all []string
	for _, dir := range []string{"queue", "mail/ann", "mail/bob"} {
		for _, sub := range []string{"new", "cur"} {
			files, _ := filepath.Glob(filepath.Join(k.spool, dir, sub, "*"))
			all = append(all, files...)
		}
	}
	return all
}

// settled waits until the queue is empty and n letters are in mailboxes.
func (k *killer) settled(n int) (visible []string) {
	k.t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		visible = k.visible()
		queued := slices.ContainsFunc(visible, func(file string) bool { return strings.Contains(file, "/queue/") })
		if progress, _ := filepath.Glob(filepath.Join(k.spool, "queue/progress/*")); len(visible) == n && !queued && len(progress) == 0 {
			return visible
		}
	}
	k.t.Fatalf("%d letters wanted: %q", n, visible)
	return nil
}

func newExt4(t *testing.T) *loopDisk { return newLoopDisk(t, "ext4") }

// newTmpfs mounts a small disk in memory.
func newTmpfs(t *testing.T) *loopDisk {
	if os.Geteuid() != 0 {
		t.Skip("only root can mount")
	}
	d := &loopDisk{t: t, kind: "tmpfs", at: t.TempDir()}
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", d.at).CombinedOutput(); err != nil {
		t.Skipf("cannot mount here: %v: %s", err, out)
	}
	d.mounted = true
	t.Cleanup(d.unmount)
	return d
}

// fill takes all the space there is.
func (d *loopDisk) fill() {
	f, err := os.Create(filepath.Join(d.at, "fill"))
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	if !errors.Is(err, unix.ENOSPC) {
		d.t.Fatal(err)
	}
}

func (d *loopDisk) empty() {
	if err := os.Remove(filepath.Join(d.at, "fill")); err != nil {
		d.t.Fatal(err)
	}
}

// readOnly lays a read-only view of the spool over it: a disk with files that
// are open for writing cannot be mounted anew.
func (d *loopDisk) readOnly() {
	spool := filepath.Join(d.at, "spool")
	for _, args := range [][]string{{"--bind", spool, spool}, {"-o", "remount,ro,bind", spool}} {
		if out, err := exec.Command("mount", args...).CombinedOutput(); err != nil {
			d.t.Fatalf("mount: %v: %s", err, out)
		}
	}
}

func (d *loopDisk) writable() {
	if out, err := exec.Command("umount", "-l", filepath.Join(d.at, "spool")).CombinedOutput(); err != nil {
		d.t.Fatalf("umount: %v: %s", err, out)
	}
}
