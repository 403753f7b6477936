package fetchlog

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"postbag/internal/durable"
)

func open(t *testing.T, dir string) *Log {
	t.Helper()
	l, err := Open(durable.New(), dir, "imap-ann@example.org", "maildir:/m")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func folder(t *testing.T, l *Log, name string, validity uint32) *Folder {
	t.Helper()
	f, _, err := l.Folder(name, validity)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// logFile is the path of the only journal in dir.
func logFile(t *testing.T, dir string) string {
	t.Helper()
	names, _ := filepath.Glob(filepath.Join(dir, "*.log"))
	if len(names) != 1 {
		t.Fatalf("journals: %v", names)
	}
	return names[0]
}

func TestWhatIsNotedIsRemembered(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	folder(t, l, "INBOX", 7)
	odd := Placement{Folder: "INBOX", Key: "a\tb\nc\\d", Digest: "d2", Dir: "/m", Tmp: "x", Name: "new/y", Offset: 1 << 40}
	must(t, l.Done(Placement{Folder: "INBOX", Key: "1", Digest: "d1"}))
	must(t, l.Placed(odd, Placement{Folder: "INBOX", Key: "3", Digest: "d3"}))
	must(t, l.Done(Placement{Folder: "INBOX", Key: "3", Digest: "d3"}))
	must(t, l.Done(Placement{Folder: "INBOX", Key: "4", Digest: "d4"}))
	must(t, l.Forget("INBOX", "4"))
	must(t, l.Close())

	l = open(t, dir)
	f := folder(t, l, "INBOX", 7)
	for key, want := range map[string]bool{"1": true, "2": false, odd.Key: false, "3": true, "4": false} {
		if got := f.Done(key); got != want {
			t.Errorf("Done(%q) = %v, want %v", key, got, want)
		}
	}
	if got := l.Pending(); len(got) != 1 || got[0] != odd {
		t.Errorf("Pending = %+v, want %+v", got, odd)
	}
	if l.Damaged() != 0 {
		t.Errorf("%d lines damaged", l.Damaged())
	}
}

func TestOneProcessPerAccount(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	if _, err := Open(durable.New(), dir, "imap-ann@example.org", "pipe:x"); !errors.Is(err, ErrLocked) {
		t.Errorf("second Open = %v, want ErrLocked", err)
	}
	other, err := Open(durable.New(), dir, "imap-bob@example.org", "maildir:/m")
	must(t, err)
	must(t, other.Close())
	must(t, l.Close())
	open(t, dir)
}

func TestTargetsAreApart(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	folder(t, l, "INBOX", 1)
	must(t, l.Done(Placement{Folder: "INBOX", Key: "1"}))
	must(t, l.Close())
	l, err := Open(durable.New(), dir, "imap-ann@example.org", "pipe:x")
	must(t, err)
	defer l.Close()
	if folder(t, l, "INBOX", 1).Done("1") {
		t.Error("what went to one target counts for another")
	}
}

func TestUIDValidityChange(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	folder(t, l, "INBOX", 1)
	must(t, l.Done(Placement{Folder: "INBOX", Key: "1", Digest: "same"}, Placement{Folder: "INBOX", Key: "2", Digest: "same"}, Placement{Folder: "INBOX", Key: "3", Digest: "d3"}))
	must(t, l.Close())
	l = open(t, dir)
	f, renewed, err := l.Folder("INBOX", 2)
	if !renewed || err != nil || f.Done("1") || f.Former("same") != 2 || f.Former("d3") != 1 || f.Former("new") != 0 {
		t.Errorf("renewed %v, %v, former %v", renewed, err, f.former)
	}
	must(t, l.Done(Placement{Folder: "INBOX", Key: "9", Digest: "same"}))
	must(t, l.rewrite())
	must(t, l.Close())
	l = open(t, dir)
	if f := folder(t, l, "INBOX", 2); !f.Done("9") || f.Done("1") || f.Former("same") != 1 || f.Former("d3") != 1 {
		t.Errorf("after opening again: former %v", f.former)
	}
}

func TestEveryTornTail(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	folder(t, l, "INBOX", 1)
	for i := range 3 {
		must(t, l.Done(Placement{Folder: "INBOX", Key: strconv.Itoa(i), Digest: "d"}))
	}
	must(t, l.Close())
	path := logFile(t, dir)
	whole, err := os.ReadFile(path)
	must(t, err)
	lines := bytes.Split(bytes.TrimSuffix(whole, []byte("\n")), []byte("\n"))
	last := len(whole) - len(lines[len(lines)-1]) - 1
	for cut := last; cut < len(whole); cut++ {
		for _, rest := range []string{"", strings.Repeat("\x00", len(whole)-cut), "garbage\n"} {
			must(t, os.WriteFile(path, append(slices.Clone(whole[:cut]), rest...), 0o600))
			l := open(t, dir)
			f := folder(t, l, "INBOX", 1)
			if !f.Done("0") || !f.Done("1") || f.Done("2") {
				t.Fatalf("cut at %d, then %q: known are %v", cut, rest, f.Keys())
			}
			must(t, l.Done(Placement{Folder: "INBOX", Key: "9", Digest: "d"}))
			must(t, l.Close())
			l = open(t, dir)
			if l.Damaged() != 0 || !folder(t, l, "INBOX", 1).Done("9") {
				t.Fatalf("cut at %d, then %q: not mended", cut, rest)
			}
			must(t, l.Close())
		}
	}
}

func TestDamageLosesOneLineAndKeepsTheFile(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	folder(t, l, "INBOX", 1)
	for i := range 3 {
		must(t, l.Done(Placement{Folder: "INBOX", Key: strconv.Itoa(i), Digest: "d"}))
	}
	must(t, l.Close())
	path := logFile(t, dir)
	data, _ := os.ReadFile(path)
	bad := bytes.Replace(data, []byte("INBOX\t1\td"), []byte("INBOX\t7\td"), 1)
	must(t, os.WriteFile(path, bad, 0o600))
	l = open(t, dir)
	f := folder(t, l, "INBOX", 1)
	if l.Damaged() != 1 || !f.Done("0") || f.Done("1") || f.Done("7") || !f.Done("2") {
		t.Errorf("%d damaged, known are %v", l.Damaged(), f.Keys())
	}
	if kept, err := os.ReadFile(path + ".bad"); err != nil || !bytes.Equal(kept, bad) {
		t.Errorf("the damaged file is not kept: %v", err)
	}
}

func TestJournalDoesNotGrowForEver(t *testing.T) {
	dir := t.TempDir()
	for round := range 5 {
		l := open(t, dir)
		folder(t, l, "INBOX", 1)
		var all []Placement
		var keys []string
		for i := range 600 {
			key := fmt.Sprint(round, "-", i)
			all, keys = append(all, Placement{Folder: "INBOX", Key: key, Digest: "d"}), append(keys, key)
		}
		must(t, l.Done(all...))
		must(t, l.Forget("INBOX", keys...))
		must(t, l.Close())
	}
	l := open(t, dir)
	if info, err := os.Stat(logFile(t, dir)); err != nil || info.Size() > 1000 || len(l.Pending()) != 0 {
		t.Errorf("journal has %d octets, %v", info.Size(), err)
	}
}

func FuzzRead(f *testing.F) {
	var buf bytes.Buffer
	record{"validity", "INBOX", "7"}.write(&buf)
	record{"done", "INBOX", "1", "d"}.write(&buf)
	record{"placed", "INBOX", "2", "d", "/m", "t", "new/n", "0"}.write(&buf)
	record{"forget", "INBOX", "1"}.write(&buf)
	record{"former", "INBOX", "d", "2"}.write(&buf)
	f.Add(buf.Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		l := &Log{folders: map[string]*Folder{}, pending: map[pendingKey]Placement{}}
		l.read(data)
		var again bytes.Buffer
		for _, f := range l.folders {
			for _, r := range f.records() {
				r.write(&again)
			}
		}
		m := &Log{folders: map[string]*Folder{}, pending: map[pendingKey]Placement{}}
		m.read(again.Bytes())
		for name, f := range l.folders {
			if g := m.folders[name]; g == nil || g.validity != f.validity || len(g.done) != len(f.done) || fmt.Sprint(g.former) != fmt.Sprint(f.former) || m.damaged > 0 {
				t.Fatalf("%q: %+v became %+v, %d damaged", name, f, g, m.damaged)
			}
		}
	})
}
