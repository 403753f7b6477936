package smtpout

import (
	"slices"
	"time"
)

// A kept connection waits for its next letter.
type kept struct {
	conn  *conn
	timer *time.Timer
}

const (
	defaultKeep = 2 * time.Second // Postfix: smtp_connection_cache_time_limit
	// maxLetters bounds the letters on one connection: some hosts count them
	// and get angry.
	maxLetters = 100
	// maxKept bounds the idle connections to one host.
	maxKept = 20
)

// take gives an idle connection to a hop, or nil.
func (c *Client) take(h Hop) *conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := h.key()
	list := c.idle[key]
	if len(list) == 0 {
		return nil
	}
	k := list[len(list)-1]
	if list = list[:len(list)-1]; len(list) == 0 {
		delete(c.idle, key)
	} else {
		c.idle[key] = list
	}
	k.timer.Stop()
	k.conn.reused = true
	return k.conn
}

// keep puts a connection aside for a moment.
func (c *Client) keep(conn *conn) {
	conn.letters++
	key := conn.hop.key()
	c.mu.Lock()
	if conn.letters >= conn.letterLimit() || len(c.idle[key]) >= maxKept {
		c.mu.Unlock()
		conn.quit()
		return
	}
	k := &kept{conn: conn}
	k.timer = time.AfterFunc(or(c.Keep, defaultKeep), func() { c.expire(key, k) })
	if c.idle == nil {
		c.idle = map[string][]*kept{}
	}
	c.idle[key] = append(c.idle[key], k)
	c.mu.Unlock()
}

// expire ends a connection that nobody took.
func (c *Client) expire(key string, k *kept) {
	c.mu.Lock()
	at := slices.Index(c.idle[key], k)
	if at >= 0 {
		c.idle[key] = slices.Delete(c.idle[key], at, at+1)
		if len(c.idle[key]) == 0 {
			delete(c.idle, key)
		}
	}
	c.mu.Unlock()
	if at >= 0 {
		k.conn.quit()
	}
}

// letterLimit is maxLetters, or what the host says (RFC 9422).
func (c *conn) letterLimit() int {
	if n := c.limit("MAILMAX"); n > 0 {
		return min(n, maxLetters)
	}
	return maxLetters
}
