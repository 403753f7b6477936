package mailtest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A Postfix is one of the system's package with its own configuration, queue and
// mailboxes, on loopback ports. Mail for user@local.test goes into Maildir; other
// names of that domain are unknown; all else goes to Next.
type Postfix struct {
	Port    int // everything that it offers
	Plain   int // without CHUNKING, PIPELINING, 8BITMIME, STARTTLS and SMTPUTF8
	Maildir string
	Log     string
}

const postfixMain = `compatibility_level = 3.6
queue_directory = DIR/spool
data_directory = DIR/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
myhostname = mx.local.test
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
disable_dns_lookups = yes
smtp_host_lookup = native
smtputf8_enable = yes
smtp_tls_security_level = may
smtpd_tls_security_level = may
smtpd_tls_chain_files = DIR/pair.pem
biff = no
alias_maps =
alias_database =
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_recipient_restrictions = reject_unlisted_recipient, permit_mynetworks, reject
default_transport = smtp:[127.0.0.1]:NEXT
relay_transport = smtp:[127.0.0.1]:NEXT
virtual_mailbox_domains = local.test
virtual_mailbox_base = DIR/mail
virtual_mailbox_maps = inline:{user@local.test=user/}
virtual_uid_maps = static:UID
virtual_gid_maps = static:GID
virtual_minimum_uid = 1
maillog_file = DIR/log
maillog_file_prefixes = DIR
`

// StartPostfix starts one whose next host for all other mail listens on that port
// of the loopback. The test is skipped where Postfix cannot run.
func StartPostfix(t testing.TB, next int) *Postfix {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("Postfix needs root")
	}
	owner, err := user.Lookup("postfix")
	if _, perr := exec.LookPath("postfix"); perr != nil || err != nil {
		t.Skip("Postfix is not installed")
	}
	// Its daemons are other users: the directories of t.TempDir are closed to them.
	dir, err := os.MkdirTemp("", "postbag-postfix")
	check(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	check(t, os.Chmod(dir, 0o755))
	p := &Postfix{Port: freePort(t), Plain: freePort(t), Maildir: filepath.Join(dir, "mail/user"), Log: filepath.Join(dir, "log")}
	p.configure(t, dir, owner, next)
	if out, err := exec.Command("postfix", "-c", dir+"/etc", "start").CombinedOutput(); err != nil {
		t.Fatalf("start postfix: %v: %s", err, out)
	}
	t.Cleanup(func() { exec.Command("postfix", "-c", dir+"/etc", "stop").Run() })
	for range 100 {
		if c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", p.Plain)); err == nil {
			c.Close()
			return p
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatal("postfix does not listen")
	return nil
}

func (p *Postfix) configure(t testing.TB, dir string, owner *user.User, next int) {
	t.Helper()
	for _, d := range []string{"etc", "spool", "data", "mail"} {
		check(t, os.MkdirAll(filepath.Join(dir, d), 0o755))
	}
	uid, _ := strconv.Atoi(owner.Uid)
	check(t, os.Chown(dir+"/data", uid, -1))
	check(t, os.Chown(dir+"/mail", uid, -1))
	pair := exec.Command("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=mx.local.test",
		"-addext", "subjectAltName=DNS:mx.local.test", "-keyout", dir+"/key.pem", "-out", dir+"/cert.pem")
	if out, err := pair.CombinedOutput(); err != nil {
		t.Fatalf("openssl: %v: %s", err, out)
	}
	key, err := os.ReadFile(dir + "/key.pem")
	check(t, err)
	cert, err := os.ReadFile(dir + "/cert.pem")
	check(t, err)
	check(t, os.WriteFile(dir+"/pair.pem", append(key, cert...), 0o600))
	main := strings.NewReplacer("DIR", dir, "NEXT", strconv.Itoa(next), "UID", owner.Uid, "GID", owner.Gid).Replace(postfixMain)
	check(t, os.WriteFile(dir+"/etc/main.cf", []byte(main), 0o644))
	check(t, os.WriteFile(dir+"/etc/master.cf", []byte(p.master(t)), 0o644))
}

// master is Debian's master.cf without chroot, with our two listeners.
func (p *Postfix) master(t testing.TB) string {
	t.Helper()
	text, err := os.ReadFile("/etc/postfix/master.cf")
	check(t, err)
	lines := []string{
		fmt.Sprintf("127.0.0.1:%d inet n - n - - smtpd", p.Port),
		fmt.Sprintf("127.0.0.1:%d inet n - n - - smtpd", p.Plain),
		"  -o smtpd_discard_ehlo_keywords=chunking,pipelining,8bitmime,starttls,smtputf8",
		"postlog unix-dgram n - n - 1 postlogd",
	}
	skip := false
	for _, line := range strings.Split(string(text), "\n") {
		f := strings.Fields(line)
		switch {
		case len(f) == 0 || line[0] == '#':
		case line[0] == ' ' || line[0] == '\t':
			if !skip {
				lines = append(lines, line)
			}
		default:
			skip = len(f) < 8 || f[1] == "inet" || f[0] == "postlog"
			if !skip {
				f[4] = "n"
				lines = append(lines, strings.Join(f, " "))
			}
		}
	}
	return strings.Join(lines, "\n") + "\n"
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
