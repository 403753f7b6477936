package wire

import (
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// blocking is how many goroutines may be in system calls for each processor
	// before one that could run has to wait for the runtime to notice.
	blocking = 4

	// usualSlack is what the kernel gives to each process.
	usualSlack = 50 * time.Microsecond

	// slack is by how much sleeps may be longer than asked for. Nothing here
	// waits for less than some milliseconds.
	slack = 2 * time.Millisecond
)

// Scheduling prepares the runtime for sessions that wait for the disk most of
// the time. Such a session keeps one of the runtime's processors until the
// runtime takes it away, so there are more of these than the machine has,
// unless GOMAXPROCS says otherwise. To take it away the runtime's monitor wakes
// each 20 µs for as long as anybody is in a system call, which costs more than
// all else that is done for a letter beside the disk, so its sleeps are long.
func Scheduling() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(blocking * runtime.GOMAXPROCS(0))
	}
	if now, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0); err == nil && time.Duration(now) == usualSlack {
		lengthenSleeps()
	}
}

// lengthenSleeps sets the timer slack of all threads (proc_pid_timerslack_ns(5)),
// and so of those that they make later. Those of others than the thread that
// asks need CAP_SYS_NICE; who does not have it goes on as before.
func lengthenSleeps() {
	threads, _ := filepath.Glob("/proc/self/task/[0-9]*")
	for _, thread := range threads {
		file := filepath.Join("/proc", filepath.Base(thread), "timerslack_ns")
		os.WriteFile(file, []byte(strconv.FormatInt(slack.Nanoseconds(), 10)), 0)
	}
}
