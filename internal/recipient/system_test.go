package recipient

import (
	"os"
	"path/filepath"
	"testing"

	"postbag/internal/address"
	"postbag/internal/auth"
)

// The mail of system accounts lies in their homes where root delivers.
func TestWhereTheMailOfSystemAccountsLies(t *testing.T) {
	home := t.TempDir()
	passwd := filepath.Join(home, "passwd")
	text := "ann:x:1500:1500::" + home + ":/bin/sh\nbob:x:1501:1501::/nonexistent/bob:/bin/sh\ncarl:x:1502:1502::/:/bin/sh\nroot:x:0:0::" + home + ":/bin/sh\n"
	if err := os.WriteFile(passwd, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	own := func(uid int) int { // of the spool's Maildirs where we are not root
		if os.Geteuid() != 0 {
			return -1
		}
		return uid
	}
	for _, tt := range []struct {
		name, template, dir string
		uid                 int
	}{
		{"ann", "%h/Maildir", home + "/Maildir", 1500},
		{"bob", "%h/Maildir", "/spool/mail/bob", own(1501)},
		{"carl", "%h/Maildir", "/spool/mail/carl", own(1502)},
		{"root", "%h/Maildir", "/spool/mail/root", -1},
		{"ann", "", "/spool/mail/ann", own(1500)},
		{"ann", "/srv/%u", "/srv/ann", 1500},
	} {
		e := &Expander{Hostname: "h.example", Domains: []string{"here.example"}, System: auth.HostAccounts{Path: passwd, Maildir: tt.template},
			Maildirs: auth.Template{Text: "%s/mail/%u", Spool: "/spool"}}
		found, err := e.Resolve(t.Context(), address.Address{}, address.Address{Local: tt.name, Domain: "here.example"})
		if err != nil || len(found) != 1 || found[0].Dir != tt.dir || found[0].UID != tt.uid {
			t.Errorf("%s by %q: %+v, %v; want %s of %d", tt.name, tt.template, found, err, tt.dir, tt.uid)
		}
	}
}
