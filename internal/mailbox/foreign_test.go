package mailbox

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// A debt adds to what others have written into the name meanwhile.
func TestDebtsKeepTheFlagsOfOthers(t *testing.T) {
	x := newFixture(t)
	x.write("cur/1700000000.M1P1.host:2,S", "one\n")
	f := x.open(x.store)
	x.must(f.Sync(x.ctx))
	if _, err := f.Store(x.ctx, []uint32{1}, FlagChange{Set: Flagged, Clear: Seen}, Always); err != nil {
		t.Fatal(err)
	}
	b := f.b
	b.lock()
	x.rename("cur/1700000000.M1P1.host:2,S", "cur/1700000000.M1P1.host:2,PSa")
	b.unlock()
	if gone, err := b.locate(x.ctx, 1, false); gone || err != nil { // as reading the letter does
		t.Errorf("gone: %v, %v", gone, err)
	}
	x.must(f.PayDebts(x.ctx))
	if got, want := x.files(), []string{"cur/1700000000.M1P1.host:2,FPa"}; !slices.Equal(got, want) {
		t.Errorf("files are %q, want %q", got, want)
	}
	x.wantView(f, "1:FP")
}

// A letter that others rename whenever a session is about to open it is found in
// the end, or said to be busy: never to be gone.
func TestALetterThatEvadesIsNotGone(t *testing.T) {
	for _, tt := range []struct {
		name  string
		times int
		want  error
	}{
		{"it is reached once it rests", 4, nil},
		{"it never rests", 100, ErrInUse},
	} {
		t.Run(tt.name, func(t *testing.T) {
			x := newFixture(t)
			x.write("cur/1700000000.M1P1.host:2,", "one\n")
			f := x.open(x.store)
			x.must(f.Sync(x.ctx))
			times := tt.times
			err := f.b.reach(x.ctx, 1, func(path string) error {
				if times--; times >= 0 {
					files := x.files()
					x.rename(files[0], []string{"cur/1700000000.M1P1.host:2,S", "cur/1700000000.M1P1.host:2,F"}[times%2])
				}
				_, err := os.Stat(path)
				return err
			})
			if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
				t.Errorf("reach: %v, want %v", err, tt.want)
			}
		})
	}
}

// A letter that somebody has removed is gone at once, though the folder says
// nothing yet.
func TestALetterThatWasRemovedIsGone(t *testing.T) {
	x := newFixture(t)
	x.write("cur/1700000000.M1P1.host:2,", "one\n")
	f := x.open(x.store)
	x.must(f.Sync(x.ctx))
	x.must(os.Remove(filepath.Join(x.dir, "cur", "1700000000.M1P1.host:2,")))
	_, err := f.Content(x.ctx, &Letter{UID: 1})
	if !errors.Is(err, ErrExpunged) {
		t.Errorf("Content: %v, want %v", err, ErrExpunged)
	}
}

// Letters that go from cur/ to new/ and back without a pause, so that a scan
// misses some, are never taken for gone.
func TestLettersThatMoveAllTheTime(t *testing.T) {
	x := newFixture(t)
	var names []string
	for range 20 {
		names = append(names, x.deliver("hi\n"))
	}
	s := NewStore(x.store.fs, Options{NoWatch: true})
	defer s.Close()
	f := x.open(s)
	x.must(f.Sync(x.ctx))
	want := f.View().UIDNext()
	stop, done := make(chan struct{}), make(chan struct{})
	var moved atomic.Int64
	go func() {
		defer close(done)
		for n := 0; ; n++ {
			moved.Add(1)
			select {
			case <-stop:
				return
			default:
			}
			name := names[n%len(names)]
			fresh, old := filepath.Join(x.dir, "new", name), filepath.Join(x.dir, "cur", name+":2,")
			if n/len(names)%2 == 0 {
				os.Rename(fresh, old)
			} else {
				os.Rename(old, fresh)
			}
		}
	}()
	for n := 0; n < 30 || moved.Load() < 3000; n++ {
		x.must(f.Sync(x.ctx))
	}
	close(stop)
	<-done
	x.must(f.Sync(x.ctx))
	if v := f.View(); v.UIDNext() != want || v.Len() != len(names) {
		t.Errorf("%d letters, UIDNEXT %d, want %d and %d", v.Len(), v.UIDNext(), len(names), want)
	}
}

// While the clock that directories get their times from stands still, a scan
// that missed a letter proves nothing.
func TestScansWithinATickProveNothing(t *testing.T) {
	x := newFixture(t)
	name := x.deliver("one\n")
	f := x.open(x.store)
	x.wantView(f, "1:")
	x.must(os.Remove(filepath.Join(x.dir, "new", name)))
	later := time.Now().Add(time.Hour)
	x.must(os.Chtimes(filepath.Join(x.dir, "new"), later, later))
	x.wantView(f, "1:")
	x.must(os.Chtimes(filepath.Join(x.dir, "new"), time.Time{}, time.Now().Add(-time.Hour)))
	x.wantView(f, "")
}

// mbsync adds its own number behind a comma, Dovecot mends sizes there: the
// letter stays the same, for this process and for others.
func TestWhatFollowsACommaMayChange(t *testing.T) {
	x := newFixture(t)
	x.write("cur/1700000000.M1P1.host,S=4:2,", "one\n")
	x.write("cur/1700000001.M1P1.host:2,", "two\n")
	f := x.open(x.store)
	x.wantView(f, "1: 2:")
	id := f.View().At(0).EmailID()
	x.rename("cur/1700000000.M1P1.host,S=4:2,", "cur/1700000000.M1P1.host,S=4,W=5,U=7:2,F")
	x.rename("cur/1700000001.M1P1.host:2,", "cur/1700000001.M1P1.host,U=8:2,")
	x.wantView(f, "1:F 2:")
	b := f.b
	b.lock()
	x.must(b.exclusive(x.ctx, func() error { return b.log.Compact(b.st.records) }))
	b.unlock()
	g := x.open(x.process())
	x.wantView(g, "1:F 2:")
	if got := g.View().At(0).EmailID(); got != id {
		t.Errorf("EMAILID is %s, was %s", got, id)
	}
	if got := x.read(g, 1); got != "one\r\n" {
		t.Errorf("letter 1 is %q", got)
	}
	if base, at := g.b.st.name(g.b.st.rows.find(2)); base != "1700000001.M1P1.host,U=8" || at != "" {
		t.Errorf("letter 2 is known as %q at %q", base, at)
	}
	if _, err := g.Store(x.ctx, []uint32{1, 2}, FlagChange{Set: Seen}, Always); err != nil {
		t.Fatal(err)
	}
	x.must(g.PayDebts(x.ctx))
	if got, want := x.files(), []string{"cur/1700000000.M1P1.host,S=4,W=5,U=7:2,FS", "cur/1700000001.M1P1.host,U=8:2,S"}; !slices.Equal(got, want) {
		t.Errorf("files are %q, want %q", got, want)
	}
}

// RFC 9051 section 9: keywords are the same whatever their case.
func TestKeywordsDifferByMoreThanCase(t *testing.T) {
	x := newFixture(t)
	f := x.open(x.store)
	a := f.NewAppend()
	x.must(a.Add(0, []string{"Work", "WORK"}, time.Time{}, strings.NewReader("one\r\n")))
	if _, err := a.Commit(x.ctx); err != nil {
		t.Fatal(err)
	}
	x.wantView(f, "1:Work")
	change := func(c FlagChange, want string) {
		t.Helper()
		if _, err := f.Store(x.ctx, []uint32{1}, c, Always); err != nil {
			t.Fatal(err)
		}
		x.wantView(f, want)
		x.wantView(x.open(x.process()), want)
	}
	change(FlagChange{SetKeywords: []string{"work", "later", "LATER"}}, "1:Work,later")
	change(FlagChange{ClearKeywords: []string{"WORK"}}, "1:later")
	change(FlagChange{Replace: true, SetKeywords: []string{"wOrk"}}, "1:Work")
}

// A session goes on reading what another process has expunged, also when its
// own process is left to take the file away.
func TestDebtsOfTheDeadLeaveLettersReadable(t *testing.T) {
	x := newFixture(t)
	x.deliver("one\n")
	f := x.open(x.store)
	x.must(f.Sync(x.ctx))
	other := NewStore(x.store.fs, Options{NoWatch: true})
	g, err := other.Open(x.ctx, x.dir)
	x.must(err)
	g.b.paying.Store(true) // it does not get to pay
	x.expunge(g, 1)
	abandon(other)
	x.must(f.PayDebts(x.ctx))
	if got := x.files(); len(got) > 0 {
		t.Errorf("files are %q", got)
	}
	if got := x.read(f, 1); got != "one\r\n" {
		t.Errorf("letter 1 is %q", got)
	}
	x.must(f.Sync(x.ctx))
	f.Close()
	if left, err := os.ReadDir(filepath.Join(x.dir, expungedDir)); err == nil {
		t.Errorf("%d expunged letters are left when nobody is there", len(left))
	}
}

// A folder that somebody always has open does not keep what is expunged for
// ever.
func TestExpungedLettersGoAfterADay(t *testing.T) {
	x := newFixture(t)
	x.deliver("one\n")
	x.deliver("two\n")
	ahead := time.Duration(0)
	s := NewStore(x.store.fs, Options{Now: func() time.Time { return time.Now().Add(ahead) }})
	defer s.Close()
	f, other := x.open(s), x.open(x.process())
	x.must(f.Sync(x.ctx))
	x.must(other.Sync(x.ctx))
	kept := func() (names []string) {
		files, err := os.ReadDir(filepath.Join(x.dir, expungedDir))
		x.must(err)
		for _, file := range files {
			_, uid, _ := strings.Cut(file.Name(), ".")
			names = append(names, uid)
		}
		return names
	}
	x.expunge(f, 1)
	x.must(f.PayDebts(x.ctx))
	if got := kept(); !slices.Equal(got, []string{"1"}) {
		t.Fatalf("kept for the other session: %q", got)
	}
	ahead = expungedAge + time.Hour
	x.expunge(f, 2)
	x.must(f.PayDebts(x.ctx))
	if got := kept(); !slices.Equal(got, []string{"2"}) {
		t.Errorf("kept a day later: %q", got)
	}
}

// What is no letter is no danger.
func TestPipesAmongTheLetters(t *testing.T) {
	x := newFixture(t)
	x.must(syscall.Mkfifo(filepath.Join(x.dir, "cur", "1700000000.M1P1.host:2,"), 0o600))
	f := x.open(x.store)
	x.must(f.Sync(x.ctx))
	if _, err := f.Content(x.ctx, &Letter{UID: 1}); err == nil {
		t.Error("a pipe can be read as a letter")
	}
}

func TestSettleSoonIsDoneWhenTheFolderIsClosed(t *testing.T) {
	x := newFixture(t)
	name := x.deliver("one\n")
	f := x.open(x.store)
	x.must(f.Sync(x.ctx))
	f.SettleSoon()
	f.Close()
	if got, want := x.files(), []string{"cur/" + name + ":2,"}; !slices.Equal(got, want) {
		t.Errorf("files are %q, want %q", got, want)
	}
}

// abandon ends a process as kill -9 does: nothing is paid or tidied up, the
// kernel closes its files.
func abandon(s *Store) {
	s.mu.Lock()
	s.closed = true
	boxes := s.boxes
	s.boxes = map[place]*box{}
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
			if b.openFile != nil {
				b.openFile.Close()
			}
			b.closeSnap()
			b.log = nil
		}
		b.unlock()
	}
}
