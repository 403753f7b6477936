package durable

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// A number that was closed is soon another file's: nobody may still write to it.
func TestAFileThatIsClosedTakesNothing(t *testing.T) {
	fs, dir := New(), t.TempDir()
	f, err := fs.Create(filepath.Join(dir, "a"), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	other, err := fs.Create(filepath.Join(dir, "b"), 0o600) // has the number now
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	for what, err := range map[string]error{
		"write": second(f.Write([]byte("x"))),
		"sync":  f.Sync(),
		"close": f.Close(),
		"lock":  second(f.TryLock()),
		"stat":  second(f.Stat()),
	} {
		if err == nil {
			t.Errorf("%s of a closed file succeeds", what)
		}
	}
	if _, err := f.Write([]byte("x")); !errors.Is(err, os.ErrClosed) {
		t.Errorf("write to a closed file: %v, want %v", err, os.ErrClosed)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "b")); err != nil || len(b) > 0 {
		t.Errorf("another file got %q, %v", b, err)
	}
}

func second[T any](_ T, err error) error { return err }

func TestCloseWaitsForWriters(t *testing.T) {
	fs, dir := New(), t.TempDir()
	for range 50 {
		f, err := fs.Create(filepath.Join(dir, "a"), 0o600)
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range 20 {
					if _, err := f.Write([]byte("0123456789")); err != nil {
						return // it was closed
					}
				}
			})
		}
		wg.Go(func() { f.Close() })
		victim, err := os.Create(filepath.Join(dir, "victim"))
		if err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		if st, err := victim.Stat(); err != nil || st.Size() != 0 {
			t.Fatalf("%d octets went to another file, %v", st.Size(), err)
		}
		victim.Close()
		os.Remove(f.Name())
	}
}

func TestAFileIsOneWhetherWrittenOrRead(t *testing.T) {
	f, err := New().Create(filepath.Join(t.TempDir(), "a"), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte("abc")); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Seek(1, 0); err != nil { // an *os.File from here on
		t.Fatal(err)
	}
	if _, err := f.Write([]byte("XY")); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 4)
	if n, _ := f.ReadAt(b, 0); string(b[:n]) != "aXY" {
		t.Errorf("the file holds %q", b[:n])
	}
	fd := f.Fd()
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := New().Do(func() error { _, err := os.NewFile(fd, "gone").Stat(); return err }); err == nil {
		t.Error("the descriptor is still open")
	}
}
