package auth

import (
	"os"
	"path/filepath"
	"testing"
)

const hostPasswd = "root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\nbob:x:1001:1001::/home/bob:/bin/sh\nwww:x:33:33::/:/bin/false\nnobody:x:65534:65534::/:/bin/false\n"

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
	passwd := write("passwd", hostPasswd, 0o644)
	s := HostAccounts{Path: passwd, Switch: write("nsswitch.conf", "# x\npasswd: files [NOTFOUND=continue] sss # ldap\n", 0o644)}
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
