package wire

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTheSleepsOfEachThreadAreLong(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may say how exact the sleeps of other threads are")
	}
	lengthenSleeps()
	threads, err := filepath.Glob("/proc/self/task/[0-9]*")
	if err != nil || len(threads) < 2 {
		t.Fatalf("threads %v, %v; want two at least", threads, err)
	}
	for _, thread := range threads {
		got, err := os.ReadFile(filepath.Join("/proc", filepath.Base(thread), "timerslack_ns"))
		if os.IsNotExist(err) {
			continue // it has ended
		}
		if err != nil || strings.TrimSpace(string(got)) != "2000000" {
			t.Errorf("%s: slack %q, %v; want 2 ms", thread, got, err)
		}
	}
}
