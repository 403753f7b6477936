package auth

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// A System is the accounts of this host with the passwords of shadow(5). Only root,
// and who is in the group of that file, can check them; others still know who has an
// account. It is asked by name, or name@domain with one of its domains. Root never
// logs in. Accounts and passwords that have run out cannot, as with login(1).
//
// Accounts of LDAP, SSSD and the like are known, but their passwords are not: they
// take PAM.
type System struct {
	passwordsOnly
	host      HostAccounts
	passwords *File
}

// shadowPath is where the passwords of a host are.
const shadowPath = "/etc/shadow"

// NewSystem makes a System for names of these domains.
func NewSystem(host HostAccounts, domains []string) *System {
	return newSystem(host, shadowPath, domains)
}

func newSystem(host HostAccounts, shadow string, domains []string) *System {
	f := &File{path: shadow, parse: parseShadow, limiter: newLimiter(maxHashing()), proved: newProofs(), users: &users{}}
	f.serve(domains)
	return &System{host: host, passwords: f}
}

// Lookup implements Directory.
func (s *System) Lookup(_ context.Context, name string) (Account, error) {
	a, ok, err := s.host.Lookup(s.passwords.bare(name))
	if err == nil && !ok {
		err = ErrNoAccount
	}
	if err != nil {
		return Account{}, fmt.Errorf("look up account %s: %w", name, err)
	}
	return a, nil
}

// Verify implements Directory.
func (s *System) Verify(ctx context.Context, name, password string) (Account, error) {
	if err := s.Check(); err != nil {
		return Account{}, fmt.Errorf("verify password of %s: %w", name, err)
	}
	if _, err := s.passwords.Verify(ctx, name, password); err != nil {
		return Account{}, err
	}
	a, err := s.Lookup(ctx, name)
	if errors.Is(err, ErrNoAccount) || err == nil && a.UID == 0 {
		return Account{}, ErrBadCredentials
	}
	return a, err
}

// List implements Directory; it tells those of the file passwd(5).
func (s *System) List(context.Context) ([]Account, error) { return s.host.List() }

// Check tells why passwords cannot be checked, if so.
func (s *System) Check() error { return s.passwords.Check() }

// parseShadow reads the text of shadow(5). A line that cannot be understood is an
// account that cannot log in here: the file is not ours.
func parseShadow(_, text string) (*users, error) {
	u := &users{byName: map[string]*user{}}
	for line := range strings.SplitSeq(text, "\n") {
		if one, ok := parseShadowLine(line); ok && u.byName[key(one.Name)] == nil {
			u.add(one)
		}
	}
	return u, nil
}

func parseShadowLine(line string) (*user, bool) {
	f := strings.Split(line, ":")
	if len(f) != 9 || !isLogin(f[0]) {
		return nil, false
	}
	one := &user{Account: Account{Name: f[0], UID: -1, GID: -1}, secret: lockedSecret{}}
	if s, err := parseCrypt(f[1]); err == nil {
		one.secret = s
	}
	one.ends = shadowEnd(f)
	return one, true
}

// shadowEnd is the day, since 1970, from which an account of shadow(5) cannot log in:
// its own end, or that of a password which has to be changed then. -1: there is none.
func shadowEnd(f []string) int64 {
	changed, longest, ends := day(f[2]), day(f[4]), day(f[7])
	switch last := changed + longest + 1; {
	case changed == 0: // to be changed at the next login
		return 0
	case changed > 0 && longest >= 0 && (ends < 0 || last < ends):
		return last
	}
	return ends
}

// day reads a number of days of shadow(5): -1 when there is none.
func day(s string) int64 {
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil || n < 0 {
		return -1
	}
	return n
}

// over reports whether the account has run out.
func (u *user) over(now time.Time) bool { return u.ends >= 0 && now.Unix()/(24*60*60) >= u.ends }
