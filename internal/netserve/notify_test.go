package netserve

import (
	"fmt"
	"net"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestSystemdIsTold(t *testing.T) {
	for name, path := range map[string]string{
		"a path":             t.TempDir() + "/notify",
		"an abstract socket": fmt.Sprintf("@postbag-test-%d", os.Getpid()),
	} {
		t.Run(name, func(t *testing.T) {
			sock, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
			if err != nil {
				t.Fatal(err)
			}
			defer sock.Close()
			t.Setenv("NOTIFY_SOCKET", path)
			t.Setenv("WATCHDOG_USEC", "20000")
			t.Setenv("WATCHDOG_PID", fmt.Sprint(os.Getpid()))
			s := launch(t, Options{Reload: func() error { return nil }})
			told(t, sock, `^READY=1\nSTATUS=serving smtp at 127\.0\.0\.1:\d+$`)
			told(t, sock, `^WATCHDOG=1$`)
			s.signals <- syscall.SIGHUP
			told(t, sock, `^RELOADING=1\nMONOTONIC_USEC=\d+$`)
			told(t, sock, `^READY=1$`)
			s.signals <- syscall.SIGTERM
			told(t, sock, `^STOPPING=1\n`)
			s.end(t)
		})
	}
}

// told wants a message, before which there may be those of the watchdog.
func told(t *testing.T, sock *net.UnixConn, pattern string) {
	t.Helper()
	sock.SetReadDeadline(time.Now().Add(time.Minute))
	buf := make([]byte, 1000)
	for {
		n, err := sock.Read(buf)
		if err != nil {
			t.Fatalf("no message like %s: %v", pattern, err)
		}
		text := string(buf[:n])
		if regexp.MustCompile(pattern).MatchString(text) {
			return
		}
		if !strings.HasPrefix(text, "WATCHDOG=1") {
			t.Fatalf("systemd is told %q, want %s", text, pattern)
		}
	}
}
