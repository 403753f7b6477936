package mailbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postbag/internal/durable"
	"postbag/internal/maildir"
	"postbag/internal/mailtest"
)

// A faulty session goes on after an error, as a daemon does, and notes what it
// would have told a client, in the words of crash_test.go.
type faulty struct {
	ctx  context.Context
	root string
	s    *Store
	said []string
	errs []error
}

func (x *faulty) say(format string, args ...any) {
	x.said = append(x.said, fmt.Sprintf(format, args...))
}

// with does something with a folder, opened for it alone.
func (x *faulty) with(name string, do func(f *Folder) error) {
	f, err := x.s.Open(x.ctx, filepath.Join(x.root, "."+name))
	if err == nil {
		err = do(f)
		f.Close()
	}
	x.errs = append(x.errs, err)
}

func (x *faulty) tell(name string) {
	x.with(name, func(f *Folder) error {
		if err := f.Sync(x.ctx); err != nil {
			return err
		}
		v := f.View()
		for i := range v.Len() {
			l := v.At(i)
			c, err := f.Content(x.ctx, l)
			if err != nil {
				return err
			}
			b, err := io.ReadAll(c)
			c.Close()
			if err != nil {
				return err
			}
			x.say("letter %s %d %d %s %s. %d", name, v.UIDValidity(), l.UID, strings.TrimSpace(string(b)), l.Flags, l.ModSeq)
		}
		return nil
	})
}

func (x *faulty) append(name, text string) {
	x.with(name, func(f *Folder) error {
		a := f.NewAppend()
		if err := a.Add(0, nil, time.Time{}, strings.NewReader(text+"\r\n")); err != nil {
			return err
		}
		uids, err := a.Commit(x.ctx)
		if err == nil {
			x.say("letter %s %d %d %s . 0", name, f.View().UIDValidity(), uids[0], text)
		}
		return err
	})
}

func (x *faulty) store(name string, flags Flags, uid uint32) {
	x.with(name, func(f *Folder) error {
		validity := f.View().UIDValidity()
		x.say("try %s %d %d", name, validity, uid)
		_, err := f.Store(x.ctx, []uint32{uid}, FlagChange{Set: flags, Replace: true}, Always)
		if _, there := f.View().Index(uid); err == nil && there {
			x.say("flags %s %d %d %s.", name, validity, uid, flags)
		}
		return errors.Join(err, f.PayDebts(x.ctx))
	})
}

func (x *faulty) expunge(name string, uid uint32) {
	x.with(name, func(f *Folder) error {
		validity := f.View().UIDValidity()
		x.say("leaving %s %d %d", name, validity, uid)
		were, err := f.Expunge(x.ctx, []uint32{uid})
		if err == nil && len(were) == 1 {
			x.say("gone %s %d %d", name, validity, uid)
		}
		return errors.Join(err, f.PayDebts(x.ctx))
	})
}

// Whatever fails on the disk: what was told holds for the next process.
func TestFaultsOfAMailbox(t *testing.T) {
	told := map[string][]string{}
	mailtest.Faults(t, mailtest.FaultScenario{
		Setup: func(fs *durable.FS, root string) {
			for _, name := range []string{".A", ".B"} {
				if err := maildir.Init(fs, filepath.Join(root, name), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			for i := range 3 {
				name := fmt.Sprintf(".A/new/170000000%d.M1P1.h", i)
				if err := os.WriteFile(filepath.Join(root, name), []byte(fmt.Sprintf("old%d\n", i)), 0o600); err != nil {
					t.Fatal(err)
				}
			}
		},
		Run: func(fs *durable.FS, root string) error {
			x := &faulty{ctx: t.Context(), root: root, s: NewStore(fs, Options{NoWatch: true, LockWait: time.Second})}
			x.tell("A")
			x.append("A", "new")
			x.store("A", Seen, 1)
			x.expunge("A", 2)
			x.append("B", "one")
			x.tell("A")
			x.store("A", Flagged, 3)
			x.tell("A")
			told[root] = x.said
			return errors.Join(append(x.errs, x.s.Close())...)
		},
		Check: func(root string, _ error) error {
			fs := durable.New()
			if err := recoverCrash(fs, root); err != nil {
				return err
			}
			return checkCrash(root, told[root])
		},
	})
}
