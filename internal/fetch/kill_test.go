package fetch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"postbag/internal/durable"
)

// TestChild is not a test: it is what TestKilledAtAnyInstant runs and kills.
func TestChild(t *testing.T) {
	args := strings.Split(os.Getenv("FETCH_TEST_CHILD"), "\n")
	if len(args) < 4 {
		t.Skip("runs only as a child of TestKilledAtAnyInstant")
	}
	src, err := ParseURL(args[0])
	if err != nil {
		t.Fatal(err)
	}
	to, err := ParseTarget(args[1])
	if err != nil {
		t.Fatal(err)
	}
	f := &Fetch{Source: src, Target: to, FS: durable.New(), State: args[2], Hostname: "host", TLS: TLSOff, Delete: args[3] == "delete",
		Password: func(context.Context) (string, error) { return "secret", nil }}
	if _, err := f.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestKilledAtAnyInstant(t *testing.T) {
	const count = 150
	for _, proto := range []string{"imap", "pop3"} {
		for _, kind := range []string{"maildir", "mbox"} {
			for _, after := range []string{"keep", "delete"} {
				t.Run(strings.Join([]string{proto, kind, after}, " "), func(t *testing.T) {
					t.Parallel()
					killAtAnyInstant(t, proto, kind, after, count)
				})
			}
		}
	}
}

func killAtAnyInstant(t *testing.T, proto, kind, after string, count int) {
	port, left := startLetters(t, proto, count)
	path := filepath.Join(t.TempDir(), "to")
	args := strings.Join([]string{proto + "://ann@localhost:" + port, kind + ":" + path, filepath.Join(t.TempDir(), "state"), after}, "\n")
	kills := 0
	for limit := 20 * time.Millisecond; ; limit += limit / 4 {
		killed, err := runChild(t, args, rand.N(limit))
		if !killed {
			if err != nil {
				t.Fatal(err)
			}
			break
		}
		kills++
	}
	if _, err := runChild(t, args, time.Minute); err != nil { // has nothing to do
		t.Fatal(err)
	}
	var got []string
	if kind == "maildir" {
		got = letters(t, path)
	} else {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		got = splitMbox(string(text))
	}
	expected := want(count)
	for i, l := range expected {
		if (kind == "mbox" || proto == "pop3") && !strings.HasSuffix(l, "\n") {
			expected[i] += "\n"
		}
	}
	slices.Sort(expected)
	sameLetters(t, got, expected)
	if n := left(); after == "delete" && n != 0 || after == "keep" && n != count {
		t.Errorf("%d letters are left on the server", n)
	}
	t.Logf("killed %d times", kills)
}

// runChild runs a fetch and kills it after a time. It reports whether it was
// killed before it ended.
func runChild(t *testing.T, args string, after time.Duration) (killed bool, err error) {
	cmd := exec.Command(os.Args[0], "-test.run=^TestChild$", "-test.count=1")
	cmd.Env = append(os.Environ(), "FETCH_TEST_CHILD="+args)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(after, func() { cmd.Process.Kill() })
	err = cmd.Wait()
	timer.Stop()
	var exit *exec.ExitError
	if errors.As(err, &exit) && !exit.Exited() {
		return true, nil
	}
	if err != nil {
		err = fmt.Errorf("%w: %s", err, out.String())
	}
	return false, err
}

// startLetters starts a server with letters, and returns how to count them.
func startLetters(t *testing.T, proto string, count int) (port string, left func() int) {
	if proto == "imap" {
		s := startIMAP(t, nil)
		for i := range count {
			s.append(t, "INBOX", letterText(i), nil)
		}
		return s.port, func() int { return s.count(t, "INBOX") }
	}
	s := &popServer{}
	for i := range count {
		s.letters = append(s.letters, popLetter{fmt.Sprint("id", i), letterText(i)})
	}
	startPOP(t, s)
	return s.port, s.count
}

// splitMbox takes an mbox apart, and undoes its quoting.
func splitMbox(text string) []string {
	var all []string
	for _, l := range strings.Split("\n"+strings.TrimSuffix(text, "\n"), "\nFrom ")[1:] {
		_, l, _ = strings.Cut(l, "\n") // the rest of the From line
		all = append(all, strings.NewReplacer("\n>From ", "\nFrom ", "\n>>From ", "\n>From ").Replace(l))
	}
	slices.Sort(all)
	return all
}
