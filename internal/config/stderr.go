package config

import (
	"io"
	"net"
	"os"
)

// SyslogSocket is where syslogd and the journal listen.
const SyslogSocket = "/dev/log"

// ownStderr is standard error. Inetd, and systemd with Accept=yes, make it the
// connection with the client, as the other two: there our words would stand in the
// middle of the protocol. Then it is the syslog, each line a datagram, or nothing.
func ownStderr() (w io.Writer, client bool) {
	in, err := os.Stdin.Stat()
	if err != nil {
		return os.Stderr, false
	}
	out, err := os.Stderr.Stat()
	if err != nil || out.Mode()&os.ModeSocket == 0 || !os.SameFile(in, out) {
		return os.Stderr, false
	}
	c, err := net.Dial("unixgram", SyslogSocket)
	if err != nil {
		return io.Discard, true
	}
	return c, true
}
