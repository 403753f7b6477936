package resolve

import (
	"sync"
	"time"

	"github.com/miekg/dns"
)

// Limits of the cache.
const (
	maxAnswers  = 10000           // answers kept at a time
	maxTTL      = time.Hour       // no answer is kept longer
	negativeTTL = 5 * time.Minute // "there is none" without a SOA record, and at most
)

type question struct {
	name  string
	qtype uint16
}

type cached struct {
	ans     answer
	err     error
	expires time.Time
}

type cache struct {
	mu      sync.Mutex
	entries map[question]cached
}

func newCache() *cache { return &cache{entries: map[question]cached{}} }

func (c *cache) get(q question) (answer, error, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.entries[q]
	if !ok || time.Now().After(e.expires) {
		delete(c.entries, q)
		return answer{}, nil, false
	}
	return e.ans, e.err, true
}

func (c *cache) put(q question, ans answer, err error, ttl time.Duration) {
	if ttl <= 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.entries) >= maxAnswers {
		c.evict()
	}
	c.entries[q] = cached{ans, err, time.Now().Add(ttl)}
}

// evict makes room: what has expired goes, else whatever the map yields first.
func (c *cache) evict() {
	now := time.Now()
	for q, e := range c.entries {
		if now.After(e.expires) {
			delete(c.entries, q)
		}
	}
	for q := range c.entries {
		if len(c.entries) < maxAnswers {
			return
		}
		delete(c.entries, q)
	}
}

// lifetime is how long msg may be kept: the least TTL of its answer, or for one
// without records what its SOA says (RFC 2308 section 5).
func lifetime(msg *dns.Msg) time.Duration {
	if len(msg.Answer) == 0 {
		return negativeLifetime(msg)
	}
	least := maxTTL
	for _, rr := range msg.Answer {
		least = min(least, time.Duration(rr.Header().Ttl)*time.Second)
	}
	return least
}

func negativeLifetime(msg *dns.Msg) time.Duration {
	for _, rr := range msg.Ns {
		if soa, ok := rr.(*dns.SOA); ok {
			ttl := min(soa.Minttl, soa.Hdr.Ttl)
			return min(negativeTTL, time.Duration(ttl)*time.Second)
		}
	}
	return 0
}
