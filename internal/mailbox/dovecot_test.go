package mailbox

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
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
