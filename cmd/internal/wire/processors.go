package wire

import (
	"os"
	"runtime"
)

// blocking is how many goroutines may be in system calls for each processor
// before one that could run has to wait for the runtime to notice.
const blocking = 4

// Processors lets the runtime use more processors of its own than the machine
// has, unless GOMAXPROCS says otherwise. A session that waits in fdatasync(2)
// keeps one of them until the runtime takes it away, which costs a timer that
// wakes fifty thousand times a second, and time for who waits.
func Processors() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(blocking * runtime.GOMAXPROCS(0))
	}
}
