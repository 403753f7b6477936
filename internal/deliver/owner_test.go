package deliver

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"postbag/internal/durable"
	"postbag/internal/maildir"
	"postbag/internal/mailtest"
	"postbag/internal/status"
)

// home makes a directory of an account.
func home(t *testing.T, dir string, uid int) string {
	t.Helper()
	if err := errors.Join(os.Mkdir(dir, 0o700), os.Chown(dir, uid, uid)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// deliverTo brings a letter into a Maildir and gives the uids of all that is there.
func deliverTo(t *testing.T, l *Local, b Mailbox) (uids map[int]bool, err error) {
	t.Helper()
	letter, err := l.Begin(ctx, b, addr("ann@example.org"))
	if err == nil {
		defer letter.Discard()
		letter.Write([]byte("Subject: x\n\n"))
		if err = letter.Sync(); err == nil {
			err = letter.Commit(ctx)
		}
	}
	if err != nil {
		return nil, err
	}
	if n := len(letters(t, b.Dir)); n != 1 {
		t.Errorf("%d letters in %s", n, b.Dir)
	}
	return uidsBelow(t, b.Dir), nil
}

func uidsBelow(t *testing.T, dir string) map[int]bool {
	t.Helper()
	uids := map[int]bool{}
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		st, serr := os.Lstat(path)
		if err = errors.Join(err, serr); err == nil {
			uids[int(st.Sys().(*syscall.Stat_t).Uid)] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return uids
}

func TestInWhoseNameRootDelivers(t *testing.T) {
	top := mailtest.RootDir(t)
	spool := top + "/spool"
	nobody, err := durable.OwnerFor(-1, -1)
	if err := errors.Join(err, os.Mkdir(spool, 0o711), os.Mkdir(top+"/open", 0o777), os.Chmod(top+"/open", 0o777)); err != nil {
		t.Fatal(err)
	}
	l := &Local{FS: durable.New(), Hostname: "h", Trusted: spool}
	account := func(dir string, uid int) Mailbox { return Mailbox{Dir: dir, Address: addr("b@x"), UID: uid, GID: uid} }
	shared := func(dir string) Mailbox {
		return Mailbox{Dir: dir, Address: addr("b@x"), UID: -1, GID: -1, Shared: true}
	}
	for _, tt := range []struct {
		name string
		box  Mailbox
		uid  int // -1: nothing may be written
	}{
		{"an account in its home", account(home(t, top+"/ann", 1500)+"/Maildir", 1500), 1500},
		{"an account in the spool", account(spool+"/ann", 1500), 1500},
		{"an account in the home of another", account(home(t, top+"/bob", 1501)+"/Maildir", 1500), -1},
		{"an account in a directory of root", account(top+"/Maildir", 1500), -1},
		{"an account with uid 0", account(spool+"/zero", 0), -1},
		{"an account without uid in the spool", Mailbox{Dir: spool + "/virtual", Address: addr("b@x"), UID: -1, GID: -1}, 0},
		{"an alias into a home", shared(top + "/ann/Lists"), 1500},
		{"an alias into a directory of root", shared(top + "/box"), -1},
		{"an alias into a directory of all", shared(top + "/open/box"), nobody.UID},
		{"an alias into the spool", shared(spool + "/box"), -1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			uids, err := deliverTo(t, l, tt.box)
			if tt.uid < 0 {
				if _, there := os.Stat(tt.box.Dir); err == nil || status.ClassOf(err) != status.Temporary || there == nil {
					t.Errorf("%v; made: %v", err, there == nil)
				}
				return
			}
			if err != nil || len(uids) != 1 || !uids[tt.uid] {
				t.Errorf("belongs to %v, %v; want %d", uids, err, tt.uid)
			}
		})
	}
}

// An account that swaps its directories for links gets no letter to where only
// root may write.
func TestLinksOfAnAccountLeadRootNowhere(t *testing.T) {
	top := mailtest.RootDir(t)
	dir := home(t, top+"/ann", 1500) + "/Maildir"
	l := &Local{FS: durable.New(), Hostname: "h"}
	b := Mailbox{Dir: dir, Address: addr("b@x"), UID: 1500, GID: 1500}
	if _, err := deliverTo(t, l, b); err != nil {
		t.Fatal(err)
	}
	secret := top + "/secret"
	if err := errors.Join(os.Mkdir(secret, 0o755), os.RemoveAll(dir+"/new"), os.Symlink(secret, dir+"/new")); err != nil {
		t.Fatal(err)
	}
	letter, err := l.Begin(ctx, b, addr("ann@example.org"))
	if err != nil {
		t.Fatal(err)
	}
	defer letter.Discard()
	if err := letter.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := letter.Commit(ctx); err == nil {
		t.Error("delivered")
	}
	if files, _ := os.ReadDir(secret); len(files) > 0 {
		t.Errorf("root wrote %v", files)
	}
}

// What a crash has interrupted is completed in the name in which it was begun.
func TestRecoveryIsInTheNameOfTheOwner(t *testing.T) {
	top := mailtest.RootDir(t)
	dir := home(t, top+"/ann", 1500) + "/Maildir"
	l := &Local{FS: durable.New(), Hostname: "h"}
	b := Mailbox{Dir: dir, Address: addr("b@x"), UID: 1500, GID: 1500}
	var noted []Placing
	l.Maildirs(ctx, mail("x\n"), []Box{{Mailbox: b}}, func(_ context.Context, _ []int, placings []Placing) error {
		noted = placings
		return errors.New("crash")
	})
	if len(noted) != 1 || noted[0].Owner != (durable.Owner{UID: 1500, GID: 1500}) {
		t.Fatalf("%+v", noted)
	}
	secret := top + "/secret"
	if err := errors.Join(os.Mkdir(secret, 0o755), os.RemoveAll(dir+"/new"), os.Symlink(secret, dir+"/new")); err != nil {
		t.Fatal(err)
	}
	finish := func() error {
		return l.Maildirs(ctx, mail("x\n"), []Box{{Mailbox: b, Placed: &noted[0]}}, nil)[0].Err
	}
	if err := finish(); err == nil {
		t.Error("delivered through a link into a directory of root")
	}
	if err := errors.Join(os.Remove(dir+"/new"), maildir.Init(durable.New().As(noted[0].Owner), dir, 0o700)); err != nil {
		t.Fatal(err)
	}
	if err := finish(); err != nil || len(letters(t, dir)) != 1 {
		t.Errorf("%v, %d letters", err, len(letters(t, dir)))
	}
}
