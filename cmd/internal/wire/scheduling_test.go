package wire

import (
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Without CAP_SYS_NICE only the thread that asks sleeps longer, and nothing fails.
func TestTheSleepsOfThreadsAreLong(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	all := mayBeNice(t)
	lengthenSleeps()
	threads, err := filepath.Glob("/proc/self/task/[0-9]*")
	if err != nil || len(threads) < 2 {
		t.Fatalf("threads %v, %v; want two at least", threads, err)
	}
	for _, thread := range threads {
		if !all && filepath.Base(thread) != strconv.Itoa(unix.Gettid()) {
			continue
		}
		got, err := os.ReadFile(filepath.Join("/proc", filepath.Base(thread), "timerslack_ns"))
		if os.IsNotExist(err) {
			continue // it has ended
		}
		if err != nil || strings.TrimSpace(string(got)) != "2000000" {
			t.Errorf("%s: slack %q, %v; want 2 ms", thread, got, err)
		}
	}
}

// mayBeNice reports whether this process has CAP_SYS_NICE: root in a container
// may not.
func mayBeNice(t *testing.T) bool {
	t.Helper()
	var data [2]unix.CapUserData
	if err := unix.Capget(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &data[0]); err != nil {
		t.Fatal(err)
	}
	return data[0].Effective&(1<<unix.CAP_SYS_NICE) != 0
}
