package auth

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"
)

// A Throttle makes guessing passwords slow: after failures of one peer the next
// attempts from it wait, longer with each. Names are not throttled, or anybody
// could lock anybody out. A nil *Throttle does nothing. It is safe for
// concurrent use.
type Throttle struct {
	mu    sync.Mutex
	peers map[netip.Prefix]*failures
}

type failures struct {
	count int
	last  time.Time
	next  time.Time // before which no other attempt of this peer begins
}

const (
	freeFailures = 3 // typing errors
	firstDelay   = time.Second
	maxDelay     = 15 * time.Second
	maxQueue     = time.Minute // attempts at once do not help: they wait in a row, so long
	forgetAfter  = 10 * time.Minute
	maxPeers     = 100_000
)

// NewThrottle makes one for all sessions of a process.
func NewThrottle() *Throttle { return &Throttle{peers: map[netip.Prefix]*failures{}} }

// network is what counts as one peer: an address of IPv4, a /64 of IPv6.
func network(a netip.Addr) netip.Prefix {
	a = a.Unmap()
	if a.Is6() {
		p, _ := a.Prefix(64)
		return p
	}
	return netip.PrefixFrom(a, a.BitLen())
}

// errTooMany refuses an attempt for now.
var errTooMany = errors.New("too many attempts to log in at once")

// Wait waits as long as the failures of the peer demand, and as attempts of it
// that began before.
func (t *Throttle) Wait(ctx context.Context, peer netip.Addr, name string) error {
	d := t.delay(peer)
	switch {
	case d == 0:
		return ctx.Err()
	case d > maxQueue:
		return errTooMany
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// delay plans the next attempt of a peer.
func (t *Throttle) delay(peer netip.Addr) time.Duration {
	if t == nil || !peer.IsValid() {
		return 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	f := t.peers[network(peer)]
	if f == nil || f.count < freeFailures || now.Sub(f.last) > forgetAfter {
		return 0
	}
	begin := now
	if f.next.After(now) {
		begin = f.next
	}
	begin = begin.Add(min(maxDelay, firstDelay<<min(f.count-freeFailures, 10)))
	if wait := begin.Sub(now); wait > maxQueue {
		return wait
	}
	f.next = begin
	return begin.Sub(now)
}

// Failed counts a failure.
func (t *Throttle) Failed(peer netip.Addr, name string) {
	if t == nil || !peer.IsValid() {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.peers) >= maxPeers {
		clear(t.peers)
	}
	f := t.peers[network(peer)]
	if f == nil || time.Since(f.last) > forgetAfter {
		f = &failures{}
		t.peers[network(peer)] = f
	}
	f.count++
	f.last = time.Now()
}

// Succeeded forgets the failures of a peer.
func (t *Throttle) Succeeded(peer netip.Addr, name string) {
	if t == nil || !peer.IsValid() {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.peers, network(peer))
}

// Verify is d.Verify, slowed down where it must be.
func (t *Throttle) Verify(ctx context.Context, d Directory, peer netip.Addr, name, password string) (Account, error) {
	if err := t.Wait(ctx, peer, name); err != nil {
		return Account{}, err
	}
	account, err := d.Verify(ctx, name, password)
	switch {
	case err == nil:
		t.Succeeded(peer, name)
	case errors.Is(err, ErrBadCredentials):
		t.Failed(peer, name)
	}
	return account, err
}
