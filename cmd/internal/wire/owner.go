package wire

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"postbag/internal/auth"
	"postbag/internal/durable"
	"postbag/internal/mailbox"
	"postbag/internal/maildir"
)

// StoreOf gives the Maildir of an account, which is made if it is not there, and
// the Store that works there in the name of its owner.
func (d *Daemon) StoreOf(store *mailbox.Store, a auth.Account) (own *mailbox.Store, dir string, err error) {
	if dir, err = d.Maildirs.Dir(a); err != nil {
		return nil, "", err
	}
	who, err := owner(a, os.Geteuid())
	if err != nil {
		return nil, "", fmt.Errorf("open Maildir %s: %w", dir, err)
	}
	own = store.As(who)
	if maildir.IsMaildir(own.FS(), dir) {
		return own, dir, nil
	}
	return own, dir, maildir.InitFor(d.FS, who, dir, d.Spool.Path("mail"))
}

// owner is in whose name a mailbox is looked at by a process with the uid self: its
// account's where it has a uid, which takes root, else this process's.
func owner(a auth.Account, self int) (durable.Owner, error) {
	switch {
	case a.UID < 0, self != 0 && a.UID == self:
		return durable.Owner{}, nil
	case self != 0:
		return durable.Owner{}, fmt.Errorf("it belongs to uid %d, and this process has %d", a.UID, self)
	case a.UID == 0:
		return durable.Owner{}, errors.New("nothing is read as root: give its account another uid")
	}
	return durable.OwnerFor(a.UID, a.GID)
}

// OwnerOf is in whose name a Maildir is worked on that somebody names: for root its
// owner's.
func OwnerOf(dir string) (durable.Owner, error) {
	st, err := os.Stat(dir)
	if err != nil || os.Geteuid() != 0 {
		return durable.Owner{}, nil // whoever opens it says what is wrong
	}
	if sys, ok := st.Sys().(*syscall.Stat_t); ok && sys.Uid != 0 {
		return durable.OwnerFor(int(sys.Uid), int(sys.Gid))
	}
	return durable.Owner{}, nil
}
