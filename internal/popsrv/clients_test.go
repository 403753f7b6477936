package popsrv

import (
	"bufio"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// serve answers on a port of the loopback until the test ends.
func (f *fixture) serve(t testing.TB) (port int) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				c.SetDeadline(time.Now().Add(time.Minute))
				f.server.Serve(t.Context(), &pipeConn{Conn: c, w: bufio.NewWriter(c), drain: make(chan struct{}), plaintext: true})
			})
		}
	})
	t.Cleanup(func() { ln.Close(); wg.Wait() })
	return ln.Addr().(*net.TCPAddr).Port
}

// client runs a program that may not be installed.
func client(t *testing.T, name string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("%s is not installed", name)
	}
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", name, err, out)
	}
	return string(out)
}

func TestCurl(t *testing.T) {
	f := newFixture(t, "Subject: one\n\n.dot\n.\n", "Subject: two\n\nx\n")
	url := fmt.Sprintf("pop3://127.0.0.1:%d/", f.serve(t))
	if got := client(t, "curl", "-sS", "--user", "ann:open sesame", url+"1"); got != "Subject: one\r\n\r\n.dot\r\n.\r\n" {
		t.Errorf("curl got %q", got)
	}
	if got := client(t, "curl", "-sS", "--user", "ann:open sesame", "--request", "UIDL", url); strings.Count(got, "\n") != 2 {
		t.Errorf("UIDL: %q", got)
	}
	client(t, "curl", "-sS", "--user", "ann:open sesame", "--request", "DELE 1", "--head", url)
	if n := len(f.left(t)); n != 1 {
		t.Errorf("%d letters are left, want 1", n)
	}
}

func TestPoplib(t *testing.T) {
	f := newFixture(t, "Subject: one\n\n.dot\n.\n", "Subject: two\n\nx\n")
	got := client(t, "python3", "-c", fmt.Sprintf(`
import poplib
p = poplib.POP3("127.0.0.1", %d, timeout=20)
print("TOP" in p.capa())
p.user("ann"); p.pass_("open sesame")
print(p.stat()); print(p.retr(1)[1]); print(p.top(2, 0)[1]); print(len(p.uidl()[1]))
p.dele(2); p.quit()
`, f.serve(t)))
	want := "True\n(2, 44)\n[b'Subject: one', b'', b'.dot', b'.']\n[b'Subject: two', b'']\n2\n"
	if got != want {
		t.Errorf("poplib got\n%swant\n%s", got, want)
	}
	if n := len(f.left(t)); n != 1 {
		t.Errorf("%d letters are left, want 1", n)
	}
}
