package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"postbag/internal/config"
	"postbag/internal/mailtest"
)

// dovecot starts a private Dovecot and returns its addresses and the Maildir of
// the user "user", whose password is "secret".
func dovecot(t *testing.T) (imap, pop, maildir string) {
	t.Helper()
	imap, pop = freeAddr(t), freeAddr(t)
	root := mailtest.StartDovecot(t, map[string]string{"conf": fmt.Sprintf(dovecotConf, port(imap), port(pop))}, func(root string) bool {
		c, err := net.Dial("tcp", imap)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	maildir = filepath.Join(root, "home", "Maildir")
	for _, sub := range []string{"new", "cur", "tmp", ".Lists.Go/new", ".Lists.Go/cur", ".Lists.Go/tmp"} {
		if err := os.MkdirAll(filepath.Join(maildir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return imap, pop, maildir
}

const dovecotConf = `base_dir = ROOT/run
state_dir = ROOT/state
instance_name = postbag-test
listen = 127.0.0.1
protocols = imap pop3
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain login cram-md5 scram-sha-256
log_path = ROOT/log
first_valid_uid = 0
mail_location = maildir:~/Maildir
passdb {
  driver = static
  args = password=secret
}
userdb {
  driver = static
  args = uid=5000 gid=5000 home=ROOT/home
}
namespace inbox {
  inbox = yes
}
service imap-login {
  inet_listener imap {
    port = %[1]s
  }
  inet_listener imaps {
    port = 0
  }
}
service pop3-login {
  inet_listener pop3 {
    port = %[2]s
  }
  inet_listener pop3s {
    port = 0
  }
}
`

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func port(addr string) string {
	_, p, _ := net.SplitHostPort(addr)
	return p
}

// fetchAll runs the program and returns what it printed.
func fetchAll(t *testing.T, code int, args ...string) string {
	t.Helper()
	var out, errs strings.Builder
	p := program()
	p.Stdout, p.Stderr = &out, &errs
	p.Environ = []string{"HOME=" + t.TempDir()}
	t.Setenv("POSTBAG_FETCH_PASSWORD", "secret")
	if got := config.Main(p, append([]string{"fetch", "--tls", "off", "--spool", filepath.Join(t.TempDir(), "spool")}, args...)); got != code {
		t.Fatalf("fetch %q exits with %d, not %d: %s", args, got, code, errs.String())
	}
	return out.String() + errs.String()
}

func TestFromDovecot(t *testing.T) {
	imap, pop, box := dovecot(t)
	letters := map[string]string{
		"new/1000000000.M1P1.h":             "Subject: one\n\n.dot\n.\nFrom here\n",
		"cur/1000000001.M1P1.h:2,RS":        "Subject: two\n\nno line end",
		".Lists.Go/cur/1000000002.M1.h:2,F": "Subject: three\n\n" + strings.Repeat("long ", 30000) + "\n",
	}
	for name, text := range letters {
		if err := os.WriteFile(filepath.Join(box, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("chown", "-R", "5000:5000", filepath.Dir(box)).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	state := filepath.Join(t.TempDir(), "state")
	for _, mechanism := range []string{"plain", "login", "cram-md5", "scram-sha-256"} {
		fetchAll(t, 0, "--quiet", "--mechanism", mechanism, "--to", "mbox:"+filepath.Join(t.TempDir(), mechanism), "imap://user@"+imap)
		fetchAll(t, 0, "--quiet", "--mechanism", mechanism, "--to", "mbox:"+filepath.Join(t.TempDir(), mechanism), "pop3://user@"+pop)
	}
	to := filepath.Join(t.TempDir(), "Maildir")
	out := fetchAll(t, 0, "--state", state, "--folders", "*", "--delete", "--to", "maildir:"+to, "imap://user@"+imap)
	if !strings.Contains(out, "3 new") || !strings.Contains(out, "3 deleted") {
		t.Errorf("fetch says %q", out)
	}
	for pattern, text := range map[string]string{ // reading by POP3 made the first one seen
		"cur/*:2,S": letters["new/1000000000.M1P1.h"], "cur/*:2,RS": letters["cur/1000000001.M1P1.h:2,RS"],
		".Lists.Go/cur/*:2,F": letters[".Lists.Go/cur/1000000002.M1.h:2,F"],
	} {
		names, _ := filepath.Glob(filepath.Join(to, pattern))
		if len(names) != 1 {
			t.Errorf("%s: %v", pattern, names)
			continue
		}
		if got, _ := os.ReadFile(names[0]); string(got) != text {
			t.Errorf("%s: %.60q, want %.60q", pattern, got, text)
		}
	}
	left, _ := filepath.Glob(filepath.Join(box, "*", "1000*"))
	folder, _ := filepath.Glob(filepath.Join(box, ".Lists.Go", "*", "1000*"))
	if len(left)+len(folder) > 0 {
		t.Errorf("left on the server: %v %v", left, folder)
	}
	if again := fetchAll(t, 0, "--state", state, "--folders", "*", "--to", "maildir:"+to, "imap://user@"+imap); again != "" {
		t.Errorf("fetch says %q of nothing", again)
	}
}
