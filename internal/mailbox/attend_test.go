package mailbox

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"postbag/internal/durable"
	"postbag/internal/maildir"
)

// heard waits for a call of f, and takes those that came before.
func heard(t *testing.T, c <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(10 * time.Second):
		t.Fatalf("nobody tells that %s", what)
	}
}

func TestAttendTellsOfNames(t *testing.T) {
	for _, noWatch := range []bool{false, true} {
		s := NewStore(durable.New(), Options{NoWatch: noWatch})
		defer s.Close()
		dir := t.TempDir()
		c := make(chan struct{}, 1)
		cancel := s.Attend(dir, func() {
			select {
			case c <- struct{}{}:
			default:
			}
		})
		os.Mkdir(filepath.Join(dir, ".A"), 0o700)
		heard(t, c, "a directory came")
		heard(t, c, "what came may be complete now")
		os.Rename(filepath.Join(dir, ".A"), filepath.Join(dir, ".B"))
		heard(t, c, "a directory has another name")
		cancel()
	}
}

// A folder and the names in its directory are watched by one inotify instance:
// who no longer needs one of them does not take the other away.
func TestAttendAndSubscribeShareAWatch(t *testing.T) {
	s := NewStore(durable.New(), Options{})
	defer s.Close()
	dir := filepath.Join(t.TempDir(), "Maildir")
	if err := maildir.Init(durable.New(), dir, 0o700); err != nil {
		t.Fatal(err)
	}
	names, letters := make(chan struct{}, 1), make(chan struct{}, 1)
	cancel := s.Attend(dir, func() {
		select {
		case names <- struct{}{}:
		default:
		}
	})
	f, err := s.Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	f.Subscribe(letters)
	f.Close()
	os.Mkdir(filepath.Join(dir, ".A"), 0o700)
	heard(t, names, "a directory came, after the folder was closed")

	f, err = s.Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	defer f.Subscribe(letters)()
	cancel()
	if err := os.WriteFile(filepath.Join(dir, "new", "1.M1.h"), []byte("a: b\n\nc\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	heard(t, letters, "a letter came, after the names were of no more interest")
}
