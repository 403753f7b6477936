package spool

import (
	"errors"
	"io"
	iofs "io/fs"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"postbag/internal/durable"
)

// pass brings a message through the queue at its first attempt.
func pass(t testing.TB, s *Spool, text string) (file string, ino uint64) {
	t.Helper()
	id := queue(t, s, text, "a@example.net")
	file = s.Path("queue/new", id.fileName())
	st, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	l := lock(t, s, id)
	defer l.Unlock()
	if got := readMessage(t, l); got != text {
		t.Errorf("message of %d octets, want %d", len(got), len(text))
	}
	settleAll(t, l)
	if err := l.Remove(ctx); err != nil {
		t.Fatal(err)
	}
	return file, st.Sys().(*syscall.Stat_t).Ino
}

func TestAMessageIsWrittenOverOneThatHasLeft(t *testing.T) {
	s := handing(t, durable.New(), 1<<20)
	_, first := pass(t, s, strings.Repeat("long\n", 3000))
	for _, text := range []string{"x\n", strings.Repeat("longer\n", 4000), strings.Repeat("y\n", 4000)} {
		if _, ino := pass(t, s, text); ino != first {
			t.Errorf("a letter of %d octets has a file of its own", len(text))
		}
		id := queue(t, s, text, "b@example.net")
		l := lock(t, another(t, s), id) // as it is on the disk
		if got := readMessage(t, l); got != text || l.Entry().Damage != nil {
			t.Errorf("message of %d octets, want %d; %v", len(got), len(text), l.Entry().Damage)
		}
		settleAll(t, l)
		if err := l.Remove(ctx); err != nil {
			t.Error(err)
		}
		l.Unlock()
		_, first = pass(t, s, text)
	}
	s.HandOver(0)
	if left := names(t, s, "queue/tmp"); len(left) != 0 {
		t.Errorf("left in tmp: %q", left)
	}
}

func TestALargeMessageIsWrittenOverASmallOne(t *testing.T) {
	s := handing(t, durable.New(), 1<<20)
	pass(t, s, "x\n")
	text := strings.Repeat("many\n", 60_000)
	l := lock(t, s, queue(t, s, text, "a@example.net"))
	defer l.Unlock()
	if got := readMessage(t, l); got != text || l.Entry().Damage != nil {
		t.Errorf("message of %d octets, want %d; %v", len(got), len(text), l.Entry().Damage)
	}
}

func TestADraftOnASpareIsDiscarded(t *testing.T) {
	s := handing(t, durable.New(), 1<<20)
	pass(t, s, "x\n")
	d, err := s.Create(ctx, letter("a@example.net"))
	if err != nil || d.old == 0 {
		t.Fatalf("%v, on %d octets", err, d.old)
	}
	if _, err := io.WriteString(d, "half"); err != nil {
		t.Fatal(err)
	}
	d.Discard()
	if left := names(t, s, "queue/tmp"); len(left) != 0 || len(list(t, s)) != 0 {
		t.Errorf("left %q, %v", left, list(t, s))
	}
}

func TestSparesAreFewAndNotOld(t *testing.T) {
	s := handing(t, durable.New(), 1<<20)
	var ids []ID
	for range maxSpares + 3 {
		ids = append(ids, queue(t, s, "x\n", "a@example.net"))
	}
	for _, id := range ids {
		l := lock(t, s, id)
		settleAll(t, l)
		if err := l.Remove(ctx); err != nil {
			t.Fatal(err)
		}
		l.Unlock()
	}
	if got := names(t, s, "queue/tmp"); len(got) != maxSpares {
		t.Errorf("%d spares, want %d", len(got), maxSpares)
	}
	for _, sp := range s.spares.all {
		sp.at = sp.at.Add(-2 * spareAge)
	}
	if sp := s.takeSpare(); sp != nil || len(names(t, s, "queue/tmp")) != maxSpares-1 {
		t.Errorf("an old spare is used, or kept: %+v, %d left", sp, len(names(t, s, "queue/tmp")))
	}
	if spareAge >= 36*time.Hour {
		t.Error("a spare may be cleaned while it is used")
	}
}

// unsyncable lets no directory be synced.
type unsyncable struct{ now bool }

func (u *unsyncable) Step(op durable.Op, do func() error) error {
	if u.now && op.Kind == durable.OpSyncDir {
		return syscall.EIO
	}
	return do()
}

// A message whose removal may not last is never written over.
func TestNothingIsWrittenOverAMessageThatMayComeBack(t *testing.T) {
	var u unsyncable
	s := handing(t, durable.NewTraced(&u), 1<<20)
	l := lock(t, s, queue(t, s, "x\n", "a@example.net"))
	settleAll(t, l)
	u.now = true
	if err := l.Remove(ctx); !errors.Is(err, syscall.EIO) {
		t.Errorf("Remove = %v", err)
	}
	l.Unlock()
	if sp := s.takeSpare(); sp != nil {
		t.Errorf("%s is a spare", sp.path)
	}
}

// Who has a message open while it leaves and another is written over it does not
// take that for damage.
func TestAReaderOfAMessageThatIsWrittenOver(t *testing.T) {
	s := handing(t, durable.New(), 1<<20)
	id := queue(t, s, "x\n", "a@example.net")
	name := "queue/new/" + id.fileName()
	f, err := os.Open(s.Path(name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if !s.stillNames(name, f) {
		t.Error("the message is not where it is")
	}
	l := lock(t, s, id)
	settleAll(t, l)
	if err := l.Remove(ctx); err != nil {
		t.Fatal(err)
	}
	l.Unlock()
	queue(t, s, "y\n", "a@example.net")
	e := &Entry{file: name}
	if err := e.read(f, id); err != nil || e.Damage == nil {
		t.Errorf("the open file: %v, damage %v", err, e.Damage)
	}
	if s.stillNames(name, f) {
		t.Error("the message still has its name")
	}
	if _, err := os.Lstat(s.Path(name)); !errors.Is(err, iofs.ErrNotExist) {
		t.Error(err)
	}
}
