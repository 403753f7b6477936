package maildir

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	gomaildir "github.com/emersion/go-maildir"

	"postbag/internal/durable"
)

// newMaildir makes an empty Maildir.
func newMaildir(t testing.TB, fs *durable.FS) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "Maildir")
	if err := Init(fs, dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

// names lists a directory of a Maildir.
func names(t testing.TB, parts ...string) []string {
	t.Helper()
	files, err := os.ReadDir(filepath.Join(parts...))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, f := range files {
		all = append(all, f.Name())
	}
	return all
}

func TestDeliver(t *testing.T) {
	fs := durable.New()
	dir := newMaildir(t, fs)
	text := "Subject: x\n\n" + strings.Repeat("line\n", 20000) + "with\r\n"
	at := time.Unix(1700000000, 42000)
	name, err := Deliver(fs, dir, "a/b:c", at, strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(name, "1700000000.M000042P") || !strings.Contains(name, `.a\057b\072c,S=`) {
		t.Errorf("name %q", name)
	}
	n := ParseName(name)
	if want := int64(len(text)); n.Size != want || n.Wire != want+20002 {
		t.Errorf("sizes %d and %d, want %d and %d", n.Size, n.Wire, want, want+20002)
	}
	got, err := os.ReadFile(filepath.Join(dir, "new", name))
	if err != nil || string(got) != text {
		t.Errorf("%d octets arrived, %v", len(got), err)
	}
	if left := names(t, dir, "tmp"); len(left) != 0 {
		t.Errorf("left in tmp: %q", left)
	}
	st, _ := os.Stat(filepath.Join(dir, "new", name))
	if st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", st.Mode())
	}
}

func TestSizesAreTheSameHoweverTheTextIsCut(t *testing.T) {
	text := "a\nb\r\nc\rd\n\r\n\n"
	for size := 1; size <= len(text); size++ {
		var l Letter
		for rest := text; rest != ""; {
			n := min(size, len(rest))
			l.count([]byte(rest[:n]))
			rest = rest[n:]
		}
		if l.Size() != 12 || l.WireSize() != 15 {
			t.Errorf("cut at %d: %d and %d", size, l.Size(), l.WireSize())
		}
	}
}

// failing fails the nth step of a kind of op.
type failing struct {
	kind durable.OpKind
	err  error
	done bool // the step is taken, and fails then
}

func (f *failing) Step(op durable.Op, do func() error) error {
	if op.Kind != f.kind {
		return do()
	}
	if f.done {
		do()
	}
	return f.err
}

func TestWhatFailsIsNotThere(t *testing.T) {
	for name, f := range map[string]*failing{
		"no file":                  {kind: durable.OpCreate, err: syscall.ENOSPC},
		"disk full at write":       {kind: durable.OpWrite, err: syscall.ENOSPC},
		"disk full at sync":        {kind: durable.OpSync, err: syscall.ENOSPC, done: true},
		"error at close":           {kind: durable.OpClose, err: syscall.EIO, done: true},
		"quota at rename":          {kind: durable.OpRename, err: syscall.EDQUOT},
		"error of the directory":   {kind: durable.OpSyncDir, err: syscall.EIO, done: true},
		"something has that name":  {kind: durable.OpRename, err: syscall.EEXIST},
		"the directory is no more": {kind: durable.OpRename, err: syscall.ENOENT},
	} {
		dir := newMaildir(t, durable.New())
		_, err := Deliver(durable.NewTraced(f), dir, "h", time.Now(), strings.NewReader("x\n"))
		if !errors.Is(err, f.err) {
			t.Errorf("%s: %v", name, err)
		}
		if there := names(t, dir, "new"); len(there) != 0 {
			t.Errorf("%s: in new: %q", name, there)
		}
		if left := names(t, dir, "tmp"); len(left) != 0 {
			t.Errorf("%s: in tmp: %q", name, left)
		}
	}
}

func TestARenameThatWasDoneAndAnsweredWithAnErrorIsDone(t *testing.T) {
	for _, answer := range []error{syscall.EEXIST, syscall.ENOENT} {
		dir := newMaildir(t, durable.New())
		fs := durable.NewTraced(&failing{kind: durable.OpRename, err: answer, done: true})
		name, err := Deliver(fs, dir, "h", time.Now(), strings.NewReader("x\n"))
		if got := names(t, dir, "new"); err != nil || len(got) != 1 || got[0] != name {
			t.Errorf("%v: %q, %v", answer, got, err)
		}
	}
}

func TestALetterThatIsCalledOffIsNotPlaced(t *testing.T) {
	fs := durable.New()
	dir := newMaildir(t, fs)
	l, err := Begin(fs, dir, "X")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Place(context.Background(), "new", ""); err == nil {
		t.Error("placed before it was synced")
	}
	if err := l.Sync(time.Unix(1000, 0)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := l.Place(ctx, "new", ""); !errors.Is(err, context.Canceled) {
		t.Errorf("placed: %v", err)
	}
	name, err := l.Place(context.Background(), "cur", "SFS")
	if err != nil || name != "X,S=0,W=0:2,FS" {
		t.Errorf("%q, %v", name, err)
	}
	l.Discard()
	if got := names(t, dir, "cur"); len(got) != 0 {
		t.Errorf("discarded and there: %q", got)
	}
}

func TestFinish(t *testing.T) {
	const tmp, name = "X", "X,S=1,W=2"
	for about, c := range map[string]struct {
		files    []string
		thorough bool
		found    bool
		want     string // in new
	}{
		"the rename had not happened":              {[]string{"tmp/X"}, false, true, name},
		"it had happened":                          {[]string{"new/" + name}, false, true, name},
		"a reader has moved it on":                 {[]string{"cur/" + name + ":2,S"}, true, true, ""},
		"a link was made, and the unlink not":      {[]string{"tmp/X", "new/" + name}, false, true, name},
		"a cleaner has taken it":                   {nil, true, false, ""},
		"soon after, its absence proves a rename":  {nil, false, true, ""},
		"another letter of the folder is not this": {[]string{"cur/Y,S=1,W=2:2,"}, true, false, ""},
	} {
		fs := durable.New()
		dir := newMaildir(t, fs)
		for _, f := range c.files {
			if err := os.WriteFile(filepath.Join(dir, f), []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		found, err := Finish(fs, dir, tmp, name, c.thorough)
		got := strings.Join(names(t, dir, "new"), " ")
		if err != nil || found != c.found || got != c.want {
			t.Errorf("%s: %v, %q, %v", about, found, got, err)
		}
		if left := names(t, dir, "tmp"); len(left) != 0 {
			t.Errorf("%s: left in tmp: %q", about, left)
		}
	}
}

func TestCleanGoesByTheTimeThatOnlyTheKernelSets(t *testing.T) {
	fs := durable.New()
	dir := newMaildir(t, fs)
	file := filepath.Join(dir, "tmp", "X")
	os.WriteFile(file, nil, 0o600)
	os.Chtimes(file, time.Unix(0, 0), time.Unix(0, 0))
	if err := Clean(fs, dir, TmpAge); err != nil || len(names(t, dir, "tmp")) != 1 {
		t.Errorf("a letter with an old date was cleaned: %v", err)
	}
	time.Sleep(10 * time.Millisecond)
	if err := Clean(fs, dir, 5*time.Millisecond); err != nil || len(names(t, dir, "tmp")) != 0 {
		t.Errorf("an old file was not: %v", err)
	}
}

func TestNames(t *testing.T) {
	for s, want := range map[string]Name{
		"1.M2P3.h,S=10,W=12:2,FS":       {Base: "1.M2P3.h,S=10,W=12", Info: "2,FS", Flags: "FS", Size: 10, Wire: 12},
		"1.M2P3.h":                      {Base: "1.M2P3.h", Size: -1, Wire: -1},
		"letter:1,experimental":         {Base: "letter", Info: "1,experimental", Size: -1, Wire: -1},
		"letter:2,Sab":                  {Base: "letter", Info: "2,Sab", Flags: "Sab", Size: -1, Wire: -1},
		"a:2,S:2,":                      {Base: "a", Info: "2,S:2,", Flags: "S:2,", Size: -1, Wire: -1},
		"x,S=-1,W=99999999999999999999": {Base: "x,S=-1,W=99999999999999999999", Size: -1, Wire: -1},
		"":                              {Size: -1, Wire: -1},
	} {
		if got := ParseName(s); got != want {
			t.Errorf("ParseName(%q) = %+v, want %+v", s, got, want)
		}
		if got := ParseName(s).String(); got != s {
			t.Errorf("%q becomes %q", s, got)
		}
	}
	if got := ParseName("x:1,y").WithFlags("TSSD").String(); got != "x:2,DST" {
		t.Errorf("with flags: %q", got)
	}
}

func TestFolders(t *testing.T) {
	for _, c := range []struct{ name, disk string }{
		{"INBOX", "INBOX"},
		{"Entwürfe", "Entw&APw-rfe"},
		{"R&D", "R&-D"},
		{"台北", "&U,BTFw-"},
		{"a\xffb", "a\xffb"},
		{"😀", "&2D3eAA-"},
	} {
		if got := EncodeFolder(c.name); got != c.disk {
			t.Errorf("EncodeFolder(%q) = %q, want %q", c.name, got, c.disk)
		}
		if got := DecodeFolder(c.disk); got != c.name {
			t.Errorf("DecodeFolder(%q) = %q, want %q", c.disk, got, c.name)
		}
	}
	for _, keeps := range []string{"Entwürfe", "a&b", "&AP-", "&U,BTFw", "&2D0-"} {
		if got := DecodeFolder(keeps); got != keeps {
			t.Errorf("%q, which is no modified UTF-7, becomes %q", keeps, got)
		}
	}
	if got := Join("a.b", "c/d"); got != ".a&AC4-b.c&AC8-d" {
		t.Errorf("Join = %q", got)
	}
	if got, ok := Split(".a&AC4-b.c&AC8-d"); !ok || strings.Join(got, "|") != "a.b|c/d" {
		t.Errorf("Split = %q, %v", got, ok)
	}
	for _, none := range []string{"", ".", "..", "cur"} {
		if _, ok := Split(none); ok {
			t.Errorf("%q is a folder", none)
		}
	}
}

func TestInitAgainLeavesWhatIsThere(t *testing.T) {
	fs := durable.New()
	dir := newMaildir(t, fs)
	os.WriteFile(filepath.Join(dir, "new", "a"), nil, 0o600)
	if err := Init(fs, dir, 0o700); err != nil || !IsMaildir(fs, dir) || len(names(t, dir, "new")) != 1 {
		t.Errorf("%v", err)
	}
	if IsMaildir(fs, filepath.Dir(dir)) {
		t.Error("its parent is one")
	}
}

func FuzzFolder(f *testing.F) {
	for _, s := range []string{"INBOX", "Entwürfe", "R&D", "&AC4-", "a\xff&", "😀&-"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if got := DecodeFolder(EncodeFolder(name)); got != name {
			t.Errorf("%q becomes %q by way of %q", name, got, EncodeFolder(name))
		}
		DecodeFolder(name)
	})
}

func FuzzName(f *testing.F) {
	f.Add("1.M2P3.h,S=10,W=12:2,FS")
	f.Fuzz(func(t *testing.T, s string) {
		n := ParseName(s)
		if n.Info != "" && n.String() != s {
			t.Errorf("%q becomes %q", s, n.String())
		}
	})
}

// Another implementation reads what is written here.
func TestGoMaildirReadsOurLetters(t *testing.T) {
	dir := newMaildir(t, durable.New())
	if _, err := Deliver(durable.New(), dir, "h", time.Now(), strings.NewReader("text\n")); err != nil {
		t.Fatal(err)
	}
	l, err := Begin(durable.New(), dir, "X")
	if err != nil {
		t.Fatal(err)
	}
	l.Write([]byte("text\n"))
	if err := l.Sync(time.Time{}); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Place(t.Context(), "cur", "SF"); err != nil {
		t.Fatal(err)
	}
	unseen, err := gomaildir.Dir(dir).Unseen()
	if err != nil || len(unseen) != 1 || len(unseen[0].Flags()) != 0 {
		t.Errorf("%v, %v", unseen, err)
	}
	m, err := gomaildir.Dir(dir).MessageByKey("X,S=5,W=6")
	if err != nil {
		t.Fatal(err)
	}
	if got := m.Flags(); len(got) != 2 || got[0] != gomaildir.FlagFlagged || got[1] != gomaildir.FlagSeen {
		t.Errorf("flags %v", got)
	}
}
