package queue

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"postbag/internal/deliver"
	"postbag/internal/durable"
	"postbag/internal/mailtest"
	"postbag/internal/spool"
)

// program is one process on a disk that crashes.
func program(fs *durable.FS, root string) (*Runner, *Intake, error) {
	s, err := spool.Open(fs, filepath.Join(root, "spool"), spool.Options{})
	if err != nil {
		return nil, nil, err
	}
	resolver, local := fakeResolver{root}, &deliver.Local{FS: fs, Hostname: "here.example"}
	return &Runner{Spool: s, Resolver: resolver, Local: local, Hostname: "here.example"},
		&Intake{Spool: s, Resolver: resolver, Local: local}, nil
}

// submit takes a letter in and notes the answer.
func submit(fs *durable.FS, in *Intake, proto, from string, to ...string) {
	env := &spool.Envelope{From: addr(from), Proto: proto, UID: -1}
	for _, a := range to {
		env.To = append(env.To, spool.Recipient{Address: addr(a)})
	}
	tx, err := in.Begin(context.Background(), env)
	if err != nil {
		return
	}
	io.WriteString(tx, "Subject: x\n\n"+strings.Repeat("text\n", 300))
	if _, err := tx.Commit(context.Background()); err == nil {
		fs.Answered("250")
	}
}

// recoverQueue is the next process: it makes one pass over the queue.
func recoverQueue(fs *durable.FS, root string) error {
	r, _, err := program(fs, root)
	if err != nil {
		return err
	}
	return r.Once(context.Background())
}

// counts checks how many whole letters are in some mailboxes, and that nothing
// is left in the queue.
func counts(root string, atLeast int, boxes ...string) error {
	for _, box := range boxes {
		var whole int
		for _, sub := range []string{"new", "cur"} {
			files, _ := filepath.Glob(filepath.Join(root, box, sub, "*"))
			for _, f := range files {
				text, err := os.ReadFile(f)
				if err != nil {
					return err
				}
				if strings.Count(string(text), "text\n") != 300 {
					return fmt.Errorf("%s is torn", f)
				}
				whole++
			}
		}
		if whole < atLeast || whole > 1 {
			return fmt.Errorf("%s has %d letters, at least %d wanted; in the queue: %q", box, whole, atLeast, inQueue(root))
		}
	}
	if left := inQueue(root); len(left) > 0 {
		return fmt.Errorf("in the queue: %q", left)
	}
	return nil
}

func inQueue(root string) (files []string) {
	for _, sub := range []string{"new", "cur"} {
		found, _ := filepath.Glob(filepath.Join(root, "spool/queue", sub, "*"))
		files = append(files, found...)
	}
	return files
}

func setUp(fs *durable.FS, root string) {
	if _, _, err := program(fs, root); err != nil {
		panic(err)
	}
}

// queued takes a letter in, makes a pass, and crashes in both.
func queued(t *testing.T, to []string, boxes ...string) {
	mailtest.Crash(t, mailtest.Scenario{
		Setup: setUp,
		Run: func(fs *durable.FS, root string) {
			r, in, err := program(fs, root)
			if err != nil {
				t.Fatal(err)
			}
			submit(fs, in, "ESMTP", "", to...)
			r.Once(context.Background())
		},
		Recover: recoverQueue,
		Check: func(root string, answers []string) error {
			return counts(root, len(answers), boxes...)
		},
	})
}

func TestAQueuedLetterArrivesOnceWhateverCrashes(t *testing.T) {
	queued(t, []string{"team@here.example", "bob@here.example"}, "ann", "bob")
}

func TestAReportIsWrittenOnceWhateverCrashes(t *testing.T) {
	queued(t, []string{"nobody@here.example", "no@here.example"}, "postmaster")
}

func TestALetterOnTheDirectWayIsThereOnceItIsAnswered(t *testing.T) {
	mailtest.Crash(t, mailtest.Scenario{
		Setup: setUp,
		Run: func(fs *durable.FS, root string) {
			_, in, err := program(fs, root)
			if err != nil {
				t.Fatal(err)
			}
			submit(fs, in, "LMTP", "x@far.example", "ann@here.example", "bob@here.example")
		},
		Recover: recoverQueue,
		Check: func(root string, answers []string) error {
			return counts(root, len(answers), "ann", "bob")
		},
	})
}
