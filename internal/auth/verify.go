package auth

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	iofs "io/fs"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// maxHashing is how many passwords are hashed at a time: never all processors'
// worth, so that a flood of logins leaves mail its share.
func maxHashing() int { return max(1, runtime.NumCPU()-1) }

func inode(st iofs.FileInfo) uint64 {
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		return sys.Ino
	}
	return 0
}

// maxPassword bounds what is hashed.
const maxPassword = 4096

// Verify implements Directory. An unknown name costs the same as a known one.
func (f *File) Verify(ctx context.Context, name, password string) (Account, error) {
	u := f.current()
	one, check := f.find(u, name), u.dummy
	if one != nil {
		check = one.secret
	}
	if len(password) > maxPassword {
		return Account{}, ErrBadCredentials
	}
	if one != nil && f.proved.has(one, password) {
		return one.Account, nil
	}
	select {
	case f.limiter <- struct{}{}:
		defer func() { <-f.limiter }()
	case <-ctx.Done():
		return Account{}, fmt.Errorf("verify password of %s: %w", name, ctx.Err())
	}
	if !check.matches(password) || one == nil {
		return Account{}, ErrBadCredentials
	}
	f.proved.add(one, password)
	return one.Account, nil
}

// SCRAM implements Directory.
func (f *File) SCRAM(ctx context.Context, name string) (Credentials, Account, error) {
	one := f.find(f.current(), name)
	if one == nil {
		return f.proved.nobody(name), Account{}, nil
	}
	s, ok := one.secret.(scramSecret)
	if !ok {
		return f.proved.nobody(name), Account{}, nil
	}
	return s.credentials(), one.Account, nil
}

// proofs remembers for a moment that a password was right: clients that log in
// ten times a second would cost ten hashes. Nothing is kept but keyed digests.
type proofs struct {
	mu   *sync.Mutex
	key  []byte // of this process
	good map[[sha256.Size]byte]time.Time
}

const (
	proofLife = 30 * time.Second
	maxProofs = 10_000
)

func newProofs() proofs {
	key := make([]byte, 32)
	rand.Read(key)
	return proofs{mu: new(sync.Mutex), key: key, good: map[[sha256.Size]byte]time.Time{}}
}

func (p proofs) digest(u *user, password string) (d [sha256.Size]byte) {
	h := hmac.New(sha256.New, p.key)
	fmt.Fprintf(h, "%p\x00%s\x00%s", u, u.Name, password)
	h.Sum(d[:0])
	return d
}

func (p proofs) has(u *user, password string) bool {
	d := p.digest(u, password)
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Now().Before(p.good[d])
}

func (p proofs) add(u *user, password string) {
	d := p.digest(u, password)
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.good) >= maxProofs {
		clear(p.good)
	}
	p.good[d] = time.Now().Add(proofLife)
}

func (p proofs) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.good)
}

// nobody makes credentials that no password fits. For one name they are always
// the same while this process lives, as those of an account are.
func (p proofs) nobody(name string) Credentials {
	sum := func(what string) []byte { return mac(p.key, what+"\x00"+key(name)) }
	return Credentials{Salt: sum("salt")[:16], Iterations: scramIterations, StoredKey: sum("stored"), ServerKey: sum("server")}
}
