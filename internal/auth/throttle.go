package auth

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"
)

// A Throttle makes guessing passwords slow: after failures of one peer the next
// attempts from it wait, longer with each, one after the other. After many
// failures of one name, from wherever, attempts with it wait too, but not in a
// row and never for peers that have logged in with it before: nobody can lock
// somebody else out. A nil *Throttle does nothing. It is safe for concurrent use.
type Throttle struct {
	mu    sync.Mutex
	peers map[netip.Prefix]*failures
	names map[string]*failures
	known map[acquaintance]bool
}

// An acquaintance is a peer that has logged in with a name.
type acquaintance struct {
	peer netip.Prefix
	name string
}

type failures struct {
	count int
	last  time.Time
	next  time.Time // before which no other attempt of this peer begins
}

const (
	freeFailures = 3  // of a peer: typing errors
	freeOfName   = 20 // of a name: typing errors of its owner, everywhere
	firstDelay   = time.Second
	maxDelay     = 15 * time.Second
	maxQueue     = time.Minute // attempts at once do not help: they wait in a row, so long
	forgetAfter  = 10 * time.Minute
	maxPeers     = 100_000 // that are remembered, and names
)

// NewThrottle makes one for all sessions of a process.
func NewThrottle() *Throttle {
	return &Throttle{peers: map[netip.Prefix]*failures{}, names: map[string]*failures{}, known: map[acquaintance]bool{}}
}

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
// that began before, and as long as those of the name demand, which may be ""
// while it is not known.
func (t *Throttle) Wait(ctx context.Context, peer netip.Addr, name string) error {
	d := max(t.delay(peer), t.delayOfName(peer, name))
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
	begin = begin.Add(growing(f.count - freeFailures))
	if wait := begin.Sub(now); wait > maxQueue {
		return wait
	}
	f.next = begin
	return begin.Sub(now)
}

// growing is the delay after so many failures above those that are free.
func growing(n int) time.Duration { return min(maxDelay, firstDelay<<min(n, 10)) }

// delayOfName is how long an attempt with a name waits for itself.
func (t *Throttle) delayOfName(peer netip.Addr, name string) time.Duration {
	if t == nil || name == "" {
		return 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	f := t.names[key(name)]
	if f == nil || f.count < freeOfName || time.Since(f.last) > forgetAfter || t.known[acquaintance{network(peer), key(name)}] {
		return 0
	}
	return growing(f.count - freeOfName)
}

// Failed counts a failure.
func (t *Throttle) Failed(peer netip.Addr, name string) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if peer.IsValid() {
		count(t.peers, network(peer))
	}
	if name != "" {
		count(t.names, key(name))
	}
}

func count[K comparable](all map[K]*failures, who K) {
	if len(all) >= maxPeers {
		clear(all)
	}
	f := all[who]
	if f == nil || time.Since(f.last) > forgetAfter {
		f = &failures{}
		all[who] = f
	}
	f.count++
	f.last = time.Now()
}

// Succeeded forgets the failures of a peer, and remembers whose it is.
func (t *Throttle) Succeeded(peer netip.Addr, name string) {
	if t == nil || !peer.IsValid() {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.peers, network(peer))
	if len(t.known) >= maxPeers {
		clear(t.known)
	}
	t.known[acquaintance{network(peer), key(name)}] = true
}

// Verify is d.Verify, slowed down where it must be.
func (t *Throttle) Verify(ctx context.Context, d Directory, peer netip.Addr, name, password string) (Account, error) {
	return t.attempt(ctx, peer, name, func() (Account, error) { return d.Verify(ctx, name, password) })
}

// Token is d.Token, slowed down where it must be.
func (t *Throttle) Token(ctx context.Context, d Directory, peer netip.Addr, name, token string) (Account, error) {
	return t.attempt(ctx, peer, name, func() (Account, error) { return d.Token(ctx, name, token) })
}

func (t *Throttle) attempt(ctx context.Context, peer netip.Addr, name string, check func() (Account, error)) (Account, error) {
	if err := t.Wait(ctx, peer, name); err != nil {
		return Account{}, err
	}
	account, err := check()
	switch {
	case err == nil && name == "":
		t.Succeeded(peer, account.Name)
	case err == nil:
		t.Succeeded(peer, name)
	case errors.Is(err, ErrBadCredentials):
		t.Failed(peer, name)
	}
	return account, err
}
