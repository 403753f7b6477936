package alias

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// forward is Forward in short.
func forward(o Owner, detail string) string {
	targets, ok, err := Forward(o, "+", detail)
	if err != nil {
		return "error " + err.Error()
	}
	if !ok {
		return "none"
	}
	var all []string
	for _, t := range targets {
		all = append(all, fmt.Sprint(t.Kind, " ", t.Address.String(), t.Text, map[bool]string{true: " final"}[t.Final]))
	}
	return strings.Join(all, "; ")
}

func TestForward(t *testing.T) {
	home := t.TempDir()
	o := Owner{Home: home, UID: os.Geteuid(), GID: os.Getegid()}
	path := filepath.Join(home, ".forward")
	for _, tt := range []struct{ name, text, want string }{
		{"none", "", "none"},
		{"addresses, a command and a Maildir", "# mine\n\\ann, bob@far.example\n\"|vacation ann\"\n/home/ann/Box/\n", "0 ann final; 0 bob@far.example; 1 vacation ann; 2 /home/ann/Box/"},
		{"one that is empty does not count", "# nothing\n\n", "none"},
		{"a line that is none keeps mail waiting", "a b\n", "error " + path + `:1: target "a b" is no address`},
		{"no file can be included", ":include:/etc/passwd\n", "error " + path + ":1: files cannot be included here"},
		{"one that is too long keeps mail waiting", strings.Repeat("ann@example.org\n", 5000), "error read " + path + ": is longer than 65536 octets"},
	} {
		os.Remove(path)
		if tt.text != "" {
			write(t, path, tt.text)
		}
		if got := forward(o, ""); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
	write(t, path, "ann\n")
	write(t, path+"+lists", "bob\n")
	for detail, want := range map[string]string{"": "0 ann", "lists": "0 bob", "x": "0 ann", "../x": "0 ann"} {
		if got := forward(o, detail); got != want {
			t.Errorf("subaddress %q: %s, want %s", detail, got, want)
		}
	}
	for name, home := range map[string]string{"relative": "x", "nobody's": "/", "not there": home + "/none", "a file": path} {
		if got := forward(Owner{Home: home, UID: o.UID, GID: o.GID}, ""); got != "none" {
			t.Errorf("a home that is %s: %s", name, got)
		}
	}
	if err := os.Chmod(path, 0o606); err != nil {
		t.Fatal(err)
	}
	if got := forward(o, ""); got != "none" {
		t.Errorf("one that others can write to: %s", got)
	}
	os.Rename(path, home+"/real")
	os.Symlink(home+"/real", path)
	if got := forward(o, ""); got != "none" {
		t.Errorf("a link: %s", got)
	}
}

func TestForwardIsReadAsTheAccount(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can be another")
	}
	home, err := os.MkdirTemp("", "postbag-home")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(home)
	o := Owner{Home: home, UID: 12345, GID: 12345}
	path := filepath.Join(home, ".forward")
	write(t, path, "bob\n")
	os.Chmod(home, 0o755)
	if got := forward(o, ""); got != "none" {
		t.Errorf("root's own file that the account cannot read: %s", got)
	}
	os.Chmod(path, 0o644)
	if got := forward(o, ""); got != "0 bob" {
		t.Errorf("root's file that it can read: %s", got)
	}
	os.Chown(path, 12345, 12345)
	os.Chmod(path, 0o600)
	os.Chown(home, 12345, 12345)
	os.Chmod(home, 0o700)
	if got := forward(o, ""); got != "0 bob" {
		t.Errorf("its own in its own home: %s", got)
	}
	os.Chown(path, 54321, 54321)
	os.Chmod(path, 0o644)
	if got := forward(o, ""); got != "none" {
		t.Errorf("a stranger's: %s", got)
	}
	if _, err := os.ReadFile("/etc/shadow"); err != nil {
		t.Errorf("the process has lost its ids: %v", err)
	}
}

func FuzzForward(f *testing.F) {
	f.Add("\\a, b@c.d\n\"|x y\"\n/z/\n")
	f.Fuzz(func(t *testing.T, text string) {
		targets, err := parseForward("f", text)
		for _, target := range targets {
			if err == nil && target.Kind == Address && target.Address.Local == "" {
				t.Errorf("%q has a target without name", text)
			}
		}
	})
}
