package mailtest

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// opensmtpdRoot is where .ci/run unpacks Debian's package, which cannot be
// installed beside Postfix.
const opensmtpdRoot = "/opt/opensmtpd"

// An OpenSMTPD is one on loopback ports, with mail as [Postfix] has it.
type OpenSMTPD struct {
	Next, Login int    // ports of the loopback
	User        string // logs in at Login
	Password    string

	Port    int // everything that it offers; user may log in with the password "secret"
	Plain   int // without DSN and STARTTLS
	Maildir string
	Cert    string // of mx.local.test and localhost
	Log     string
	dir     string
}

// opensmtpdConf is its smtpd.conf.
const opensmtpdConf = `pki "mx.local.test" cert "DIR/cert.pem"
pki "mx.local.test" key "DIR/key.pem"
table logins { "user" = "HASH" }
table secrets { far = "USER:PASSWORD" }
listen on 127.0.0.1 port PORT tls pki "mx.local.test" auth-optional <logins> hostname mx.local.test
listen on 127.0.0.1 port PLAIN no-dsn hostname mx.local.test
action "in" maildir "DIR/home/box" user "user"
action "out" relay host smtp://127.0.0.1:NEXT
action "login" relay host smtp+tls://far@127.0.0.1:LOGIN auth <secrets> tls no-verify
match from any for rcpt-to "user@local.test" action "in"
match from any for rcpt-to "user@auth.test" action "in"
match from any for domain "local.test" reject
match from any for domain "auth.test" reject
match from any for domain "login.test" action "login"
match from any for any action "out"
`

// opensmtpdPlaces are the fixed places that it looks at. In its own namespace of
// mounts they are directories of the test: users, hosts and queue of its own.
var opensmtpdPlaces = map[string]string{"etc": "/etc", "lib": "/var/lib", "spool": "/var/spool", "run": "/run", "libexec": "/usr/libexec"}

// Users of its own; nobody else has their numbers.
const opensmtpdUsers = `root:x:0:0::/root:/bin/sh
opensmtpd:x:61001:61001::/var/lib/opensmtpd/empty:/bin/false
opensmtpq:x:61002:61002::/var/lib/opensmtpd/empty:/bin/false
user:x:61003:61003::DIR/home:/bin/sh
`

// Start starts it. The test is skipped where it is not unpacked, or we are not
// root.
func (p *OpenSMTPD) Start(t *testing.T) {
	t.Helper()
	program := opensmtpdRoot + "/usr/sbin/smtpd"
	if _, err := os.Stat(program); err != nil {
		t.Skip("OpenSMTPD is not in " + opensmtpdRoot)
	}
	p.dir = RootDir(t)
	p.Port, p.Plain = FreePort(t), FreePort(t)
	p.Maildir, p.Log, p.Cert = filepath.Join(p.dir, "home/box"), filepath.Join(p.dir, "log"), filepath.Join(p.dir, "cert.pem")
	makePair(t, p.dir)
	p.furnish(t)
	var script strings.Builder
	for from, to := range opensmtpdPlaces {
		fmt.Fprintf(&script, "mount --bind %s/%s %s && ", p.dir, from, to)
	}
	p.run(t, exec.Command("sh", "-c", script.String()+"exec "+program+" -d -v"))
}

// furnish makes the directories that it sees in place of the system's.
func (p *OpenSMTPD) furnish(t *testing.T) {
	t.Helper()
	for _, dir := range []string{"etc/ssl/certs", "lib/opensmtpd/empty", "spool/smtpd", "run", "libexec", "home"} {
		check(t, os.MkdirAll(filepath.Join(p.dir, dir), 0o755))
	}
	check(t, os.Chmod(filepath.Join(p.dir, "spool/smtpd"), 0o711))
	check(t, os.Symlink(p.Cert, filepath.Join(p.dir, "etc/ssl/certs/ca-certificates.crt")))
	check(t, os.Chown(filepath.Join(p.dir, "home"), 61003, 61003))
	check(t, os.CopyFS(filepath.Join(p.dir, "libexec"), os.DirFS(opensmtpdRoot+"/usr/libexec")))
	hash := strings.TrimSpace(run(t, p.dir, "openssl", "passwd", "-6", "secret"))
	words := strings.NewReplacer("DIR", p.dir, "HASH", hash, "USER", p.User, "PASSWORD", p.Password, "PORT", strconv.Itoa(p.Port),
		"PLAIN", strconv.Itoa(p.Plain), "NEXT", strconv.Itoa(p.Next), "LOGIN", strconv.Itoa(p.Login))
	for name, text := range map[string]string{
		"passwd": opensmtpdUsers, "smtpd.conf": opensmtpdConf, "group": "root:x:0:\nopensmtpd:x:61001:\nopensmtpq:x:61002:\nuser:x:61003:\n",
		"mailname": "mx.local.test\n", "hosts": "127.0.0.1 localhost\n", "resolv.conf": "lookup file\n",
	} {
		check(t, os.WriteFile(filepath.Join(p.dir, "etc", name), []byte(words.Replace(text)), 0o644))
	}
}

// run runs it until the end of the test, once it listens.
func (p *OpenSMTPD) run(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	log, err := os.Create(p.Log)
	check(t, err)
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	if err := cmd.Start(); err != nil {
		t.Skipf("no namespace of mounts can be had: %v", err)
	}
	t.Cleanup(func() { cmd.Process.Signal(syscall.SIGTERM); cmd.Wait() })
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", p.Plain)); err == nil {
			c.Close()
			return
		}
	}
	text, _ := os.ReadFile(p.Log)
	t.Fatalf("OpenSMTPD does not listen: %s", bytes.TrimSpace(text))
}
