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

func TestLettersAheadComeInTheirOrder(t *testing.T) {
	x := newFixture(t)
	const n = 100
	f := x.manyLetters(n)
	v := f.View()
	before := x.openFiles()
	for _, asked := range []int{0, 1, 17, n} {
		a := f.ReadAhead(x.ctx, 0, n, v.At)
		for i := range asked {
			c, err := a.Next()
			x.must(err)
			first := make([]byte, len(fmt.Sprintf("letter %d\r\n", i)))
			if _, err := io.ReadFull(c, first); err != nil || string(first) != fmt.Sprintf("letter %d\r\n", i) {
				t.Errorf("letter %d begins with %q, %v", i, first, err)
			}
			x.must(c.Close())
		}
		a.Close()
	}
	if after := x.openFiles(); after != before {
		t.Errorf("%d files are open, %d were before", after, before)
	}
}

func TestALetterAheadThatIsGone(t *testing.T) {
	x := newFixture(t)
	f := x.manyLetters(3)
	v := f.View()
	x.must(os.Remove(x.dir + "/cur/1700000001.M1P1.host:2,"))
	a := f.ReadAhead(x.ctx, 0, 3, v.At)
	defer a.Close()
	for i := range 3 {
		c, err := a.Next()
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
