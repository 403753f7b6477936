package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"postbag/cmd/internal/sibling"
	"postbag/internal/config"
	"postbag/internal/status"
)

// startTime is how long smtpd may take to listen.
const startTime = 30 * time.Second

// serveMail is smtpd in this process's place (-bD), or in the background (-bd):
// then it returns once smtpd listens.
func serveMail(v *config.Values, r *request) error {
	if v.String("spool") == "" {
		return status.Exit(status.ExTempFail, "spool", errors.New("none can be used here; say --spool DIR"))
	}
	if r.stay {
		return become("smtpd", flags(v))
	}
	program, err := sibling.Find("smtpd")
	if err != nil {
		return err
	}
	log, err := daemonLog(v)
	if err != nil {
		return err
	}
	ready, name, err := listenReady()
	if err != nil {
		return status.Exit(status.ExOSErr, "start smtpd", err)
	}
	defer ready.Close()
	start, _ := log.Seek(0, io.SeekEnd)
	cmd := exec.Command(program, flags(v)...)
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+name)
	cmd.Stderr = log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return status.Exit(status.ExOSErr, "start smtpd", err)
	}
	return awaitReady(cmd, ready, log, start)
}

// daemonLog is where a daemon in the background writes what happens: standard
// error if that is a file, else state/smtpd.log. A pipe or a terminal would end
// before the daemon does, and whoever reads a pipe would wait for its end.
func daemonLog(v *config.Values) (*os.File, error) {
	if st, err := os.Stderr.Stat(); err == nil && st.Mode().IsRegular() {
		return os.Stderr, nil
	}
	s, err := openSpool(v)
	if err != nil {
		return nil, err
	}
	log, err := os.OpenFile(s.Path("state", "smtpd.log"), os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, status.Exit(status.ExTempFail, "log", err)
	}
	return log, nil
}

// listenReady makes a socket to which a daemon says READY=1, as to systemd.
func listenReady() (*net.UnixConn, string, error) {
	name := fmt.Sprintf("@postbag/%d/%d", os.Getpid(), time.Now().UnixNano())
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	return c, name, err
}

// awaitReady waits until smtpd listens or has ended. Its last words are ours.
func awaitReady(cmd *exec.Cmd, ready *net.UnixConn, log *os.File, start int64) error {
	ended := make(chan error, 1)
	go func() {
		ended <- cmd.Wait()
		ready.Close()
	}()
	ready.SetReadDeadline(time.Now().Add(startTime))
	buf := make([]byte, 4096)
	for {
		n, err := ready.Read(buf)
		if err == nil && !bytes.Contains(buf[:n], []byte("READY=1")) {
			continue
		}
		if err == nil {
			return nil
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			cmd.Process.Signal(syscall.SIGTERM)
			return status.Exit(status.ExUnavailable, "start smtpd", errors.New("it does not listen"))
		}
		break
	}
	<-ended
	code := max(cmd.ProcessState.ExitCode(), 1)
	if log == os.Stderr {
		return config.Silent(code)
	}
	return status.Exit(code, "start smtpd", errors.New(lastLine(log.Name(), start)))
}

// lastLine is what smtpd said at last.
func lastLine(log string, start int64) string {
	text, err := os.ReadFile(log)
	if err != nil || int64(len(text)) <= start {
		return "it ended at once"
	}
	lines := strings.Split(strings.TrimSpace(string(text[start:])), "\n")
	return strings.TrimPrefix(lines[len(lines)-1], "smtpd: ")
}
