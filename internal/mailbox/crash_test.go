package mailbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
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
//	letter FOLDER UIDVALIDITY UID TEXT FLAGS MODSEQ
//	gone FOLDER UIDVALIDITY UID
//	flags FOLDER UIDVALIDITY UID FLAGS
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
	f := x.f[name]
	x.must(f.Sync(x.t.Context()))
	v := f.View()
	for i := range v.Len() {
		l := v.At(i)
		c, err := f.Content(x.t.Context(), l)
		x.must(err)
		b, err := io.ReadAll(c)
		x.must(err)
		c.Close()
		x.fs.Answered(fmt.Sprintf("letter %s %d %d %s %s. %d", name, v.UIDValidity(), l.UID, strings.TrimSpace(string(b)), l.Flags, l.ModSeq))
	}
}

func (x *session) append(name string, texts ...string) {
	a := x.f[name].NewAppend()
	for _, text := range texts {
		x.must(a.Add(0, nil, time.Time{}, strings.NewReader(text+"\r\n")))
	}
	uids, err := a.Commit(x.t.Context())
	x.must(err)
	for i, uid := range uids {
		x.fs.Answered(fmt.Sprintf("letter %s %d %d %s . 0", name, x.f[name].View().UIDValidity(), uid, texts[i]))
	}
}

func (x *session) store(name string, flags Flags, uids ...uint32) {
	for _, uid := range uids {
		x.fs.Answered(fmt.Sprintf("try %s %d %d", name, x.f[name].View().UIDValidity(), uid))
	}
	_, err := x.f[name].Store(x.t.Context(), uids, FlagChange{Set: flags, Replace: true}, Always)
	x.must(err)
	for _, uid := range uids {
		x.fs.Answered(fmt.Sprintf("flags %s %d %d %s.", name, x.f[name].View().UIDValidity(), uid, flags))
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
	texts := map[uint32]string{}
	for _, uid := range uids {
		c, err := x.f[from].Content(x.t.Context(), &Letter{UID: uid})
		x.must(err)
		b, _ := io.ReadAll(c)
		c.Close()
		texts[uid] = strings.TrimSpace(string(b))
	}
	was, is, err := Move(x.t.Context(), x.f[from], uids, x.f[to])
	x.must(err)
	for i, uid := range was {
		x.fs.Answered(fmt.Sprintf("letter %s %d %d %s ? 0", to, x.f[to].View().UIDValidity(), is[i], texts[uid]))
		x.fs.Answered(fmt.Sprintf("gone %s %d %d", from, v.UIDValidity(), uid))
	}
}

// compact replaces the log by a shorter one.
func (x *session) compact(name string) {
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
				Setup: func(fs *durable.FS, root string) {
					for _, name := range []string{".A", ".B"} {
						if err := maildir.Init(fs, filepath.Join(root, name), 0o700); err != nil {
							t.Fatal(err)
						}
					}
					for i := range 3 {
						name := fmt.Sprintf(".A/new/170000000%d.M1P1.h", i)
						os.WriteFile(filepath.Join(root, name), []byte(fmt.Sprintf("old%d\n", i)), 0o600)
					}
				},
				Run:     func(fs *durable.FS, root string) { x := crashSession(t, fs, root); run(x); x.close() },
				Recover: recoverCrash,
				Check:   checkCrash,
			})
		})
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

// A remains is what one folder is after a crash.
type remains struct {
	view  *View
	texts map[uint32]string
}

func readRemains(ctx context.Context, f *Folder) (*remains, error) {
	r := &remains{view: f.View(), texts: map[uint32]string{}}
	seen := map[string]bool{}
	for i := range r.view.Len() {
		l := r.view.At(i)
		c, err := f.Content(ctx, l)
		if err != nil {
			return nil, err
		}
		b, err := io.ReadAll(c)
		c.Close()
		if err != nil {
			return nil, err
		}
		text := strings.TrimSpace(string(b))
		if seen[text] {
			return nil, fmt.Errorf("%q is there twice", text)
		}
		seen[text], r.texts[l.UID] = true, text
	}
	return r, nil
}

// checkCrash compares the folders after a crash with what clients were told
// before.
func checkCrash(root string, answers []string) error {
	s := NewStore(durable.New(), Options{NoWatch: true})
	defer s.Close()
	for _, name := range []string{"A", "B"} {
		dir := filepath.Join(root, "."+name)
		f, err := s.Open(context.Background(), dir)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := f.Sync(context.Background()); err != nil {
			return err
		}
		if _, err := os.Stat(filepath.Join(dir, logName+".bad")); err == nil {
			return fmt.Errorf("folder %s: the crash is taken for damage", name)
		}
		r, err := readRemains(context.Background(), f)
		if err == nil {
			err = r.judge(toldOf(name, answers))
		}
		if err != nil {
			return fmt.Errorf("folder %s: %w", name, err)
		}
	}
	return nil
}

// A promise is what a client has been told of a letter.
type promise struct {
	validity, text, flags string // flags "" while it is not known which of two
	leaving, gone         bool
}

// toldOf sums up what clients were told of a folder, by UID, and the greatest
// modseq among it.
func toldOf(folder string, answers []string) (all map[string]*promise, modseq uint64) {
	all = map[string]*promise{}
	for _, a := range answers {
		w := strings.Fields(a)
		if w[1] != folder {
			continue
		}
		p := all[w[3]]
		if p == nil {
			p = &promise{validity: w[2]}
			all[w[3]] = p
		}
		switch w[0] {
		case "letter":
			p.text = w[4]
			if w[5] != "?" {
				p.flags = w[5]
			}
			told, _ := strconv.ParseUint(w[6], 10, 64)
			modseq = max(modseq, told)
		case "try":
			p.flags = ""
		case "flags":
			p.flags = w[4]
		case "leaving":
			p.leaving = true
		case "gone":
			p.gone = true
		}
	}
	return all, modseq
}

func (r *remains) judge(told map[string]*promise, modseq uint64) error {
	if r.view.HighestModSeq() < modseq {
		return fmt.Errorf("HIGHESTMODSEQ is %d, %d was told", r.view.HighestModSeq(), modseq)
	}
	for uid, p := range told {
		n, err := strconv.ParseUint(uid, 10, 32)
		if err != nil {
			return err
		}
		text, there := r.texts[uint32(n)]
		switch {
		case fmt.Sprint(r.view.UIDValidity()) != p.validity:
			return fmt.Errorf("UIDVALIDITY was %s, is %d", p.validity, r.view.UIDValidity())
		case uint32(n) >= r.view.UIDNext():
			return fmt.Errorf("UIDNEXT is %d after UID %d", r.view.UIDNext(), n)
		case there && p.gone:
			return fmt.Errorf("letter %s was expunged and is there", uid)
		case there && p.text != "" && text != p.text:
			return fmt.Errorf("letter %s was %q, is %q", uid, p.text, text)
		case !there && !p.leaving:
			return fmt.Errorf("letter %s %q is missing", uid, p.text)
		case !there || p.flags == "":
			continue
		}
		i, _ := r.view.Index(uint32(n))
		if got := r.view.At(i).Flags.String() + "."; got != p.flags {
			return fmt.Errorf("letter %s was told to have flags %s has %s", uid, p.flags, got)
		}
	}
	return nil
}
