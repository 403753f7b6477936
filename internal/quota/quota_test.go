package quota

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"postbag/internal/durable"
	"postbag/internal/maildir"
	"postbag/internal/status"
)

type fixture struct {
	t    *testing.T
	root string
}

// newFixture makes an account with 300 octets in three letters: one without a
// size in its name, one in a folder, one in the trash.
func newFixture(t *testing.T) *fixture {
	x := &fixture{t, filepath.Join(t.TempDir(), "mail")}
	for _, dir := range []string{"", ".A", ".Trash"} {
		if err := maildir.Init(durable.New(), filepath.Join(x.root, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	x.write("new/1.M1P1.h", strings.Repeat("x", 100))
	x.write(".A/cur/2.M1P1.h,S=150:2,S", "believed")
	x.write(".Trash/cur/3.M1P1.h,S=50:2,ST", "counts, too")
	return x
}

func (x *fixture) write(name, text string) {
	x.t.Helper()
	if err := os.WriteFile(filepath.Join(x.root, name), []byte(text), 0o600); err != nil {
		x.t.Fatal(err)
	}
}

func (x *fixture) file() string {
	b, err := os.ReadFile(filepath.Join(x.root, fileName))
	if err != nil {
		return ""
	}
	return strings.Join(strings.Fields(string(b)), " ")
}

// aged makes the file as old as that.
func (x *fixture) aged(age time.Duration) {
	then := time.Now().Add(-age)
	if err := os.Chtimes(filepath.Join(x.root, fileName), then, then); err != nil {
		x.t.Fatal(err)
	}
}

func (x *fixture) quota(limit Limit) *Quota { return New(durable.New(), x.root, limit) }

func TestState(t *testing.T) {
	long := strings.Repeat(fmt.Sprintf("%12d %12d\n", 1, 0), maxFile/26+1)
	tests := []struct {
		name   string
		limit  Limit  // configured
		file   string // what lies there
		want   string // of State
		writes string // what then lies there
	}{
		{"nothing configured and no file is no limit", Limit{}, "", " {0 0}", ""},
		{"configured and no file is counted", Limit{Bytes: 1000}, "", "1000S {300 3}", "1000S 300 3"},
		{"the file's own limit counts", Limit{}, "500S,7C\n10 1\n", "500S,7C {10 1}", "500S,7C 10 1"},
		{"lines are added up", Limit{}, "500S\n10 1\n  20   2 \n-5 -1\n", "500S {25 2}", "500S 10 1 20 2 -5 -1"},
		{"the configured limit stands above the file's", Limit{Bytes: 1000}, "500S\n10 1\n", "1000S {300 3}", "1000S 300 3"},
		{"a file that is too long is made anew", Limit{}, "500S\n" + long, "500S {300 3}", "500S 300 3"},
		{"other kinds of limits are passed over", Limit{}, "500S,9X\n10 1\n", "500S {10 1}", "500S,9X 10 1"},
		{"no limit in the file is none", Limit{}, "\n10 1\n", " {0 0}", "10 1"},
		{"a limit alone is counted", Limit{}, "500S\n", "500S {300 3}", "500S 300 3"},
		{"a line that is being written does not count yet", Limit{}, "500S\n10 1\n20", "500S {10 1}", "500S 10 1 20"},
		{"what makes no sense is counted anew", Limit{}, "500S\n10 1\nx y\n", "500S {300 3}", "500S 300 3"},
		{"less than nothing is counted anew", Limit{}, "500S\n10 1\n-20 -1\n", "500S {300 3}", "500S 300 3"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			x := newFixture(t)
			if tt.file != "" {
				x.write(fileName, tt.file)
			}
			limit, usage, err := x.quota(tt.limit).State()
			if got := fmt.Sprint(limit, usage); got != tt.want || err != nil {
				t.Errorf("State() = %s, %v, want %s", got, err, tt.want)
			}
			if got := x.file(); got != tt.writes {
				t.Errorf("the file is %q, want %q", got, tt.writes)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	tests := []struct {
		name string
		file string
		age  time.Duration
		add  Usage
		want string // "" is room
	}{
		{"there is room", "300S\n200 1\n", 0, Usage{100, 1}, ""},
		{"one octet too much", "300S\n300 3\n", 0, Usage{1, 1}, "452 4.2.2 mailbox is full"},
		{"a fresh count is believed", "350S\n350 9\n", 14 * time.Minute, Usage{1, 1}, "452 4.2.2 mailbox is full"},
		{"an old one is not", "350S\n350 9\n", 16 * time.Minute, Usage{50, 1}, ""},
		{"a sum of notes is not", "350S\n200 9\n150 1\n", 0, Usage{50, 1}, ""},
		{"and then it may really be full", "350S\n200 9\n150 1\n", 0, Usage{51, 1}, "452 4.2.2 mailbox is full"},
		{"too many letters", "3C\n300 3\n", 0, Usage{1, 1}, "452 4.2.2 mailbox is full"},
		{"what never fits", "350S\n0 0\n", 0, Usage{351, 1}, "552 5.2.2 message is larger than the mailbox may be"},
		{"no limit", "\n", 0, Usage{1 << 40, 1}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			x := newFixture(t)
			x.write(fileName, tt.file)
			x.aged(tt.age)
			err := x.quota(Limit{}).Check(tt.add)
			if err == nil && tt.want == "" {
				return
			}
			if got := status.Diagnostic(err); got != tt.want || !errors.Is(err, ErrOver) {
				t.Errorf("Check() = %q, want %q", got, tt.want)
			}
		})
	}
}

func TestNotesOfManyAreAddedUp(t *testing.T) {
	x := newFixture(t)
	q := x.quota(Limit{Bytes: 1000})
	q.Note(Usage{1, 1})
	if got := x.file(); got != "" {
		t.Errorf("a note begins the file: %q", got)
	}
	if err := q.Recount(); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() { q.Note(Usage{2, 1}) })
	}
	wg.Wait()
	q.Note(Usage{-3, -1})
	if _, usage, err := q.State(); err != nil || usage != (Usage{397, 52}) {
		t.Errorf("usage is %v, %v", usage, err)
	}
}

func TestKept(t *testing.T) {
	x := newFixture(t)
	if x.quota(Limit{}).Kept() {
		t.Error("nothing is configured, and there is no file")
	}
	if !x.quota(Limit{Letters: 1}).Kept() {
		t.Error("a limit is configured")
	}
	x.write(fileName, "1S\n")
	if !x.quota(Limit{}).Kept() {
		t.Error("there is a file")
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"", "500S,7C\n10 1\n", "1S\n1 1\n-1 -1\n2", "S\n", "1X,2S\n\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		s, ok := parse(text)
		if !ok {
			return
		}
		again, ok := parse(s.format())
		if !ok || again.limit != s.limit || again.usage != s.usage || s.usage.Bytes < 0 {
			t.Errorf("%+v is written as %q", s, s.format())
		}
	})
}

func TestWhatIsNoFileIsNeitherReadNorWritten(t *testing.T) {
	for what, put := range map[string]func(path, target string) error{
		"a link": func(path, target string) error { return os.Symlink(target, path) },
		"a pipe": func(path, _ string) error { return syscall.Mkfifo(path, 0o600) },
	} {
		x := newFixture(t)
		target := filepath.Join(x.root, "..", "other")
		x.write("../other", "500S\n10 1\n")
		if err := put(filepath.Join(x.root, fileName), target); err != nil {
			t.Fatal(err)
		}
		q := x.quota(Limit{})
		if err := q.Check(Usage{1, 1}); err == nil || errors.Is(err, ErrOver) {
			t.Errorf("%s: Check() = %v", what, err)
		}
		q.Note(Usage{1, 1})
		if text, _ := os.ReadFile(target); string(text) != "500S\n10 1\n" {
			t.Errorf("%s: written to: %q", what, text)
		}
	}
}
