package mailbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postbag/internal/durable"
	"postbag/internal/mailtest"
	"postbag/internal/uidlist"
)

// Two processes on the same folders, whose steps a crash meets in the order in
// which they were made: what one was told by the other's log holds, too.
func TestCrashOfTwoProcesses(t *testing.T) {
	scenarios := map[string]func(x, y *session){
		"by turns": func(x, y *session) {
			x.tell("A")
			y.append("A", "new")
			x.store("A", Seen, 1, 4)
			y.storeWith("A", Flagged, []string{"work"}, 2, 4)
			x.tell("A")
			x.expunge("A", 2)
			y.move("A", "B", 1)
			y.tell("A")
			x.pay()
		},
		"one compacts": func(x, y *session) {
			x.tell("A")
			y.store("A", Seen, 2)
			x.compact("A")
			y.append("A", "new")
			x.expunge("A", 1)
			y.tell("A")
			y.pay()
		},
		"one dies between its write and its sync": func(x, y *session) {
			x.tell("A")
			y.sync("A")
			y.writeUnsynced("A", Flagged, 1)
			x.tell("A")
		},
		"at the same time": func(x, y *session) {
			x.tell("A")
			done := make(chan struct{})
			go func() {
				defer close(done)
				y.append("A", "left", "right")
				y.store("A", Seen, 1)
				y.tellTexts("A")
				y.expunge("A", 3)
			}()
			x.store("A", Flagged, 2)
			x.append("A", "new")
			x.tellTexts("A")
			x.pay()
			<-done
		},
	}
	for name, run := range scenarios {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mailtest.Crash(t, mailtest.Scenario{
				Setup: func(fs *durable.FS, root string) { crashSetUp(t, fs, root) },
				Run: func(fs *durable.FS, root string) {
					x, y := crashSession(t, fs, root), crashSession(t, fs, root)
					run(x, y)
					x.close()
					y.close()
				},
				Recover: recoverCrash,
				Check:   checkCrash,
			})
		})
	}
}

// writeUnsynced changes flags as a process does that is killed before it has synced
// its record: others read it, and what they tell of it must hold.
func (x *session) writeUnsynced(name string, flags Flags, uid uint32) {
	b := x.f[name].b
	x.fs.Answered(fmt.Sprintf("try %s %d %d", name, x.f[name].View().UIDValidity(), uid))
	b.lock()
	defer b.unlock()
	x.must(b.exclusive(x.t.Context(), func() error {
		_, modseq, ceilings, err := b.number(0)
		if err != nil {
			return err
		}
		return b.note(append(ceilings, encodeFlags(modseq, &FlagChange{Set: flags}, []uint32{uid}))...)
	}))
}

// In folders that came from Dovecot its lists say the same as our log, before
// and after our recovery: whichever of the two servers looks first, no told UID
// goes to another letter, and letters of names mean the keywords that were told.
func TestCrashBesideDovecotsLists(t *testing.T) {
	scenarios := map[string]func(x, y *session){
		"new letters, flags and keywords": func(x, y *session) {
			x.tell("A")
			x.storeWith("A", Seen, []string{"later", "work"}, 11)
			x.append("A", "new")
			x.pay()
		},
		"a letter moves": func(x, y *session) {
			x.tell("A")
			x.move("A", "B", 12)
		},
		"two processes": func(x, y *session) {
			x.tell("A")
			y.append("A", "new")
			x.tell("A")
		},
	}
	for name, run := range scenarios {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var found map[string]*uidlist.List
			mailtest.Crash(t, mailtest.Scenario{
				Setup: func(fs *durable.FS, root string) {
					crashSetUp(t, fs, root)
					for _, dir := range []string{".A", ".B"} {
						dovecotWasHere(t, filepath.Join(root, dir))
					}
				},
				Run: func(fs *durable.FS, root string) {
					x, y := crashSession(t, fs, root), crashSession(t, fs, root)
					run(x, y)
					x.close()
					y.close()
				},
				Recover: func(fs *durable.FS, root string) error {
					found = readLists(root)
					return errors.Join(rebooted(root), recoverCrash(fs, root))
				},
				Check: func(root string, answers []string) error {
					return errors.Join(checkCrash(root, answers), checkLists(root, found, answers),
						checkLists(root, readLists(root), answers), checkLetters(root, answers))
				},
			})
		})
	}
}

// dovecotWasHere leaves what Dovecot leaves: UIDs of the first letters, one
// keyword.
func dovecotWasHere(t *testing.T, dir string) {
	list := "3 V1700000000 N12 G3085f01b7f11094c501100008c4a11c1\n"
	if strings.HasSuffix(dir, "A") {
		list += "11 :1700000000.M1P1.h\n"
	}
	for name, text := range map[string]string{uidlist.Dovecot: list, keywordsName: "0 work\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// rebooted makes dot locks that the crash has left as old as they are when the
// machine is up again.
func rebooted(root string) error {
	locks, err := filepath.Glob(filepath.Join(root, ".?", "dovecot-*.lock"))
	before := time.Now().Add(-time.Hour)
	for _, lock := range locks {
		err = errors.Join(err, os.Chtimes(lock, before, before))
	}
	return err
}

// readLists gives Dovecot's list of each folder.
func readLists(root string) map[string]*uidlist.List {
	lists := map[string]*uidlist.List{}
	for _, name := range []string{"A", "B"} {
		text, err := os.ReadFile(filepath.Join(root, "."+name, uidlist.Dovecot))
		if err != nil {
			continue // checkLists objects
		}
		if l, err := uidlist.Parse(text); err == nil {
			lists[name] = l
		}
	}
	return lists
}

// checkLists compares lists with what clients were told. The letters are where
// recovery has left them; those that are gone name nothing.
func checkLists(root string, lists map[string]*uidlist.List, answers []string) error {
	for _, name := range []string{"A", "B"} {
		told, _ := toldOf(name, answers)
		l := lists[name]
		if l == nil {
			return fmt.Errorf("folder %s: there is no list", name)
		}
		texts, err := textsByKey(filepath.Join(root, "."+name))
		if err != nil {
			return err
		}
		for uid, p := range told {
			if fmt.Sprint(l.Validity) != p.validity {
				return fmt.Errorf("folder %s: the list has UIDVALIDITY %d, %s was told", name, l.Validity, p.validity)
			}
			if fmt.Sprint(l.Next-1) < uid { // of two digits each
				return fmt.Errorf("folder %s: the next UID of the list is %d, %s was told", name, l.Next, uid)
			}
		}
		for _, r := range l.Records {
			text := texts[keyOf(entryAt("cur/"+r.Name).base())]
			if p := told[fmt.Sprint(r.UID)]; p != nil && p.text != "" && text != "" && p.text != text {
				return fmt.Errorf("folder %s: UID %d is %q, in the list %q", name, r.UID, p.text, text)
			}
		}
	}
	return nil
}

// textsByKey gives the letters of a folder by what the list knows them by.
func textsByKey(dir string) (map[string]string, error) {
	texts := map[string]string{}
	files, err := filepath.Glob(filepath.Join(dir, "[nc][eu][wr]", "*"))
	for _, file := range files {
		b, rerr := os.ReadFile(file)
		err = errors.Join(err, rerr)
		texts[keyOf(entryAt("cur/"+filepath.Base(file)).base())] = strings.TrimSpace(string(b))
	}
	return texts, err
}

// checkLetters compares the keywords in names with those that were told, once
// recovery has paid what was owed.
func checkLetters(root string, answers []string) error {
	for _, name := range []string{"A", "B"} {
		s := NewStore(durable.New(), Options{NoWatch: true})
		b := newBox(s, filepath.Join(root, "."+name))
		keys, err := b.readKeys()
		if err != nil {
			return err
		}
		told, _ := toldOf(name, answers)
		files, _ := filepath.Glob(filepath.Join(b.dir, "[nc][eu][wr]", "*"))
		for _, file := range files {
			e := entryAt("cur/" + filepath.Base(file))
			text, _ := os.ReadFile(file)
			for uid, p := range told {
				_, want, known := strings.Cut(p.flags, ".")
				if p.text != strings.TrimSpace(string(text)) || !known || p.leaving {
					continue
				}
				if got := strings.Join(sorted((&keymap{names: keys}).named(e.flags)), ","); got != want {
					return fmt.Errorf("letter %s of %s: the name says keywords %q, %q was told", uid, name, got, want)
				}
			}
		}
	}
	return nil
}
