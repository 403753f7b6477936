package smtpsrv

import (
	"bufio"
	"context"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"postbag/internal/auth"
)

// A dialogue file holds settings (`proto: smtp`), then what client and server
// say in turn: `C: ` a line with CRLF, `C+ ` octets without, `S: ` a whole line
// of the server, `S$ ` says that it hangs up, then after `= ` the letters that
// were taken, in disk form. C and = lines may have Go's escapes.
type dialogue struct {
	set     map[string]string
	steps   []string
	letters string
}

func readDialogue(t *testing.T, file string) dialogue {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	d := dialogue{set: map[string]string{"proto": SMTP, "peer": "192.0.2.7"}}
	for _, line := range strings.Split(strings.TrimSuffix(string(data), "\n"), "\n") {
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case len(line) > 1 && strings.Contains("CS=", line[:1]) && strings.Contains(":+$", line[1:2]):
			d.steps = append(d.steps, line)
		case line[0] == '=':
			d.letters += unescape(t, strings.TrimPrefix(line[1:], " ")) + "\n"
		default:
			key, value, _ := strings.Cut(line, ":")
			d.set[key] = strings.TrimSpace(value)
		}
	}
	return d
}

func unescape(t *testing.T, s string) string {
	t.Helper()
	s = strings.ReplaceAll(s, `"`, `\"`)
	text, err := strconv.Unquote(`"` + s + `"`)
	if err != nil {
		t.Fatalf("%q: %v", s, err)
	}
	return text
}

func TestDialogues(t *testing.T) {
	files, err := filepath.Glob("testdata/dialogues/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no dialogues: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			d := readDialogue(t, file)
			s, in := newTestServer()
			if d.set["auth"] != "" {
				s.Accounts = testAccounts(t)
			}
			if d.set["xclient"] != "" {
				s.XclientFrom = []netip.Prefix{netip.MustParsePrefix(d.set["xclient"])}
			}
			if d.set["normalize"] != "" {
				s.Normalize = true
			}
			d.play(t, s)
			got := ""
			for _, l := range in.letters {
				got += l.text
				if !strings.HasSuffix(got, "\n") {
					got += "<no line end>\n"
				}
			}
			if got != d.letters {
				t.Errorf("letters taken:\n%s\nwant:\n%s", got, d.letters)
			}
			if in.open != 0 {
				t.Errorf("%d letters were neither committed nor discarded", in.open)
			}
		})
	}
}

// play runs the dialogue over a socket.
func (d dialogue) play(t *testing.T, s *Server) {
	t.Helper()
	client, server := socketPair(t)
	done := make(chan error, 1)
	go func() {
		err := s.Serve(context.Background(), newFakeConn(server, d.set["proto"], d.set["peer"]))
		server.Close()
		done <- err
	}()
	r := bufio.NewReader(client)
	for _, step := range d.steps {
		text := strings.TrimPrefix(step[2:], " ")
		switch step[:2] {
		case "C:":
			client.Write([]byte(unescape(t, text) + "\r\n"))
		case "C+":
			client.Write([]byte(unescape(t, text)))
		case "S:":
			line, err := r.ReadString('\n')
			if got := strings.TrimSuffix(line, "\r\n"); got != text {
				t.Fatalf("server said %q (%v), want %q", got, err, text)
			}
		case "S$":
			if line, err := r.ReadString('\n'); err == nil {
				t.Fatalf("server said %q, want the end", line)
			}
		}
	}
	client.Close()
	if err := <-done; err != nil {
		t.Logf("session: %v", err)
	}
}

// socketPair returns both ends of a connection.
func socketPair(t testing.TB) (client, server net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	client, err = net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err = ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); server.Close() })
	return client, server
}

// testAccounts knows ann, whose password is "secret".
func testAccounts(t testing.TB) auth.Directory {
	t.Helper()
	path := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(path, []byte("ann:{PLAIN}secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := auth.OpenFile(path, []string{"example.org"})
	if err != nil {
		t.Fatal(err)
	}
	return f
}
