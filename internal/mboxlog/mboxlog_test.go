package mboxlog

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"postbag/internal/durable"
	"postbag/internal/mailtest"
)

// A list is a Reader that keeps payloads as text; damage is "?".
type list struct {
	got    []string
	resets int
}

func (l *list) Reset() { l.got, l.resets = nil, l.resets+1 }

func (l *list) Apply(r Record) error {
	if r.Kind == KindDamage {
		l.got = append(l.got, "?")
		return nil
	}
	l.got = append(l.got, string(r.Payload))
	return nil
}

func rec(text string) Record { return Record{KindUser, []byte(text)} }

func open(t testing.TB, path string) *Log {
	t.Helper()
	l, err := Open(durable.New(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func lock(t testing.TB, l *Log, r Reader) {
	t.Helper()
	if ok, err := l.Lock(r); err != nil || !ok {
		t.Fatalf("Lock = %v, %v", ok, err)
	}
}

// put appends records, synced one by one, under the lock.
func put(t testing.TB, l *Log, r Reader, texts ...string) {
	t.Helper()
	lock(t, l, r)
	for _, text := range texts {
		if err := errors.Join(l.Append(rec(text)), l.Sync()); err != nil {
			t.Fatal(err)
		}
		r.Apply(rec(text))
	}
	if err := l.Unlock(); err != nil {
		t.Fatal(err)
	}
}

func want(t testing.TB, r *list, texts ...string) {
	t.Helper()
	if !slices.Equal(r.got, texts) {
		t.Fatalf("the log says %q, want %q", r.got, texts)
	}
}

func TestReadersSeeWhatOthersAppend(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	a, b := open(t, path), open(t, path)
	ra, rb := &list{}, &list{}
	if err := b.Read(rb); err != nil {
		t.Fatal(err)
	}
	want(t, rb)
	put(t, a, ra, "one", "two")
	if err := b.Read(rb); err != nil {
		t.Fatal(err)
	}
	want(t, rb, "one", "two")
	put(t, b, rb, "three")
	put(t, a, ra, "four")
	want(t, ra, "one", "two", "three", "four")
	if ra.resets != 1 {
		t.Errorf("the reader was reset %d times, want once", ra.resets)
	}
}

func TestOneHolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	a, b := open(t, path), open(t, path)
	r := &list{}
	lock(t, a, r)
	if ok, err := b.Lock(r); ok || err != nil {
		t.Fatalf("second Lock = %v, %v", ok, err)
	}
	a.Unlock()
	lock(t, b, r)
	if err := a.Append(rec("x")); err == nil {
		t.Error("Append without the lock works")
	}
}

func TestCompactionIsSeenByAll(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	a, b := open(t, path), open(t, path)
	ra, rb := &list{}, &list{}
	put(t, a, ra, "one", "two", "three")
	if err := b.Read(rb); err != nil {
		t.Fatal(err)
	}
	lock(t, a, ra)
	if err := a.Compact(slices.Values([]Record{rec("all")})); err != nil {
		t.Fatal(err)
	}
	if ok, _ := b.Lock(rb); ok {
		t.Fatal("another process gets the lock that the compaction holds")
	}
	if err := errors.Join(a.Append(rec("more")), a.Sync(), a.Unlock()); err != nil {
		t.Fatal(err)
	}
	put(t, b, rb, "last")
	want(t, rb, "all", "more", "last")
	if left, _ := filepath.Glob(path + ".*"); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestDamage(t *testing.T) {
	// Frames of the log: head 40, settled 25, then "one" at 65, "two" at 92,
	// "three" at 119, 29 long.
	tests := []struct {
		name string
		harm func([]byte) []byte
		want []string
		bad  bool
	}{
		{"nothing", func(b []byte) []byte { return b }, []string{"one", "two", "three"}, false},
		{"a torn tail is cut", func(b []byte) []byte { return b[:len(b)-1] }, []string{"one", "two"}, false},
		{"garbage after the end is cut", func(b []byte) []byte { return append(b, "garbage"...) }, []string{"one", "two", "three"}, false},
		{"zeros after the end are cut", func(b []byte) []byte { return append(b, make([]byte, 600)...) }, []string{"one", "two", "three"}, false},
		{"an octet wrong in the middle is damage", func(b []byte) []byte { b[95]++; return b }, []string{"one", "?", "three"}, true},
		{"octets missing in the middle are damage, and what stands elsewhere than it was written does not count",
			func(b []byte) []byte { return slices.Delete(b, 92, 93) }, []string{"one"}, false},
		{"zeros in the middle are damage", func(b []byte) []byte { clear(b[70:100]); return b }, []string{"?", "three"}, true},
		{"a damaged head loses the log", func(b []byte) []byte { b[30]++; return b }, []string{"?"}, true},
		{"an empty file is a new log", func(b []byte) []byte { return nil }, nil, false},
		{"half a head is a new log", func(b []byte) []byte { return b[:20] }, nil, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "log")
			put(t, open(t, path), &list{}, "one", "two", "three")
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			whole := bytes.Clone(b)
			if err := os.WriteFile(path, tt.harm(b), 0o600); err != nil {
				t.Fatal(err)
			}
			r := &list{}
			l := open(t, path)
			put(t, l, r, "new")
			want(t, r, append(tt.want, "new")...)
			again := &list{}
			if err := open(t, path).Read(again); err != nil {
				t.Fatal(err)
			}
			want(t, again, append(tt.want, "new")...)
			kept, err := os.ReadFile(path + ".bad")
			if (err == nil) != tt.bad || tt.bad && len(kept) != len(whole) {
				t.Errorf("a copy of the damaged log is kept: %v (%d octets), want %v", err == nil, len(kept), tt.bad)
			}
		})
	}
}

func TestUnsyncedFramesAfterATornOneAreNoDamage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	l, r := open(t, path), &list{}
	put(t, l, r, "one")
	lock(t, l, r)
	end := l.Position().Offset
	if err := errors.Join(l.Append(rec("lost")), l.Append(rec("never told")), l.Unlock()); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[end+frameHead]++ // a sector that the crash did not write
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	again := &list{}
	put(t, open(t, path), again, "new")
	want(t, again, "one", "new")
}

func TestAProcessBehindAShorterLogReadsItAnew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	a, b := open(t, path), open(t, path)
	ra, rb := &list{}, &list{}
	put(t, a, ra, "one")
	lock(t, a, ra)
	a.Append(rec("taken back"))
	if err := b.Read(rb); err != nil {
		t.Fatal(err)
	}
	want(t, rb, "one", "taken back")
	a.undo(a.mark)
	a.Unlock()
	c, rc := open(t, path), &list{}
	put(t, c, rc, "a longer one than that")
	put(t, b, rb, "last")
	want(t, rb, "one", "a longer one than that", "last")
}

func TestGoneFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "folder")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	l, r := open(t, filepath.Join(dir, "log")), &list{}
	put(t, l, r, "one")
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := l.Read(r); !errors.Is(err, ErrGone) {
		t.Errorf("Read = %v, want ErrGone", err)
	}
	if _, err := l.Lock(r); !errors.Is(err, ErrGone) {
		t.Errorf("Lock = %v, want ErrGone", err)
	}
}

func TestSnapshot(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "snap")
	l, r := open(t, filepath.Join(dir, "log")), &list{}
	put(t, l, r, "one", "two")
	if _, err := WriteSnapshot(durable.New(), path, l.Position(), []byte("head"), nil, []byte("names")); err != nil {
		t.Fatal(err)
	}
	put(t, l, r, "three")
	s, err := OpenSnapshot(durable.New(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for i, text := range []string{"head", "", "names"} {
		if b, err := s.Section(i); err != nil || string(b) != text {
			t.Errorf("Section(%d) = %q, %v, want %q", i, b, err, text)
		}
	}
	m, rm := open(t, filepath.Join(dir, "log")), &list{}
	if !m.Resume(s.Position) {
		t.Fatal("Resume refuses the log of the snapshot")
	}
	if err := m.Read(rm); err != nil {
		t.Fatal(err)
	}
	want(t, rm, "three")
	if rm.resets != 0 {
		t.Error("resuming resets the reader")
	}
	other := open(t, filepath.Join(dir, "other"))
	put(t, other, &list{}, "one", "two")
	if open(t, filepath.Join(dir, "other")).Resume(s.Position) {
		t.Error("Resume takes another log's snapshot")
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range b {
		harm := bytes.Clone(b)
		harm[i] ^= 1
		if snapshotHolds(t, path, harm) {
			t.Errorf("octet %d wrong goes unnoticed", i)
		}
	}
	for i := range b {
		if snapshotHolds(t, path, b[:i]) {
			t.Errorf("cut at %d goes unnoticed", i)
		}
	}
}

// snapshotHolds reports whether every section of a snapshot reads well.
func snapshotHolds(t *testing.T, path string, b []byte) bool {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := OpenSnapshot(durable.New(), path)
	if err != nil {
		return false
	}
	defer s.Close()
	for i := range 3 {
		if _, err := s.Section(i); err != nil {
			return false
		}
	}
	return true
}

// FuzzLog reads logs that have been changed in any way: nothing is invented,
// what stands before the change is there, and the log works afterwards.
func FuzzLog(f *testing.F) {
	f.Add(uint16(0), byte(1), uint16(0), []byte(nil))
	f.Add(uint16(95), byte(3), uint16(1000), []byte(nil))
	f.Add(uint16(0), byte(0), uint16(100), []byte("torn"))
	f.Add(uint16(41), byte(0xFF), uint16(130), bytes.Repeat([]byte{0x4D, 0xB6, 16, 0}, 10))
	path := filepath.Join(mailtest.Memory(f), "log")
	whole, texts, ends := fuzzedLog(f, path)
	f.Fuzz(func(t *testing.T, at uint16, flip byte, cut uint16, tail []byte) {
		b := slices.Clone(whole)
		first := len(b) // that is changed
		if flip != 0 {
			first = int(at) % len(b)
			b[first] ^= flip
		}
		if int(cut) < len(b) {
			b, first = b[:cut], min(first, int(cut))
		}
		if err := os.WriteFile(path, append(b, tail...), 0o600); err != nil {
			t.Fatal(err)
		}
		r := &list{}
		putAndClose(t, path, r, "after")
		for i, text := range r.got {
			if text != "?" && text != "after" && !slices.Contains(texts, text) {
				t.Fatalf("the log says %q, which nobody wrote", text)
			}
			if i < len(texts) && ends[i] <= first && text != texts[i] {
				t.Fatalf("the log says %q, which was not changed: %q", r.got, texts[i])
			}
		}
		if n := before(ends, first); len(r.got) <= n {
			t.Fatalf("the log says %q, of %d records that were not changed", r.got, n)
		}
		again := &list{}
		putAndClose(t, path, again)
		if !slices.Equal(again.got, r.got) {
			t.Fatalf("read again the log says %q, want %q", again.got, r.got)
		}
	})
}

// before counts the records that end before an offset.
func before(ends []int, at int) (n int) {
	for n < len(ends) && ends[n] <= at {
		n++
	}
	return n
}

// fuzzedLog gives a sound log, what it says, and where each record ends.
func fuzzedLog(f *testing.F, path string) (whole []byte, texts []string, ends []int) {
	for i := range 8 {
		texts = append(texts, fmt.Sprint("record ", i))
		putAndClose(f, path, &list{}, texts[i])
		b, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		whole, ends = b, append(ends, len(b))
	}
	return whole, texts, ends
}

// putAndClose reads the log, appends to it, and lets go of it.
func putAndClose(t testing.TB, path string, r *list, texts ...string) {
	t.Helper()
	l, err := Open(durable.New(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	put(t, l, r, texts...)
}

// Who owns a log may have made it as large as he likes.
func TestALogThatIsTooLargeIsNotRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	var seen list
	put(t, open(t, path), &seen, "a")
	if err := os.Truncate(path, durable.MaxRead*2); err != nil {
		t.Fatal(err)
	}
	if err := open(t, path).Read(&seen); !errors.Is(err, syscall.EFBIG) {
		t.Errorf("%v, want %v", err, syscall.EFBIG)
	}
}

func TestReadTo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	l, r := open(t, path), &list{}
	put(t, l, r, "one")
	first := l.Position()
	put(t, l, r, "two")
	second := l.Position()
	put(t, l, r, "three")
	for name, c := range map[string]struct {
		to      func(p Position) Position
		reached bool
		want    []string
	}{
		"a position of the log": {func(p Position) Position { return p }, true, []string{"two"}},
		"where it is already":   {func(Position) Position { return first }, true, nil},
		"within a frame":        {func(p Position) Position { p.Offset++; return p }, false, []string{"two"}},
		"another history":       {func(p Position) Position { p.CRC++; return p }, false, []string{"two"}},
		"another log":           {func(p Position) Position { p.ID++; return p }, false, nil},
		"before what was read":  {func(p Position) Position { p.Offset = headSize; return p }, false, nil},
		"beyond the end":        {func(p Position) Position { p.Offset += 1000; return p }, false, nil},
	} {
		m, rm := open(t, path), &list{}
		if !m.Resume(first) {
			t.Fatal("Resume refuses the log")
		}
		reached, err := m.ReadTo(rm, c.to(second))
		if err != nil || reached != c.reached {
			t.Errorf("%s: ReadTo = %v, %v, want %v", name, reached, err, c.reached)
		}
		want(t, rm, c.want...)
		if err := m.Read(rm); err != nil {
			t.Error(err)
		}
		if got := len(rm.got); got != 2 {
			t.Errorf("%s: %d records in the end, want 2", name, got)
		}
	}
}
