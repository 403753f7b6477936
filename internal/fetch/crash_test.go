package fetch

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

// crashJob fetches from a POP3 server into a target below root.
func crashJob(t *testing.T, fs *durable.FS, root, kind, port string) *Fetch {
	f := job(t, "pop3", port, kind+":"+filepath.Join(root, "in"))
	f.FS, f.State = fs, filepath.Join(root, "state")
	return f
}

// crashServer has so many letters.
func crashServer(t *testing.T, count int) *popServer {
	s := &popServer{}
	for i := range count {
		s.letters = append(s.letters, popLetter{fmt.Sprint("id", i), crashText(i)})
	}
	return startPOP(t, s)
}

func crashText(i int) string { return fmt.Sprintf("Subject: %d\r\n\r\nletter %d\r\n", i, i) }

// arrived are the texts in a target.
func arrived(kind, root string) (string, error) {
	path := filepath.Join(root, "in")
	if kind == "mbox" {
		text, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			err = nil
		}
		return string(text), err
	}
	all := ""
	for _, sub := range []string{"new", "cur"} {
		names, err := filepath.Glob(filepath.Join(path, sub, "*"))
		if err != nil {
			return "", err
		}
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				return "", err
			}
			all += string(text)
		}
	}
	return all, nil
}

const crashLetters = 3

// After a crash of the machine at any step, the next run makes it so that each
// letter is there once.
func TestCrashBringsEachLetterOnce(t *testing.T) {
	for _, kind := range []string{"maildir", "mbox"} {
		t.Run(kind, func(t *testing.T) {
			s := crashServer(t, crashLetters)
			run := func(fs *durable.FS, root string) error {
				_, err := crashJob(t, fs, root, kind, s.port).Run(context.Background())
				return err
			}
			mailtest.Crash(t, mailtest.Scenario{
				Setup: func(*durable.FS, string) {},
				Run: func(fs *durable.FS, root string) {
					if err := run(fs, root); err != nil {
						t.Fatal(err)
					}
				},
				Recover: func(fs *durable.FS, root string) error {
					ago := time.Now().Add(-2 * staleTime) // that long it took until somebody came
					os.Chtimes(filepath.Join(root, "in.lock"), ago, ago)
					return run(fs, root)
				},
				Check: func(root string, _ []string) error {
					all, err := arrived(kind, root)
					for i := range crashLetters {
						if n := strings.Count(all, fmt.Sprintf("\nletter %d\n", i)); n != 1 && err == nil {
							err = fmt.Errorf("letter %d is there %d times", i, n)
						}
					}
					return err
				},
			})
		})
	}
}

// What was deleted on the server is here, whenever the machine crashes.
func TestCrashLosesNothingThatWasDeleted(t *testing.T) {
	for _, kind := range []string{"maildir", "mbox"} {
		t.Run(kind, func(t *testing.T) {
			empty := crashServer(t, 0)
			mailtest.Crash(t, mailtest.Scenario{
				Setup: func(*durable.FS, string) {},
				Run: func(fs *durable.FS, root string) {
					f := crashJob(t, fs, root, kind, crashServer(t, crashLetters).port)
					f.Delete = true
					f.Report = func(e Event) {
						if e.Kind == Deleted {
							fs.Answered(strings.TrimPrefix(e.Key, "id"))
						}
					}
					if _, err := f.Run(context.Background()); err != nil {
						t.Fatal(err)
					}
				},
				Recover: func(fs *durable.FS, root string) error {
					f := crashJob(t, fs, root, kind, empty.port)
					f.Delete = true
					_, err := f.Run(context.Background())
					return err
				},
				Check: func(root string, deleted []string) error {
					all, err := arrived(kind, root)
					for _, i := range deleted {
						if n := strings.Count(all, fmt.Sprintf("\nletter %s\n", i)); n != 1 && err == nil {
							err = fmt.Errorf("letter %s is there %d times", i, n)
						}
					}
					return err
				},
			})
		})
	}
}
