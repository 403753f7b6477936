package wire

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"postbag/internal/auth"
	"postbag/internal/config"
	"postbag/internal/status"
)

// warnDays is how long before its end --check complains about a certificate.
const warnDays = 14

func untilDays(t time.Time) int { return int(time.Until(t) / (24 * time.Hour)) }

// Accounts are those of the users file. Where that is the default one and is not
// there, there are none until Check finds it.
type Accounts struct {
	path    string // used at start and by reloads only
	domains []string
	file    atomic.Pointer[auth.File]
}

var _ auth.Directory = (*Accounts)(nil)

// OpenAccounts reads the users file.
func OpenAccounts(v *config.Values) (*Accounts, error) {
	a := &Accounts{path: v.String("users"), domains: v.Strings("domain")}
	if err := a.Check(); err != nil {
		return nil, status.Exit(status.ExConfig, "users", err)
	}
	return a, nil
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
	f, err := auth.OpenFile(a.path, a.domains)
	if auth.IsMissing(err) { // one that was named is there: package config has looked
		return nil
	}
	if err == nil {
		a.file.Store(f)
	}
	return err
}

// errNoAccounts means that the users file is not there.
var errNoAccounts = errors.New("there is no users file")

// Move follows --users and --domain. The accounts stay when the file is broken.
func (a *Accounts) Move(v *config.Values) error {
	path, domains := v.String("users"), v.Strings("domain")
	if path == a.path && slices.Equal(domains, a.domains) {
		return a.Check()
	}
	f, err := auth.OpenFile(path, domains)
	if err != nil && !auth.IsMissing(err) {
		return err
	}
	a.path, a.domains = path, domains
	a.file.Store(f)
	return nil
}

func (a *Accounts) current() (auth.Directory, error) {
	if f := a.file.Load(); f != nil {
		return f, nil
	}
	return nil, errNoAccounts
}

// Lookup implements auth.Directory.
func (a *Accounts) Lookup(ctx context.Context, name string) (auth.Account, error) {
	if d, err := a.current(); err == nil {
		return d.Lookup(ctx, name)
	}
	return auth.Account{}, auth.ErrNoAccount
}

// Verify implements auth.Directory.
func (a *Accounts) Verify(ctx context.Context, name, password string) (auth.Account, error) {
	if d, err := a.current(); err == nil {
		return d.Verify(ctx, name, password)
	}
	return auth.Account{}, auth.ErrBadCredentials
}

// SCRAM implements auth.Directory.
func (a *Accounts) SCRAM(ctx context.Context, name string) (auth.Credentials, auth.Account, error) {
	d, err := a.current()
	if err != nil {
		return auth.Credentials{}, auth.Account{}, err
	}
	return d.SCRAM(ctx, name)
}

// SCRAMPossible implements auth.Directory.
func (a *Accounts) SCRAMPossible() bool {
	d, err := a.current()
	return err == nil && d.SCRAMPossible()
}

// List implements auth.Directory.
func (a *Accounts) List(ctx context.Context) ([]auth.Account, error) {
	if d, err := a.current(); err == nil {
		return d.List(ctx)
	}
	return nil, nil
}
