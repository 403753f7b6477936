package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// host.sh runs a session of IMAP on a host that asks PAM, whose accounts and
// passwords are other files in the place of the host's.
const hostScript = `
mount --bind passwd /etc/passwd && mount --bind shadow /etc/shadow && mount -t tmpfs none /mnt && mount -t tmpfs none /etc/pam.d || exit 1
install -d -o 1500 -g 1500 /mnt/ann
printf 'auth required pam_unix.so\naccount required pam_unix.so\n' >/etc/pam.d/mail
printf 'auth required pam_nothing_of_that_name.so\n' >/etc/pam.d/broken
./imapd --inetd --plaintext-auth always --spool spool --hostname h.example --auth "$1"
ls -d /mnt/ann/Maildir
`

// What perl's crypt makes of "secret" with the library of Debian 12.
const secret = "$y$j75$abcdefgh12345678$JC6qDq6ooBg0TtwcEkfEqOCTB4itIJhOMuWHbGoB3R8"

func TestIMAPAsksPAM(t *testing.T) {
	dir := hostDir(t)
	for _, tt := range []struct {
		name, spec string
		session    []string
		want       []string
	}{
		{"a right password after a wrong one", "pam:mail", []string{"1 LOGIN ann wrong", "2 LOGIN bob secret", "3 LOGIN ann secret", "4 SELECT INBOX"},
			[]string{`^1 NO \[AUTHENTICATIONFAILED\]`, `^2 NO \[AUTHENTICATIONFAILED\]`, `^3 OK`, `^4 OK`, `^/mnt/ann/Maildir$`}},
		{"an account that has ended", "pam:mail", []string{"1 LOGIN old secret"}, []string{`^1 NO \[AUTHENTICATIONFAILED\]`}},
		{"a service that is broken", "pam:broken", []string{"1 LOGIN ann secret"}, []string{`^1 NO \[UNAVAILABLE\]`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cmd := exec.Command("unshare", "-m", "sh", "-c", hostScript, "sh", tt.spec)
			cmd.Dir, cmd.Stdin = dir, strings.NewReader(strings.Join(tt.session, "\r\n")+"\r\n")
			out, _ := cmd.CombinedOutput()
			for _, want := range tt.want {
				if !regexp.MustCompile("(?m)" + want).Match(out) {
					t.Errorf("%s is not in:\n%s", want, out)
				}
			}
		})
	}
}

// hostDir has the programs and what a host knows of its users.
func hostDir(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root may put other files in the place of passwd and shadow")
	}
	if _, err := os.Stat("/usr/include/security/pam_appl.h"); err != nil {
		t.Skip("the headers of Linux-PAM are not installed")
	}
	dir := t.TempDir()
	build(t, dir, "postbag/cmd/imapd")
	build(t, filepath.Join(dir, "postbag-pam"), "-tags", "pam", "postbag/cmd/internal/pam")
	for name, text := range map[string]string{
		"passwd": "root:x:0:0::/root:/bin/sh\nann:x:1500:1500::/mnt/ann:/bin/sh\nold:x:1501:1501::/mnt/old:/bin/sh\n",
		"shadow": "ann:" + secret + ":20000:0:99999:7:::\nold:" + secret + ":20000:0:99999:7::20001:\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func build(t *testing.T, to string, args ...string) {
	t.Helper()
	cmd := exec.Command("go", append([]string{"build", "-o", to}, args...)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %v: %v: %s", args, err, out)
	}
}
