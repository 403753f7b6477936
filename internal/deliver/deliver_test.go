package deliver

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"postbag/internal/address"
	"postbag/internal/durable"
	"postbag/internal/maildir"
	"postbag/internal/quota"
	"postbag/internal/status"
)

// letters gives the texts in a Maildir.
func letters(t testing.TB, dir string) []string {
	t.Helper()
	files, _ := filepath.Glob(dir + "/new/*")
	var all []string
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(b))
	}
	return all
}

func inTmp(dir string) int {
	files, _ := filepath.Glob(dir + "/tmp/*")
	return len(files)
}

func box(dir, to string) Mailbox { return Mailbox{Dir: dir, Address: addr(to), UID: -1} }

func TestTheDirectWay(t *testing.T) {
	l := &Local{FS: durable.New(), Hostname: "h"}
	dir := filepath.Join(t.TempDir(), "a", "Maildir")
	letter, err := l.Begin(ctx, box(dir, "bob@example.org"), addr("ann@example.org"))
	if err != nil {
		t.Fatal(err)
	}
	letter.Write([]byte("Subject: x\n\ntext\n"))
	if err := letter.Sync(); err != nil {
		t.Fatal(err)
	}
	if got := letters(t, dir); len(got) != 0 {
		t.Errorf("there before Commit: %q", got)
	}
	if err := letter.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	want := "Return-Path: <ann@example.org>\nDelivered-To: bob@example.org\nSubject: x\n\ntext\n"
	if got := letters(t, dir); len(got) != 1 || got[0] != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestANullSenderHasANullReturnPath(t *testing.T) {
	if got := string(finalFields(address.Address{}, addr("b@x"))); !strings.HasPrefix(got, "Return-Path: <>\n") {
		t.Errorf("%q", got)
	}
}

func TestALoopIsFound(t *testing.T) {
	for text, want := range map[string]bool{
		"Delivered-To: bob@example.org\n\nx\n":                             true,
		"Subject: x\ndelivered-to:  BOB@example.org \r\n\r\nx\n":           true,
		"Delivered-To: bob@example.net\n\nx\n":                             false,
		"Subject: x\n\nDelivered-To: bob@example.org\n":                    false,
		"X-Delivered-To: bob@example.org\n\n":                              false,
		"D" + strings.Repeat("d", 5000) + "elivered-To: bob@example.org\n": false,
	} {
		for cut := 1; cut <= len(text); cut += 1 + len(text)/50 {
			f := loopFinder{address: "bob@example.org"}
			for rest := text; rest != ""; {
				n := min(cut, len(rest))
				f.look([]byte(rest[:n]))
				rest = rest[n:]
			}
			if f.found != want {
				t.Errorf("%.40q cut at %d: %v", text, cut, f.found)
			}
		}
	}
	l := &Local{FS: durable.New()}
	letter, err := l.Begin(ctx, box(t.TempDir()+"/M", "bob@example.org"), addr("ann@example.org"))
	if err != nil {
		t.Fatal(err)
	}
	defer letter.Discard()
	letter.Write([]byte("Delivered-To: bob@example.org\n\nx\n"))
	if err := letter.Sync(); status.Code(err) != "5.4.6" || status.ClassOf(err) != status.Permanent {
		t.Errorf("%v", err)
	}
}

func TestAnotherUsersMailboxWaits(t *testing.T) {
	l := &Local{FS: durable.New()}
	b := box(t.TempDir()+"/M", "bob@example.org")
	b.UID = os.Geteuid() + 1
	if _, err := l.Begin(ctx, b, addr("ann@example.org")); err == nil || status.ClassOf(err) != status.Temporary {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(b.Dir); err == nil {
		t.Error("made")
	}
}

// journal notes what is said to it, and the state of the Maildir at that time.
type journal struct {
	boxes    []int
	placings []Placing
	inTmp    int
	inNew    int
	err      error
}

func (j *journal) note(_ context.Context, boxes []int, placings []Placing) error {
	j.boxes, j.placings = boxes, placings
	for _, p := range placings {
		j.inTmp += inTmp(p.Dir)
		files, _ := filepath.Glob(p.Dir + "/new/*")
		j.inNew += len(files)
	}
	return j.err
}

func TestQueuedMailGoesIntoEachMailbox(t *testing.T) {
	l := &Local{FS: durable.New(), Hostname: "h"}
	root := t.TempDir()
	boxes := []Box{{Mailbox: box(root+"/a", "a@x")}, {Mailbox: box("/proc/none", "n@x")}, {Mailbox: box(root+"/b", "b@x")}}
	j := &journal{}
	got := l.Maildirs(ctx, mail("S: x\n\n"), boxes, j.note)
	if got[0].Err != nil || got[1].Err == nil || got[2].Err != nil {
		t.Fatalf("%v", got)
	}
	if len(j.boxes) != 2 || j.boxes[1] != 2 || j.inTmp != 2 || j.inNew != 0 {
		t.Errorf("the journal saw %+v", j)
	}
	for i, p := range j.placings {
		if _, err := os.Stat(filepath.Join(p.Dir, "new", p.Name)); err != nil {
			t.Errorf("%d: %v", i, err)
		}
	}
}

func TestWhatACrashInterruptedIsFinished(t *testing.T) {
	const name = "X,S=1,W=1"
	for about, c := range map[string]struct {
		file string
		age  time.Duration
		want int // letters afterwards
	}{
		"before the rename":                       {"tmp/X", 0, 1},
		"after it":                                {"new/" + name, 0, 1},
		"after it, and it was read and is gone":   {"", 0, 0},
		"long after it, a cleaner has been there": {"", 40 * time.Hour, 1},
		"long after it, a reader has been there":  {"cur/" + name + ":2,S", 40 * time.Hour, 0},
	} {
		l := &Local{FS: durable.New(), Hostname: "h"}
		dir := t.TempDir() + "/M"
		maildir.Init(l.FS, dir, 0o700)
		if c.file != "" {
			os.WriteFile(filepath.Join(dir, c.file), []byte("x"), 0o600)
		}
		placed := &Placing{Dir: dir, Tmp: "X", Name: name, At: time.Now().Add(-c.age)}
		got := l.Maildirs(ctx, mail("S: x\n\n"), []Box{{box(dir, "a@x"), placed}}, (&journal{}).note)
		if got[0].Err != nil || len(letters(t, dir)) != c.want || inTmp(dir) != 0 {
			t.Errorf("%s: %v, %d letters, %d in tmp", about, got[0].Err, len(letters(t, dir)), inTmp(dir))
		}
	}
}

func TestAJournalThatFailsLeavesTheLetterForRecovery(t *testing.T) {
	l := &Local{FS: durable.New(), Hostname: "h"}
	dir := t.TempDir() + "/M"
	j := &journal{err: errors.New("disk")}
	got := l.Maildirs(ctx, mail("S: x\n\n"), []Box{{Mailbox: box(dir, "a@x")}}, j.note)
	if got[0].Err == nil || got[0].Undo != nil || inTmp(dir) != 1 || len(letters(t, dir)) != 0 {
		t.Errorf("%v, %d in tmp", got[0].Err, inTmp(dir))
	}
}

// failing fails one kind of step.
type failing struct {
	kind durable.OpKind
	path string
}

func (f failing) Step(op durable.Op, do func() error) error {
	if op.Kind == f.kind && strings.Contains(op.Path, f.path) {
		return syscall.EIO
	}
	return do()
}

func TestWhatFailsAfterTheJournalCanBeTakenBack(t *testing.T) {
	for name, f := range map[string]failing{
		"the rename":              {durable.OpRename, "/tmp/"},
		"the sync of the new one": {durable.OpSyncDir, "/new"},
	} {
		dir := t.TempDir() + "/M"
		maildir.Init(durable.New(), dir, 0o700)
		l := &Local{FS: durable.NewTraced(f), Hostname: "h"}
		got := l.Maildirs(ctx, mail("S: x\n\n"), []Box{{Mailbox: box(dir, "a@x")}}, (&journal{}).note)
		if got[0].Err == nil || got[0].Undo == nil {
			t.Fatalf("%s: %+v", name, got[0])
		}
		got[0].Undo()
		if inTmp(dir) != 0 || len(letters(t, dir)) != 0 {
			t.Errorf("%s: still there", name)
		}
	}
}

func TestAMessageThatCannotBeReadIsNotDelivered(t *testing.T) {
	l := &Local{FS: durable.New(), Hostname: "h"}
	dir := t.TempDir() + "/M"
	m := mail("")
	m.Open = func() (io.ReadCloser, error) { return nil, errors.New("damaged") }
	got := l.Maildirs(ctx, m, []Box{{Mailbox: box(dir, "a@x")}}, (&journal{}).note)
	if got[0].Err == nil || inTmp(dir) != 0 {
		t.Errorf("%v, %d in tmp", got[0].Err, inTmp(dir))
	}
}

func TestAQuotaThatAnAccountBeginsToKeepIsSeenAfterASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &Local{FS: durable.New(), Hostname: "h"}
		dir := filepath.Join(t.TempDir(), "Maildir")
		send := func() error {
			letter, err := l.Begin(ctx, box(dir, "a@x"), addr("b@y"))
			if err != nil {
				return err
			}
			defer letter.Discard()
			letter.Write([]byte("S: x\n\n" + strings.Repeat("x", 60)))
			return errors.Join(letter.Sync(), letter.Commit(ctx))
		}
		if err := send(); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "maildirsize"), []byte("100S\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(freeAge)
		if err := send(); !errors.Is(err, quota.ErrOver) {
			t.Errorf("a letter that has no room: %v, want %v", err, quota.ErrOver)
		}
	})
}

func TestAFullMailboxTakesNoMore(t *testing.T) {
	l := &Local{FS: durable.New(), Hostname: "h", Quota: quota.Limit{Bytes: 150}}
	dir := filepath.Join(t.TempDir(), "Maildir")
	j := &journal{}
	one := []Box{{Mailbox: box(dir, "a@x")}}
	if got := l.Maildirs(ctx, mail("S: x\n\n"+strings.Repeat("x", 40)), one, j.note); got[0].Err != nil {
		t.Fatal(got[0].Err)
	}
	for _, tt := range []struct {
		octets int
		want   string
	}{{60, "452 4.2.2 mailbox is full"}, {200, "552 5.2.2 message is larger than the mailbox may be"}, {5, ""}} {
		letter, err := l.Begin(ctx, one[0].Mailbox, addr("b@y"))
		if err != nil {
			t.Fatal(err)
		}
		letter.Write([]byte("S: x\n\n" + strings.Repeat("x", tt.octets)))
		err = letter.Sync()
		if err == nil {
			err = letter.Commit(ctx)
		}
		letter.Discard()
		if err != nil && status.Diagnostic(err) != tt.want || err == nil && tt.want != "" {
			t.Errorf("%d octets: %v, want %s", tt.octets, err, tt.want)
		}
	}
	if got := l.Maildirs(ctx, mail("S: x\n\n"+strings.Repeat("x", 60)), one, j.note); status.Diagnostic(got[0].Err) != "452 4.2.2 mailbox is full" {
		t.Errorf("from the queue: %v", got[0].Err)
	}
	if n := len(letters(t, dir)); n != 2 || inTmp(dir) != 0 {
		t.Errorf("%d letters, %d in tmp", n, inTmp(dir))
	}
}
