package maildir

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postbag/internal/durable"
	"postbag/internal/mailtest"
)

var long = strings.Repeat("text\n", 20000)

func deliverLong(fs *durable.FS, dir string) error {
	_, err := Deliver(fs, dir, "h", time.Now(), strings.NewReader(long))
	return err
}

// appendLong is what IMAP's APPEND does: with flags and a date.
func appendLong(fs *durable.FS, dir string) error {
	l, err := Begin(fs, dir, "X")
	if err != nil {
		return err
	}
	defer l.Discard()
	if _, err := l.Write([]byte(long)); err != nil {
		return err
	}
	if err := l.Sync(time.Unix(1, 0)); err != nil {
		return err
	}
	if _, err := l.Place(context.Background(), "cur", "S"); err != nil {
		return err
	}
	return l.SyncDir()
}

// letters gives what is in new/ and cur/, all of it whole.
func letters(dir string) (n int, err error) {
	for _, sub := range []string{"new", "cur"} {
		files, _ := filepath.Glob(filepath.Join(dir, sub, "*"))
		n += len(files)
		for _, file := range files {
			if b, rerr := os.ReadFile(file); rerr != nil || string(b) != long {
				err = fmt.Errorf("%s is torn: %d octets, %v", file, len(b), rerr)
			}
		}
	}
	return n, err
}

func TestEachFaultAtEachStepOfALetter(t *testing.T) {
	initialized := func(fs *durable.FS, root string) {
		if err := Init(fs, root, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	staged := func(fs *durable.FS, root string) {
		initialized(fs, root)
		if err := os.WriteFile(filepath.Join(root, "tmp", "X"), []byte(long), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	finish := func(fs *durable.FS, root string) error {
		_, err := Finish(fs, root, "X", "X,S=1", true)
		return err
	}
	thereIff := func(root string, err error) error {
		n, torn := letters(root)
		if torn == nil && (n == 1) != (err == nil) {
			torn = fmt.Errorf("%d letters", n)
		}
		return torn
	}
	// What shall be done is done after a second try, and nothing is lost before.
	afterAll := func(again func(fs *durable.FS, root string) error) func(root string, err error) error {
		return func(root string, _ error) error {
			if err := again(durable.New(), root); err != nil {
				return err
			}
			return thereIff(root, nil)
		}
	}
	for name, s := range map[string]mailtest.FaultScenario{
		"deliver": {Setup: initialized, Run: deliverLong, Check: thereIff},
		"append":  {Setup: initialized, Run: appendLong, Check: thereIff},
		"finish":  {Setup: staged, Run: finish, Check: afterAll(finish)},
		"clean": {Setup: func(fs *durable.FS, root string) {
			staged(fs, root)
			if err := deliverLong(fs, root); err != nil {
				t.Fatal(err)
			}
		}, Run: func(fs *durable.FS, root string) error { return Clean(fs, root, -time.Hour) },
			Check: afterAll(func(fs *durable.FS, root string) error {
				err := Clean(fs, root, -time.Hour)
				if left, _ := filepath.Glob(filepath.Join(root, "tmp", "*")); len(left) > 0 {
					err = errors.Join(err, fmt.Errorf("left: %q", left))
				}
				return err
			})},
		"init": {Setup: func(*durable.FS, string) {},
			Run: func(fs *durable.FS, root string) error { return Init(fs, filepath.Join(root, "a", "b"), 0o700) },
			Check: func(root string, _ error) error {
				dir := filepath.Join(root, "a", "b")
				if err := Init(durable.New(), dir, 0o700); err != nil {
					return err
				}
				return deliverLong(durable.New(), dir)
			}},
	} {
		t.Run(name, func(t *testing.T) { mailtest.Faults(t, s) })
	}
}
