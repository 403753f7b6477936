package netserve

import (
	"errors"
	"os"
	"sync"
	"time"
)

// Deadlines are set under c.mu only, so that no session undoes what the end of
// the server has set.

// past is a deadline that ends what waits.
var past = time.Unix(1, 0)

// SetIdleTimeout sets how long a read may wait.
func (c *Conn) SetIdleTimeout(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.idle = d
}

// Busy says whether the session is in the middle of something, and is to be
// given time when the server stops.
func (c *Conn) Busy(busy bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy = busy
}

// Draining is closed when the server stops.
func (c *Conn) Draining() <-chan struct{} { return c.draining }

// Read writes what is to be written and waits for input: at most the idle
// timeout, then os.ErrDeadlineExceeded. So it also ends when the server stops
// and the session is not busy.
func (c *Conn) Read(p []byte) (int, error) {
	if len(c.pending) > 0 {
		n := copy(p, c.pending)
		c.pending = c.pending[n:]
		return n, nil
	}
	if err := c.Flush(); err != nil {
		return 0, err
	}
	if err := c.armRead(); err != nil {
		return 0, err
	}
	return c.nc.Read(p)
}

// armRead sets the deadline of the next read.
func (c *Conn) armRead() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	until := time.Now().Add(c.idle)
	switch {
	case c.expired, !c.abortedAt.IsZero(), !c.stopAt.IsZero() && !c.busy:
		return os.ErrDeadlineExceeded
	case !c.stopAt.IsZero() && c.stopAt.Before(until):
		until = c.stopAt
	}
	return c.nc.SetReadDeadline(until)
}

// patience is how long a read may wait.
func (c *Conn) patience() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.idle
}

// expire says that the client was silent for too long: all reads end in that.
func (c *Conn) expire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.expired = true
}

// armHandshake sets the deadline of a TLS handshake, which a server that stops
// does not wait for.
func (c *Conn) armHandshake() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.abortedAt.IsZero() || !c.stopAt.IsZero() {
		return os.ErrDeadlineExceeded
	}
	c.busy = false
	return c.nc.SetDeadline(time.Now().Add(handshakeTimeout))
}

// outputs are where output is kept. A connection has one only while something is
// kept, for those that wait are many.
var outputs = sync.Pool{New: func() any { return new([flushSize]byte) }}

// Write keeps output until the next Read or Flush, or until it is much.
func (c *Conn) Write(p []byte) (int, error) {
	if c.kept+len(p) > flushSize {
		if err := c.Flush(); err != nil {
			return 0, err
		}
		if len(p) > flushSize {
			return len(p), c.write(p)
		}
	}
	if c.out == nil {
		c.out = outputs.Get().(*[flushSize]byte)
	}
	c.kept += copy(c.out[c.kept:], p)
	return len(p), nil
}

// Flush writes what is kept.
func (c *Conn) Flush() error {
	if c.out == nil {
		return nil
	}
	err := c.write(c.out[:c.kept])
	outputs.Put(c.out)
	c.out, c.kept = nil, 0
	return err
}

func (c *Conn) write(p []byte) error {
	if err := c.armWrite(); err != nil {
		return err
	}
	_, err := c.nc.Write(p)
	return err
}

// armWrite sets the deadline of a write. An aborted session may say goodbye, and
// no more.
func (c *Conn) armWrite() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	until := time.Now().Add(writeTimeout)
	if !c.abortedAt.IsZero() {
		until = c.abortedAt.Add(farewell)
	}
	return c.nc.SetWriteDeadline(until)
}

// WaitInput waits until the client has sent something (true) or Wake is called
// (false), if that has not been since the last time it said so. The server's stop and
// the idle timeout are os.ErrDeadlineExceeded.
func (c *Conn) WaitInput() (bool, error) {
	if len(c.pending) > 0 {
		return true, nil
	}
	if err := c.Flush(); err != nil {
		return false, err
	}
	if err := c.armRead(); err != nil {
		return false, err
	}
	if c.beginWait() {
		return false, nil
	}
	if c.room == nil {
		c.room = make([]byte, waitRoom)
	}
	n, err := c.nc.Read(c.room)
	c.pending = c.room[:n]
	if c.endWait(n > 0) {
		return false, nil
	}
	if n > 0 {
		return true, nil
	}
	return false, err
}

// Wake interrupts WaitInput, or the next one. It may be called by any goroutine.
func (c *Conn) Wake() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.woken = true
	if c.waits {
		c.nc.SetReadDeadline(past)
	}
}

// beginWait reports whether Wake has been called; else it is let interrupt what
// reads now.
func (c *Conn) beginWait() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	woken := c.woken
	c.woken, c.waits = false, !woken
	return woken
}

// endWait reports whether Wake has been called. If there is input it is for the next
// time to say so.
func (c *Conn) endWait(input bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waits = false
	if input || !c.woken {
		return false
	}
	c.woken = false
	return true
}

// drain ends a session that waits, and gives a busy one until stopAt.
func (c *Conn) drain(stopAt time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopAt = stopAt
	if !c.busy {
		c.nc.SetReadDeadline(past)
	}
}

// abort ends whatever the session does.
func (c *Conn) abort() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.abortedAt.IsZero() {
		c.abortedAt = time.Now()
		c.nc.SetReadDeadline(past)
		c.nc.SetWriteDeadline(c.abortedAt.Add(farewell))
	}
}

// Close writes what is kept and closes the connection.
func (c *Conn) Close() error {
	err := c.Flush()
	return errors.Join(err, c.nc.Close())
}
