package mailtest

import (
	"errors"
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

// A PostfixSetup is how a Postfix of the system's package shall run beside the
// system's: with its own configuration, queue and Maildirs, without DNS.
type PostfixSetup struct {
	Dir      string   // made, with etc, spool, data and mail; every user must be able to enter it
	Owner    string   // user whose Maildirs lie in Dir/mail
	Main     string   // settings beside the common ones; DIR stands for Dir
	Services []string // lines of master.cf beside those of the package that listen nowhere
}

// postfixMain are the settings that each has. What is not set is Postfix's
// default; files of the queue and of Maildirs are synced.
const postfixMain = `compatibility_level = 3.6
queue_directory = DIR/spool
data_directory = DIR/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
disable_dns_lookups = yes
smtp_host_lookup = native
biff = no
alias_maps =
alias_database =
virtual_mailbox_base = DIR/mail
virtual_uid_maps = static:UID
virtual_gid_maps = static:GID
virtual_minimum_uid = 1
maillog_file = DIR/log
maillog_file_prefixes = DIR
`

// ErrNoPostfix says that there is none, or that it cannot run.
var ErrNoPostfix = errors.New("Postfix is not installed, or we are not root")

// HavePostfix is nil where one can run.
func HavePostfix() error {
	if _, err := exec.LookPath("postfix"); err != nil || os.Geteuid() != 0 {
		return ErrNoPostfix
	}
	return nil
}

// Start starts it. Stop ends it.
func (s PostfixSetup) Start() error {
	if err := HavePostfix(); err != nil {
		return err
	}
	if err := s.configure(); err != nil {
		return fmt.Errorf("configure postfix: %w", err)
	}
	if out, err := s.command("start"); err != nil {
		return fmt.Errorf("start postfix: %w: %s", err, out)
	}
	return nil
}

// Stop ends it.
func (s PostfixSetup) Stop() { s.command("stop") }

func (s PostfixSetup) command(what string) ([]byte, error) {
	return exec.Command("postfix", "-c", filepath.Join(s.Dir, "etc"), what).CombinedOutput()
}

// Own gives a file or directory to the owner of the Maildirs.
func (s PostfixSetup) Own(path string) error { return chown(path, s.Owner) }

func chown(path, name string) error {
	u, err := user.Lookup(name)
	if err != nil {
		return err
	}
	uid, uerr := strconv.Atoi(u.Uid)
	gid, gerr := strconv.Atoi(u.Gid)
	return errors.Join(uerr, gerr, os.Chown(path, uid, gid))
}

func (s PostfixSetup) configure() error {
	owner, err := user.Lookup(s.Owner)
	if err != nil {
		return err
	}
	for _, sub := range []string{"etc", "spool", "data", "mail"} {
		if err := os.MkdirAll(filepath.Join(s.Dir, sub), 0o755); err != nil {
			return err
		}
	}
	main := strings.NewReplacer("DIR", s.Dir, "UID", owner.Uid, "GID", owner.Gid).Replace(postfixMain + s.Main)
	master, err := s.master()
	return errors.Join(err,
		chown(filepath.Join(s.Dir, "data"), "postfix"), s.Own(filepath.Join(s.Dir, "mail")),
		os.WriteFile(filepath.Join(s.Dir, "etc/main.cf"), []byte(main), 0o644),
		os.WriteFile(filepath.Join(s.Dir, "etc/master.cf"), []byte(master), 0o644))
}

// master is the package's master.cf without chroot and without listeners.
func (s PostfixSetup) master() (string, error) {
	text, err := os.ReadFile("/etc/postfix/master.cf")
	lines := append(s.Services, "postlog unix-dgram n - n - 1 postlogd")
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
	return strings.Join(lines, "\n") + "\n", err
}

// Idle reports whether nothing is in its queue.
func (s PostfixSetup) Idle() bool {
	for _, sub := range []string{"maildrop", "incoming", "active", "deferred"} {
		empty := true
		filepath.WalkDir(filepath.Join(s.Dir, "spool", sub), func(_ string, d os.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				empty = false
				return filepath.SkipAll
			}
			return nil
		})
		if !empty {
			return false
		}
	}
	return true
}

// A Postfix is one on loopback ports. Mail for user@local.test and user@auth.test
// goes into Maildir; other names of these domains are unknown; what is for login.test goes to Login,
// with TLS that is demanded and a login; all else to Next.
type Postfix struct {
	Next, Login int    // ports of the loopback
	User        string // logs in at Login
	Password    string

	Port    int // everything that it offers
	Plain   int // without CHUNKING, PIPELINING, 8BITMIME, DSN, STARTTLS and SMTPUTF8
	Submit  int // demands TLS and a login: user, with the password "secret"
	Maildir string
	Cert    string // of mx.local.test and localhost
	Log     string
}

// peerMain are the settings of a Postfix that tests speak to.
const peerMain = `myhostname = mx.local.test
smtputf8_enable = yes
smtp_tls_security_level = may
smtpd_tls_security_level = may
smtpd_tls_chain_files = DIR/pair.pem
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_recipient_restrictions = reject_unlisted_recipient, permit_mynetworks, reject
default_transport = smtp:[127.0.0.1]:NEXT
relay_transport = smtp:[127.0.0.1]:NEXT
transport_maps = inline:{login.test=login:[127.0.0.1]:LOGIN}
virtual_mailbox_domains = local.test, auth.test
virtual_mailbox_maps = inline:{user@local.test=user/, user@auth.test=user/}
smtp_sasl_password_maps = inline:{[127.0.0.1]:LOGIN=USER:PASSWORD}
smtp_sasl_tls_security_options = noanonymous
smtpd_sasl_type = dovecot
smtpd_sasl_path = SASL
smtpd_tls_auth_only = yes
smtpd_tls_received_header = yes
`

// Start starts it, and a Dovecot to ask about passwords. The test is skipped where
// they cannot run.
func (p *Postfix) Start(t *testing.T) {
	t.Helper()
	if err := HavePostfix(); err != nil {
		t.Skip(err)
	}
	// Its daemons are other users: the directories of t.TempDir are closed to them.
	dir := RootDir(t)
	p.Port, p.Plain, p.Submit = FreePort(t), FreePort(t), FreePort(t)
	p.Maildir, p.Log, p.Cert = filepath.Join(dir, "mail/user"), filepath.Join(dir, "log"), filepath.Join(dir, "cert.pem")
	words := strings.NewReplacer("NEXT", strconv.Itoa(p.Next), "LOGIN", strconv.Itoa(p.Login), "USER", p.User, "PASSWORD", p.Password, "SASL", passwords(t))
	s := PostfixSetup{Dir: dir, Owner: "postfix", Main: words.Replace(peerMain), Services: p.services()}
	makePair(t, dir)
	check(t, s.Start())
	t.Cleanup(s.Stop)
	for range 100 {
		if c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", p.Submit)); err == nil {
			c.Close()
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatal("postfix does not listen")
}

func (p *Postfix) services() []string {
	const listener = "127.0.0.1:%d inet n - n - - smtpd"
	return []string{
		fmt.Sprintf(listener, p.Port),
		fmt.Sprintf(listener, p.Plain),
		"  -o smtpd_discard_ehlo_keywords=chunking,pipelining,8bitmime,dsn,starttls,smtputf8",
		fmt.Sprintf(listener, p.Submit),
		"  -o smtpd_tls_security_level=encrypt -o smtpd_sasl_auth_enable=yes -o smtpd_relay_restrictions=permit_sasl_authenticated,reject",
		"  -o smtpd_recipient_restrictions=permit_sasl_authenticated,reject",
		"login unix - - n - - smtp",
		"  -o smtp_sasl_auth_enable=yes -o smtp_tls_security_level=encrypt",
	}
}

// passwords starts a Dovecot that knows user, and gives the socket where it is
// asked.
func passwords(t *testing.T) string {
	t.Helper()
	root := StartDovecot(t, map[string]string{"conf": `base_dir = ROOT/run
log_path = ROOT/log
ssl = no
protocols =
auth_mechanisms = plain login
passdb {
  driver = static
  args = user=user password=secret
}
service auth {
  unix_listener ROOT/asked {
    mode = 0666
  }
}
service stats {
  unix_listener stats-writer {
    mode = 0600
  }
}
`}, func(root string) bool {
		c, err := net.Dial("unix", filepath.Join(root, "asked"))
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	return filepath.Join(root, "asked")
}

// makePair makes the certificate of the peer.
func makePair(t testing.TB, dir string) {
	t.Helper()
	pair := exec.Command("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=mx.local.test",
		"-addext", "subjectAltName=DNS:mx.local.test,DNS:localhost", "-keyout", dir+"/key.pem", "-out", dir+"/cert.pem")
	if out, err := pair.CombinedOutput(); err != nil {
		t.Fatalf("openssl: %v: %s", err, out)
	}
	key, err := os.ReadFile(dir + "/key.pem")
	check(t, err)
	cert, err := os.ReadFile(dir + "/cert.pem")
	check(t, err)
	check(t, os.WriteFile(dir+"/pair.pem", append(key, cert...), 0o600))
}

// FreePort is a port of the loopback that nobody has taken.
func FreePort(t testing.TB) int {
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
