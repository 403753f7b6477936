package auth

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

const dovecotConf = `base_dir = %[1]s/run
state_dir = %[1]s/state
instance_name = postbag-auth-test
protocols =
ssl = no
auth_mechanisms = plain
auth_failure_delay = 0
log_path = %[1]s/log
passdb {
  driver = passwd-file
  args = %[1]s/users
}
userdb {
  driver = passwd-file
  args = %[1]s/users
}
service auth {
  unix_listener auth-client {
    mode = 0600
  }
}
`

// TestARealDovecotKnowsWhoLogsIn asks Dovecot itself.
func TestARealDovecotKnowsWhoLogsIn(t *testing.T) {
	path, err := exec.LookPath("dovecot")
	if err != nil {
		t.Skip("dovecot is not installed")
	}
	if os.Geteuid() != 0 {
		t.Skip("dovecot needs root")
	}
	root, err := os.MkdirTemp("", "da") // sockets have short names
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	os.Chmod(root, 0o755)
	for name, text := range map[string]string{
		"conf":  fmt.Sprintf(dovecotConf, root),
		"users": "ann@example.org:{PLAIN}open sesame:5000:5000::/home/ann::userdb_mail=maildir:/home/ann/Mail\n",
	} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(path, "-F", "-c", filepath.Join(root, "conf"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Signal(os.Interrupt); cmd.Wait() })
	for end := time.Now().Add(10 * time.Second); !isSocket(root + "/run/auth-client"); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			log, _ := os.ReadFile(filepath.Join(root, "log"))
			t.Skipf("dovecot does not start here: %s", log)
		}
	}
	d, err := OpenSource("dovecot:"+root+"/run/auth-client", nil)
	if err != nil {
		t.Fatal(err)
	}
	verifies(t, d, "Ann@example.org", "open sesame", nil, "/home/ann")
	verifies(t, d, "ann@example.org", "wrong", ErrBadCredentials, "")
	verifies(t, d, "bob@example.org", "open sesame", ErrBadCredentials, "")
	if a, err := d.Lookup(t.Context(), "ann@example.org"); err != nil || a.Maildir != "/home/ann/Mail" {
		t.Errorf("Lookup = %+v, %v", a, err)
	}
	if _, err := d.Lookup(t.Context(), "bob@example.org"); !errors.Is(err, ErrNoAccount) {
		t.Errorf("Lookup of nobody = %v", err)
	}
}
