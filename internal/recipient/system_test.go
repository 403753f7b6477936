package recipient

import (
	"os"
	"path/filepath"
	"testing"

	"postbag/internal/address"
	"postbag/internal/auth"
)

func TestAccountsOfOtherSources(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("getent", "#!/bin/sh\necho asked >>"+dir+"/asked\ncase $2 in\nldap) echo ldap:x:2000:2000::/home/ldap:/bin/sh;;\n2000) echo ldap:x:2000:2000::/home/ldap:/bin/sh;;\nwww) echo www:x:33:33::/:/bin/sh;;\nsick) exit 1;;\n*) exit 2;;\nesac\n", 0o755)
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	passwd := write("passwd", testPasswd, 0o644)
	s := SystemAccounts{Path: passwd, Switch: write("nsswitch.conf", "# x\npasswd: files [NOTFOUND=continue] sss # ldap\n", 0o644)}
	for name, want := range map[string]string{
		"ann": "ann", "ldap": "ldap", "2000": "none", "www": "none", "nobody2": "none", "sick": "error", "-x": "none", "a b": "none",
	} {
		a, ok, err := s.Lookup(name)
		got := a.Name
		if !ok {
			got = "none"
		}
		if err != nil {
			got = "error"
		}
		if got != want {
			t.Errorf("Lookup(%s) = %s, %v; want %s", name, got, err, want)
		}
	}
	os.Remove(dir + "/asked")
	for _, text := range []string{"passwd: files systemd\n", "group: sss\n", ""} {
		s.Switch = write("nsswitch.conf", text, 0o644)
		if _, ok, err := s.Lookup("ldap"); ok || err != nil {
			t.Errorf("%q: %v %v", text, ok, err)
		}
	}
	if _, err := os.Stat(dir + "/asked"); err == nil {
		t.Error("getent was asked though the file is all")
	}
}

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
		e := &Expander{Hostname: "h.example", Domains: []string{"here.example"}, System: SystemAccounts{Path: passwd, Maildir: tt.template},
			Maildirs: auth.Template{Text: "%s/mail/%u", Spool: "/spool"}}
		found, err := e.Resolve(t.Context(), address.Address{}, address.Address{Local: tt.name, Domain: "here.example"})
		if err != nil || len(found) != 1 || found[0].Dir != tt.dir || found[0].UID != tt.uid {
			t.Errorf("%s by %q: %+v, %v; want %s of %d", tt.name, tt.template, found, err, tt.dir, tt.uid)
		}
	}
}
