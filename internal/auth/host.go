package auth

import (
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// HostAccounts are root and the accounts with uid 1000 and above of a
// passwd(5) file and, where nsswitch.conf(5) names more than files, of getent(1):
// LDAP, SSSD and the like. Their mail lies in their homes, that of those without
// one that can be used, of root, and of all where nothing is done as root, in the
// spool.
type HostAccounts struct {
	Path    string
	Switch  string // nsswitch.conf; "": the file is all
	Maildir string // text of a Template; "": in the spool
}

// OfHost are the accounts of this host. template says where their mail lies; ""
// is in their homes, if root brings it there, as whoever has this spool does.
func OfHost(template, spool string) HostAccounts {
	s := HostAccounts{Path: "/etc/passwd", Switch: "/etc/nsswitch.conf", Maildir: template}
	if template != "" {
		return s
	}
	if os.Geteuid() == 0 || ofRoot(spool) {
		s.Maildir = "%h/Maildir"
	}
	return s
}

func ofRoot(path string) bool {
	st, err := os.Stat(path)
	if err != nil {
		return false
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	return ok && sys.Uid == 0
}

// InSpool is where those have their mail who have no usable home.
const InSpool = "%s/mail/%u"

// settled says where the mail of an account lies. A home that cannot be looked at
// now, because it is on a host that is down, is one all the same.
func (s HostAccounts) settled(a Account) Account {
	_, err := os.Stat(a.Home)
	noHome := !filepath.IsAbs(a.Home) || a.Home == "/" || errors.Is(err, iofs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
	if a.Maildir = s.Maildir; a.Maildir == "" || a.UID == 0 || noHome {
		a.Maildir = InSpool
	}
	return a
}

// getentTime bounds a question to getent, whose servers may be far away.
const getentTime = 10 * time.Second

// notFound is getent's exit code for a name that there is not.
const notFound = 2

// Lookup finds an account; the file is read each time, for few ask. One that is
// missing has none; one that cannot be read keeps mail waiting.
func (s HostAccounts) Lookup(name string) (Account, bool, error) {
	b, err := os.ReadFile(s.Path)
	if err != nil && !errors.Is(err, iofs.ErrNotExist) {
		return Account{}, false, fmt.Errorf("read accounts: %w", err)
	}
	for _, line := range strings.Split(string(b), "\n") {
		if a, ok := personOf(line, name); ok {
			return s.settled(a), true, nil
		}
	}
	if !isLogin(name) || !s.switched() {
		return Account{}, false, nil
	}
	a, ok, err := getent(name)
	return s.settled(a), ok, err
}

// List tells the accounts of the file.
func (s HostAccounts) List() ([]Account, error) {
	b, err := os.ReadFile(s.Path)
	if err != nil {
		return nil, fmt.Errorf("read accounts: %w", err)
	}
	var all []Account
	for line := range strings.SplitSeq(string(b), "\n") {
		name, _, _ := strings.Cut(line, ":")
		if a, ok := personOf(line, name); ok {
			all = append(all, s.settled(a))
		}
	}
	return all, nil
}

// personOf reads a line of passwd(5), if it is that account, and a person's.
func personOf(line, name string) (Account, bool) {
	f := strings.Split(line, ":")
	if len(f) != 7 || !strings.EqualFold(f[0], name) || !hasMail(f[2]) {
		return Account{}, false
	}
	uid, uerr := strconv.Atoi(f[2])
	gid, gerr := strconv.Atoi(f[3])
	return Account{Name: f[0], UID: uid, GID: gid, Home: f[5]}, uerr == nil && gerr == nil
}

// hasMail tells by a uid whether the account is a person's: not nobody's.
func hasMail(uid string) bool {
	n, err := strconv.ParseUint(uid, 10, 32)
	return err == nil && (n == 0 || n >= 1000 && n != 65534)
}

// isLogin tells what may be the name of an account: it becomes an argument.
func isLogin(name string) bool {
	strange := func(c rune) bool {
		return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-')
	}
	return name != "" && name[0] != '-' && len(name) <= 256 && !strings.ContainsFunc(name, strange)
}

// switched reports whether accounts come from more than files.
func (s HostAccounts) switched() bool {
	if s.Switch == "" {
		return false
	}
	b, _ := os.ReadFile(s.Switch)
	for _, line := range strings.Split(string(b), "\n") {
		line, _, _ := strings.Cut(line, "#")
		sources, ok := strings.CutPrefix(strings.TrimSpace(line), "passwd:")
		if ok {
			return slices.ContainsFunc(strings.Fields(sources), func(source string) bool {
				return source[0] != '[' && source != "files" && source != "compat" && source != "systemd"
			})
		}
	}
	return false
}

// getent asks the system's sources. It is a program, for they are libraries of C.
func getent(name string) (Account, bool, error) {
	ctx, cancel := context.WithTimeout(context.Background(), getentTime)
	defer cancel()
	out, err := exec.CommandContext(ctx, "getent", "passwd", name).Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == notFound {
		return Account{}, false, nil
	}
	if err != nil {
		return Account{}, false, fmt.Errorf("getent passwd %s: %w", name, err)
	}
	// Asked for a number it gives the account with that uid.
	a, ok := personOf(strings.TrimSpace(string(out)), name)
	return a, ok, nil
}
