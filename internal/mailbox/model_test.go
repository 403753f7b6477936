package mailbox

import (
	"fmt"
	"io/fs"
	"maps"
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

// A world is what both folders must hold: letters by their text, which no two
// have in common unless one was copied.
type world [2]map[string]modelLetter

type modelLetter struct {
	flags    Flags
	keywords string // sorted, apart by commas
	copies   int
	blurred  bool // copies have been given flags of their own
}

func (w world) clone() (c world) {
	for d := range w {
		c[d] = maps.Clone(w[d])
	}
	return c
}

// add puts one more copy of a letter into a folder.
func (w world) add(d int, text string, l modelLetter) {
	old, there := w[d][text]
	l.copies, l.blurred = old.copies+1, there || l.blurred
	w[d][text] = l
}

func (w world) remove(d int, text string) {
	l := w[d][text]
	if l.copies--; l.copies > 0 {
		w[d][text] = l
		return
	}
	delete(w[d], text)
}

// A told is what some client has been told a UID means.
type told struct{ validity, uid uint32 }

// A look is what some session saw of a folder.
type look struct {
	modseq  uint64
	letters map[uint32]seenLetter
}

// A model is a Maildir with two folders, the processes that work on it, and what
// must be in it after what they have done. When a process is killed at work, there
// are several worlds that may have come of it; the next look tells which.
type model struct {
	t      *testing.T
	rnd    *rand.Rand
	root   string
	agents []*agent
	worlds []world
	told   [2]map[told]string // for ever
	last   [2]look
	taken  map[string]bool // texts that foreign programs have removed somewhere
	n      int
	steps  []string // what was done, for the report
}

const agents = 3

func newModel(t *testing.T, seed uint64) *model {
	m := &model{t: t, rnd: rand.New(rand.NewPCG(seed, 1)), root: filepath.Join(t.TempDir(), "mail"), taken: map[string]bool{}}
	var empty world
	for d, name := range modelFolders {
		if err := maildir.Init(durable.New(), filepath.Join(m.root, name), 0o700); err != nil {
			t.Fatal(err)
		}
		empty[d], m.told[d] = map[string]modelLetter{}, map[told]string{}
		m.last[d].letters = map[uint32]seenLetter{}
	}
	m.worlds = []world{empty}
	for range agents {
		m.agents = append(m.agents, startAgent(t, m.root))
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the last steps:\n%s\nand the files:%s", strings.Join(m.steps[max(0, len(m.steps)-40):], "\n"), m.tree())
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

// tree lists all files.
func (m *model) tree() (all string) {
	filepath.WalkDir(m.root, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			text, _ := os.ReadFile(path)
			first, _, _ := strings.Cut(string(text[:min(20, len(text))]), "\n")
			all += fmt.Sprintf("\n%s: %q", strings.TrimPrefix(path, m.root), first)
		}
		return nil
	})
	return all
}

func (m *model) text() string {
	m.n++
	return fmt.Sprintf("Subject: %d\r\n\r\n%s\r\n", m.n, strings.Repeat("x", m.rnd.IntN(50)))
}

// step does something at random, and compares.
func (m *model) step() {
	i, d := m.rnd.IntN(agents), m.rnd.IntN(2)
	o := order{Session: m.rnd.IntN(sessions), Folder: d, To: d}
	switch k := m.rnd.IntN(22); {
	case k < 3:
		m.deliver(d)
	case k < 6:
		m.append(i, o)
	case k < 10:
		m.store(i, o)
	case k < 11:
		m.expunge(i, o)
	case k < 13:
		m.copy(i, o)
	case k < 14:
		m.order(i, o, "settle")
	case k < 18:
		m.foreign(i, o)
	case k < 19:
		m.old(i, o)
	case k < 21:
		m.order(i, o, "close")
	default:
		m.note("agent %d is killed", i)
		m.restart(i)
	}
	for e := range m.worlds[0] {
		m.look(m.rnd.IntN(agents), order{Session: m.rnd.IntN(sessions), Folder: e})
	}
}

func (m *model) note(format string, args ...any) {
	m.steps = append(m.steps, fmt.Sprintf(format, args...))
}

func (m *model) restart(i int) {
	m.agents[i].kill()
	m.agents[i] = startAgent(m.t, m.root)
}

// order has something done that changes no world.
func (m *model) order(i int, o order, op string) report {
	m.t.Helper()
	o.Op = op
	if op != "look" {
		m.note("agent %d: %s", i, o)
	}
	return m.agents[i].do(o)
}

// risk has something done that changes the world in steps; now and then the agent
// is killed at it, so that any of the steps may have been made, or what torn does
// (nil: nothing else).
func (m *model) risk(i int, o order, op string, torn func(world), steps ...func(world)) (r report, done bool) {
	m.t.Helper()
	o.Op = op
	m.note("agent %d: %s", i, o)
	reached := m.worlds
	var all []world
	if torn != nil {
		all = stepAll(reached, torn)
	}
	for _, step := range steps {
		all = append(all, reached...)
		reached = stepAll(reached, step)
	}
	m.agents[i].give(o)
	killed := m.rnd.IntN(5) == 0
	if killed {
		time.Sleep(time.Duration(m.rnd.IntN(3000)) * time.Microsecond) // any instant
		m.agents[i].cmd.Process.Kill()
	}
	r, whole := m.agents[i].hear()
	if !whole && !killed || r.Err != "" {
		m.t.Fatalf("%+v: %s %s", o, r.Err, m.agents[i].err.String())
	}
	m.worlds = reached
	if !whole {
		m.note("it is killed at that")
		m.worlds = append(reached, all...)
	}
	if killed {
		m.restart(i)
	}
	return r, whole
}

func stepAll(worlds []world, step func(world)) (after []world) {
	for _, w := range worlds {
		c := w.clone()
		step(c)
		after = append(after, c)
	}
	return after
}

func (m *model) append(i int, o order) {
	for range 1 + m.rnd.IntN(3) {
		o.Texts = append(o.Texts, m.text())
	}
	o.Change = FlagChange{Set: Seen, SetKeywords: []string{"kw"}}
	r, done := m.risk(i, o, "append", m.half(o.Folder, o.Texts, func(world, string) Flags { return Seen }), func(w world) {
		for _, text := range o.Texts {
			w.add(o.Folder, text, modelLetter{flags: Seen, keywords: "kw"})
		}
	})
	for k := range r.To {
		m.tell(o.Folder, told{r.Validity, r.To[k]}, o.Texts[k])
	}
	if done && len(r.To) != len(o.Texts) {
		m.t.Fatalf("appended %v for %d letters", r.To, len(o.Texts))
	}
}

// half is what may come of a single letter: its file has its place, and the log
// does not say so yet. Nobody was told, and it is found as any other letter.
func (m *model) half(d int, texts []string, flags func(w world, text string) Flags) func(world) {
	if len(texts) != 1 {
		return nil
	}
	return func(w world) { w.add(d, texts[0], modelLetter{flags: flags(w, texts[0])}) }
}

// tell notes that a UID has been told, and that it never meant anything else.
func (m *model) tell(d int, key told, text string) {
	m.t.Helper()
	if before, known := m.told[d][key]; known && before != text {
		m.t.Fatalf("UID %d of folder %d named %q, now names %q", key.uid, d, before, text)
	}
	m.told[d][key] = text
}

// some picks letters that a session sees.
func (m *model) some(i int, o order) (uids []uint32, texts []string) {
	for _, l := range m.look(i, o).Letters {
		if m.rnd.IntN(4) == 0 {
			uids, texts = append(uids, l.UID), append(texts, l.Text)
		}
	}
	return uids, texts
}

func (m *model) store(i int, o order) {
	var texts []string
	o.UIDs, texts = m.some(i, o)
	o.Change = FlagChange{Set: Flags(m.rnd.IntN(64)), Clear: Flags(m.rnd.IntN(64))}
	if m.rnd.IntN(2) == 0 {
		o.Change.SetKeywords = []string{fmt.Sprint("k", m.rnd.IntN(3))}
		o.Change.ClearKeywords = []string{fmt.Sprint("k", m.rnd.IntN(3)), "kw"}
	}
	m.risk(i, o, "store", nil, func(w world) {
		for _, text := range texts {
			l := w[o.Folder][text]
			l.flags = o.Change.flags(l.flags)
			l.keywords = strings.Join(o.Change.keywords(words(l.keywords)), ",")
			l.blurred = l.blurred || l.copies > 1
			w[o.Folder][text] = l
		}
	})
}

func words(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' })
}

func (m *model) expunge(i int, o order) {
	var texts []string
	if o.UIDs, texts = m.some(i, o); len(o.UIDs) == 0 {
		return
	}
	r, done := m.risk(i, o, "expunge", nil, func(w world) {
		for _, text := range texts {
			w.remove(o.Folder, text)
		}
	})
	if done && !slices.Equal(r.From, o.UIDs) {
		m.t.Fatalf("expunged %v of %v", r.From, o.UIDs)
	}
}

func (m *model) copy(i int, o order) {
	var texts []string
	o.UIDs, texts = m.some(i, o)
	o.To = m.rnd.IntN(2)
	steps := []func(world){func(w world) {
		for _, text := range texts {
			w.add(o.To, text, w[o.Folder][text])
		}
	}}
	op := "copy"
	if m.rnd.IntN(2) == 0 {
		op = "move"
		steps = append(steps, func(w world) {
			for _, text := range texts {
				w.remove(o.Folder, text)
			}
		})
	}
	torn := m.half(o.To, texts, func(w world, text string) Flags { return w[o.Folder][text].flags })
	r, done := m.risk(i, o, op, torn, steps...)
	if done && len(r.From) != len(o.UIDs) {
		m.t.Fatalf("copied %v of %v", r.From, o.UIDs)
	}
	for k := range r.To {
		m.tell(o.To, told{r.Validity, r.To[k]}, texts[k])
	}
}

// TestModel has several sessions of several processes and foreign programs do
// random things, kills processes at work, and compares with a model after each
// step. POSTBAG_MODEL=1h makes it longer.
func TestModel(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			runModel(t, seed, 120)
		})
	}
	length, err := time.ParseDuration(os.Getenv("POSTBAG_MODEL"))
	if err != nil {
		return
	}
	end := time.Now().Add(length)
	for seed := uint64(end.Unix()); time.Now().Before(end) && !t.Failed(); seed++ {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { runModel(t, seed, 500) })
	}
}

func runModel(t *testing.T, seed uint64, steps int) {
	m := newModel(t, seed)
	for range steps {
		m.step()
	}
	for d := range modelFolders {
		for i := range m.agents {
			m.order(i, order{Folder: d}, "pay")
			m.look(i, order{Folder: d})
		}
	}
	m.filesAre(m.worlds[0])
}

// filesAre counts the files when all is paid.
func (m *model) filesAre(w world) {
	for d := range w {
		n, want := len(m.files(d)), 0
		for _, l := range w[d] {
			want += l.copies
		}
		if n != want {
			m.t.Errorf("folder %d has %d files for %d letters when all is paid", d, n, want)
		}
	}
}
