package deliver

import (
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"path/filepath"
	"syscall"

	"postbag/internal/durable"
	"postbag/internal/status"
)

// owner is in whose name a Mailbox is written: its account's where it has a uid,
// else this process's. Root writes to no directory that others have a say in:
// what belongs to no account is written by its owner, or by nobody.
func (l *Local) owner(box Mailbox) (durable.Owner, error) {
	self := l.FS.Self().UID
	switch {
	case self != 0 && box.UID >= 0 && box.UID != self:
		return durable.Owner{}, notNow(box, fmt.Errorf("it belongs to uid %d, this process has %d", box.UID, self))
	case self != 0, box.UID < 0 && !box.Shared:
		return durable.Owner{}, nil
	case box.UID == 0:
		return durable.Owner{}, notNow(box, errors.New("nothing is delivered as root: give its account another uid, or an alias"))
	}
	var who durable.Owner
	var err error
	if box.UID > 0 {
		who, err = durable.OwnerFor(box.UID, box.GID)
	} else {
		who, err = ownerOf(box.Dir)
	}
	if err != nil {
		err = notNow(box, err)
	}
	return who, err
}

func notNow(box Mailbox, err error) error {
	return status.Temp("deliver to "+box.Dir, "4.3.5", "mailbox cannot be written now", err)
}

// ownerOf is whose a directory is, or of what is missing of the way to it the
// last that is there. Of root's directories nobody takes care.
func ownerOf(dir string) (durable.Owner, error) {
	st, err := os.Stat(dir)
	for errors.Is(err, iofs.ErrNotExist) && dir != "/" {
		dir = filepath.Dir(dir)
		st, err = os.Stat(dir)
	}
	if err != nil {
		return durable.Owner{}, err
	}
	if sys, ok := st.Sys().(*syscall.Stat_t); ok && sys.Uid != 0 {
		return durable.OwnerFor(int(sys.Uid), int(sys.Gid))
	}
	return durable.OwnerFor(-1, -1)
}

// as is the FS to work in the name of somebody.
func (l *Local) as(who durable.Owner) (*durable.FS, error) {
	switch self := l.FS.Self().UID; {
	case who == (durable.Owner{}) || who.UID == self:
		return l.FS, nil
	case self != 0:
		return nil, status.Temp("deliver", "4.3.5", "mailbox cannot be written now",
			fmt.Errorf("it belongs to uid %d, this process has %d", who.UID, self))
	}
	return l.FS.As(who), nil
}
