package mailbox

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"postbag/internal/durable"
	"postbag/internal/maildir"
)

// childEnv makes this test binary a process that works on a folder until it is
// killed: "DIR NAME".
const childEnv = "POSTBAG_TEST_MAILBOX_CHILD"

func TestMain(m *testing.M) {
	if root := os.Getenv(agentEnv); root != "" {
		if err := serveAgent(root); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if dir, name, child := strings.Cut(os.Getenv(childEnv), " "); child {
		fmt.Fprintln(os.Stderr, work(dir, name))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// work appends, flags and expunges letters of its own for ever. It says on
// standard output what it is about to do and what it was told:
//
//	try append TEXT            did append TEXT UID
//	try flag TEXT FLAGS        did flag TEXT FLAGS
//	try expunge TEXT           did expunge TEXT
func work(dir, name string) error {
	ctx := context.Background()
	s := NewStore(durable.New(), Options{})
	f, err := s.Open(ctx, dir)
	if err != nil {
		return err
	}
	f.Subscribe(func() {})
	mine := map[uint32]string{}
	for n := 0; ; n++ {
		switch k := rand.IntN(10); {
		case k < 4 || len(mine) == 0:
			err = workAppend(ctx, f, fmt.Sprint(name, ".", n), mine)
		case k < 8:
			err = workFlag(ctx, f, mine)
		case k < 9:
			err = workExpunge(ctx, f, mine)
		default:
			err = errors.Join(f.Sync(ctx), f.Settle(ctx))
		}
		if err != nil {
			return err
		}
	}
}

func workAppend(ctx context.Context, f *Folder, text string, mine map[uint32]string) error {
	a := f.NewAppend()
	texts := []string{text + "a", text + "b", text + "c"}[:1+rand.IntN(3)]
	for _, text := range texts {
		fmt.Println("try append", text)
		if err := a.Add(0, nil, time.Time{}, strings.NewReader(text+"\r\n")); err != nil {
			return err
		}
	}
	uids, err := a.Commit(ctx)
	if err != nil {
		return err
	}
	for i, text := range texts {
		mine[uids[i]] = text
		fmt.Println("did append", text, uids[i])
	}
	return nil
}

func workFlag(ctx context.Context, f *Folder, mine map[uint32]string) error {
	for uid, text := range mine {
		flags := Flags(rand.IntN(64)) &^ Passed
		fmt.Println("try flag", text, flags)
		if _, err := f.Store(ctx, []uint32{uid}, FlagChange{Set: flags, Clear: ^flags &^ Passed}, Always); err != nil {
			return err
		}
		fmt.Println("did flag", text, flags)
		return nil
	}
	return nil
}

func workExpunge(ctx context.Context, f *Folder, mine map[uint32]string) error {
	for uid, text := range mine {
		fmt.Println("try expunge", text)
		gone, err := f.Expunge(ctx, []uint32{uid})
		if err != nil || len(gone) != 1 {
			return fmt.Errorf("expunge %d: %v, %w", uid, gone, err)
		}
		fmt.Println("did expunge", text)
		delete(mine, uid)
		return nil
	}
	return nil
}

// A claim is what a process has said of one letter.
type claim struct {
	uid      string
	flags    string // "?" while it is not known which of two
	added    bool
	expunged string // "", "try", "did"
}

// claims are what all processes have said.
type claims struct {
	mu   sync.Mutex
	all  map[string]*claim
	told map[string]int // letters acknowledged, by name of the process
	errs []string
}

// enough is how many letters each process must have been told of before the test
// means anything: more than one life has time for.
const enough = 5

// tried reports whether every process has been told of enough letters.
func (c *claims) tried() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.told {
		if n < enough {
			return false
		}
	}
	return true
}

func (c *claims) object(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.errs = append(c.errs, what)
}

// hear takes a line of a process, and reports whether it acknowledges something.
func (c *claims) hear(name, line string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := strings.Fields(line + " -") // flags may be none
	l := c.all[w[2]]
	if l == nil {
		l = &claim{}
		c.all[w[2]] = l
	}
	switch w[0] + w[1] {
	case "didappend":
		l.added, l.uid = true, w[3]
		c.told[name]++
	case "tryflag":
		l.flags = "?"
	case "didflag":
		l.flags = strings.TrimSuffix(w[3], "-")
	case "tryexpunge":
		l.expunged = "try"
	case "didexpunge":
		l.expunged = "did"
	}
	return w[0] == "did"
}

// child runs work until told to stop, killing and starting it again. Lives are
// short, so that it is killed at whatever it does, its beginning too; they grow
// where the machine is too slow for them, until something is acknowledged.
func (c *claims) child(dir, name string, stop <-chan struct{}) {
	barren := 0 // lives in a row that have come to nothing
	for life := 0; ; life++ {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s.%d", childEnv, dir, name, life))
		var stderr strings.Builder
		cmd.Stderr = &stderr
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			c.object(err.Error())
			return
		}
		last, length := false, time.Duration(20+rand.IntN(200))*time.Millisecond<<min(barren, 8)
		killed := make(chan struct{})
		go func() {
			defer close(killed)
			select {
			case <-stop:
				last = true
			case <-time.After(length):
			}
			cmd.Process.Kill()
		}()
		r := bufio.NewReader(out)
		barren++
		for line, err := r.ReadString('\n'); err == nil; line, err = r.ReadString('\n') {
			if c.hear(name, line) {
				barren = 0
			}
		}
		<-killed
		cmd.Wait() // killed
		if stderr.Len() > 0 {
			c.object(stderr.String())
		}
		if last {
			return
		}
	}
}

// foreign delivers letters and renames whatever is in cur/, as other programs
// do, and returns the texts that it delivered.
func foreign(t *testing.T, dir string, stop <-chan struct{}) (texts []string) {
	for n := 0; ; n++ {
		select {
		case <-stop:
			return texts
		case <-time.After(2 * time.Millisecond):
		}
		text := fmt.Sprint("foreign.", n)
		if _, err := maildir.Deliver(durable.New(), dir, "host", time.Now(), strings.NewReader(text+"\n")); err != nil {
			t.Error(err)
		}
		texts = append(texts, text)
		files, err := os.ReadDir(filepath.Join(dir, "cur"))
		if err != nil {
			t.Error(err)
		}
		for range min(3, len(files)) {
			at := "cur/" + files[rand.IntN(len(files))].Name()
			to := withFlags(at, entryAt(at).flags^Passed, system)
			os.Rename(filepath.Join(dir, at), filepath.Join(dir, to)) // may be gone by now
		}
	}
}

// TestProcessesThatAreKilled lets several processes work on a folder, kills them
// at any instant, and delivers and renames behind their backs: what any of them
// was told holds, no letter is missing, none is there twice.
func TestProcessesThatAreKilled(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "mail")
	if err := maildir.Init(durable.New(), dir, 0o700); err != nil {
		t.Fatal(err)
	}
	c := &claims{all: map[string]*claim{}, told: map[string]int{"one": 0, "two": 0, "three": 0}}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for _, name := range []string{"one", "two", "three"} {
		wg.Go(func() { c.child(dir, name, stop) })
	}
	var texts []string
	wg.Go(func() { texts = foreign(t, dir, stop) })
	length := 1500 * time.Millisecond
	if soak, err := time.ParseDuration(os.Getenv("POSTBAG_SOAK")); err == nil {
		length = soak
	}
	time.Sleep(length) // how long they are let loose at least
	for end := time.Now().Add(time.Minute); !c.tried() && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
	close(stop)
	wg.Wait()
	for _, e := range c.errs {
		t.Error("a process said: ", e)
	}
	c.check(t, dir, texts)
}

func (c *claims) check(t *testing.T, dir string, foreign []string) {
	ctx := t.Context()
	s := NewStore(durable.New(), Options{})
	defer s.Close()
	f, err := s.Open(ctx, dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for range 3 {
		if err := errors.Join(f.Sync(ctx), f.PayDebts(ctx)); err != nil {
			t.Fatal(err)
		}
	}
	v := f.View()
	there := map[string]*Letter{}
	for i := range v.Len() {
		l := v.At(i)
		content, err := f.Content(ctx, l)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(content)
		content.Close()
		if err != nil {
			t.Fatal(err)
		}
		text := strings.TrimSpace(string(b))
		if other := there[text]; other != nil {
			t.Errorf("letter %q is there twice, as %d and %d", text, other.UID, l.UID)
		}
		there[text] = l
	}
	for _, text := range foreign {
		if there[text] == nil {
			t.Errorf("letter %q, delivered by another program, is missing", text)
		}
	}
	for text, l := range c.all {
		l.compare(t, text, there[text])
	}
	if !c.tried() || len(foreign) == 0 {
		t.Errorf("only %v letters acknowledged and %d delivered: little was tried", c.told, len(foreign))
	}
	t.Logf("%d letters, %v acknowledged to processes that were killed, %d delivered", v.Len(), c.told, len(foreign))
}

// compare compares what was told of a letter with what there is.
func (c *claim) compare(t *testing.T, text string, l *Letter) {
	t.Helper()
	switch {
	case l == nil:
		if c.added && c.expunged == "" {
			t.Errorf("letter %q was acknowledged and is missing", text)
		}
	case c.expunged == "did":
		t.Errorf("letter %q was expunged and is there", text)
	case c.added && c.uid != fmt.Sprint(l.UID):
		t.Errorf("letter %q was told to have UID %s, has %d", text, c.uid, l.UID)
	case c.added && c.flags != "?" && c.flags != (l.Flags&^Passed).String():
		t.Errorf("letter %q was told to have flags %s, has %s", text, c.flags, l.Flags)
	}
}
