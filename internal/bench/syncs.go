package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// syncCalls counts what a server syncs for each letter, in a turn of its own:
// strace would slow a turn that is measured. Servers of several processes
// cannot be counted so.
func (s *mailServer) syncCalls(sessions int) (fdatasync, fsync float64, err error) {
	if _, err := exec.LookPath("strace"); err != nil {
		return 0, 0, err
	}
	out := filepath.Join(s.b.dir, "strace.out")
	trace := exec.Command("strace", "-f", "-c", "-e", "trace=fdatasync,fsync", "-o", out, "-p", strconv.Itoa(s.pid))
	if err := trace.Start(); err != nil {
		return 0, 0, err
	}
	if err := until("attach strace", func() bool { return traced(s.pid) }); err != nil {
		return 0, 0, err
	}
	t, err := s.turn(sessions)
	trace.Process.Signal(os.Interrupt)
	trace.Wait()
	if err != nil {
		return 0, 0, err
	}
	text, err := os.ReadFile(out)
	calls := parseStrace(string(text))
	return calls["fdatasync"] / float64(t.Letters), calls["fsync"] / float64(t.Letters), err
}

// traced says that somebody follows the system calls of a process.
func traced(pid int) bool {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	time.Sleep(50 * time.Millisecond) // for its other threads
	return !strings.Contains(string(text), "TracerPid:\t0\n")
}

// parseStrace reads the table of strace -c: calls are the fourth column, the
// name is the last.
func parseStrace(text string) map[string]float64 {
	calls := map[string]float64{}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 5 {
			continue
		}
		if n, err := strconv.ParseFloat(f[3], 64); err == nil {
			calls[f[len(f)-1]] = n
		}
	}
	return calls
}
