package mailbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"postbag/internal/durable"
)

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
			err = errors.Join(r.judge(toldOf(name, answers)), r.refused(name, answers))
		}
		if err != nil {
			return fmt.Errorf("folder %s: %w", name, err)
		}
	}
	return nil
}

// A promise is what a client has been told of a letter.
type promise struct {
	validity, text   string
	flags, saved, id string // "?" while it is not known, of flags which of two
	leaving, gone    bool
}

// toldOf sums up what clients were told of a folder, by UID, and the greatest
// modseq among it.
func toldOf(folder string, answers []string) (all map[string]*promise, modseq uint64) {
	all = map[string]*promise{}
	for _, a := range answers {
		w := strings.Fields(a)
		if w[1] != folder || w[0] == "refused" {
			continue
		}
		p := all[w[3]]
		if p == nil {
			p = &promise{validity: w[2], flags: "?", saved: "?", id: "?"}
			all[w[3]] = p
		}
		switch w[0] {
		case "letter":
			p.text = w[4]
			p.learn(&p.flags, w[5])
			p.learn(&p.saved, w[7])
			p.learn(&p.id, w[8])
			told, _ := strconv.ParseUint(w[6], 10, 64)
			modseq = max(modseq, told)
		case "try":
			p.flags = "?"
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

// refused objects to letters that a client was told are not there.
func (r *remains) refused(folder string, answers []string) error {
	for _, text := range r.texts {
		if slices.Contains(answers, "refused "+folder+" 0 0 "+text) {
			return fmt.Errorf("%q was refused and is there", text)
		}
	}
	return nil
}

// learn keeps what was told; "?" told nothing.
func (p *promise) learn(to *string, word string) {
	if word != "?" {
		*to = word
	}
}

func (r *remains) judge(told map[string]*promise, modseq uint64) error {
	if r.view.HighestModSeq() < modseq {
		return fmt.Errorf("HIGHESTMODSEQ is %d, %d was told", r.view.HighestModSeq(), modseq)
	}
	for uid, p := range told {
		n, err := strconv.ParseUint(uid, 10, 32)
		if err == nil {
			err = r.keeps(uint32(n), p)
		}
		if err != nil {
			return fmt.Errorf("letter %s: %w", uid, err)
		}
	}
	return nil
}

// keeps tells what of a promise does not hold.
func (r *remains) keeps(uid uint32, p *promise) error {
	text, there := r.texts[uid]
	switch {
	case fmt.Sprint(r.view.UIDValidity()) != p.validity:
		return fmt.Errorf("UIDVALIDITY was %s, is %d", p.validity, r.view.UIDValidity())
	case uid >= r.view.UIDNext():
		return fmt.Errorf("UIDNEXT is %d", r.view.UIDNext())
	case there && p.gone:
		return errors.New("was expunged and is there")
	case there && p.text != "" && text != p.text:
		return fmt.Errorf("was %q, is %q", p.text, text)
	case !there && !p.leaving && p.text != "":
		return fmt.Errorf("%q is missing", p.text)
	case !there:
		return nil
	}
	i, _ := r.view.Index(uid)
	l := r.view.At(i)
	saved, _ := l.Saved()
	for _, c := range []struct{ what, told, is string }{
		{"flags", p.flags, flagsWord(l.Flags, l.Keywords)},
		{"SAVEDATE", p.saved, fmt.Sprint(saved.Unix())},
		{"EMAILID", p.id, l.EmailID()},
	} {
		if c.told != "?" && c.told != c.is {
			return fmt.Errorf("was told to have %s %s, has %s", c.what, c.told, c.is)
		}
	}
	return nil
}
