package mailbox

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// nobody is who Dovecot works as where the tests run as root, which it does not
// let read mail.
const nobody = 65534

// A dovecot is Dovecot on the folder of a fixture, without its daemons.
type dovecot struct {
	*fixture
	home, conf string
	uid, gid   int
}

func startDovecot(t *testing.T) *dovecot {
	if _, err := exec.LookPath("doveadm"); err != nil {
		t.Skip("Dovecot is not installed")
	}
	d := &dovecot{fixture: newFixture(t), uid: os.Getuid(), gid: os.Getgid()}
	if d.uid == 0 {
		d.uid, d.gid = nobody, nobody
	}
	d.home = filepath.Dir(d.dir)
	d.must(os.Chmod(filepath.Dir(d.home), 0o711)) // others may pass
	d.conf = filepath.Join(t.TempDir(), "dovecot.conf")
	text := fmt.Sprintf("base_dir = %[1]s/run\nstate_dir = %[1]s/run\nlog_path = /dev/stderr\nssl = no\nfirst_valid_uid = %[2]d\nfirst_valid_gid = %[3]d\n"+
		"mail_uid = %[2]d\nmail_gid = %[3]d\nmail_location = maildir:%[4]s\nstats_writer_socket_path =\nprotocols =\n",
		filepath.Dir(d.conf), d.uid, d.gid, d.dir)
	d.must(os.WriteFile(d.conf, []byte(text), 0o644))
	return d
}

// adm runs doveadm, and gives its output as words with single spaces.
func (d *dovecot) adm(args ...string) string {
	d.t.Helper()
	if os.Getuid() == 0 {
		d.must(filepath.Walk(d.home, func(path string, _ os.FileInfo, err error) error {
			if err != nil {
				return err
			}
			return os.Lchown(path, d.uid, d.gid)
		}))
	}
	cmd := exec.Command("doveadm", append([]string{"-c", d.conf}, args...)...)
	cmd.Env = append(os.Environ(), "HOME="+d.home, "USER=ann")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil || stderr.Len() > 0 {
		d.t.Fatalf("doveadm %s: %v: %s", args, err, stderr.String())
	}
	return strings.Join(strings.Fields(string(out)), " ")
}

// sees is what Dovecot shows: UID, subject and flags of each letter.
func (d *dovecot) sees() string {
	d.t.Helper()
	words := d.adm("-f", "tab", "fetch", "uid hdr.subject flags", "mailbox", "INBOX", "all")
	return strings.ReplaceAll(strings.TrimPrefix(words, "uid hdr.subject flags "), ` \Recent`, "")
}

// From Dovecot to us and back, and again: UIDs, UIDVALIDITY and flags stay.
func TestFromDovecotAndBack(t *testing.T) {
	d := startDovecot(t)
	for _, subject := range []string{"one", "two", "three"} {
		name := d.deliver("Subject: " + subject + "\n\nhi\n")
		d.rename("new/"+name, "cur/"+name+":2,")
	}
	d.adm("flags", "add", `\Seen`, "mailbox", "INBOX", "uid", "2")
	validity := d.adm("mailbox", "status", "uidvalidity", "INBOX")

	f := d.open(d.store)
	d.wantView(f, "1: 2:S 3:")
	if got := fmt.Sprintf("INBOX uidvalidity=%d", f.View().UIDValidity()); got != validity {
		t.Errorf("we have %s, Dovecot has %s", got, validity)
	}
	d.expunge(f, 3)
	d.append(f, "Subject: four\r\n\r\nhi\r\n")
	d.deliver("Subject: five\n\nhi\n")
	d.wantView(f, "1: 2:S 4: 5:")
	if _, err := f.Store(d.ctx, []uint32{1}, FlagChange{Set: Flagged}, Always); err != nil {
		t.Fatal(err)
	}
	d.must(f.PayDebts(d.ctx))

	if got, want := d.sees(), `1 one \Flagged 2 two \Seen 4 four 5 five`; got != want {
		t.Errorf("Dovecot sees %q, want %q", got, want)
	}
	if got := d.adm("mailbox", "status", "uidvalidity", "INBOX"); got != validity {
		t.Errorf("Dovecot has %s now, had %s", got, validity)
	}
	d.deliver("Subject: six\n\nhi\n")
	if got, want := d.sees(), `1 one \Flagged 2 two \Seen 4 four 5 five 6 six`; got != want {
		t.Errorf("Dovecot sees %q, want %q", got, want)
	}
	d.adm("expunge", "mailbox", "INBOX", "uid", "1")
	d.wantView(f, "2:S 4: 5: 6:")
}

// Keywords go both ways, through letters in names, and those without a letter
// stay in our log.
func TestKeywordsFromDovecotAndBack(t *testing.T) {
	d := startDovecot(t)
	for _, subject := range []string{"one", "two"} {
		name := d.deliver("Subject: " + subject + "\n\nhi\n")
		d.rename("new/"+name, "cur/"+name+":2,")
	}
	d.adm("flags", "add", `work \Seen $Label1`, "mailbox", "INBOX", "uid", "1")

	f := d.open(d.store)
	d.wantView(f, "1:S$Label1,work 2:")
	store := func(f *Folder, uid uint32, c FlagChange) {
		t.Helper()
		if _, err := f.Store(d.ctx, []uint32{uid}, c, Always); err != nil {
			t.Fatal(err)
		}
		d.must(f.PayDebts(d.ctx))
	}
	store(f, 1, FlagChange{ClearKeywords: []string{"WORK"}})
	store(f, 2, FlagChange{Set: Flagged, SetKeywords: []string{"Work", "later"}})
	d.wantView(f, "1:S$Label1 2:Flater,work")
	if got, want := d.sees(), `1 one \Seen $Label1 2 two \Flagged work later`; got != want {
		t.Errorf("Dovecot sees %q, want %q", got, want)
	}
	d.adm("flags", "add", `new`, "mailbox", "INBOX", "uid", "1")
	d.adm("flags", "remove", `later`, "mailbox", "INBOX", "uid", "2")
	d.wantView(f, "1:S$Label1,new 2:Fwork")
	d.wantView(d.open(d.process()), "1:S$Label1,new 2:Fwork")
}

// A folder with more keywords than letters keeps the rest in the log; what the
// log had before Dovecot's map knows it moves into names; all outlives snapshot
// and compaction.
func TestKeywordsWithLettersAndWithout(t *testing.T) {
	x := newFixture(t)
	x.write("cur/1700000000.M1P1.host:2,Sb", "one\n")
	f := x.open(x.store)
	x.wantView(f, "1:S")
	if _, err := f.Store(x.ctx, []uint32{1}, FlagChange{SetKeywords: []string{"mine"}}, Always); err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for i := range maxKeys {
		fmt.Fprintf(&text, "%d key%d\n", i, i)
	}
	x.write(keywordsName, strings.Replace(text.String(), "key5", "Mine", 1))
	x.rename("cur/1700000000.M1P1.host:2,Sb", "cur/1700000000.M1P1.host:2,FSb")
	x.wantView(f, "1:FSMine,key1")
	if _, err := f.Store(x.ctx, []uint32{1}, FlagChange{SetKeywords: []string{"more"}}, Always); err != nil {
		t.Fatal(err)
	}
	x.must(f.PayDebts(x.ctx))
	if got := x.files()[0]; got != "cur/1700000000.M1P1.host:2,FSbf" {
		t.Errorf("the file is %s", got)
	}
	_, to, err := Copy(x.ctx, f, []uint32{1}, f)
	x.must(err)
	want := fmt.Sprintf("1:FSMine,key1,more %d:FSMine,key1,more", to[0])
	x.wantView(f, want)
	b := f.b
	x.must(f.PayDebts(x.ctx))
	b.lock()
	x.must(b.exclusive(x.ctx, func() error { return b.log.Compact(b.st.records) }))
	b.unlock()
	x.wantView(x.open(x.process()), want)
	b.lock()
	b.snapEnd = -snapAfter
	b.remember()
	b.unlock()
	g := x.open(x.process())
	if g.b.snapEnd == 0 {
		t.Error("the snapshot was not read")
	}
	x.wantView(g, want)
	known := append(slices.Clone(g.b.st.keys.names[:]), "more")
	slices.Sort(known)
	if got := g.View().Keywords(); !slices.Equal(slices.Sorted(slices.Values(got)), known) {
		t.Errorf("keywords of the folder: %v, want %v", got, known)
	}
	// Letters of the name that the map does not know stay as they are.
	if got := withFlags("cur/a:2,FXb", Seen, g.b.st.keys.mask()&^(firstKey<<1)); got != "cur/a:2,SXb" {
		t.Errorf("other letters: %s", got)
	}
}
