package spool

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"postbag/internal/durable"
)

func TestOneRunner(t *testing.T) {
	s := open(t, durable.New())
	active := func(want bool) {
		t.Helper()
		if got, err := s.RunnerActive(); err != nil || got != want {
			t.Errorf("active %v, %v", got, err)
		}
	}
	active(false)
	r, err := s.LockRunner(ctx)
	if err != nil {
		t.Fatal(err)
	}
	active(true)
	if _, err := s.LockRunner(ctx); !errors.Is(err, ErrLocked) {
		t.Errorf("second: %v", err)
	}
	r.Unlock()
	active(false)
	r, err = s.LockRunner(ctx)
	if err != nil {
		t.Fatal(err)
	}
	r.Unlock()
}

func TestWakeReachesTheRunner(t *testing.T) {
	// The path of a socket may not be longer than 108 octets, that of a spool may.
	s, err := Open(durable.New(), filepath.Join(t.TempDir(), strings.Repeat("long/", 30)), Options{})
	if err != nil {
		t.Fatal(err)
	}
	other, err := Open(durable.New(), s.Dir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Wake(ctx); !errors.Is(err, ErrNoRunner) {
		t.Errorf("without runner: %v", err)
	}
	l, err := s.Listen(ctx)
	if err != nil {
		t.Fatal(err)
	}
	id := s.NewID()
	for name, from := range map[string]*Spool{"this process": s, "another": other} {
		if err := from.Wake(ctx, id); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := heard(t, l.Calls()); got.ID != id {
			t.Errorf("%s: heard %q", name, got.ID)
		}
		if err := from.Wake(ctx); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		heard(t, l.All())
	}
	for from, want := range map[*Spool]Call{s: {id, 7}, other: {id, 0}} {
		if err := from.WakeFor(ctx, &Envelope{ID: id, Priority: 7}); err != nil {
			t.Error(err)
		}
		if got := heard(t, l.Calls()); got != want {
			t.Errorf("heard %v, want %v", got, want)
		}
	}
	if err := other.Wake(ctx, make([]ID, 5000)...); err != nil {
		t.Errorf("many: %v", err)
	}
	heard(t, l.All())
	l.Close()
	if err := other.Wake(ctx, id); !errors.Is(err, ErrNoRunner) {
		t.Errorf("after its end: %v", err)
	}
	if l, err = other.Listen(ctx); err != nil {
		t.Fatal(err)
	}
	l.Close()
}

func heard[T any](t *testing.T, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(time.Minute):
		t.Error("not heard")
	}
	return v
}

func TestAListenerThatCannotFollowLooksAtAll(t *testing.T) {
	s := open(t, durable.New())
	l, err := s.Listen(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for range 2000 {
		if err := s.Wake(ctx, s.NewID()); err != nil {
			t.Fatal(err)
		}
	}
	heard(t, l.All())
}

func drop(t *testing.T, s *Spool, text string) *Draft {
	t.Helper()
	e := letter("bob@example.net")
	e.Login, e.Report, e.ClientIP = "forged", ReportBounce, "192.0.2.9"
	d, err := s.Drop(ctx, e)
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(d, text)
	return d
}

func TestDrops(t *testing.T) {
	s := open(t, durable.New())
	d := drop(t, s, "Subject: x\n\n")
	if err := d.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	begun := drop(t, s, "nothing of it is on the disk yet\n")
	defer begun.Discard()
	half := drop(t, s, strings.Repeat("half of it\n", 10000))
	ids, refused, err := s.TakeDrops(ctx)
	if err != nil || len(refused) != 0 || len(ids) != 1 || ids[0] != d.Envelope().ID {
		t.Fatalf("%v, %v, %v", ids, refused, err)
	}
	l := lock(t, s, ids[0])
	defer l.Unlock()
	e := l.Entry()
	if got := readMessage(t, l); got != "Subject: x\n\n" || e.UID != os.Getuid() {
		t.Errorf("%q of uid %d", got, e.UID)
	}
	if e.Login != "" || e.Report != "" || e.ClientIP != "" || e.Proto != "local" {
		t.Errorf("a user's word was believed: %+v", e.Envelope)
	}
	if err := half.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	if ids, _, err = s.TakeDrops(ctx); err != nil || len(ids) != 1 {
		t.Errorf("the other half: %v, %v", ids, err)
	}
	if left, _ := readNames(s.Path("drop")); len(left) != 1 {
		t.Errorf("left %q", left)
	}
}

func TestADropThatWasTakenBeforeACrashIsNotTakenTwice(t *testing.T) {
	trace := &failing{}
	s := open(t, durable.NewTraced(trace))
	d := drop(t, s, "x\n")
	if err := d.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	trace.set(durable.OpRemove, syscall.EIO, false)
	if _, _, err := s.TakeDrops(ctx); err == nil {
		t.Fatal("no error")
	}
	trace.set("", nil, false)
	ids, _, err := s.TakeDrops(ctx)
	if err != nil || len(ids) != 1 || len(list(t, s)) != 1 {
		t.Errorf("%v, %v; queue %v", ids, err, list(t, s))
	}
}

func TestWhatIsNoDropIsRefusedAndStays(t *testing.T) {
	for name, make := range map[string]func(path string) error{
		"a text":      func(p string) error { return os.WriteFile(p, []byte(strings.Repeat("Subject: x\n", 50)), 0o600) },
		"a link":      func(p string) error { return os.Symlink("/etc/passwd", p) },
		"a pipe":      func(p string) error { return syscall.Mkfifo(p, 0o600) },
		"a directory": func(p string) error { return os.Mkdir(p, 0o700) },
		"two names": func(p string) error {
			os.WriteFile(filepath.Dir(p)+"/../x", []byte("x"), 0o600)
			return os.Link(filepath.Dir(p)+"/../x", p)
		},
	} {
		s := open(t, durable.New())
		if err := make(s.Path("drop", "x")); err != nil {
			t.Fatal(err)
		}
		for round, want := range []int{1, 0} { // told once
			ids, refused, err := s.TakeDrops(ctx)
			if err != nil || len(ids) != 0 || len(refused) != want {
				t.Errorf("%s, round %d: %v, %v, %v", name, round, ids, refused, err)
			}
		}
		if left, _ := readNames(s.Path("drop")); len(left) != 1 {
			t.Errorf("%s: removed", name)
		}
	}
}

func FuzzProgress(f *testing.F) {
	var good []byte
	for i, e := range []Event{{Kind: Attempted, Next: 1}, {Kind: Placed, Dir: "/x"}, {Kind: Settled}} {
		payload, _ := e.encode()
		good = appendFrame(good, uint32(i+1), uint32(i+1), uint32(i+1), payload)
	}
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add(append([]byte{0}, good...))
	f.Fuzz(func(t *testing.T, raw []byte) {
		sc := scanFrames(raw)
		if sc.damaged {
			return
		}
		if sc.good > len(raw) || sc.torn && sc.good == len(raw) {
			t.Fatalf("%+v of %d octets", sc, len(raw))
		}
		// What is cut to its good part is whole, and stays so with one more.
		again := scanFrames(appendFrame(raw[:sc.good:sc.good], sc.seq+1, sc.seq+1, sc.seq+1, []byte("{}")))
		if again.torn || again.damaged || len(again.payloads) != len(sc.payloads)+1 {
			t.Fatalf("%+v becomes %+v", sc, again)
		}
		e := &Entry{Envelope: *letter("a@example.org")}
		e.Progress = newProgress(&e.Envelope)
		e.replay(raw)
		salvage(raw, &e.Envelope)
	})
}

func FuzzQueueFile(f *testing.F) {
	e := letter("a@example.org", "b@example.org")
	e.ID, e.Arrived = "0123456789ABCDEF01", time.UnixMicro(1)
	field, err := appendField(nil, e)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(field)
	f.Add(append(field, "Subject: x\n"...))
	f.Add([]byte(fmt.Sprintf("%s%016X %08X %08X %08X\n", fieldStart, 1, 2, 3, 4)))
	f.Fuzz(func(t *testing.T, raw []byte) {
		h, need, err := parseHead(raw)
		if err != nil {
			if errors.Is(err, errShort) && need <= len(raw) {
				t.Fatalf("%d octets are not enough, but %d are", len(raw), need)
			}
			return
		}
		if h.env == nil || h.size > len(raw) {
			t.Fatalf("%+v", h)
		}
		if again, err := appendField(nil, h.env); err == nil {
			if _, _, err := parseHead(again); err != nil {
				t.Fatalf("%q cannot be read again: %v", again, err)
			}
		}
	})
}
