package auth

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	"postbag/internal/address"
)

// OpenSource opens what --auth names:
//
//	file:PATH               another passwd-file
//	checkpassword:PROGRAM   a program that checks passwords (see Checkpassword)
//	dovecot:SOCKET          Dovecot's auth service (see Dovecot)
//	pam:SERVICE             PAM, by a program that is built apart
//	system                  the accounts of this host (see System), which host tells of
//	oauth:COMMAND           a program that checks OAuth tokens (see OAuth)
func OpenSource(spec string, domains []string, host HostAccounts) (Directory, error) {
	kind, rest, _ := strings.Cut(spec, ":")
	if err := ValidSource(spec); err != nil {
		return nil, err
	}
	switch kind {
	case "file":
		return OpenFile(rest, domains)
	case "checkpassword":
		return newCheckpassword(strings.Fields(rest))
	case "pam":
		return newPAM(rest)
	case "system":
		return NewSystem(host, domains), nil
	case "oauth":
		return newOAuth(strings.Fields(rest))
	}
	return newDovecot(rest)
}

// ValidSource checks the form of what --auth names.
func ValidSource(spec string) error {
	kind, rest, ok := strings.Cut(spec, ":")
	switch {
	case spec == "system":
		return nil
	case !ok || strings.TrimSpace(rest) == "":
		return fmt.Errorf("%q is not file:PATH, checkpassword:PROGRAM, dovecot:SOCKET, pam:SERVICE, oauth:COMMAND or system", spec)
	case kind == "pam":
		return validService(rest)
	case !slices.Contains([]string{"file", "checkpassword", "dovecot", "oauth"}, kind):
		return fmt.Errorf("%q: accounts come from file, checkpassword, dovecot, pam, oauth or system", kind)
	case !filepath.IsAbs(strings.Fields(rest)[0]):
		return fmt.Errorf("%q: is no absolute path", rest)
	}
	return nil
}

// validService checks the name of a service of PAM, which is that of a file.
func validService(s string) error {
	if s[0] == '.' || s[0] == '-' || strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c == '/' || c == 0x7f }) {
		return fmt.Errorf("%q: is no name of a service", s)
	}
	return nil
}

// Several are Directories that know different accounts. Who an account is, the
// first says that knows its name; its password may be known to another. All are
// asked before a login fails, so that no wrong name or password costs less than
// another.
type Several []Directory

// Lookup implements Directory.
func (s Several) Lookup(ctx context.Context, name string) (Account, error) {
	var trouble error
	for _, d := range s {
		a, err := d.Lookup(ctx, name)
		if err == nil {
			return a, nil
		}
		if !errors.Is(err, ErrNoAccount) {
			trouble = errors.Join(trouble, err)
		}
	}
	if trouble != nil { // it may be the account of the one who cannot say
		return Account{}, trouble
	}
	return Account{}, fmt.Errorf("look up account %s: %w", name, ErrNoAccount)
}

// Verify implements Directory.
func (s Several) Verify(ctx context.Context, name, password string) (Account, error) {
	var trouble error
	for _, d := range s {
		found, err := d.Verify(ctx, name, password)
		if err == nil {
			return s.known(ctx, found)
		}
		if !errors.Is(err, ErrBadCredentials) {
			trouble = errors.Join(trouble, err)
		}
	}
	if trouble != nil {
		return Account{}, trouble
	}
	return Account{}, ErrBadCredentials
}

// known is an account as the first source has it that knows the name. While one
// cannot say whether it does, nobody can say whose mailbox it is.
func (s Several) known(ctx context.Context, a Account) (Account, error) {
	known, err := s.Lookup(ctx, a.Name)
	if errors.Is(err, ErrNoAccount) {
		return a, nil
	}
	return known, err
}

// SCRAM implements Directory. It is asked only while SCRAMPossible.
func (s Several) SCRAM(ctx context.Context, name string) (Credentials, Account, error) {
	all := s.withPasswords()
	for _, d := range all {
		if _, err := d.Lookup(ctx, name); err == nil {
			return d.SCRAM(ctx, name)
		}
	}
	if len(all) == 0 {
		return Credentials{}, Account{}, ErrBadCredentials
	}
	return all[0].SCRAM(ctx, name)
}

// SCRAMPossible implements Directory: every account of every source that has
// passwords can do it.
func (s Several) SCRAMPossible() bool {
	all := s.withPasswords()
	for _, d := range all {
		if !d.SCRAMPossible() {
			return false
		}
	}
	return len(all) > 0
}

// withPasswords are the sources that a password can be right for.
func (s Several) withPasswords() (all []Directory) {
	for _, d := range s {
		if _, tokens := d.(*OAuth); !tokens {
			all = append(all, d)
		}
	}
	return all
}

// List implements Directory.
func (s Several) List(ctx context.Context) ([]Account, error) {
	var all []Account
	for _, d := range s {
		some, err := d.List(ctx)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return all, nil
}

// KnowsWho reports whether a Directory can tell who has an account without a
// password.
func KnowsWho(d Directory) bool {
	switch d := d.(type) {
	case Several:
		return slices.ContainsFunc(d, KnowsWho)
	case *Checkpassword, *OAuth:
		return false
	case *Dovecot:
		return d.userdb != ""
	}
	return true
}

// A passwordsOnly is what is common to sources outside this program, which check
// passwords and tell nothing that SCRAM needs, nor who there is.
type passwordsOnly struct{ noTokens }

// SCRAM implements Directory; nobody offers it.
func (passwordsOnly) SCRAM(context.Context, string) (Credentials, Account, error) {
	return Credentials{}, Account{}, ErrBadCredentials
}

// SCRAMPossible implements Directory.
func (passwordsOnly) SCRAMPossible() bool { return false }

// List implements Directory.
func (passwordsOnly) List(context.Context) ([]Account, error) { return nil, nil }

// canonical is a name as accounts have it. What is no name of a mailbox is nobody's,
// whatever a source says to it: it may become the name of a directory.
func canonical(name string) (string, error) {
	a, err := address.ParseUnqualified(name)
	if err != nil || strings.Contains(name, "/") || strings.ContainsFunc(name, unicode.IsControl) || strings.HasPrefix(name, ".") {
		return "", ErrBadCredentials
	}
	return a.Key(), nil
}

// isSocket reports whether there is a socket at path.
func isSocket(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.Mode()&os.ModeSocket != 0
}
