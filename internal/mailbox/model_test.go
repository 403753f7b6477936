package mailbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"postbag/internal/durable"
	"postbag/internal/maildir"
)

// A told is what some client has been told a UID means.
type told struct {
	validity, uid uint32
}

// A model is what a Maildir with two folders must be after a history of
// operations. Letters are known by their text, which is different for each.
type model struct {
	t       *testing.T
	ctx     context.Context
	rnd     *rand.Rand
	root    string
	folders []string
	stores  []*Store
	open    []*Folder // two for each store
	texts   []map[string]*modelLetter
	told    []map[told]string // for each folder, for ever
	modseq  []uint64
	n       int
}

type modelLetter struct {
	flags    Flags
	keywords []string
	copies   int
	blurred  bool // once there were several, with flags of their own
}

func newModel(t *testing.T, seed uint64, stores int) *model {
	root := filepath.Join(t.TempDir(), "mail")
	m := &model{t: t, ctx: t.Context(), rnd: rand.New(rand.NewPCG(seed, 1)), root: root}
	for _, dir := range []string{root, filepath.Join(root, ".B")} {
		if err := maildir.Init(durable.New(), dir, 0o700); err != nil {
			t.Fatal(err)
		}
		m.folders = append(m.folders, dir)
		m.texts = append(m.texts, map[string]*modelLetter{})
		m.told = append(m.told, map[told]string{})
		m.modseq = append(m.modseq, 0)
	}
	for range stores {
		m.stores = append(m.stores, nil)
		m.open = append(m.open, nil, nil)
	}
	for i := range stores {
		m.start(i)
	}
	t.Cleanup(func() {
		for _, s := range m.stores {
			s.Close()
		}
	})
	return m
}

func (m *model) must(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

// start begins process i.
func (m *model) start(i int) {
	m.stores[i] = NewStore(durable.New(), Options{})
	for d, dir := range m.folders {
		f, err := m.stores[i].Open(m.ctx, dir)
		m.must(err)
		m.open[2*i+d] = f
		if i%2 == 1 {
			// This one hears of changes by inotify, and follows them at once.
			f.Subscribe(make(chan struct{}, 1))
		}
	}
}

// abandon ends a process as kill -9 does: nothing is paid or tidied up, the
// kernel closes its files.
func abandon(s *Store) {
	s.mu.Lock()
	s.closed = true
	boxes := s.boxes
	s.boxes = map[string]*box{}
	w := s.watch
	s.watch = nil
	s.mu.Unlock()
	s.stop()
	s.work.Wait()
	if w != nil {
		w.close()
	}
	for _, b := range boxes {
		b.lock()
		if b.log != nil {
			b.log.Close()
			b.openFile.Close()
			b.closeSnap()
			b.log = nil
		}
		b.unlock()
	}
}

func (m *model) text() string {
	m.n++
	return fmt.Sprintf("Subject: %d\r\n\r\n%s\r\n", m.n, strings.Repeat("x", m.rnd.IntN(50)))
}

// step does something at random, and checks what it shows.
func (m *model) step() {
	i, d := m.rnd.IntN(len(m.stores)), m.rnd.IntN(len(m.folders))
	f := m.open[2*i+d]
	switch m.rnd.IntN(16) {
	case 0, 1, 2:
		m.deliver(d)
	case 3, 4:
		m.append(f, d, 1)
	case 5:
		m.append(f, d, 1+m.rnd.IntN(4))
	case 6, 7, 8:
		m.store(f, d)
	case 9:
		m.expunge(f, d)
	case 10:
		m.copy(i, d)
	case 11:
		m.foreignFlag(d)
	case 12:
		m.foreignRemove(d)
	case 13:
		m.must(f.Settle(m.ctx))
	case 14:
		if m.rnd.IntN(3) == 0 {
			abandon(m.stores[i])
		} else {
			m.must(m.stores[i].Close())
		}
		m.start(i)
	case 15:
		m.check(f, d)
	}
}

func (m *model) deliver(d int) {
	text := m.text()
	name := maildir.Unique(time.Now(), "elsewhere")
	path := filepath.Join(m.folders[d], "tmp", name)
	m.must(os.WriteFile(path, []byte(strings.ReplaceAll(text, "\r\n", "\n")), 0o600))
	m.must(os.Rename(path, filepath.Join(m.folders[d], "new", name)))
	m.texts[d][text] = &modelLetter{copies: 1}
}

func (m *model) append(f *Folder, d, n int) {
	a := f.NewAppend()
	texts := make([]string, n)
	for i := range texts {
		texts[i] = m.text()
		m.must(a.Add(Seen, []string{"kw"}, time.Time{}, strings.NewReader(texts[i])))
	}
	uids, err := a.Commit(m.ctx)
	m.must(err)
	for i, text := range texts {
		m.texts[d][text] = &modelLetter{flags: Seen, keywords: []string{"kw"}, copies: 1}
		m.tell(f, d, uids[i], text)
	}
}

// tell notes that a UID has been told, and that it never meant anything else.
func (m *model) tell(f *Folder, d int, uid uint32, text string) {
	m.t.Helper()
	key := told{f.View().UIDValidity(), uid}
	if before, known := m.told[d][key]; known && before != text {
		m.t.Fatalf("UID %d of folder %d named %q, now names %q", uid, d, before, text)
	}
	m.told[d][key] = text
}

// some picks letters that a session knows, by UID.
func (m *model) some(f *Folder) (uids []uint32) {
	v := f.View()
	for i := range v.Len() {
		if m.rnd.IntN(4) == 0 {
			uids = append(uids, v.At(i).UID)
		}
	}
	return uids
}

// letters gives the texts of UIDs that are there. The session is brought up to
// date before.
func (m *model) letters(f *Folder, d int, uids []uint32) map[uint32]string {
	all := map[uint32]string{}
	for _, uid := range uids {
		all[uid] = m.told[d][told{f.View().UIDValidity(), uid}]
	}
	return all
}

func (m *model) store(f *Folder, d int) {
	m.check(f, d)
	uids := m.some(f)
	change := FlagChange{Set: Flags(m.rnd.IntN(64)) &^ Passed, Clear: Flags(m.rnd.IntN(64)) &^ Passed}
	if m.rnd.IntN(2) == 0 {
		change.SetKeywords = []string{fmt.Sprint("k", m.rnd.IntN(3))}
		change.ClearKeywords = []string{fmt.Sprint("k", m.rnd.IntN(3)), "kw"}
	}
	_, err := f.Store(m.ctx, uids, change, Always)
	m.must(err)
	for _, text := range m.letters(f, d, uids) {
		l := m.texts[d][text]
		l.flags = change.flags(l.flags)
		l.keywords = change.keywords(l.keywords)
	}
}

func (m *model) expunge(f *Folder, d int) {
	m.check(f, d)
	uids := m.some(f)
	if len(uids) == 0 {
		return
	}
	gone, err := f.Expunge(m.ctx, uids)
	m.must(err)
	if !slices.Equal(gone, uids) {
		m.t.Fatalf("Expunge(%v) = %v", uids, gone)
	}
	for _, text := range m.letters(f, d, uids) {
		m.remove(d, text)
	}
}

func (m *model) remove(d int, text string) {
	if m.texts[d][text].copies--; m.texts[d][text].copies == 0 {
		delete(m.texts[d], text)
	}
}

func (m *model) copy(i, d int) {
	src, e := m.open[2*i+d], m.rnd.IntN(2)
	dst := m.open[2*i+e]
	m.check(src, d)
	uids := m.some(src)
	move := m.rnd.IntN(2) == 0
	do := Copy
	if move {
		do = Move
	}
	from, to, err := do(m.ctx, src, uids, dst)
	m.must(err)
	if len(from) != len(uids) {
		m.t.Fatalf("copied %v of %v", from, uids)
	}
	texts := m.letters(src, d, uids)
	for k, uid := range from {
		text := texts[uid]
		l := *m.texts[d][text]
		m.tell(dst, e, to[k], text)
		if old := m.texts[e][text]; old != nil {
			old.copies++
			old.blurred = true
		} else {
			l.copies = 1
			m.texts[e][text] = &l
		}
		if move {
			m.remove(d, text)
		}
	}
}

// victim picks a file at random.
func (m *model) victim(d int) string {
	sub := []string{"new", "cur"}[m.rnd.IntN(2)]
	files, err := os.ReadDir(filepath.Join(m.folders[d], sub))
	m.must(err)
	if len(files) == 0 {
		return ""
	}
	return sub + "/" + files[m.rnd.IntN(len(files))].Name()
}

// textOf reads a letter as another program would.
func (m *model) textOf(path string) string {
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return ""
	}
	m.must(err)
	return strings.ReplaceAll(string(b), "\n", "\r\n")
}

// foreignFlag changes a flag that we never change, so that it does not matter
// whether our own debts have been paid.
func (m *model) foreignFlag(d int) {
	at := m.victim(d)
	if at == "" {
		return
	}
	text := m.textOf(filepath.Join(m.folders[d], at))
	e := entryAt(at)
	to := withFlags(at, e.flags^Passed, system)
	if os.Rename(filepath.Join(m.folders[d], at), filepath.Join(m.folders[d], to)) != nil {
		return
	}
	if l := m.texts[d][text]; l != nil {
		l.flags ^= Passed
	}
}

func (m *model) foreignRemove(d int) {
	// A letter moved away and back has two files until the debt is paid.
	m.must(m.open[d].PayDebts(m.ctx))
	at := m.victim(d)
	if at == "" {
		return
	}
	text := m.textOf(filepath.Join(m.folders[d], at))
	if l := m.texts[d][text]; l == nil || l.copies != 1 {
		return // expunged already, and on its way out
	}
	if os.Remove(filepath.Join(m.folders[d], at)) == nil {
		m.remove(d, text)
	}
}

// check compares what a session sees with the model. What is seen may lag a
// little: events are on their way, a scan that was disturbed leaves absences for
// the next one, and a letter of an unpaid batch is not missed.
func (m *model) check(f *Folder, d int) {
	m.t.Helper()
	m.must(f.Sync(m.ctx))
	problem := m.compare(f, d)
	for end := time.Now().Add(5 * time.Second); problem != "" && time.Now().Before(end); {
		m.must(f.PayDebts(m.ctx))
		time.Sleep(time.Millisecond)
		m.must(f.Sync(m.ctx))
		problem = m.compare(f, d)
	}
	if problem != "" {
		m.t.Fatal(problem)
	}
}

// compare says what is wrong with a version. What can never be right, however
// old the version is, fails at once.
func (m *model) compare(f *Folder, d int) (problem string) {
	m.t.Helper()
	v := f.View()
	seen := map[string]int{}
	last := uint32(0)
	for i := range v.Len() {
		l := v.At(i)
		if l.UID <= last || l.UID >= v.UIDNext() || l.ModSeq > v.HighestModSeq() {
			m.t.Fatalf("letter %d after %d, UIDNEXT %d, modseq %d of %d", l.UID, last, v.UIDNext(), l.ModSeq, v.HighestModSeq())
		}
		last = l.UID
		text, err := m.content(f, l)
		if errors.Is(err, ErrExpunged) {
			return err.Error()
		}
		m.must(err)
		m.tell(f, d, l.UID, text)
		seen[text]++
		want := m.texts[d][text]
		if want == nil {
			return fmt.Sprintf("folder %d shows letter %d %q, which is not there", d, l.UID, text)
		}
		if !want.blurred && (l.Flags != want.flags || !slices.Equal(l.Keywords, want.keywords)) {
			return fmt.Sprintf("letter %d %q has %s %q, want %s %q", l.UID, text, l.Flags, l.Keywords, want.flags, want.keywords)
		}
	}
	for text, l := range m.texts[d] {
		if seen[text] != l.copies {
			return fmt.Sprintf("folder %d shows %q %d times, want %d", d, text, seen[text], l.copies)
		}
	}
	if v.HighestModSeq() < m.modseq[d] {
		m.t.Fatalf("HIGHESTMODSEQ fell from %d to %d", m.modseq[d], v.HighestModSeq())
	}
	m.modseq[d] = v.HighestModSeq()
	return ""
}

func (m *model) content(f *Folder, l *Letter) (string, error) {
	c, err := f.Content(m.ctx, l)
	if err != nil {
		return "", err
	}
	defer c.Close()
	b, err := io.ReadAll(c)
	return string(b), err
}

// TestModel does random things through several processes and behind their
// backs, and compares with a model. POSTBAG_SOAK=SECONDS makes it longer.
func TestModel(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			runModel(t, seed, 250)
		})
	}
	if soak, err := time.ParseDuration(os.Getenv("POSTBAG_SOAK")); err == nil {
		end := time.Now().Add(soak)
		for seed := uint64(100); time.Now().Before(end) && !t.Failed(); seed++ {
			t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { runModel(t, seed, 1000) })
		}
	}
}

func runModel(t *testing.T, seed uint64, steps int) {
	m := newModel(t, seed, 3)
	for range steps {
		m.step()
	}
	for i := range m.stores {
		for d := range m.folders {
			m.must(m.open[2*i+d].PayDebts(m.ctx))
			m.check(m.open[2*i+d], d)
		}
	}
	for d, dir := range m.folders {
		n := 0
		for _, sub := range subdirs {
			files, err := os.ReadDir(filepath.Join(dir, sub))
			m.must(err)
			n += len(files)
		}
		want := 0
		for _, l := range m.texts[d] {
			want += l.copies
		}
		if n != want {
			t.Errorf("folder %d has %d files for %d letters when all is paid", d, n, want)
		}
	}
}
