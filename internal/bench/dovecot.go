package main

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
	"time"
)

// The settings of a Dovecot of our own. Those of mail are Dovecot's defaults;
// only limits on connections are raised.
const dovecotConfig = `base_dir = ROOT/run
state_dir = ROOT/state
instance_name = postbag-bench
listen = 127.0.0.1
protocols = imap pop3
ssl = no
disable_plaintext_auth = no
log_path = ROOT/log
first_valid_uid = 500
mail_location = maildir:~/Maildir
mail_max_userip_connections = 2000
passdb {
  driver = static
  args = password=secret
}
userdb {
  driver = static
  args = uid=UID gid=GID home=ROOT/home/%n
}
namespace inbox {
  inbox = yes
}
service imap-login {
  process_limit = 1024
  inet_listener imap {
    port = IMAP
  }
  inet_listener imaps {
    port = 0
  }
}
service pop3-login {
  inet_listener pop3 {
    port = POP
  }
  inet_listener pop3s {
    port = 0
  }
}
service imap {
  process_limit = 1500
}
service anvil {
  client_limit = 6000
}
service auth {
  client_limit = 6000
}
`

// A mailReader serves mailboxes: imapd and popd, or Dovecot.
type mailReader struct {
	title     string
	imap, pop string // addresses
	pids      []int  // of the processes whose trees count
	maildir   func(user string) string
	own       func(path string) error
}

// newDovecot starts Dovecot until the bench ends.
func (b *bench) newDovecot() (*mailReader, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("not root")
	}
	if _, err := exec.LookPath("dovecot"); err != nil {
		return nil, err
	}
	owner, err := user.Lookup("nobody")
	if err != nil {
		return nil, err
	}
	root := filepath.Join(b.dir, "dovecot")
	for _, sub := range []string{"run", "state", "home"} {
		if err := os.MkdirAll(filepath.Join(root, sub), 0o755); err != nil {
			return nil, err
		}
	}
	imap, err := freePort()
	if err != nil {
		return nil, err
	}
	pop, err := freePort()
	if err != nil {
		return nil, err
	}
	text := strings.NewReplacer("ROOT", root, "UID", owner.Uid, "GID", owner.Gid, "IMAP", imap, "POP", pop).Replace(dovecotConfig)
	config := filepath.Join(root, "dovecot.conf")
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		return nil, err
	}
	// What it says to a pipe would never end: its processes keep that open.
	if err := exec.Command("dovecot", "-c", config).Run(); err != nil {
		return nil, fmt.Errorf("start: %w", err)
	}
	b.atEnd(func() { exec.Command("doveadm", "-c", config, "stop").Run() })
	pid := 0
	err = until("start Dovecot", func() bool {
		pid, err = readPID(filepath.Join(root, "run/master.pid"))
		return err == nil
	})
	return &mailReader{
		title: "Dovecot", imap: "127.0.0.1:" + imap, pop: "127.0.0.1:" + pop, pids: []int{pid},
		maildir: func(user string) string { return filepath.Join(root, "home", user, "Maildir") },
		own:     func(path string) error { return chown(path, owner) },
	}, err
}

func readPID(path string) (int, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, err
}

// newReader starts imapd and popd of a build.
func (b *bench) newReader(title, bin string) (*mailReader, error) {
	root := filepath.Join(b.dir, "reader-"+title)
	if err := os.MkdirAll(filepath.Join(root, "spool"), 0o700); err != nil {
		return nil, err
	}
	var users strings.Builder
	for n := range b.rounds {
		fmt.Fprintf(&users, "%s:{PLAIN}secret\n", readerUser(n))
	}
	file := filepath.Join(root, "users")
	if err := os.WriteFile(file, []byte(users.String()), 0o600); err != nil {
		return nil, err
	}
	r := &mailReader{title: title, own: func(string) error { return nil },
		maildir: func(user string) string { return filepath.Join(root, "spool/mail", user) }}
	for program, listen := range map[string]string{"imapd": "imap", "popd": "pop3"} {
		d, err := b.startOf(bin, program, "--spool", filepath.Join(root, "spool"), "--users", file, "--aliases", "/dev/null",
			"--hostname", "mx."+domain, "--domain", domain, "--listen", listen+"://127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		r.pids = append(r.pids, d.cmd.Process.Pid)
		if program == "imapd" {
			r.imap = d.addr["imap"]
		} else {
			r.pop = d.addr["pop3"]
		}
	}
	return r, nil
}

// memory is what all its processes take, in octets.
func (r *mailReader) memory() (sum int64, err error) {
	for _, pid := range r.pids {
		n, err := treeMemory(pid)
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

// readerUser is the account of a round; Dovecot knows everybody.
func readerUser(round int) string { return fmt.Sprintf("user%d", round) }

func (r *mailReader) cpu() (seconds float64, err error) {
	for _, pid := range r.pids {
		t, err := treeCPU(pid)
		if err != nil {
			return 0, err
		}
		seconds += t.Seconds()
	}
	return seconds, nil
}

// restingCPU is cpu once nothing is left to do: what a client has been promised
// is done after the answer, and processes end after the connection.
func (r *mailReader) restingCPU() (now float64, err error) {
	before := -1.0
	var cerr error
	err = until("wait for "+r.title+" to rest", func() bool {
		time.Sleep(restFor)
		now, cerr = r.cpu()
		was := before
		before = now
		return cerr != nil || now == was
	})
	return now, errors.Join(err, cerr)
}

// restFor is how long a server does nothing that rests.
const restFor = 500 * time.Millisecond

func chown(path string, u *user.User) error {
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	return os.Chown(path, uid, gid)
}
