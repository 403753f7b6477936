package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// tick is the unit of times in /proc: USER_HZ, 100 on every Linux that Go runs on.
const tick = 10 * time.Millisecond

// ownCPU is the processor time of this process so far.
func ownCPU() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// A stat is what we need of /proc/PID/stat.
type stat struct {
	pid, parent int
	cpu         time.Duration // its own, and that of children who have ended
	ended       time.Duration // of that, what those children took
}

func readStat(path string) (stat, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return stat{}, err
	}
	// The name in parentheses may hold anything; the fields follow the last.
	i := strings.LastIndexByte(string(text), ')')
	f := strings.Fields(string(text[i+1:]))
	if i < 0 || len(f) < 15 {
		return stat{}, fmt.Errorf("%s: not understood", path)
	}
	num := func(n int) int {
		v, _ := strconv.Atoi(f[n-3]) // proc(5) counts from 1, and f begins at field 3
		return v
	}
	ended := num(16) + num(17)
	s := stat{parent: num(4), cpu: time.Duration(num(14)+num(15)+ended) * tick, ended: time.Duration(ended) * tick}
	s.pid, err = strconv.Atoi(filepath.Base(filepath.Dir(path)))
	return s, err
}

// treeCPU is the processor time of a process and of all below it, also of
// those that have ended.
func treeCPU(root int) (sum time.Duration, err error) {
	for {
		all, err := tree(root)
		if err != nil {
			return 0, err
		}
		// A child that ended in between would be neither there nor among those
		// that have ended.
		now, err := readStat(fmt.Sprintf("/proc/%d/stat", root))
		if err != nil {
			return 0, err
		}
		if now.ended != all[0].ended {
			continue
		}
		for _, s := range all {
			sum += s.cpu
		}
		return sum, nil
	}
}

// treeMemory is the memory of a process and of all below it, in octets; what
// several share counts once (Pss in proc_pid_smaps(5)).
func treeMemory(root int) (sum int64, err error) {
	all, err := tree(root)
	for _, s := range all {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", s.pid))
		if err != nil {
			continue // it has just ended
		}
		_, after, _ := strings.Cut(string(text), "\nPss:")
		if f := strings.Fields(after); len(f) > 0 {
			kib, _ := strconv.ParseInt(f[0], 10, 64)
			sum += kib << 10
		}
	}
	return sum, err
}

// tree is a process and all below it.
func tree(root int) ([]stat, error) {
	first, err := readStat(fmt.Sprintf("/proc/%d/stat", root))
	if err != nil {
		return nil, err
	}
	paths, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	children := map[int][]stat{}
	for _, p := range paths {
		if s, err := readStat(p); err == nil { // else it has just ended
			children[s.parent] = append(children[s.parent], s)
		}
	}
	all := []stat{first}
	for i := 0; i < len(all); i++ {
		all = append(all, children[all[i].pid]...)
	}
	return all, nil
}
