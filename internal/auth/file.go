package auth

import (
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

	"postbag/internal/address"
)

// A File is a passwd-file of Dovecot: a line for each account,
//
//	name:{SCHEME}password:uid:gid:gecos:home:shell:extra
//
// of which all after the password may be missing. Empty lines and lines that
// begin with # are skipped. A name without domain serves every local domain,
// name@domain that one. Of the extra fields userdb_mail=maildir:PATH counts.
//
// The file is read again when it changes; one that is broken then is reported by
// Check and the accounts stay as they were.
type File struct {
	noTokens
	path    string
	parse   func(path, text string) (*users, error)
	domains []string // in canonical form

	mu      sync.Mutex
	looked  time.Time // when the file was last looked at
	stamp   stamp
	users   *users
	broken  error
	limiter limiter
	proved  proofs
}

// A stamp changes when a file does.
type stamp struct {
	size  int64
	mtime time.Time
	inode uint64
}

// users are the accounts of one version of the file.
type users struct {
	byName  map[string]*user
	order   []*user
	scram   bool     // every account can do SCRAM
	dummies []secret // what unknown names are checked against: of each that can log in
}

type user struct {
	Account
	secret secret
	ends   int64 // the day, since 1970, from which nobody can log in; -1: there is none
}

// OpenFile reads a users file. Logins of name@domain find name when domain is
// one of domains. A file that is missing is fs.ErrNotExist.
func OpenFile(path string, domains []string) (*File, error) {
	f := &File{path: path, parse: parseUsers, limiter: newLimiter(maxHashing()), proved: newProofs()}
	f.serve(domains)
	if err := f.read(); err != nil {
		return nil, err
	}
	return f, nil
}

// serve makes the domains those that names without one have addresses in.
func (f *File) serve(domains []string) {
	for _, d := range domains {
		f.domains = append(f.domains, address.DomainUnicode(d))
	}
}

// SetKey sets the key that unknown names get their credentials from. Programs
// that share one, and have it again after a start, do not tell by what changes
// which names there are. It is called before the File is used.
func (f *File) SetKey(key []byte) { f.proved.key = key }

// Check reads the file if it has changed, and tells what is wrong with it.
func (f *File) Check() error {
	f.mu.Lock()
	f.looked = time.Time{}
	f.mu.Unlock()
	f.current()
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.broken
}

// lookEvery is how often a file is asked whether it has changed.
const lookEvery = time.Second

// current gives the accounts as the file has them now.
func (f *File) current() *users {
	f.mu.Lock()
	defer f.mu.Unlock()
	if time.Since(f.looked) < lookEvery {
		return f.users
	}
	f.looked = time.Now()
	st, err := stampOf(f.path)
	if err == nil && st == f.stamp {
		return f.users
	}
	f.broken = f.readLocked()
	return f.users
}

func (f *File) read() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.looked = time.Now()
	return f.readLocked()
}

// readLocked replaces the accounts, if all of the file can be understood.
func (f *File) readLocked() error {
	st, err := stampOf(f.path)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(f.path)
	if err != nil {
		return err
	}
	u, err := f.parse(f.path, string(text))
	if err != nil {
		return err
	}
	f.users, f.stamp = u, st
	f.proved.forget()
	return nil
}

func stampOf(path string) (stamp, error) {
	st, err := os.Stat(path)
	if err != nil {
		return stamp{}, err
	}
	return stamp{st.Size(), st.ModTime(), inode(st)}, nil
}

// parseUsers reads the text of a users file. Errors have file and line.
func parseUsers(path, text string) (*users, error) {
	u := &users{byName: map[string]*user{}, scram: true}
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSuffix(line, "\r")
		if line == "" || line[0] == '#' {
			continue
		}
		one, err := parseUser(line)
		if err == nil && u.byName[key(one.Name)] != nil {
			err = fmt.Errorf("%s: is there twice", one.Name)
		}
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, i+1, err)
		}
		u.add(one)
	}
	if len(u.order) == 0 {
		u.scram = false
	}
	return u, nil
}

func (u *users) add(one *user) {
	u.byName[key(one.Name)] = one
	u.order = append(u.order, one)
	_, ok := one.secret.(scramSecret)
	u.scram = u.scram && ok
	if _, locked := one.secret.(lockedSecret); !locked {
		u.dummies = append(u.dummies, one.secret.dummy())
	}
}

// key is what names are found by: neither part has case (as in Postfix).
func key(name string) string {
	if a, err := address.ParseUnqualified(name); err == nil {
		return a.Key()
	}
	return strings.ToLower(name)
}

// parseUser reads one line.
func parseUser(line string) (*user, error) {
	if strings.ContainsFunc(line, func(c rune) bool { return c != '\t' && unicode.IsControl(c) }) {
		return nil, errors.New("line has a control character")
	}
	name, rest, ok := strings.Cut(line, ":")
	if name == "" {
		return nil, errors.New("name is missing")
	}
	if !ok {
		return nil, fmt.Errorf("%s: password is missing", name)
	}
	if _, err := address.ParseUnqualified(name); err != nil {
		return nil, fmt.Errorf("%s: is no name of a mailbox", name)
	}
	fields := strings.SplitN(rest, ":", 7)
	for len(fields) < 7 {
		fields = append(fields, "")
	}
	secret, err := parseSecret(fields[0])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	one := &user{Account: Account{Name: name, Home: fields[4]}, secret: secret, ends: -1}
	if one.UID, err = parseID(fields[1]); err == nil {
		one.GID, err = parseID(fields[2])
	}
	if err == nil {
		err = one.extra(fields[6])
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return one, nil
}

func parseID(s string) (int, error) {
	if s == "" {
		return -1, nil
	}
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil {
		return 0, fmt.Errorf("%q is no uid or gid", s)
	}
	return int(n), nil
}

// extra reads the words at the end of a line. Dovecot has many; those that say
// nothing here are skipped.
func (u *user) extra(words string) error {
	for _, w := range strings.Fields(words) {
		mail, ok := strings.CutPrefix(w, "userdb_mail=")
		if !ok {
			continue
		}
		path, ok := strings.CutPrefix(mail, "maildir:")
		if !ok {
			return fmt.Errorf("%s: is not maildir:PATH", w)
		}
		path, _, _ = strings.Cut(path, ":")
		u.Maildir = path
	}
	return nil
}

// find gives the account that a name means.
func (f *File) find(u *users, name string) *user {
	a, err := address.ParseUnqualified(name)
	if err != nil {
		return u.byName[key(name)]
	}
	if one := u.byName[a.Key()]; one != nil || a.Domain == "" || !f.local(a.Domain) {
		return one
	}
	return u.byName[address.Address{Local: a.Local}.Key()]
}

func (f *File) local(domain string) bool {
	domain = address.DomainUnicode(domain)
	for _, d := range f.domains {
		if d == domain {
			return true
		}
	}
	return false
}

// bare is a name without its domain, if that is a local one.
func (f *File) bare(name string) string {
	a, err := address.ParseUnqualified(name)
	if err != nil || a.Domain == "" || !f.local(a.Domain) {
		return name
	}
	return a.Local
}

// Lookup implements Directory.
func (f *File) Lookup(ctx context.Context, name string) (Account, error) {
	one := f.find(f.current(), name)
	if one == nil {
		return Account{}, fmt.Errorf("look up account %s: %w", name, ErrNoAccount)
	}
	return one.Account, nil
}

// List implements Directory.
func (f *File) List(ctx context.Context) ([]Account, error) {
	var all []Account
	for _, one := range f.current().order {
		all = append(all, one.Account)
	}
	return all, nil
}

// SCRAMPossible implements Directory.
func (f *File) SCRAMPossible() bool { return f.current().scram }

// IsMissing reports whether err says that there is no users file.
func IsMissing(err error) bool { return errors.Is(err, iofs.ErrNotExist) }
