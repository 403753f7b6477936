package spool

import (
	"strings"
	"time"
)

// A Census counts the messages of a queue.
type Census struct {
	Incoming  int // not attempted yet
	Attempted int
	Ages      []time.Duration // of each, in no order
}

// Census counts. It reads no more than the names of files.
func (s *Spool) Census() (Census, error) {
	found, err := s.names()
	if err != nil {
		return Census{}, err
	}
	c := Census{Ages: make([]time.Duration, 0, len(found))}
	now := s.now()
	for _, q := range found {
		if strings.HasPrefix(q.file, "queue/new/") {
			c.Incoming++
		} else {
			c.Attempted++
		}
		c.Ages = append(c.Ages, now.Sub(q.id.Time()))
	}
	return c, nil
}
