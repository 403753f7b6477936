package account

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"postbag/internal/durable"
	"postbag/internal/mailbox"
)

type fixture struct {
	t    *testing.T
	ctx  context.Context
	root string
	tree *Tree
}

// newFixture makes an account in which files (and directories, whose names end
// in a slash) lie already.
func newFixture(t *testing.T, files ...string) *fixture {
	t.Helper()
	x := &fixture{t: t, ctx: t.Context(), root: filepath.Join(t.TempDir(), "mail")}
	for _, f := range files {
		name, text, _ := strings.Cut(f, "=")
		path := filepath.Join(x.root, name)
		dir := path
		if !strings.HasSuffix(name, "/") {
			dir = filepath.Dir(path)
		}
		x.must(os.MkdirAll(dir, 0o700))
		if dir != path {
			x.must(os.WriteFile(path, []byte(text), 0o600))
		}
	}
	x.tree = x.open()
	return x
}

// open opens the account as another process would.
func (x *fixture) open() *Tree {
	x.t.Helper()
	s := mailbox.NewStore(durable.New(), mailbox.Options{})
	x.t.Cleanup(func() { s.Close() })
	tree, err := Open(x.ctx, s, x.root, Options{})
	x.must(err)
	return tree
}

func (x *fixture) must(err error) {
	x.t.Helper()
	if err != nil {
		x.t.Fatal(err)
	}
}

// list shows folders as names with marks: ! not there, + children, * subscribed,
// and their use.
func (x *fixture) list() string {
	x.t.Helper()
	all, err := x.tree.List(x.ctx)
	x.must(err)
	var out []string
	for _, f := range all {
		s := f.Name
		if !f.Exists {
			s += "!"
		}
		if f.HasChildren {
			s += "+"
		}
		if f.Subscribed {
			s += "*"
		}
		out = append(out, s+strings.Join(f.SpecialUse, ""))
	}
	return strings.Join(out, " ")
}

func (x *fixture) want(list string) {
	x.t.Helper()
	if got := x.list(); got != list {
		x.t.Fatalf("List shows %q, want %q", got, list)
	}
}

func (x *fixture) folder(name string) *mailbox.Folder {
	x.t.Helper()
	f, err := x.tree.Open(x.ctx, name)
	x.must(err)
	x.t.Cleanup(f.Close)
	x.must(f.Sync(x.ctx))
	return f
}

func TestNewAccount(t *testing.T) {
	x := newFixture(t)
	x.want("INBOX")
	if got := x.tree.Separator(); got != '/' {
		t.Errorf("Separator = %q", got)
	}
	for _, sub := range []string{"new", "cur", "tmp"} {
		if st, err := os.Stat(filepath.Join(x.root, sub)); err != nil || !st.IsDir() {
			t.Errorf("no %s in a new account: %v", sub, err)
		}
	}
}

func TestListShowsWhatOthersMade(t *testing.T) {
	x := newFixture(t, "cur/", "new/", "tmp/",
		".Sent/cur/", ".Lists.go.dev/cur/", ".Entw&APw-rfe/cur/", ".Bücher/cur/", ".junk/cur/",
		".notmail/", ".file=", ".INBOX.sub/cur/", "..empty/cur/", "visible/cur/")
	x.want(`INBOX+ Bücher Entwürfe INBOX/sub Lists!+ Lists/go!+ Lists/go/dev Sent\Sent junk\Junk`)
	x.folder("Bücher")
	x.folder("inbox/sub")
	if _, err := x.tree.Open(x.ctx, "Lists"); !errors.Is(err, ErrNoFolder) {
		t.Errorf("opening a level that is no folder: %v", err)
	}
}

func TestCreate(t *testing.T) {
	x := newFixture(t)
	for _, name := range []string{"A/B/", "Zürich", "v1.2", "Drafts", "a&b"} {
		x.must(x.tree.Create(x.ctx, name))
	}
	x.want(`INBOX A!+ A/B Drafts\Drafts Zürich a&b v1.2`)
	for _, dir := range []string{".A.B", ".Z&APw-rich", ".v1&AC4-2", ".a&-b"} {
		if _, err := os.Stat(filepath.Join(x.root, dir, "maildirfolder")); err != nil {
			t.Errorf("no maildirfolder: %v", err)
		}
	}
	for name, want := range map[string]error{
		"A/B": ErrExists, "inbox": ErrExists, "": ErrBadName, "a//b": ErrBadName, "/a": ErrBadName,
		"a\nb": ErrBadName, strings.Repeat("x", 300): ErrBadName,
	} {
		if err := x.tree.Create(x.ctx, name); !errors.Is(err, want) {
			t.Errorf("Create(%q) = %v, want %v", name, err, want)
		}
	}
	for _, name := range []string{"..", "../x", "a/../../b"} {
		x.must(x.tree.Create(x.ctx, name))
		f := x.folder(name)
		if filepath.Dir(f.Dir()) != x.root {
			t.Errorf("Create(%q) made %s", name, f.Dir())
		}
	}
}

func TestNamesAreNormalized(t *testing.T) {
	x := newFixture(t, "cur/", "new/", "tmp/", ".Cafe&AwE-/cur/")
	for name, want := range map[string]string{
		"Cafe\u0301": "Cafe\u0301", "inbox/e\u0301/": "INBOX/\u00e9", "e\u0301": "\u00e9", "\u00e9": "\u00e9", "e": "e",
	} {
		if got := x.tree.Canonical(name); got != want {
			t.Errorf("Canonical(%q) = %q, want %q", name, got, want)
		}
	}
	x.must(x.tree.Create(x.ctx, "e\u0301"))
	x.must(x.tree.Rename(x.ctx, "e\u0301", "o\u0308"))
	x.must(x.tree.Rename(x.ctx, "Cafe\u0301", "Cafe"))
	x.want("INBOX Cafe \u00f6")
	for _, name := range []string{"a\u0085", "a\u2028b", "\ufeffa"} {
		if err := x.tree.Rename(x.ctx, "Cafe", name); !errors.Is(err, ErrBadName) {
			t.Errorf("Rename to %q: %v, want %v", name, err, ErrBadName)
		}
	}
}

func TestAFolderMadeAnewHasAGreaterUIDVALIDITY(t *testing.T) {
	x := newFixture(t)
	last := uint32(0)
	for range 3 {
		x.must(x.tree.Create(x.ctx, "A"))
		f := x.folder("A")
		if v := f.View().UIDValidity(); v <= last {
			t.Errorf("UIDVALIDITY %d after %d", v, last)
		}
		last = f.View().UIDValidity()
		f.Close()
		x.must(x.tree.Delete(x.ctx, "A"))
	}
}

func TestDelete(t *testing.T) {
	x := newFixture(t, "cur/", ".A/cur/1.a.b:2,=text", ".A.B/cur/")
	f := x.folder("A")
	x.must(x.tree.Delete(x.ctx, "A"))
	x.want("INBOX A!+ A/B")
	if err := f.Sync(x.ctx); !errors.Is(err, mailbox.ErrGone) {
		t.Errorf("Sync of a deleted folder = %v", err)
	}
	for name, want := range map[string]error{"A": ErrNoFolder, "nothing": ErrNoFolder, "Inbox": ErrInbox} {
		if err := x.tree.Delete(x.ctx, name); !errors.Is(err, want) {
			t.Errorf("Delete(%q) = %v, want %v", name, err, want)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(x.root, "postbag.deleted.*")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestDeletedFoldersAreSweptAfterACrash(t *testing.T) {
	x := newFixture(t, "cur/", "postbag.deleted.X/cur/1.a.b:2,=text")
	if _, err := os.Stat(filepath.Join(x.root, "postbag.deleted.X")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("still there: %v", err)
	}
}

func TestRename(t *testing.T) {
	x := newFixture(t, "cur/", ".A/cur/1.a.b:2,S=text", ".A.B/cur/", ".A.B.C/cur/", ".AB/cur/", ".X/cur/")
	a := x.folder("A")
	validity := a.View().UIDValidity()
	a.Close()
	x.must(x.tree.Rename(x.ctx, "A", "Y/Z"))
	x.want("INBOX AB X Y!+ Y/Z+ Y/Z/B+ Y/Z/B/C")
	if v := x.folder("Y/Z").View(); v.Len() != 1 || v.UIDValidity() != validity {
		t.Errorf("the renamed folder has %d letters, UIDVALIDITY %d, want 1, %d", v.Len(), v.UIDValidity(), validity)
	}
	for _, tt := range []struct {
		from, to string
		want     error
	}{
		{"A", "B", ErrNoFolder}, {"X", "AB", ErrExists}, {"X", "X/Y", ErrBadName},
		{"X", "INBOX", ErrExists}, {"X", "", ErrBadName}, {"X", "X", ErrExists},
	} {
		if err := x.tree.Rename(x.ctx, tt.from, tt.to); !errors.Is(err, tt.want) {
			t.Errorf("Rename(%q, %q) = %v, want %v", tt.from, tt.to, err, tt.want)
		}
	}
	x.must(x.tree.Rename(x.ctx, "Y", "W"))
	x.want("INBOX AB W!+ W/Z+ W/Z/B+ W/Z/B/C X")
}

func TestRenameOfInboxMovesItsLetters(t *testing.T) {
	x := newFixture(t, "cur/1.a.b:2,S=one", "new/2.a.b=two", "tmp/", ".INBOX.sub/cur/")
	x.must(x.tree.Rename(x.ctx, "INBOX", "old/mail"))
	x.want("INBOX+ INBOX/sub old!+ old/mail")
	if n := x.folder("INBOX").View().Len(); n != 0 {
		t.Errorf("INBOX keeps %d letters", n)
	}
	if n := x.folder("old/mail").View().Len(); n != 2 {
		t.Errorf("the new folder has %d letters, want 2", n)
	}
}

func TestSubscriptions(t *testing.T) {
	x := newFixture(t)
	x.must(x.tree.Create(x.ctx, "A/B"))
	for _, name := range []string{"A/B", "inbox", "not there", "A/B"} {
		x.must(x.tree.Subscribe(x.ctx, name))
	}
	x.want("INBOX* A!+ A/B* not there!*")
	x.tree = x.open()
	x.must(x.tree.Unsubscribe(x.ctx, "not there"))
	x.want("INBOX* A!+ A/B*")
	b, err := os.ReadFile(filepath.Join(x.root, "subscriptions"))
	x.must(err)
	if got, want := string(b), "V\t2\n\nA\tB\nINBOX\n"; got != want {
		t.Errorf("the file is %q, want %q", got, want)
	}
}

func TestSeparatorAndSubscriptionsOfFormerServers(t *testing.T) {
	tests := []struct {
		name, file string
		sep        byte
		subscribed []string
	}{
		{"nobody was there", "other=", '/', nil},
		{"Dovecot with its default", "dovecot-uidlist=3 V1 N1", '.', nil},
		{"Courier", "courierimapsubscribed=INBOX\nINBOX.Sent.&AOQ-\nINBOX.\nshared.x\nINBOX.Sent.&AOQ-\n", '.', []string{"INBOX", "Sent.ä"}},
		{"old subscriptions with dots", "subscriptions=A.B\nDr&APw-cke\n", '.', []string{"A.B", "Drücke"}},
		{"old subscriptions with slashes", "subscriptions=A/B\nINBOX\n", '/', []string{"A/B", "INBOX"}},
		{"new subscriptions say nothing", "subscriptions=V\t2\n\nA\tB\n", '/', []string{"A/B"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			x := newFixture(t, "cur/", tt.file)
			if got := x.tree.Separator(); got != tt.sep {
				t.Errorf("Separator = %q, want %q", got, tt.sep)
			}
			got, err := x.tree.Subscribed()
			if err != nil || !slices.Equal(got, tt.subscribed) {
				t.Errorf("Subscribed = %q, %v, want %q", got, err, tt.subscribed)
			}
			x.must(x.tree.Subscribe(x.ctx, "New"))
			x.must(os.WriteFile(filepath.Join(x.root, "dovecot-uidlist"), nil, 0o600))
			again := x.open()
			if got := again.Separator(); got != tt.sep {
				t.Errorf("later Separator = %q, want %q as before", got, tt.sep)
			}
			got, err = again.Subscribed()
			if err != nil || !slices.Equal(got, append(tt.subscribed, "New")) {
				t.Errorf("later Subscribed = %q, %v", got, err)
			}
		})
	}
}

func TestOneChangeOfTheTreeAtATime(t *testing.T) {
	x := newFixture(t)
	lock, err := x.tree.lock(x.ctx)
	x.must(err)
	defer lock.Close()
	ctx, cancel := context.WithTimeout(x.ctx, 10*time.Millisecond)
	defer cancel()
	if err := x.open().Create(ctx, "A"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Create = %v while another process changes the tree", err)
	}
}
