package wire

import (
	"context"
	"crypto/rand"
	"errors"
	iofs "io/fs"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"postbag/internal/auth"
	"postbag/internal/config"
	"postbag/internal/durable"
	"postbag/internal/spool"
	"postbag/internal/status"
)

// warnDays is how long before its end --check complains about a certificate.
const warnDays = 14

func untilDays(t time.Time) int { return int(time.Until(t) / (24 * time.Hour)) }

// Accounts are those of the users file and of --auth. Where the users file is the
// default one and is not there, it has none until Check finds it.
type Accounts struct {
	path    string // used at start and by reloads only
	domains []string
	key     []byte // see auth.File.SetKey; nil: one of each process
	file    atomic.Pointer[auth.File]
	more    auth.Several   // of --auth
	host    auth.Directory // who take mail while no source knows who there is
}

var _ auth.Directory = (*Accounts)(nil)

// OpenAccounts reads the users file and opens the other sources. The key may be
// nil.
func OpenAccounts(v *config.Values, key []byte) (*Accounts, error) {
	a := &Accounts{path: v.String("users"), domains: v.Strings("domain"), key: key}
	if err := a.Check(); err != nil {
		return nil, status.Exit(status.ExConfig, "users", err)
	}
	host := auth.OfHost(v.Given("maildir"), v.String("spool"))
	a.host = auth.NewSystem(host, a.domains)
	for _, spec := range v.Strings("auth") {
		d, err := auth.OpenSource(spec, a.domains, host)
		if err != nil {
			return nil, v.Unusable("auth", err)
		}
		if f, ok := d.(*auth.File); ok && key != nil {
			f.SetKey(key)
		}
		a.more = append(a.more, d)
	}
	return a, nil
}

// authKey is a secret that all programs of a spool share. The first makes it.
func authKey(fs *durable.FS, s *spool.Spool) ([]byte, error) {
	path := s.Path("state", "auth.key")
	if _, err := os.Stat(path); errors.Is(err, iofs.ErrNotExist) {
		key := make([]byte, 32)
		rand.Read(key)
		if err := errors.Join(fs.MkdirAll(s.Path("state"), 0o700), fs.WriteFile(path, key, 0o600)); err != nil {
			return nil, err
		}
	}
	return os.ReadFile(path) // of two that make one, the last counts
}

// Check reads the file again if it has changed, and says what is wrong with it.
// The accounts stay as they were then.
func (a *Accounts) Check() error {
	if f := a.file.Load(); f != nil {
		return f.Check()
	}
	if a.path == "" {
		return nil
	}
	f, err := a.open(a.path, a.domains)
	if auth.IsMissing(err) { // one that was named is there: package config has looked
		return nil
	}
	if err == nil {
		a.file.Store(f)
	}
	return err
}

func (a *Accounts) open(path string, domains []string) (*auth.File, error) {
	f, err := auth.OpenFile(path, domains)
	if err == nil && a.key != nil {
		f.SetKey(a.key)
	}
	return f, err
}

// Move follows --users and --domain. The accounts stay when the file is broken.
func (a *Accounts) Move(v *config.Values) error {
	path, domains := v.String("users"), v.Strings("domain")
	if path == a.path && slices.Equal(domains, a.domains) {
		return a.Check()
	}
	f, err := a.open(path, domains)
	if err != nil && !auth.IsMissing(err) {
		return err
	}
	a.path, a.domains = path, domains
	a.file.Store(f)
	return nil
}

// all are the sources that there are now.
func (a *Accounts) all() auth.Directory {
	f := a.file.Load()
	switch {
	case f == nil:
		return a.more
	case len(a.more) == 0:
		return f
	}
	return append(auth.Several{f}, a.more...)
}

// unable tells why sources of --auth cannot check passwords now.
func (a *Accounts) unable() (all []error) {
	for _, d := range a.more {
		if s, ok := d.(*auth.System); ok {
			if err := s.Check(); err != nil {
				all = append(all, err)
			}
		}
	}
	return all
}

// KnowWho reports whether any source knows who has an account. Otherwise those of
// the system take mail.
func (a *Accounts) KnowWho() bool { return auth.KnowsWho(a.all()) }

// Lookup implements auth.Directory.
func (a *Accounts) Lookup(ctx context.Context, name string) (auth.Account, error) {
	return a.all().Lookup(ctx, name)
}

// Verify implements auth.Directory.
func (a *Accounts) Verify(ctx context.Context, name, password string) (auth.Account, error) {
	found, err := a.all().Verify(ctx, name, password)
	if err != nil || a.KnowWho() {
		return found, err
	}
	// Who logs in gets the Maildir that Recipients has mail brought to.
	known, err := a.host.Lookup(ctx, found.Name)
	if errors.Is(err, auth.ErrNoAccount) {
		return found, nil
	}
	return known, err
}

// SCRAM implements auth.Directory.
func (a *Accounts) SCRAM(ctx context.Context, name string) (auth.Credentials, auth.Account, error) {
	return a.all().SCRAM(ctx, name)
}

// SCRAMPossible implements auth.Directory.
func (a *Accounts) SCRAMPossible() bool { return a.all().SCRAMPossible() }

// Token implements auth.Directory.
func (a *Accounts) Token(ctx context.Context, name, token string) (auth.Account, error) {
	if !a.KnowWho() { // see Verify
		return slices.Concat(a.more, auth.Several{a.host}).Token(ctx, name, token)
	}
	return a.all().Token(ctx, name, token)
}

// TokensPossible implements auth.Directory.
func (a *Accounts) TokensPossible() bool { return a.all().TokensPossible() }

// List implements auth.Directory.
func (a *Accounts) List(ctx context.Context) ([]auth.Account, error) { return a.all().List(ctx) }
