package mailtest

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"postbag/internal/durable"
)

// errFound is what a Scenario's Check says of a state that must not be.
var errFound = errors.New("found")

// finds tells whether Crash meets a state that check objects to.
func finds(t *testing.T, run func(fs *durable.FS, root string) error, check func(root string, answers []string) error) bool {
	t.Helper()
	found := false
	Crash(t, Scenario{
		Setup: func(_ *durable.FS, root string) {
			for _, dir := range []string{"tmp", "new"} {
				if err := os.Mkdir(filepath.Join(root, dir), 0o700); err != nil {
					t.Fatal(err)
				}
			}
		},
		Run: func(fs *durable.FS, root string) {
			if err := run(fs, root); err != nil {
				t.Fatal(err)
			}
		},
		Recover: func(*durable.FS, string) error { return nil },
		Check: func(root string, answers []string) error {
			found = found || check(root, answers) != nil
			return nil
		},
	})
	return found
}

// deliver puts a letter into new/, with some steps left out.
func deliver(fs *durable.FS, root string, sync, syncDir bool) error {
	f, err := fs.Create(filepath.Join(root, "tmp", "x"), 0o600)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprint(f, "letter"); err != nil {
		return err
	}
	if sync {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close(), fs.Rename(filepath.Join(root, "tmp", "x"), filepath.Join(root, "new", "x"))); err != nil {
		return err
	}
	if syncDir {
		err = fs.SyncDir(filepath.Join(root, "new"))
	}
	fs.Answered("250")
	return err
}

func whole(root string, answers []string) error {
	text, err := os.ReadFile(filepath.Join(root, "new", "x"))
	if len(answers) > 0 && string(text) != "letter" || err == nil && string(text) != "letter" {
		return errFound
	}
	return nil
}

func TestCrashFindsWhatIsMissing(t *testing.T) {
	for _, tt := range []struct {
		name          string
		sync, syncDir bool
		want          bool
	}{
		{"a delivery as it should be", true, true, false},
		{"without a sync of the file", false, true, true},
		{"without a sync of the directory", true, false, true},
	} {
		got := finds(t, func(fs *durable.FS, root string) error { return deliver(fs, root, tt.sync, tt.syncDir) }, whole)
		if got != tt.want {
			t.Errorf("%s: found %t, want %t", tt.name, got, tt.want)
		}
	}
}

func TestARenameLosesNothing(t *testing.T) {
	nowhere := func(root string, answers []string) error {
		_, before := os.Stat(filepath.Join(root, "tmp", "x"))
		_, after := os.Stat(filepath.Join(root, "new", "x"))
		if len(answers) > 0 && before != nil && after != nil {
			return errFound
		}
		return nil
	}
	staged := func(fs *durable.FS, root string) error {
		f, err := fs.Create(filepath.Join(root, "tmp", "x"), 0o600)
		if err == nil {
			err = errors.Join(f.Commit(), fs.SyncDir(filepath.Join(root, "tmp")))
		}
		fs.Answered("staged")
		return errors.Join(err, fs.Rename(filepath.Join(root, "tmp", "x"), filepath.Join(root, "new", "x")), fs.SyncDir(filepath.Join(root, "tmp")))
	}
	if finds(t, staged, nowhere) {
		t.Error("a rename has lost a file")
	}
}

func TestTornWritesAreMet(t *testing.T) {
	sizes := map[string]bool{}
	long := make([]byte, 2000)
	for i := range long {
		long[i] = 'x'
	}
	holed := false
	finds(t, func(fs *durable.FS, root string) error {
		f, err := fs.Create(filepath.Join(root, "new", "log"), 0o600)
		if err != nil {
			return err
		}
		err = errors.Join(f.Sync(), fs.SyncDir(filepath.Join(root, "new")))
		if _, werr := f.Write(long); werr != nil {
			return werr
		}
		return errors.Join(err, f.Close())
	}, func(root string, _ []string) error {
		text, _ := os.ReadFile(filepath.Join(root, "new", "log"))
		n := 0
		for n < len(text) && text[n] == 'x' {
			n++
		}
		sizes[fmt.Sprint(len(text), " ", n)] = true
		holed = holed || n == 0 && len(text) == 2000 && text[512] == 'x' && text[511] == 0
		return nil
	})
	for _, want := range []string{"0 0", "2000 0", "2000 512", "2000 1536", "2000 2000"} {
		if !sizes[want] {
			t.Errorf("no file with size and content %s: %v", want, sizes)
		}
	}
	if !holed {
		t.Error("no file whose later sectors came first")
	}
}

func TestTheLengthOfAFileSurvivesByItself(t *testing.T) {
	write := func(fs *durable.FS, root string) error {
		f, err := fs.Create(filepath.Join(root, "new", "log"), 0o600)
		if err != nil {
			return err
		}
		defer f.Close()
		f.Write([]byte("old"))
		err = errors.Join(f.Sync(), fs.SyncDir(filepath.Join(root, "new")))
		f.Seek(0, io.SeekStart)
		_, werr := f.Write([]byte("newer"))
		return errors.Join(err, werr)
	}
	found := finds(t, write, func(root string, _ []string) error {
		if text, _ := os.ReadFile(filepath.Join(root, "new", "log")); string(text) == "new" {
			return errFound
		}
		return nil
	})
	if !found {
		t.Error("no file of the old length with the new content")
	}
}

func TestASyncCoversOnlyWhatEndedBeforeItBegan(t *testing.T) {
	d := &disk{root: newDir(), inodes: map[uint64]*node{}}
	d.apply(event{kind: durable.OpCreate, path: "a", ino: 1})
	d.apply(event{kind: durable.OpWrite, path: "a", ino: 1, data: []byte("x"), begun: 1})
	d.apply(event{kind: durable.OpCreate, path: "b", ino: 2, begun: 2})
	d.apply(event{kind: durable.OpSyncDir, path: ".", begun: 1}) // it waited while a was written and b made
	d.apply(event{kind: durable.OpSync, ino: 1, begun: 1})
	var open []string
	for _, u := range d.open() {
		open = append(open, u.what)
	}
	if got, want := fmt.Sprint(open), "[name b content of a]"; got != want {
		t.Errorf("not certain: %s, want %s", got, want)
	}
}
