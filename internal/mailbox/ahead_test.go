package mailbox

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
)

// manyLetters delivers letters, some of which are large.
func (x *fixture) manyLetters(n int) *Folder {
	x.t.Helper()
	for i := range n {
		text := fmt.Sprintf("letter %d\n", i)
		if i%10 == 3 {
			text += strings.Repeat("a line of a large letter\n", 4000)
		}
		x.write(fmt.Sprintf("cur/1700%06d.M1P1.host:2,", i), text)
	}
	f := x.open(x.store)
	x.must(f.Sync(x.ctx))
	return f
}

func (x *fixture) openFiles() int {
	x.t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	x.must(err)
	return len(files)
}

// Letters come in their order, whoever opens them and however many are asked for.
func TestLettersAheadComeInTheirOrder(t *testing.T) {
	x := newFixture(t)
	const n = MaxAhead + 10
	f := x.manyLetters(n)
	v := f.View()
	before := x.openFiles()
	for _, helped := range []bool{false, true} {
		for _, asked := range []int{0, 1, 17, MaxAhead} {
			a := f.Ahead(5, n, v.At)
			if helped {
				a.Help(x.ctx)
			}
			for i := range asked {
				c, last, err := a.Next(x.ctx)
				x.must(err)
				if last != (i == MaxAhead-1) {
					t.Errorf("letter %d: last %v", i, last)
				}
				want := fmt.Sprintf("letter %d\r\n", 5+i)
				first := make([]byte, len(want))
				if _, err := io.ReadFull(c, first); err != nil || string(first) != want {
					t.Errorf("letter %d begins with %q, %v, want %q", i, first, err, want)
				}
				x.must(c.Close())
			}
			a.Close()
		}
	}
	if after := x.openFiles(); after != before {
		t.Errorf("%d files are open, %d were before", after, before)
	}
}

// Without a helper a letter is opened when that is said, and not by who asks for it.
func TestOneLetterAhead(t *testing.T) {
	x := newFixture(t)
	f := x.manyLetters(2)
	a := f.Ahead(1, 2, f.View().At)
	defer a.Close()
	if !a.Open(x.ctx) || a.Open(x.ctx) {
		t.Error("it was not opened, or twice")
	}
	x.must(os.Remove(x.dir + "/cur/1700000001.M1P1.host:2,"))
	c, last, err := a.Next(x.ctx)
	x.must(err)
	if text, err := io.ReadAll(c); string(text) != "letter 1\r\n" || err != nil || !last {
		t.Errorf("%q, last %v, %v", text, last, err)
	}
	x.must(c.Close())
}

func TestALetterAheadThatIsGone(t *testing.T) {
	x := newFixture(t)
	f := x.manyLetters(3)
	v := f.View()
	x.must(os.Remove(x.dir + "/cur/1700000001.M1P1.host:2,"))
	a := f.Ahead(0, 3, v.At)
	defer a.Close()
	a.Help(x.ctx)
	for i := range 3 {
		c, _, err := a.Next(x.ctx)
		if gone := errors.Is(err, ErrExpunged); gone != (i == 1) || err != nil && !gone {
			t.Errorf("letter %d: %v", i, err)
		}
		if err == nil {
			c.Close()
		}
	}
}

// toBeCopied gives two accounts of one process: the first has n letters in a folder,
// the second an empty one.
func toBeCopied(t *testing.T, n int) (x, y *fixture, f, to *Folder, uids []uint32) {
	t.Helper()
	x, y = newFixture(t), newFixture(t)
	f, to = x.manyLetters(n), y.open(x.store)
	for i := range n {
		uids = append(uids, f.View().At(i).UID)
	}
	return x, y, f, to, uids
}

// Many letters are copied by several goroutines.
func TestACopyOfManyLetters(t *testing.T) {
	const n = 150
	x, y, f, to, uids := toBeCopied(t, n)
	was, is, err := Copy(x.ctx, f, uids, to)
	x.must(err)
	if len(was) != n || len(is) != n {
		t.Fatalf("%d letters became %d, want %d", len(was), len(is), n)
	}
	for i := range n {
		if got, want := y.read(to, is[i]), x.read(f, was[i]); got != want || !strings.HasPrefix(got, fmt.Sprintf("letter %d\r\n", i)) {
			t.Errorf("letter %d of the copy is %.20q", i, got)
		}
	}
}

// A letter that cannot be copied is copied by nobody, nor are the others.
func TestACopyOfManyLettersThatFails(t *testing.T) {
	const n = 150
	x, y, f, to, uids := toBeCopied(t, n)
	at := x.dir + "/cur/1700000100.M1P1.host:2,"
	x.must(errors.Join(os.Remove(at), os.Mkdir(at, 0o700)))
	if _, _, err := Copy(x.ctx, f, uids, to); err == nil {
		t.Error("a directory was copied")
	}
	left, err := os.ReadDir(y.dir + "/tmp")
	y.must(err)
	if files := y.files(); len(left) > 0 || len(files) > 0 {
		t.Errorf("%d files are left in tmp/, %d in new/ and cur/", len(left), len(files))
	}
}
