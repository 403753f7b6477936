package sibling

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"postbag/internal/config"
)

// Background starts a program that outlives this one and its terminal. What it
// says goes to log.
func Background(program string, args []string, log *os.File) error {
	cmd := exec.Command(program, args...)
	cmd.Stderr = log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", program, err)
	}
	return cmd.Process.Release()
}

// RunLog is where a run of the queue in the background says what it does, and
// the flags that make it do so: the syslog, where each line is a datagram, also
// one that is written before the flags are read; without one state/smtpd.log of
// the spool, which nobody may watch, and which therefore gets only what is wrong.
func RunLog(spool string) (log *os.File, flags []string, err error) {
	if log, err := dialLog(); err == nil {
		return log, []string{"--log-to=syslog"}, nil
	}
	log, err = os.OpenFile(filepath.Join(spool, "state", "smtpd.log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	return log, []string{"--log-level=warn"}, err
}

func dialLog() (*os.File, error) {
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: config.SyslogSocket, Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.File()
}
