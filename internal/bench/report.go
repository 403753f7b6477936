package main

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// settle lets the disk finish what was left to it.
func settle() {
	syscall.Sync()
	time.Sleep(100 * time.Millisecond)
}

// forget lets the disk forget what an earlier figure or run removed: ext4 does
// not give the inode of such a file to another for up to 35 s, and without a
// journal looks through all of them each time that it makes a file, which takes
// more processor time than a letter.
func forget() {
	syscall.Sync()
	time.Sleep(36 * time.Second)
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	n := len(v)
	if n == 0 {
		return 0
	}
	return (v[(n-1)/2] + v[n/2]) / 2
}

// report prints a line for each contender. Ratios are medians of the ratios to
// the first contender's turn in the same round.
func report(all []contender, turns [][]turn) {
	fmt.Printf("    %-26s %10s %8s %12s %12s\n", "", "letters/s", "of disk", "CPU ms each", "above disk")
	for i, c := range all {
		var rate, ratio, cpu, above []float64
		for n, t := range turns[i] {
			base := turns[0][n]
			rate = append(rate, t.rate())
			ratio = append(ratio, t.rate()/base.rate())
			cpu = append(cpu, t.cpu())
			above = append(above, t.cpu()-base.cpu())
		}
		fmt.Printf("    %-26s %10.0f %7.0f%% %12.3f %+12.3f\n", c.name(), median(rate), 100*median(ratio), median(cpu), median(above))
	}
}

// compare prints a line for each contender, with medians of the ratios to the
// first one's turn in the same round.
func compare(all []contender, turns [][]turn) {
	fmt.Printf("    %-26s %10s %8s %12s %8s\n", "", "letters/s", "of first", "CPU ms each", "of first")
	for i, c := range all {
		var rate, ratio, cpu, cpuRatio []float64
		for n, t := range turns[i] {
			base := turns[0][n]
			rate = append(rate, t.rate())
			ratio = append(ratio, t.rate()/base.rate())
			cpu = append(cpu, t.cpu())
			cpuRatio = append(cpuRatio, t.cpu()/base.cpu())
		}
		fmt.Printf("    %-26s %10.0f %7.0f%% %12.3f %7.0f%%\n", c.name(), median(rate), 100*median(ratio), median(cpu), 100*median(cpuRatio))
	}
}

// describe says what machine this is.
func describe() {
	release, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	load, _ := os.ReadFile("/proc/loadavg")
	fmt.Printf("%s, %d processors, Linux %s, load %s\n", runtime.Version(), runtime.NumCPU(),
		strings.TrimSpace(string(release)), strings.Join(strings.Fields(string(load))[:1], ""))
}
