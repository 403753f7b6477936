package main

import (
	"bufio"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// connected gives the two ends of a connection; the second is for another process.
func connected(t *testing.T) (net.Conn, *os.File) {
	t.Helper()
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours := os.NewFile(uintptr(pair[0]), "ours")
	defer ours.Close()
	c, err := net.FileConn(ours)
	if err != nil {
		t.Fatal(err)
	}
	return c, os.NewFile(uintptr(pair[1]), "theirs")
}

// TestInetdWhoseStandardErrorIsTheClient: inetd makes the connection all three of
// the standard streams. Neither events nor a start that fails are for the client.
func TestInetdWhoseStandardErrorIsTheClient(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "popd")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v: %s", err, out)
	}
	users := filepath.Join(dir, "users")
	if err := os.WriteFile(users, []byte("ann:{PLAIN}x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, users, say string
		want             []string
	}{
		{"events", users, "CAPA\r\nQUIT\r\n", []string{"+OK"}},
		{"a start that fails", filepath.Join(dir, "nowhere"), "", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			client, server := connected(t)
			defer client.Close()
			cmd := exec.Command(program, "--inetd", "--preauth=ann", "--log-level=debug", "--spool", filepath.Join(dir, "spool"), "--users", tt.users)
			cmd.Stdin, cmd.Stdout, cmd.Stderr = server, server, server
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			server.Close()
			defer cmd.Wait()
			client.SetDeadline(time.Now().Add(time.Minute))
			if _, err := client.Write([]byte(tt.say)); err != nil && tt.say != "" {
				t.Fatal(err)
			}
			var got []string
			for lines := bufio.NewScanner(client); lines.Scan(); {
				got = append(got, lines.Text())
				if strings.Contains(lines.Text(), "level=") || strings.HasPrefix(lines.Text(), "popd:") {
					t.Errorf("the client gets %q", lines.Text())
				}
			}
			if len(tt.want) > 0 && (len(got) == 0 || !strings.HasPrefix(got[0], tt.want[0])) {
				t.Errorf("the session is %q", got)
			}
			if len(tt.want) == 0 && len(got) > 0 {
				t.Errorf("the client gets %q", got)
			}
		})
	}
}
