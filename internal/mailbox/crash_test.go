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

// A session does what a client asks, and notes what the client is told in the
// history of the file system:
//
//	letter FOLDER UIDVALIDITY UID TEXT FLAGS MODSEQ SAVED EMAILID
//	try FOLDER UIDVALIDITY UID          its flags are about to change
//	flags FOLDER UIDVALIDITY UID FLAGS
//	leaving FOLDER UIDVALIDITY UID      it is about to be expunged
//	gone FOLDER UIDVALIDITY UID
//	refused FOLDER 0 0 TEXT             NO to an APPEND
//
// FLAGS are those of the file name, a dot, and keywords; ? is for what was not
// told.
type session struct {
	t    *testing.T
	fs   *durable.FS
	root string
	s    *Store
	f    map[string]*Folder
}

func crashSession(t *testing.T, fs *durable.FS, root string) *session {
	x := &session{t: t, fs: fs, root: root, s: NewStore(fs, Options{NoWatch: true}), f: map[string]*Folder{}}
	for _, name := range []string{"A", "B"} {
		f, err := x.s.Open(t.Context(), filepath.Join(root, "."+name))
		x.must(err)
		x.f[name] = f
	}
	return x
}

func (x *session) must(err error) {
	x.t.Helper()
	if err != nil {
		x.t.Fatal(err)
	}
}

// tell notes all that a FETCH of everything says.
func (x *session) tell(name string) {
	v := x.sync(name)
	for i := range v.Len() {
		x.fs.Answered(letterLine(name, v, v.At(i), x.text(name, v.At(i).UID)))
	}
}

// tellTexts is tell without flags, for when others are changing them.
func (x *session) tellTexts(name string) {
	v := x.sync(name)
	for i := range v.Len() {
		l := v.At(i)
		if text := x.text(name, l.UID); text != "" {
			x.fs.Answered(fmt.Sprintf("letter %s %d %d %s ? %d ? %s", name, v.UIDValidity(), l.UID, text, l.ModSeq, l.EmailID()))
		}
	}
}

func (x *session) sync(name string) *View {
	x.must(x.f[name].Sync(x.t.Context()))
	return x.f[name].View()
}

// text reads a letter; "" when it is expunged.
func (x *session) text(name string, uid uint32) string {
	c, err := x.f[name].Content(x.t.Context(), &Letter{UID: uid})
	if errors.Is(err, ErrExpunged) {
		return ""
	}
	x.must(err)
	defer c.Close()
	b, err := io.ReadAll(c)
	x.must(err)
	return strings.TrimSpace(string(b))
}

// letterLine is all that can be told of a letter.
func letterLine(folder string, v *View, l *Letter, text string) string {
	saved, _ := l.Saved()
	return fmt.Sprintf("letter %s %d %d %s %s %d %d %s", folder, v.UIDValidity(), l.UID, text, flagsWord(l.Flags, l.Keywords), l.ModSeq, saved.Unix(), l.EmailID())
}

func flagsWord(flags Flags, keywords []string) string {
	return flags.String() + "." + strings.Join(keywords, ",")
}

func (x *session) append(name string, texts ...string) {
	a := x.f[name].NewAppend()
	for _, text := range texts {
		x.must(a.Add(0, nil, time.Time{}, strings.NewReader(text+"\r\n")))
	}
	uids, err := a.Commit(x.t.Context())
	x.must(err)
	for i, uid := range uids {
		x.fs.Answered(fmt.Sprintf("letter %s %d %d %s . 0 ? ?", name, x.f[name].View().UIDValidity(), uid, texts[i]))
	}
}

func (x *session) store(name string, flags Flags, uids ...uint32) {
	x.storeWith(name, flags, nil, uids...)
}

func (x *session) storeWith(name string, flags Flags, keywords []string, uids ...uint32) {
	for _, uid := range uids {
		x.fs.Answered(fmt.Sprintf("try %s %d %d", name, x.f[name].View().UIDValidity(), uid))
	}
	_, err := x.f[name].Store(x.t.Context(), uids, FlagChange{Set: flags, SetKeywords: keywords, Replace: true}, Always)
	x.must(err)
	for _, uid := range uids {
		x.fs.Answered(fmt.Sprintf("flags %s %d %d %s", name, x.f[name].View().UIDValidity(), uid, flagsWord(flags, keywords)))
	}
}

func (x *session) expunge(name string, uids ...uint32) {
	for _, uid := range uids {
		x.fs.Answered(fmt.Sprintf("leaving %s %d %d", name, x.f[name].View().UIDValidity(), uid))
	}
	_, err := x.f[name].Expunge(x.t.Context(), uids)
	x.must(err)
	for _, uid := range uids {
		x.fs.Answered(fmt.Sprintf("gone %s %d %d", name, x.f[name].View().UIDValidity(), uid))
	}
}

func (x *session) move(from, to string, uids ...uint32) {
	v := x.f[from].View()
	for _, uid := range uids {
		x.fs.Answered(fmt.Sprintf("leaving %s %d %d", from, v.UIDValidity(), uid))
	}
	texts, ids := map[uint32]string{}, map[uint32]string{}
	for _, uid := range uids {
		i, _ := v.Index(uid)
		texts[uid], ids[uid] = x.text(from, uid), v.At(i).EmailID()
	}
	was, is, err := Move(x.t.Context(), x.f[from], uids, x.f[to])
	x.must(err)
	for i, uid := range was {
		x.fs.Answered(fmt.Sprintf("letter %s %d %d %s ? 0 ? %s", to, x.f[to].View().UIDValidity(), is[i], texts[uid], ids[uid]))
		x.fs.Answered(fmt.Sprintf("gone %s %d %d", from, v.UIDValidity(), uid))
	}
}

// compact replaces the log by a shorter one. That is done only when there are no
// debts.
func (x *session) compact(name string) {
	x.must(x.f[name].PayDebts(x.t.Context()))
	b := x.f[name].b
	b.lock()
	defer b.unlock()
	x.must(b.exclusive(x.t.Context(), func() error { return b.log.Compact(b.st.records) }))
}

func (x *session) pay() {
	for _, f := range x.f {
		x.must(f.PayDebts(x.t.Context()))
	}
}

func (x *session) close() {
	for _, f := range x.f {
		f.Close()
	}
	x.must(x.s.Close())
}

func TestCrashOfAMailbox(t *testing.T) {
	scenarios := map[string]func(*session){
		"new mail gets UIDs": func(x *session) {
			x.tell("A")
			x.tell("B")
			x.must(x.f["A"].Settle(t.Context()))
			x.tell("A")
		},
		"append": func(x *session) {
			x.append("B", "one")
			x.append("B", "two", "three", "four")
			x.pay()
			x.append("B", "five")
		},
		"store": func(x *session) {
			x.tell("A")
			x.store("A", Seen, 1, 2)
			x.store("A", Flagged, 2, 3)
			x.pay()
			x.store("A", 0, 1, 2, 3)
			x.pay()
		},
		"keywords and dates": func(x *session) {
			x.tell("A")
			x.storeWith("A", Seen, []string{"later", "work"}, 1, 3)
			x.storeWith("A", 0, []string{"work"}, 3)
			x.append("A", "new")
			x.tell("A")
			x.pay()
			x.compact("A")
			x.storeWith("A", 0, nil, 1)
			x.tell("A")
		},
		"expunge": func(x *session) {
			x.tell("A")
			x.must(x.f["A"].Settle(t.Context()))
			x.expunge("A", 2)
			x.pay()
			x.append("A", "new")
			x.expunge("A", 1, 3)
			x.pay()
		},
		"move": func(x *session) {
			x.tell("A")
			x.must(x.f["A"].Settle(t.Context()))
			x.move("A", "B", 1, 2)
			x.move("A", "B", 3)
			x.pay()
			x.store("B", Seen, 1)
			x.pay()
		},
		"compaction": func(x *session) {
			x.tell("A")
			x.expunge("A", 3)
			x.pay()
			x.compact("A")
			x.append("A", "new")
			x.store("A", Seen, 1, 4)
		},
	}
	for name, run := range scenarios {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mailtest.Crash(t, mailtest.Scenario{
				Setup:   func(fs *durable.FS, root string) { crashSetUp(t, fs, root) },
				Run:     func(fs *durable.FS, root string) { x := crashSession(t, fs, root); run(x); x.close() },
				Recover: recoverCrash,
				Check:   checkCrash,
			})
		})
	}
}

// crashSetUp makes two folders, one with three letters.
func crashSetUp(t *testing.T, fs *durable.FS, root string) {
	for _, name := range []string{".A", ".B"} {
		if err := maildir.Init(fs, filepath.Join(root, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 3 {
		name := fmt.Sprintf(".A/new/170000000%d.M1P1.h", i)
		if err := os.WriteFile(filepath.Join(root, name), fmt.Appendf(nil, "old%d\n", i), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// recoverCrash does what the first process after a crash does.
func recoverCrash(fs *durable.FS, root string) error {
	s := NewStore(fs, Options{NoWatch: true})
	ctx := context.Background()
	for _, name := range []string{"A", "B"} {
		f, err := s.Open(ctx, filepath.Join(root, "."+name))
		if err != nil {
			return err
		}
		if err := errors.Join(f.Sync(ctx), f.PayDebts(ctx), f.Sync(ctx)); err != nil {
			return err
		}
		f.Close()
	}
	return s.Close()
}
