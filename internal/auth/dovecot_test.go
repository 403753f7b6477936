package auth

import (
	"errors"
	"net"
	"testing"

	"postbag/internal/mailtest"
)

const dovecotConf = `base_dir = ROOT/run
state_dir = ROOT/state
instance_name = postbag-auth-test
protocols =
ssl = no
auth_mechanisms = plain
auth_failure_delay = 0
log_path = ROOT/log
passdb {
  driver = passwd-file
  args = ROOT/users
}
userdb {
  driver = passwd-file
  args = ROOT/users
}
service auth {
  unix_listener auth-client {
    mode = 0600
  }
}
`

// TestARealDovecotKnowsWhoLogsIn asks Dovecot itself.
func TestARealDovecotKnowsWhoLogsIn(t *testing.T) {
	root := mailtest.StartDovecot(t, map[string]string{
		"conf":  dovecotConf,
		"users": "ann@example.org:{PLAIN}open sesame:5000:5000::/home/ann::userdb_mail=maildir:/home/ann/Mail\n",
	}, func(root string) bool {
		c, err := net.Dial("unix", root+"/run/auth-client")
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	d, err := OpenSource("dovecot:"+root+"/run/auth-client", nil, HostAccounts{})
	if err != nil {
		t.Fatal(err)
	}
	verifiesAs(t, d, "Ann@example.org", "open sesame", nil, "/home/ann", 5000)
	verifies(t, d, "ann@example.org", "wrong", ErrBadCredentials, "")
	verifies(t, d, "bob@example.org", "open sesame", ErrBadCredentials, "")
	if a, err := d.Lookup(t.Context(), "ann@example.org"); err != nil || a.Maildir != "/home/ann/Mail" || a.UID != 5000 || a.GID != 5000 {
		t.Errorf("Lookup = %+v, %v", a, err)
	}
	if _, err := d.Lookup(t.Context(), "bob@example.org"); !errors.Is(err, ErrNoAccount) {
		t.Errorf("Lookup of nobody = %v", err)
	}
}
