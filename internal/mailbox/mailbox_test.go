package mailbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"postbag/internal/durable"
	"postbag/internal/maildir"
)

// A fixture is a Maildir and a Store on it.
type fixture struct {
	t     *testing.T
	dir   string
	store *Store
	ctx   context.Context
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "mail")
	if err := maildir.Init(durable.New(), dir, 0o700); err != nil {
		t.Fatal(err)
	}
	x := &fixture{t: t, dir: dir, ctx: t.Context()}
	x.store = x.process()
	return x
}

// telling notes in a channel that something is told.
func telling(c chan<- struct{}) func() {
	return func() {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// process makes another Store, as another process would have.
func (x *fixture) process() *Store {
	s := NewStore(durable.New(), Options{})
	x.t.Cleanup(func() { s.Close() })
	return s
}

func (x *fixture) open(s *Store) *Folder {
	x.t.Helper()
	f, err := s.Open(x.ctx, x.dir)
	if err != nil {
		x.t.Fatal(err)
	}
	x.t.Cleanup(f.Close)
	return f
}

func (x *fixture) must(err error) {
	x.t.Helper()
	if err != nil {
		x.t.Fatal(err)
	}
}

var delivered atomic.Int64

// deliver puts a letter into new/, as another program does.
func (x *fixture) deliver(text string) (name string) {
	x.t.Helper()
	name = fmt.Sprintf("1700000000.M%06dP1.host", delivered.Add(1))
	x.write("new/"+name, text)
	return name
}

func (x *fixture) write(at, text string) {
	x.t.Helper()
	x.must(os.WriteFile(filepath.Join(x.dir, at), []byte(text), 0o600))
}

func (x *fixture) rename(from, to string) {
	x.t.Helper()
	x.must(os.Rename(filepath.Join(x.dir, from), filepath.Join(x.dir, to)))
}

// files lists new/ and cur/.
func (x *fixture) files() (list []string) {
	x.t.Helper()
	for _, sub := range []string{"new", "cur"} {
		files, err := os.ReadDir(filepath.Join(x.dir, sub))
		x.must(err)
		for _, f := range files {
			list = append(list, sub+"/"+f.Name())
		}
	}
	return list
}

// show gives a version as text: UID, flags and keywords of each letter.
func show(v *View) string {
	var b strings.Builder
	for i := range v.Len() {
		l := v.At(i)
		fmt.Fprintf(&b, "%d:%s%s ", l.UID, l.Flags, strings.Join(l.Keywords, ","))
	}
	return strings.TrimSpace(b.String())
}

func (x *fixture) wantView(f *Folder, want string) {
	x.t.Helper()
	x.must(f.Sync(x.ctx))
	if got := show(f.View()); got != want {
		x.t.Fatalf("the folder shows %q, want %q", got, want)
	}
}

func (x *fixture) read(f *Folder, uid uint32) string {
	x.t.Helper()
	c, err := f.Content(x.ctx, &Letter{UID: uid})
	x.must(err)
	defer c.Close()
	b, err := io.ReadAll(c)
	x.must(err)
	if int64(len(b)) != c.Size() {
		x.t.Errorf("letter %d has %d octets, Size says %d", uid, len(b), c.Size())
	}
	return string(b)
}

func (x *fixture) append(f *Folder, texts ...string) []uint32 {
	x.t.Helper()
	a := f.NewAppend()
	for _, text := range texts {
		x.must(a.Add(0, nil, time.Time{}, strings.NewReader(text)))
	}
	uids, err := a.Commit(x.ctx)
	x.must(err)
	return uids
}

func TestNewMailGetsUIDsInOrderOfArrival(t *testing.T) {
	x := newFixture(t)
	x.write("new/1700000002.M5P1.b", "two\n")
	x.write("cur/1700000002.M10P1.a:2,S", "three\n")
	x.write("new/1700000001.M900000P1.z", "one\n")
	x.write("cur/odd:name:2,FT", "last\n")
	x.write("cur/noinfo", "very last\n")
	f := x.open(x.store)
	x.wantView(f, "1: 2: 3:S 4: 5:")
	for uid, want := range []string{"one\r\n", "two\r\n", "three\r\n", "very last\r\n", "last\r\n"} {
		if got := x.read(f, uint32(uid+1)); got != want {
			t.Errorf("letter %d reads %q, want %q", uid+1, got, want)
		}
	}
}

func TestUIDsOutliveTheProcess(t *testing.T) {
	x := newFixture(t)
	x.deliver("a\n")
	x.deliver("b\n")
	f := x.open(x.store)
	x.wantView(f, "1: 2:")
	validity, modseq := f.View().UIDValidity(), f.View().HighestModSeq()
	f.Close()
	x.deliver("c\n")
	g := x.open(x.process())
	x.wantView(g, "1: 2: 3:")
	if g.View().UIDValidity() != validity || g.View().HighestModSeq() <= modseq {
		t.Errorf("UIDVALIDITY %d, modseq %d after %d, %d", g.View().UIDValidity(), g.View().HighestModSeq(), validity, modseq)
	}
}

func TestStoreIsSeenByAllAndReachesTheName(t *testing.T) {
	x := newFixture(t)
	name := x.deliver("a\n")
	f, g := x.open(x.store), x.open(x.process())
	x.wantView(f, "1:")
	x.wantView(g, "1:")
	_, err := f.Store(x.ctx, []uint32{1}, FlagChange{Set: Seen | Flagged, SetKeywords: []string{"work", "later"}}, Always)
	x.must(err)
	if got := show(f.View()); got != "1:FSlater,work" {
		t.Fatalf("after Store the session sees %q", got)
	}
	x.wantView(g, "1:FSlater,work")
	x.must(f.PayDebts(x.ctx))
	if got, want := x.files(), []string{"cur/" + name + ":2,FS"}; !slices.Equal(got, want) {
		t.Errorf("files are %q, want %q", got, want)
	}
	x.wantView(g, "1:FSlater,work")
}

func TestForeignRenamesAndRemovals(t *testing.T) {
	x := newFixture(t)
	name, other := x.deliver("a\n"), x.deliver("b\n")
	f := x.open(x.store)
	x.wantView(f, "1: 2:")
	modseq := f.View().HighestModSeq()
	x.rename("new/"+name, "cur/"+name+":2,Sab")
	x.wantView(f, "1:S 2:")
	if f.View().At(0).ModSeq <= modseq {
		t.Error("a flag set by another program has no modseq of its own")
	}
	_, err := f.Store(x.ctx, []uint32{1}, FlagChange{Set: Flagged}, Always)
	x.must(err)
	x.must(f.PayDebts(x.ctx))
	if got, want := x.files(), []string{"new/" + other, "cur/" + name + ":2,FSab"}; !slices.Equal(got, want) {
		t.Errorf("files are %q, want %q: letters of other programs stay", got, want)
	}
	x.must(os.Remove(filepath.Join(x.dir, "new/"+other)))
	x.wantView(f, "1:FS")
	x.write("new/"+other, "again\n")
	x.wantView(f, "1:FS 3:")
}

func TestExpungedLettersStayReadableForOthers(t *testing.T) {
	x := newFixture(t)
	x.deliver("a\n")
	x.deliver("b\n")
	f, g := x.open(x.store), x.open(x.process())
	x.wantView(f, "1: 2:")
	x.wantView(g, "1: 2:")
	gone, err := f.Expunge(x.ctx, []uint32{1, 9})
	x.must(err)
	if !slices.Equal(gone, []uint32{1}) {
		t.Errorf("Expunge took %v, want [1]", gone)
	}
	x.must(f.PayDebts(x.ctx))
	if got := x.files(); len(got) != 1 {
		t.Errorf("files are %q, want one", got)
	}
	if got := x.read(g, 1); got != "a\r\n" {
		t.Errorf("the other process reads %q", got)
	}
	x.wantView(g, "2:")
	g.Close()
	f.Close()
	if left, _ := filepath.Glob(filepath.Join(x.dir, "postbag.expunged/*")); len(left) != 0 {
		t.Errorf("left when nobody has the folder open: %q", left)
	}
}

func TestContentOfALetterThatIsGone(t *testing.T) {
	x := newFixture(t)
	name := x.deliver("a\n")
	f := x.open(x.store)
	x.wantView(f, "1:")
	x.must(os.Remove(filepath.Join(x.dir, "new/"+name)))
	if _, err := f.Content(x.ctx, f.View().At(0)); !errors.Is(err, ErrExpunged) {
		t.Errorf("Content = %v, want ErrExpunged", err)
	}
}

func TestAppendOneAndMany(t *testing.T) {
	x := newFixture(t)
	f := x.open(x.store)
	when := time.Unix(1_600_000_000, 0)
	a := f.NewAppend()
	x.must(a.Add(Seen, []string{"$MDNSent"}, when, strings.NewReader("Subject: x\r\n\r\nhello\r\n")))
	uids, err := a.Commit(x.ctx)
	x.must(err)
	if !slices.Equal(uids, []uint32{1}) {
		t.Fatalf("Commit = %v", uids)
	}
	if got := x.append(f, "b\r\n", "c\r\n"); !slices.Equal(got, []uint32{2, 3}) {
		t.Fatalf("Commit = %v", got)
	}
	x.wantView(f, "1:S$MDNSent 2: 3:")
	x.must(f.PayDebts(x.ctx))
	if got := x.files(); len(got) != 3 {
		t.Errorf("files are %q, want three", got)
	}
	if got, err := f.Internal(x.ctx, f.View().At(0)); err != nil || !got.Equal(when) {
		t.Errorf("Internal = %v, %v, want %v", got, err, when)
	}
	if n, err := f.Size(x.ctx, f.View().At(0)); err != nil || n != 21 {
		t.Errorf("Size = %d, %v, want 21", n, err)
	}
	for uid, want := range []string{"Subject: x\r\n\r\nhello\r\n", "b\r\n", "c\r\n"} {
		if got := x.read(f, uint32(uid+1)); got != want {
			t.Errorf("letter %d reads %q, want %q", uid+1, got, want)
		}
	}
	x.wantView(x.open(x.process()), "1:S$MDNSent 2: 3:")
}

func TestCopyAndMove(t *testing.T) {
	x := newFixture(t)
	other := filepath.Join(x.dir, ".Other")
	x.must(maildir.Init(durable.New(), other, 0o700))
	f := x.open(x.store)
	g, err := x.store.Open(x.ctx, other)
	x.must(err)
	defer g.Close()
	x.append(f, "a\r\n", "b\r\n", "c\r\n")
	_, err = f.Store(x.ctx, []uint32{2}, FlagChange{Set: Seen, SetKeywords: []string{"k"}}, Always)
	x.must(err)
	from, to, err := Copy(x.ctx, f, []uint32{2, 3, 7}, g)
	x.must(err)
	if !slices.Equal(from, []uint32{2, 3}) || !slices.Equal(to, []uint32{1, 2}) {
		t.Fatalf("Copy = %v, %v", from, to)
	}
	if a, b := f.View().At(1).EmailID(), g.View().At(0).EmailID(); a != b {
		t.Errorf("EMAILID %s became %s by COPY", a, b)
	}
	from, to, err = Move(x.ctx, f, []uint32{1}, g)
	x.must(err)
	if !slices.Equal(from, []uint32{1}) || !slices.Equal(to, []uint32{3}) {
		t.Fatalf("Move = %v, %v", from, to)
	}
	x.must(f.PayDebts(x.ctx))
	x.must(g.PayDebts(x.ctx))
	x.wantView(f, "2:Sk 3:")
	x.wantView(g, "1:Sk 2: 3:")
	if got := x.read(g, 3); got != "a\r\n" {
		t.Errorf("the moved letter reads %q", got)
	}
	from, to, err = Copy(x.ctx, f, []uint32{2}, f)
	x.must(err)
	if !slices.Equal(from, []uint32{2}) || !slices.Equal(to, []uint32{4}) {
		t.Fatalf("Copy to itself = %v, %v", from, to)
	}
}

func TestSettleMovesNewMail(t *testing.T) {
	x := newFixture(t)
	name := x.deliver("a\n")
	f := x.open(x.store)
	x.wantView(f, "1:")
	x.must(f.Settle(x.ctx))
	if got, want := x.files(), []string{"cur/" + name + ":2,"}; !slices.Equal(got, want) {
		t.Errorf("files are %q, want %q", got, want)
	}
	x.wantView(f, "1:")
}

func TestALetterIsRecentInOneSession(t *testing.T) {
	x := newFixture(t)
	x.deliver("a\n")
	x.deliver("b\n")
	f, g := x.open(x.store), x.open(x.process())
	x.wantView(f, "1: 2:")
	x.wantView(g, "1: 2:")
	before := g.View() // both have selected it
	claims := func(f *Folder, v *View, want Range) {
		t.Helper()
		if got, err := f.ClaimRecent(x.ctx, v); err != nil || got != want {
			t.Errorf("claimed %v, %v, want %v", got, err, want)
		}
	}
	claims(f, f.View(), Range{1, 2})
	claims(f, f.View(), Range{})
	claims(g, before, Range{})
	x.deliver("c\n")
	x.wantView(g, "1: 2: 3:")
	claims(g, g.View(), Range{3, 3})
	x.wantView(f, "1: 2: 3:")
	claims(f, f.View(), Range{})
	x.must(f.Sync(x.ctx))
	if got := f.RecentAbove(); got != 3 {
		t.Errorf("letters above %d are recent, want 3", got)
	}
}

func TestTwoFilesOfOneName(t *testing.T) {
	x := newFixture(t)
	name := x.deliver("a\n")
	f := x.open(x.store)
	x.wantView(f, "1:")
	x.write("cur/"+name+":2,S", "another\n")
	x.must(f.Sync(x.ctx))
	x.wantView(f, "1: 2:S")
	if a, b := x.read(f, 1), x.read(f, 2); a != "a\r\n" || b != "another\r\n" {
		t.Errorf("letters read %q, %q", a, b)
	}
	x.must(os.Link(filepath.Join(x.dir, "new", name), filepath.Join(x.dir, "cur", name+":2,")))
	x.must(f.Sync(x.ctx))
	x.wantView(f, "1: 2:S")
	if got := x.files(); len(got) != 2 {
		t.Errorf("files are %q, want two", got)
	}
}

func TestSubscribersHearOfMail(t *testing.T) {
	for _, mode := range []string{"by inotify", "by the clock"} {
		t.Run(mode, func(t *testing.T) {
			x := newFixture(t)
			x.store.o.NoWatch = mode == "by the clock"
			f := x.open(x.store)
			x.must(f.Sync(x.ctx))
			told := make(chan struct{}, 1)
			cancel := f.Subscribe(telling(told))
			defer cancel()
			x.deliver("a\n")
			deadline := time.After(time.Minute)
			for f.View().Len() == 0 {
				select {
				case <-told:
				case <-deadline:
					t.Fatal("nothing told of a letter")
				}
			}
		})
	}
}

func TestLockOfAnotherProcess(t *testing.T) {
	x := newFixture(t)
	f := x.open(x.store)
	x.append(f, "a\r\n")
	slow := NewStore(durable.New(), Options{LockWait: time.Millisecond})
	defer slow.Close()
	g := x.open(slow)
	f.b.lock()
	defer f.b.unlock()
	err := f.b.exclusive(x.ctx, func() error {
		_, err := g.Store(x.ctx, []uint32{1}, FlagChange{Set: Seen}, Always)
		return err
	})
	if !errors.Is(err, ErrInUse) {
		t.Errorf("Store = %v, want ErrInUse", err)
	}
	if got := show(g.View()); got != "1:" {
		t.Errorf("the other process reads %q without the lock", got)
	}
}

func TestAppendKeepsEveryOctet(t *testing.T) {
	x := newFixture(t)
	f := x.open(x.store)
	long := strings.Repeat("0123456789abcde\r\n", 4000)
	for _, text := range []string{
		"", "a", "\r\n", "a\r\nb\r\n", "no end\r", "bare\nLF\r\n", "\n", "bare\rCR\r\n", "two\r\r\n", "\r\r\n\n",
		"nul\x00\r\n", long, long + "late\nbare" + long, long[:32<<10-1] + "\r\n", "x" + long[:32<<10-2] + "\r" + long, long + "\r",
	} {
		uids := x.append(f, text)
		if got := x.read(f, uids[0]); got != text {
			t.Errorf("%.20q... of %d octets became %.20q... of %d", text, len(text), got, len(got))
		}
		n, err := f.Size(x.ctx, &Letter{UID: uids[0]})
		if err != nil || n != int64(len(text)) {
			t.Errorf("Size of %.20q = %d, %v, want %d", text, n, err, len(text))
		}
	}
	x.must(f.PayDebts(x.ctx))
	if left, _ := filepath.Glob(filepath.Join(x.dir, "tmp/*")); len(left) > 0 {
		t.Errorf("left in tmp: %q", left)
	}
}

func TestSizesInForeignNamesAreNotBelieved(t *testing.T) {
	x := newFixture(t)
	x.write("cur/1700000000.M1P1.h,S=4,W=400:2,", "a\nb\n")
	x.write("cur/1700000001.M1P1.h,S=99,W=100:2,", "a\nb\n")
	x.write("cur/1700000002.M1P1.h:2,", "a\r\nb\n")
	f := x.open(x.store)
	x.wantView(f, "1: 2: 3:")
	for _, uid := range []uint32{2, 3} {
		if got := x.read(f, uid); got != "a\r\nb\r\n" {
			t.Errorf("letter %d reads %q", uid, got)
		}
	}
}

// sub makes the fixture's folder one below the root.
func (x *fixture) sub(name string) {
	x.t.Helper()
	x.dir = filepath.Join(x.dir, name)
	x.must(maildir.Init(durable.New(), x.dir, 0o700))
}

func TestAFolderMadeAnewUnderASession(t *testing.T) {
	x := newFixture(t)
	x.sub(".A")
	x.deliver("a\n")
	f := x.open(x.store)
	told := make(chan struct{}, 1)
	defer f.Subscribe(telling(told))()
	x.wantView(f, "1:")
	old := f.View().UIDValidity()
	x.must(os.Rename(x.dir, x.dir+".away"))
	if err := f.Sync(x.ctx); !errors.Is(err, ErrGone) {
		t.Errorf("Sync = %v, want ErrGone", err)
	}
	x.must(maildir.Init(durable.New(), x.dir, 0o700))
	x.deliver("b\n")
	x.wantView(f, "1:")
	if now := f.View().UIDValidity(); now <= old {
		t.Errorf("UIDVALIDITY %d after %d", now, old)
	}
	if got := x.read(f, 1); got != "b\r\n" {
		t.Errorf("letter 1 reads %q", got)
	}
}

func TestACopiedFolderIsAnotherMailbox(t *testing.T) {
	x := newFixture(t)
	root := x.dir
	x.sub(".A")
	x.deliver("a\n")
	f := x.open(x.store)
	x.wantView(f, "1:")
	id, email := f.MailboxID(), f.View().At(0).EmailID()
	f.Close()
	copied := filepath.Join(root, ".Copy")
	x.must(os.CopyFS(copied, os.DirFS(x.dir)))
	g, err := x.store.Open(x.ctx, copied)
	x.must(err)
	defer g.Close()
	x.wantView(g, "1:")
	if g.MailboxID() == id || g.View().At(0).EmailID() != email {
		t.Errorf("the copy is %s with %s, the first %s with %s", g.MailboxID(), g.View().At(0).EmailID(), id, email)
	}
	if h := x.open(x.store); h.MailboxID() != id {
		t.Errorf("MAILBOXID changed from %s to %s", id, h.MailboxID())
	}
}

func TestLossOfOurFilesLosesNoLetter(t *testing.T) {
	x := newFixture(t)
	x.deliver("a\n")
	f := x.open(x.store)
	x.must(f.Sync(x.ctx))
	x.append(f, "b\r\n")
	x.must(f.Settle(x.ctx))
	_, err := f.Store(x.ctx, []uint32{1}, FlagChange{Set: Flagged}, Always)
	x.must(err)
	x.must(f.PayDebts(x.ctx))
	x.wantView(f, "1:F 2:")
	validity, modseq := f.View().UIDValidity(), f.View().HighestModSeq()
	f.Close()
	ours, err := filepath.Glob(filepath.Join(x.dir, "postbag.[los]*"))
	x.must(err)
	for _, name := range ours {
		x.must(os.Remove(name))
	}
	g := x.open(x.store)
	x.wantView(g, "1:F 2:")
	if g.View().UIDValidity() <= validity || g.View().HighestModSeq() < modseq {
		t.Errorf("UIDVALIDITY %d, modseq %d after %d, %d", g.View().UIDValidity(), g.View().HighestModSeq(), validity, modseq)
	}
}

func TestDamageOfTheLogChangesUIDVALIDITY(t *testing.T) {
	x := newFixture(t)
	f := x.open(x.store)
	x.append(f, "a\r\n", "b\r\n")
	x.append(f, "c\r\n")
	x.must(f.PayDebts(x.ctx))
	x.append(f, "d\r\n")
	validity := f.View().UIDValidity()
	f.Close()
	os.Remove(filepath.Join(x.dir, snapName)) // there is none yet of so small a log
	path := filepath.Join(x.dir, logName)
	b, err := os.ReadFile(path)
	x.must(err)
	at := strings.Index(string(b), "localhost,S=2") // in the frame of the first two
	b[at]++
	x.must(os.WriteFile(path, b, 0o600))
	g := x.open(x.process())
	x.must(g.Sync(x.ctx))
	v := g.View()
	if v.Len() != 4 || v.UIDValidity() <= validity {
		t.Errorf("%d letters, UIDVALIDITY %d after %d", v.Len(), v.UIDValidity(), validity)
	}
	if _, err := os.Stat(path + ".bad"); err != nil {
		t.Errorf("no copy of the damaged log: %v", err)
	}
}

func TestUIDVALIDITYGrowsInTheWholeTree(t *testing.T) {
	x := newFixture(t)
	root := x.dir
	last := uint32(0)
	for _, name := range []string{"", ".A", ".B", ".C.D"} {
		x.dir = root
		if name != "" {
			x.sub(name)
		}
		v := x.open(x.store).View().UIDValidity()
		if v <= last {
			t.Errorf("folder %q has UIDVALIDITY %d after %d", name, v, last)
		}
		last = v
	}
	hidden := filepath.Join(filepath.Dir(root), ".maildir")
	x.must(maildir.Init(durable.New(), hidden, 0o700))
	if got := maildir.Root(durable.New(), hidden); got != hidden {
		t.Errorf("maildir.Root(%q) = %q", hidden, got)
	}
	for text, want := range map[string]uint32{"": 0, "5\n7\n6\n": 7, "5\n12": 12, "x\n-1\n99999999999\n3\n": 3} {
		if got := lastValidity(text); got != want {
			t.Errorf("lastValidity(%q) = %d, want %d", text, got, want)
		}
	}
}

func TestWhatComesAndGoesIsNotedForTheQuota(t *testing.T) {
	x := newFixture(t)
	x.deliver("a\n")
	f := x.open(x.store)
	x.wantView(f, "1:")
	x.write("maildirsize", "1000S\n2 1\n")
	x.append(f, "four")                         // 4 octets on the disk
	_, _, err := Copy(x.ctx, f, []uint32{1}, f) // 2, without a size in its name
	x.must(err)
	_, _, err = Move(x.ctx, f, []uint32{2}, f)
	x.must(err)
	x.expunge(f, 1)
	x.must(f.PayDebts(x.ctx))
	limit, usage, err := x.store.Quota(x.dir).State()
	if got, want := fmt.Sprint(limit, usage), "1000S {6 2}"; got != want || err != nil {
		t.Errorf("quota is %s, %v, want %s", got, err, want)
	}
	text, err := os.ReadFile(filepath.Join(x.dir, "maildirsize"))
	x.must(err)
	x.must(x.store.Quota(x.dir).Recount())
	if _, again, err := x.store.Quota(x.dir).State(); again != usage || err != nil {
		t.Errorf("counted it is %v, %v; noted was %q", again, err, text)
	}
}

func TestOverTheQuotaNothingIsAdded(t *testing.T) {
	x := newFixture(t)
	x.write("maildirsize", "7S\n")
	f := x.open(x.store)
	x.append(f, "four")
	a := f.NewAppend()
	x.must(a.Add(0, nil, time.Time{}, strings.NewReader("four\r\n")))
	if uids, err := a.Commit(x.ctx); !errors.Is(err, ErrOverQuota) {
		t.Errorf("Commit() = %v, %v", uids, err)
	}
	if from, _, err := Copy(x.ctx, f, []uint32{1}, f); !errors.Is(err, ErrOverQuota) {
		t.Errorf("Copy() = %v, %v", from, err)
	}
	if left, _ := os.ReadDir(filepath.Join(x.dir, "tmp")); len(left) > 0 {
		t.Errorf("left in tmp: %v", left)
	}
	x.wantView(f, "1:")
}

// The file of a letter has the date that was told of it, to the second, whatever
// the clock of files says: that is all that is left when our own files are gone.
func TestALetterWithoutADateKeepsTheOneThatItGot(t *testing.T) {
	x := newFixture(t)
	then := time.Date(2001, 2, 3, 4, 5, 6, 999_999_999, time.UTC)
	s := NewStore(durable.New(), Options{Now: func() time.Time { return then }})
	t.Cleanup(func() { s.Close() })
	x.append(x.open(s), "Subject: now\n\n")
	st, err := os.Stat(filepath.Join(x.dir, x.files()[0]))
	if err != nil {
		t.Fatal(err)
	}
	if got := st.ModTime().Unix(); got != then.Unix() {
		t.Errorf("the file has %v, want %v", st.ModTime(), then)
	}
}
