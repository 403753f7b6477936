package spool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"postbag/internal/address"
	"postbag/internal/durable"
)

var ctx = context.Background()

func open(t testing.TB, fs *durable.FS) *Spool {
	t.Helper()
	s, err := Open(fs, filepath.Join(t.TempDir(), "spool"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func addr(s string) address.Address {
	a, err := address.ParseUnqualified(s)
	if err != nil {
		panic(err)
	}
	return a
}

// letter is an envelope with everything that one can hold.
func letter(to ...string) *Envelope {
	e := &Envelope{
		From: addr("ann@example.org"), Body: "8BITMIME", SMTPUTF8: true, Ret: "HDRS", EnvID: "a b\n", RequireTLS: true, Priority: -3, By: time.UnixMicro(1800000000000002), ByMode: "NT", NotBefore: time.UnixMicro(1800000000000001),
		Proto: "ESMTPS", ClientIP: "192.0.2.1", HELO: "mx", Login: "ann", UID: -1,
	}
	for _, a := range to {
		e.To = append(e.To, Recipient{Address: addr(a), Orig: "rfc822;" + a, Notify: "SUCCESS,DELAY"})
	}
	return e
}

// queue puts a message into the queue.
func queue(t testing.TB, s *Spool, text string, to ...string) ID {
	t.Helper()
	d, err := s.Create(ctx, letter(to...))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(d, text); err != nil {
		t.Fatal(err)
	}
	if err := d.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	return d.Envelope().ID
}

func lock(t testing.TB, s *Spool, id ID) *Locked {
	t.Helper()
	l, err := s.Lock(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func readMessage(t testing.TB, l *Locked) string {
	t.Helper()
	r, err := l.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func list(t testing.TB, s *Spool) []ID {
	t.Helper()
	var ids []ID
	for e, err := range s.List(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, e.ID)
	}
	return ids
}

func TestWhatIsQueuedIsThere(t *testing.T) {
	for name, text := range map[string]string{
		"an ordinary letter":         "Subject: x\n\ntext\n",
		"an empty one":               "",
		"one larger than the buffer": strings.Repeat("0123456789abcde\n", 20000),
	} {
		s := open(t, durable.New())
		id := queue(t, s, text, "bob@example.net", `"b b"@example.net`, "root")
		l := lock(t, s, id)
		e := l.Entry()
		want := letter("bob@example.net", `"b b"@example.net`, "root")
		want.ID, want.Arrived = id, e.Arrived
		if !reflect.DeepEqual(&e.Envelope, want) {
			t.Errorf("%s: envelope\n%+v, want\n%+v", name, e.Envelope, *want)
		}
		if got := readMessage(t, l); got != text || e.Size != int64(len(text)) {
			t.Errorf("%s: %d octets, size %d, want %d", name, len(got), e.Size, len(text))
		}
		if time.Since(id.Time()) > time.Minute || time.Since(e.Arrived) > time.Minute {
			t.Errorf("%s: arrived %v", name, e.Arrived)
		}
		l.Unlock()
	}
}

func TestADraftIsNotInTheQueue(t *testing.T) {
	s := open(t, durable.New())
	d, err := s.Create(ctx, letter("bob@example.net"))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(d, "x\n")
	if ids := list(t, s); len(ids) != 0 {
		t.Errorf("listed: %v", ids)
	}
	if _, err := s.Lock(ctx, d.Envelope().ID); !errors.Is(err, ErrUnknown) {
		t.Errorf("locked: %v", err)
	}
	d.Discard()
	if err := d.Commit(ctx); err == nil {
		t.Error("committed after Discard")
	}
	if left, _ := readNames(s.Path("queue/tmp")); len(left) != 0 {
		t.Errorf("left: %q", left)
	}
}

// failing fails each step of a kind.
type failing struct {
	mu   sync.Mutex
	kind durable.OpKind
	err  error
	done bool
}

func (f *failing) set(kind durable.OpKind, err error, done bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.kind, f.err, f.done = kind, err, done
}

func (f *failing) Step(op durable.Op, do func() error) error {
	f.mu.Lock()
	fails, err, done := f.kind == op.Kind, f.err, f.done
	f.mu.Unlock()
	if !fails {
		return do()
	}
	if done {
		do()
	}
	return err
}

func TestWhatCannotBeQueuedIsNotThere(t *testing.T) {
	for name, f := range map[string]*failing{
		"disk full at write":     {kind: durable.OpWrite, err: syscall.ENOSPC},
		"error at sync":          {kind: durable.OpSync, err: syscall.EIO, done: true},
		"error at close":         {kind: durable.OpClose, err: syscall.EIO, done: true},
		"quota at rename":        {kind: durable.OpRename, err: syscall.EDQUOT},
		"error of the directory": {kind: durable.OpSyncDir, err: syscall.EIO, done: true},
	} {
		trace := &failing{}
		s := open(t, durable.NewTraced(trace))
		d, err := s.Create(ctx, letter("bob@example.net"))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(d, "x\n")
		trace.set(f.kind, f.err, f.done)
		if err := d.Commit(ctx); !errors.Is(err, f.err) {
			t.Errorf("%s: %v", name, err)
		}
		trace.set("", nil, false)
		if ids := list(t, s); len(ids) != 0 {
			t.Errorf("%s: listed %v", name, ids)
		}
		if left, _ := readNames(s.Path("queue/tmp")); len(left) != 0 {
			t.Errorf("%s: left %q", name, left)
		}
	}
}

func TestALockIsForOne(t *testing.T) {
	s := open(t, durable.New())
	other, err := Open(durable.New(), s.Dir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	id := queue(t, s, "x\n", "bob@example.net")
	l := lock(t, s, id)
	for _, who := range []*Spool{s, other} {
		if _, err := who.Lock(ctx, id); !errors.Is(err, ErrLocked) {
			t.Errorf("locked twice: %v", err)
		}
	}
	if e, err := other.Lookup(ctx, id); err != nil || !e.Active {
		t.Errorf("not active: %v", err)
	}
	l.Unlock()
	if e, err := other.Lookup(ctx, id); err != nil || e.Active {
		t.Errorf("still active: %v", err)
	}
	lock(t, other, id).Unlock()
}

func TestWhatIsRemovedIsGone(t *testing.T) {
	s := open(t, durable.New())
	id := queue(t, s, "x\n", "bob@example.net")
	l := lock(t, s, id)
	if err := l.Remove(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Lock(ctx, id); !errors.Is(err, ErrUnknown) {
		t.Errorf("locked: %v", err)
	}
	l.Unlock()
	for _, dir := range []string{"new", "cur", "progress"} {
		if left, _ := readNames(s.Path("queue", dir)); len(left) != 0 {
			t.Errorf("left in %s: %q", dir, left)
		}
	}
	if _, err := s.Lookup(ctx, "nonsense/../x"); !errors.Is(err, ErrUnknown) {
		t.Errorf("nonsense is %v", err)
	}
}

func TestProgress(t *testing.T) {
	s := open(t, durable.New())
	id := queue(t, s, "x\n", "a@example.net", "b@example.net")
	next := time.Now().Add(time.Hour).Truncate(time.Microsecond)
	l := lock(t, s, id)
	if err := l.Begin(ctx, Event{Kind: Attempted, Next: next.UnixMicro()}); err != nil {
		t.Fatal(err)
	}
	err := l.Record(ctx,
		Event{Kind: Placed, Rcpt: 0, Dest: "maildir:/a", Dir: "/a", Tmp: "T", Name: "N"},
		Event{Kind: Failed, Rcpt: 1, Dest: "x", Status: "5.1.1", Reply: strings.Repeat("y", 5000)},
		Event{Kind: Settled, Rcpt: 1}, Event{Kind: Reported, Rcpt: 1}, Event{Kind: Warned})
	if err != nil {
		t.Fatal(err)
	}
	l.Unlock()
	e, err := s.Lookup(ctx, id)
	if err != nil || e.Damage != nil {
		t.Fatal(err, e.Damage)
	}
	p := e.Progress
	if p.Attempts != 1 || !p.Next.Equal(next) || !p.Warned || p.Held || !p.Pending() || !p.Placing() {
		t.Errorf("%+v", p)
	}
	if p.Rcpts[0].Settled || p.Rcpts[0].Dests["maildir:/a"].Tmp != "T" {
		t.Errorf("first: %+v", p.Rcpts[0])
	}
	if r := p.Rcpts[1]; !r.Settled || !r.Reported || r.Failure.Status != "5.1.1" || len(r.Failure.Reply) != maxReply {
		t.Errorf("second: %+v", r)
	}
	if !strings.HasPrefix(e.file, "queue/cur/") {
		t.Errorf("it lies in %s", e.file)
	}
}

// progress damages the progress file of a message that has three records.
func damaged(t *testing.T, change func([]byte) []byte) (*Spool, ID) {
	t.Helper()
	s := open(t, durable.New())
	id := queue(t, s, "x\n", "a@example.net", "b@example.net")
	l := lock(t, s, id)
	l.Begin(ctx, Event{Kind: Attempted})
	for i := range 2 {
		if err := l.Record(ctx, Event{Kind: Settled, Rcpt: i}); err != nil {
			t.Fatal(err)
		}
	}
	l.Unlock()
	raw, err := os.ReadFile(s.progressPath(id))
	if err != nil {
		t.Fatal(err)
	}
	if raw = change(raw); raw == nil {
		err = os.Remove(s.progressPath(id))
	} else {
		err = os.WriteFile(s.progressPath(id), raw, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s, id
}

// frame gives where the nth record begins.
func frame(raw []byte, n int) int {
	rest := raw
	for range n {
		_, _, rest, _ = nextFrame(rest)
	}
	return len(raw) - len(rest)
}

func TestATornRecordIsCutOff(t *testing.T) {
	for name, change := range map[string]func([]byte) []byte{
		"the last octet is missing": func(b []byte) []byte { return b[:len(b)-1] },
		"the last octets are zero":  func(b []byte) []byte { return append(b[:len(b)-3], 0, 0, 0) },
		"only its magic is there":   func(b []byte) []byte { return b[:frame(b, 2)+2] },
		"a batch lost its beginning": func(b []byte) []byte {
			b = appendFrame(appendFrame(b[:frame(b, 2)], 3, 3, 4, []byte(`{"e":"settled","r":1}`)), 4, 3, 4, []byte(`{"e":"held"}`))
			b[frame(b, 2)+frameHead+3] = 0
			return b
		},
		"a batch lost its end": func(b []byte) []byte {
			return appendFrame(b[:frame(b, 2)], 3, 3, 4, []byte(`{"e":"settled","r":1}`))
		},
		"old octets follow": func(b []byte) []byte { return append(b[:frame(b, 2)], "garbage"...) },
	} {
		s, id := damaged(t, change)
		l := lock(t, s, id)
		if l.Entry().Damage != nil || !l.Entry().Progress.Rcpts[0].Settled || l.Entry().Progress.Rcpts[1].Settled {
			t.Errorf("%s: %v, %+v", name, l.Entry().Damage, l.Entry().Progress)
		}
		if err := l.Record(ctx, Event{Kind: Warned}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		l.Unlock()
		if e, err := s.Lookup(ctx, id); err != nil || e.Damage != nil || !e.Progress.Warned {
			t.Errorf("%s: after a record: %v, %v", name, e.Damage, err)
		}
	}
}

func TestDamagedProgressIsHeldUntilReleased(t *testing.T) {
	flip := func(at func([]byte) int) func([]byte) []byte {
		return func(b []byte) []byte { b[at(b)] ^= 0x40; return b }
	}
	for name, c := range map[string]struct {
		change  func([]byte) []byte
		settled [2]bool // after the release
	}{
		"a record in the middle is wrong":   {flip(func(b []byte) int { return frame(b, 1) + frameHead }), [2]bool{false, true}},
		"the first one is":                  {flip(func([]byte) int { return 3 }), [2]bool{true, true}},
		"one is missing":                    {func(b []byte) []byte { return append(b[:frame(b, 1):frame(b, 1)], b[frame(b, 2):]...) }, [2]bool{false, true}},
		"nothing is left of it":             {func([]byte) []byte { return nil }, [2]bool{}},
		"it is empty":                       {func([]byte) []byte { return []byte{} }, [2]bool{}},
		"it is of a message with more rcpt": {func(b []byte) []byte { return append(b, appendFrame(nil, 4, 4, 4, []byte(`{"e":"settled","r":7}`))...) }, [2]bool{true, true}},
	} {
		s, id := damaged(t, c.change)
		l := lock(t, s, id)
		if l.Entry().Damage == nil || !l.Entry().Stopped() {
			t.Errorf("%s: not held", name)
		}
		if err := l.Record(ctx, Event{Kind: Attempted}); err == nil {
			t.Errorf("%s: attempted", name)
		}
		l.Unlock()
		if err := s.Release(ctx, id); err != nil {
			t.Errorf("%s: release: %v", name, err)
			continue
		}
		l = lock(t, s, id)
		e := l.Entry()
		if e.Damage != nil || e.Stopped() {
			t.Errorf("%s: still held: %v", name, e.Damage)
		}
		if got := [2]bool{e.Progress.Rcpts[0].Settled, e.Progress.Rcpts[1].Settled}; got != c.settled {
			t.Errorf("%s: settled %v, want %v", name, got, c.settled)
		}
		l.Unlock()
	}
}

func TestADamagedMessageIsKeptAndNeverSentWhole(t *testing.T) {
	for name, change := range map[string]func([]byte) []byte{
		"an octet of the text":      func(b []byte) []byte { b[len(b)-2] ^= 1; return b },
		"an octet of the envelope":  func(b []byte) []byte { b[fieldFirst+5] ^= 1; return b },
		"an octet of the length":    func(b []byte) []byte { b[len(fieldStart)] ^= 1; return b },
		"the end is missing":        func(b []byte) []byte { return b[:len(b)-1] },
		"it ends in the envelope":   func(b []byte) []byte { return b[:fieldFirst+3] },
		"it is empty":               func([]byte) []byte { return nil },
		"another message's content": func([]byte) []byte { return []byte("Subject: x\n\nx\n") },
	} {
		s := open(t, durable.New())
		id := queue(t, s, "Subject: x\n\ntext\n", "a@example.net")
		file := s.Path("queue/new", id.fileName())
		raw, _ := os.ReadFile(file)
		os.WriteFile(file, change(raw), 0o600)
		e, err := s.Lookup(ctx, id)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		r, err := s.OpenMessage(e)
		if err == nil {
			_, err = io.Copy(io.Discard, r)
			r.Close()
		}
		if err == nil && !e.Stopped() {
			t.Errorf("%s: would be sent", name)
		}
		if err := s.Delete(ctx, id); err != nil || len(list(t, s)) != 0 {
			t.Errorf("%s: delete: %v", name, err)
		}
	}
}

func TestHoldReleaseRetry(t *testing.T) {
	s := open(t, durable.New())
	id := queue(t, s, "x\n", "a@example.net")
	other := queue(t, s, "x\n", "a@example.net")
	for _, step := range []struct {
		do   func(context.Context, ID) error
		held bool
	}{{s.Hold, true}, {s.Hold, true}, {s.Release, false}, {s.Retry, false}} {
		if err := step.do(ctx, id); err != nil {
			t.Fatal(err)
		}
		if e, err := s.Lookup(ctx, id); err != nil || e.Stopped() != step.held {
			t.Errorf("held %v, %v", e.Stopped(), err)
		}
	}
	if e, _ := s.Lookup(ctx, id); time.Since(e.Progress.Next) > time.Minute {
		t.Errorf("due %v", e.Progress.Next)
	}
	if ids := list(t, s); len(ids) != 2 || ids[0] != id || ids[1] != other {
		t.Errorf("list %v, want %v, %v", ids, id, other)
	}
	if err := s.Hold(ctx, s.NewID()); !errors.Is(err, ErrUnknown) {
		t.Errorf("hold of none: %v", err)
	}
}

func TestForeignFilesAreNoMessages(t *testing.T) {
	s := open(t, durable.New())
	id := queue(t, s, "x\n", "a@example.net")
	for _, name := range []string{"x", ".hidden", "1.M2Q3", id.fileName() + "x", "Q" + string(id), "1.M000001Q" + string(id)} {
		os.WriteFile(s.Path("queue/new", name), []byte("x"), 0o600)
	}
	os.WriteFile(s.Path("queue/progress", "x"), nil, 0o600)
	// A Maildir tool has looked at it.
	os.Rename(s.Path("queue/new", id.fileName()), s.Path("queue/cur", id.fileName()+":2,S"))
	if ids := list(t, s); len(ids) != 1 || ids[0] != id {
		t.Errorf("list %v", ids)
	}
	if e, err := s.Lookup(ctx, id); err != nil || e.ID != id {
		t.Errorf("look up: %v", err)
	}
	if err := s.Clean(ctx); err != nil {
		t.Error(err)
	}
}

func TestNothingIsMissedWhileMessagesMove(t *testing.T) {
	s := open(t, durable.New())
	const n = 200
	ids := make([]ID, n)
	for i := range ids {
		ids[i] = queue(t, s, "x\n", "a@example.net")
	}
	var mover sync.WaitGroup
	mover.Go(func() {
		for _, id := range ids {
			name := id.fileName()
			os.Rename(s.Path("queue/new", name), s.Path("queue/cur", name+":2,"))
		}
	})
	for range 10 {
		if got := list(t, s); len(got) != n {
			t.Errorf("%d of %d listed", len(got), n)
		}
	}
	mover.Wait()
}

func TestALookupFindsAMessageThatMoves(t *testing.T) {
	s := open(t, durable.New())
	var ids []ID
	for range 100 {
		ids = append(ids, queue(t, s, "x\n", "a@example.net"))
		l := lock(t, s, ids[len(ids)-1])
		if err := l.Begin(ctx, Event{Kind: Attempted, Next: 1}); err != nil {
			t.Fatal(err)
		}
		l.Unlock()
	}
	for _, id := range ids {
		var looked, looking sync.WaitGroup
		moved := make(chan struct{})
		for range 3 {
			looked.Add(1)
			looking.Go(func() {
				for n := 0; ; n++ {
					if _, err := s.Lookup(ctx, id); err != nil {
						t.Error(err)
					}
					if n == 0 {
						looked.Done()
					}
					select {
					case <-moved:
						return
					default:
					}
				}
			})
		}
		looked.Wait()
		name := id.fileName()
		if err := s.fs.Rename(s.Path("queue/new", name), s.Path("queue/cur", name+":2,")); err != nil {
			t.Error(err)
		}
		close(moved)
		looking.Wait()
	}
}

func TestAListCanBeLeft(t *testing.T) {
	s := open(t, durable.New())
	for range 300 {
		queue(t, s, "x\n", "a@example.net")
	}
	seen := 0
	for range s.List(ctx) {
		if seen++; seen == 3 {
			break
		}
	}
	over, cancel := context.WithCancel(ctx)
	cancel()
	for _, err := range s.List(over) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
	}
}

func TestIDsAreUniqueAndSortByAge(t *testing.T) {
	s := open(t, durable.New())
	last := ID("")
	for range 1000 {
		id := s.NewID()
		if id <= last {
			t.Fatalf("%s after %s", id, last)
		}
		if got, ok := idOfFile(id.fileName() + ":2,FS"); !ok || got != id {
			t.Fatalf("file %s holds %s", id.fileName(), got)
		}
		last = id
	}
}

func TestADerivedLetterIsMadeOnce(t *testing.T) {
	s := open(t, durable.New())
	at := time.Now()
	e := letter("a@example.net")
	e.ID = s.NewID().Derive(at, "bounce")
	if other := s.NewID().Derive(at, "bounce"); other == e.ID || e.ID.Derive(at, "delay") == e.ID {
		t.Errorf("%s is the ID of two letters", other)
	}
	// A crash has left a part of it.
	os.WriteFile(s.Path("queue/tmp", e.ID.fileName()), []byte("X-"), 0o600)
	d, err := s.Recreate(ctx, e)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Recreate(ctx, e); !errors.Is(err, ErrQueued) {
		t.Errorf("made twice: %v", err)
	}
}

func TestCleanRemovesProgressOfMessagesThatAreGone(t *testing.T) {
	s := open(t, durable.New())
	id := queue(t, s, "x\n", "a@example.net")
	lock(t, s, id).Unlock()
	gone := s.NewID()
	os.WriteFile(s.progressPath(gone), nil, 0o600)
	if err := s.Clean(ctx); err != nil {
		t.Fatal(err)
	}
	if left, _ := readNames(s.Path("queue/progress")); len(left) != 1 || left[0] != string(id) {
		t.Errorf("left %q", left)
	}
}

func TestDuesAreWhatTheProgressSays(t *testing.T) {
	s := open(t, durable.New())
	at := time.UnixMicro(1_700_000_000_000_000)
	tests := map[string]struct {
		events []Event
		want   Due
	}{
		"never attempted":     {nil, Due{}},
		"attempted":           {[]Event{{Kind: Attempted, Next: at.UnixMicro()}}, Due{At: at}},
		"made due":            {[]Event{{Kind: Attempted, Next: 5}, {Kind: Retry, Next: at.UnixMicro()}}, Due{At: at}},
		"held":                {[]Event{{Kind: Attempted, Next: at.UnixMicro()}, {Kind: Held}}, Due{At: at, Held: true}},
		"released":            {[]Event{{Kind: Held}, {Kind: Released}}, Due{}},
		"interrupted":         {[]Event{{Kind: Attempted, Next: at.UnixMicro()}, {Kind: Placed, Dest: "x"}}, Due{}},
		"no more interrupted": {[]Event{{Kind: Attempted, Next: at.UnixMicro()}, {Kind: Placed, Dest: "x"}, {Kind: Delivered, Dest: "x"}}, Due{At: at}},
	}
	for name, tt := range tests {
		id := queue(t, s, "x\n", "ann@example.org")
		l := lock(t, s, id)
		if err := l.Record(ctx, tt.events...); err != nil {
			t.Fatal(err)
		}
		l.Unlock()
		tt.want.ID = id
		for d, err := range s.Dues(ctx) {
			if d.ID == id && (err != nil || d != tt.want) {
				t.Errorf("%s: %+v, %v; want %+v", name, d, err, tt.want)
			}
		}
	}
}
