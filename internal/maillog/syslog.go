package maillog

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// facility is LOG_MAIL of syslog(3), shifted as it stands in a priority.
const facility = 2 << 3

// A Syslog hands on lines that begin with their priority to the local syslog, one
// datagram each, in the form of RFC 3164 section 4.1 without the host, as
// syslog(3) does. It is safe for concurrent use.
type Syslog struct {
	Path  string    // of the socket
	Tag   string    // of the lines; "": they have their own
	Spare io.Writer // gets the lines that syslog does not take

	mu   sync.Mutex
	conn net.Conn // nil: none yet, or lost
}

// Write takes whole lines.
func (s *Syslog) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for line := range bytes.Lines(p) {
		if !s.send(s.datagram(bytes.TrimSuffix(line, []byte("\n")))) {
			_, _ = s.Spare.Write(line)
		}
	}
	return len(p), nil
}

// datagram brings a line into the form of syslog. One without a priority comes
// from nobody here; it is a warning.
func (s *Syslog) datagram(line []byte) []byte {
	level := byte('4')
	if len(line) > 3 && line[0] == '<' && line[2] == '>' {
		level, line = line[1], line[3:]
	}
	out := fmt.Appendf(nil, "<%d>%s ", facility+level-'0', time.Now().Format(time.Stamp))
	if s.Tag != "" {
		out = fmt.Appendf(out, "%s[%d]: ", s.Tag, os.Getpid())
	}
	return append(out, line...)
}

// send tries the socket that is open, then a new one: a syslogd that was started
// anew has another.
func (s *Syslog) send(datagram []byte) bool {
	if s.conn != nil {
		if _, err := s.conn.Write(datagram); err == nil {
			return true
		}
		s.conn.Close()
		s.conn = nil
	}
	c, err := net.Dial("unixgram", s.Path)
	if err != nil {
		return false
	}
	s.conn = c
	_, err = c.Write(datagram)
	return err == nil
}
