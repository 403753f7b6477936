package auth

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
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
	one := f.find(u, name)
	if len(password) > maxPassword {
		return Account{}, ErrBadCredentials
	}
	if one != nil && f.proved.has(one, password) {
		return one.Account, nil
	}
	check := u.dummy(f.proved.sum("dummy", name))
	if one != nil && one.mayLogIn() {
		check = one.secret
	}
	if err := f.limiter.enter(ctx, name); err != nil {
		return Account{}, err
	}
	defer f.limiter.leave()
	if !check.matches(password) || one == nil || !one.mayLogIn() {
		return Account{}, ErrBadCredentials
	}
	f.proved.add(one, password)
	return one.Account, nil
}

func (u *user) mayLogIn() bool {
	_, locked := u.secret.(lockedSecret)
	return !locked && !u.over(time.Now())
}

// dummy is what an unknown name is checked against: for each name always that of
// the same account, so that unknown names cost what known ones do, also where
// there are several schemes.
func (u *users) dummy(sum []byte) secret {
	if len(u.dummies) == 0 {
		return plainSecret("")
	}
	return u.dummies[int(binary.BigEndian.Uint32(sum)%uint32(len(u.dummies)))]
}

// SCRAM implements Directory.
func (f *File) SCRAM(ctx context.Context, name string) (Credentials, Account, error) {
	u := f.current()
	one, salt := f.find(u, name), f.proved.sum("salt", name)[:saltSize]
	if one != nil {
		if s, ok := one.secret.(scramSecret); ok {
			return s.credentials(salt), one.Account, nil
		}
	}
	c := f.proved.nobody(name, salt)
	if s, ok := u.dummy(f.proved.sum("dummy", name)).(scramSecret); ok {
		like := s.credentials(salt) // takes as long as for a known name
		c.Iterations = like.Iterations
		if len(like.Salt) > 0 {
			c.Salt = f.proved.sum("salt", name)[:min(len(like.Salt), sha256.Size)]
		}
	}
	return c, Account{}, nil
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

// sum is a digest of a name for some use. For one name it is always the same.
func (p proofs) sum(use, name string) []byte { return mac(p.key, use+"\x00"+key(name)) }

// saltSize is that of the salts that we make.
const saltSize = 16

// nobody makes credentials that no password fits.
func (p proofs) nobody(name string, salt []byte) Credentials {
	return Credentials{Salt: salt, Iterations: scramIterations, StoredKey: p.sum("stored", name), ServerKey: p.sum("server", name)}
}
