package mailbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postbag/internal/durable"
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
			x.said = append(x.said, letterLine(name, v, l, strings.TrimSpace(string(b))))
		}
		return nil
	})
}

func (x *faulty) append(name string, texts ...string) {
	x.with(name, func(f *Folder) error {
		a := f.NewAppend()
		defer a.Discard()
		for _, text := range texts {
			if err := a.Add(0, nil, time.Time{}, strings.NewReader(text+"\r\n")); err != nil {
				return err
			}
		}
		uids, err := a.Commit(x.ctx)
		for i, text := range texts {
			if err != nil {
				x.say("refused %s 0 0 %s", name, text)
			} else {
				x.say("letter %s %d %d %s . 0 ? ?", name, f.View().UIDValidity(), uids[i], text)
			}
		}
		return err
	})
}

func (x *faulty) store(name string, flags Flags, keywords []string, uid uint32) {
	x.with(name, func(f *Folder) error {
		validity := f.View().UIDValidity()
		x.say("try %s %d %d", name, validity, uid)
		_, err := f.Store(x.ctx, []uint32{uid}, FlagChange{Set: flags, SetKeywords: keywords, Replace: true}, Always)
		if _, there := f.View().Index(uid); err == nil && there {
			x.say("flags %s %d %d %s", name, validity, uid, flagsWord(flags, keywords))
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

// move moves letters from A to B; do is Copy or Move.
func (x *faulty) move(do func(context.Context, *Folder, []uint32, *Folder) (from, to []uint32, err error), uids ...uint32) {
	x.with("A", func(src *Folder) error {
		dst, err := x.s.Open(x.ctx, filepath.Join(x.root, ".B"))
		if err != nil {
			return err
		}
		defer dst.Close()
		v, texts := src.View(), x.texts(src, uids)
		moves := fmt.Sprintf("%p", do) == fmt.Sprintf("%p", Move)
		for _, uid := range uids {
			if moves {
				x.say("leaving A %d %d", v.UIDValidity(), uid)
			}
		}
		was, is, err := do(x.ctx, src, uids, dst)
		for i := range was {
			x.say("letter B %d %d %s ? 0 ? ?", dst.View().UIDValidity(), is[i], texts[was[i]])
			if moves {
				x.say("gone A %d %d", v.UIDValidity(), was[i])
			}
		}
		return errors.Join(err, dst.PayDebts(x.ctx), src.PayDebts(x.ctx))
	})
}

func (x *faulty) texts(f *Folder, uids []uint32) map[uint32]string {
	texts := map[uint32]string{}
	for _, uid := range uids {
		c, err := f.Content(x.ctx, &Letter{UID: uid})
		if err == nil {
			b, _ := io.ReadAll(c)
			c.Close()
			texts[uid] = strings.TrimSpace(string(b))
		}
	}
	return texts
}

func (x *faulty) compact(name string) {
	x.with(name, func(f *Folder) error {
		if err := f.PayDebts(x.ctx); err != nil {
			return err
		}
		f.b.lock()
		defer f.b.unlock()
		return f.b.exclusive(x.ctx, func() error { return f.b.log.Compact(f.b.st.records) })
	})
}

// Whatever fails on the disk: what was told holds for the next process, and what
// was refused is not there.
func TestFaultsOfAMailbox(t *testing.T) {
	scenarios := map[string]func(x *faulty){
		"one session": func(x *faulty) {
			x.tell("A")
			x.append("A", "new")
			x.store("A", Seen, nil, 1)
			x.expunge("A", 2)
			x.append("B", "one")
			x.tell("A")
			x.store("A", Flagged, []string{"work"}, 3)
			x.tell("A")
		},
		"several letters at once": func(x *faulty) {
			x.append("B", "one", "two", "three")
			x.tell("B")
		},
		"copy": func(x *faulty) { x.tell("A"); x.move(Copy, 1, 2); x.tell("B") },
		"move": func(x *faulty) { x.tell("A"); x.move(Move, 1, 2); x.tell("B") },
		"settle": func(x *faulty) {
			x.tell("A")
			x.with("A", func(f *Folder) error {
				_, err := f.ClaimRecent(x.ctx, f.View())
				return errors.Join(err, f.Settle(x.ctx))
			})
			x.tell("A")
		},
		"compact": func(x *faulty) { x.tell("A"); x.expunge("A", 1); x.compact("A"); x.append("A", "new"); x.tell("A") },
		"repair": func(x *faulty) {
			x.tell("A")
			x.errs = append(x.errs, x.s.Repair(x.ctx, filepath.Join(x.root, ".A")))
			x.tell("A")
		},
		dovecotScenario: func(x *faulty) {
			x.tell("A")
			x.append("A", "new")
			x.store("A", Seen, []string{"later"}, 12)
			x.expunge("A", 11)
			x.tell("A")
		},
	}
	for name, run := range scenarios {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			faultsOf(t, name, run)
		})
	}
}

// dovecotScenario has Dovecot's lists.
const dovecotScenario = "beside Dovecot's lists"

func faultsOf(t *testing.T, name string, run func(x *faulty)) {
	told := map[string][]string{}
	mailtest.Faults(t, mailtest.FaultScenario{
		Setup: func(fs *durable.FS, root string) {
			crashSetUp(t, fs, root)
			if name == dovecotScenario {
				dovecotWasHere(t, filepath.Join(root, ".A"))
				dovecotWasHere(t, filepath.Join(root, ".B"))
			}
		},
		Run: func(fs *durable.FS, root string) error {
			x := &faulty{ctx: t.Context(), root: root, s: NewStore(fs, Options{NoWatch: true, LockWait: time.Second})}
			run(x)
			told[root] = x.said
			return errors.Join(append(x.errs, x.s.Close())...)
		},
		Check: func(root string, _ error) error {
			err := errors.Join(rebooted(root), recoverCrash(durable.New(), root), checkCrash(root, told[root]))
			if err == nil && name == dovecotScenario {
				err = checkLists(root, readLists(root), told[root])
			}
			return err
		},
	})
}
