package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"postbag/internal/deliver"
	"postbag/internal/durable"
	"postbag/internal/maildir"
	"postbag/internal/mailtest"
	"postbag/internal/recipient"
	"postbag/internal/spool"
)

// program is one process on a disk that crashes.
func program(fs *durable.FS, root string) (*Runner, *Intake, error) {
	s, err := spool.Open(fs, filepath.Join(root, "spool"), spool.Options{})
	if err != nil {
		return nil, nil, err
	}
	resolver, local := fakeResolver{root}, &deliver.Local{FS: fs, Hostname: "here.example"}
	return &Runner{Spool: s, Resolver: resolver, Local: local, Remote: peer{fs, root}, Hostname: "here.example"},
		&Intake{Spool: s, Resolver: resolver, Local: local}, nil
}

// A peer is another host. What it takes before a crash stands in the history,
// and what it takes in a recovery in a file that no crash reaches.
type peer struct {
	fs   *durable.FS
	root string
}

func (p peer) Key(d recipient.Destination) string { return d.Address.Domain }

func (p peer) Send(_ context.Context, _ recipient.Destination, m deliver.Mail, to []spool.Recipient) []deliver.Outcome {
	body, err := m.Open()
	if err != nil {
		return slices.Repeat([]deliver.Outcome{{Err: err}}, len(to))
	}
	defer body.Close()
	text, err := io.ReadAll(body)
	if err != nil {
		return slices.Repeat([]deliver.Outcome{{Err: err}}, len(to))
	}
	if strings.Count(string(text), "text\n") == 300 {
		p.fs.Answered("peer took")
		took, _ := os.OpenFile(filepath.Join(p.root, "peer took"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		took.WriteString("x")
		took.Close()
	}
	return slices.Repeat([]deliver.Outcome{{Host: "peer", Reply: "250 ok"}}, len(to))
}

// taken is how often the peer has had the letter, before the crash and since.
func taken(root string, answers []string) (before, since int) {
	for _, a := range answers {
		if a == "peer took" {
			before++
		}
	}
	text, _ := os.ReadFile(filepath.Join(root, "peer took"))
	return before, len(text)
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

// queued takes a letter in, makes a pass, and crashes in both; with the letter
// read from the disk, and from memory.
func queued(t *testing.T, to []string, boxes ...string) {
	for name, most := range handOvers {
		t.Run(name, func(t *testing.T) { queuedOnce(t, most, to, boxes...) })
	}
}

var handOvers = map[string]int{"from the disk": 0, "from memory": maxHandedOver}

func queuedOnce(t *testing.T, most int, to []string, boxes ...string) {
	mailtest.Crash(t, mailtest.Scenario{
		Setup: setUp,
		Run: func(fs *durable.FS, root string) {
			r, in, err := program(fs, root)
			if err != nil {
				t.Fatal(err)
			}
			r.Spool.HandOver(most)
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

func must(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// A user drops a letter, a daemon takes it into the queue and delivers, and a
// second process looks at the queue at the same time: one history.
func TestSeveralProcessesOnOneSpoolLoseNothing(t *testing.T) {
	mailtest.Crash(t, mailtest.Scenario{
		Setup: setUp,
		Run: func(fs *durable.FS, root string) {
			_, user, err := program(fs, root)
			must(t, err)
			daemon, _, err := program(fs, root)
			must(t, err)
			other, _, err := program(fs, root)
			must(t, err)
			d, err := user.Spool.Drop(t.Context(), &spool.Envelope{From: addr("x@far.example"),
				To: []spool.Recipient{{Address: addr("ann@here.example")}, {Address: addr("eve@far.example")}}})
			must(t, err)
			io.WriteString(d, "Subject: x\n\n"+strings.Repeat("text\n", 300))
			must(t, d.Commit(t.Context()))
			fs.Answered("exit 0")
			must(t, daemon.Once(t.Context()), other.Once(t.Context()))
			fs.Answered("done")
		},
		Recover: recoverQueue,
		Check: func(root string, answers []string) error {
			if err := counts(root, min(len(answers), 1), "ann"); err != nil {
				return err
			}
			return peerHadIt(root, answers)
		},
	})
}

// peerHadIt checks that the peer has what was acknowledged, and twice only where
// its 250 was not yet recorded (RFC 1047).
func peerHadIt(root string, answers []string) error {
	before, since := taken(root, answers)
	done := slices.Contains(answers, "done")
	if before+since < min(len(answers), 1) || since > 1 || done && since > 0 {
		return fmt.Errorf("the peer had it %d times before, %d since; done: %t", before, since, done)
	}
	return nil
}

// another letter goes through the queue.
func another(t *testing.T, r *Runner, in *Intake, text string) {
	t.Helper()
	env := &spool.Envelope{From: addr("x@far.example"), Proto: "ESMTP", UID: -1, To: []spool.Recipient{{Address: addr("eve@far.example")}}}
	tx, err := in.Begin(t.Context(), env)
	must(t, err)
	_, err = io.WriteString(tx, text)
	must(t, err)
	_, err = tx.Commit(t.Context())
	must(t, err, r.Once(t.Context()))
}

// A letter that is only for another host has no progress file when it comes from
// memory.
func TestALetterForAnotherHostIsNotLost(t *testing.T) {
	for name, most := range handOvers {
		t.Run(name, func(t *testing.T) {
			mailtest.Crash(t, mailtest.Scenario{
				Setup: setUp,
				Run: func(fs *durable.FS, root string) {
					r, in, err := program(fs, root)
					must(t, err)
					r.Spool.HandOver(most)
					another(t, r, in, strings.Repeat("a longer one\n", 200)) // in whose file the letter comes
					submit(fs, in, "ESMTP", "x@far.example", "eve@far.example")
					must(t, r.Once(t.Context()))
					fs.Answered("done")
				},
				Recover: recoverQueue,
				Check: func(root string, answers []string) error {
					if left := inQueue(root); len(left) > 0 {
						return fmt.Errorf("in the queue: %q", left)
					}
					return peerHadIt(root, answers)
				},
			})
		})
	}
}

// Several sessions of one process share the syncs of one Maildir.
func TestSessionsAtTheSameTimeLoseNothing(t *testing.T) {
	const sessions = 3
	mailtest.Crash(t, mailtest.Scenario{
		Setup: func(fs *durable.FS, root string) {
			setUp(fs, root)
			must(t, maildir.Init(fs, filepath.Join(root, "ann"), 0o700))
		},
		Run: func(fs *durable.FS, root string) {
			_, in, err := program(fs, root)
			must(t, err)
			var all sync.WaitGroup
			for range sessions {
				all.Go(func() { submit(fs, in, "ESMTP", "x@far.example", "ann@here.example") })
			}
			all.Wait()
		},
		Recover: recoverQueue,
		Check: func(root string, answers []string) error {
			letters, _ := filepath.Glob(filepath.Join(root, "ann/new/*"))
			for _, file := range letters {
				if text, err := os.ReadFile(file); err != nil || strings.Count(string(text), "text\n") != 300 {
					return fmt.Errorf("%s is torn: %v", file, err)
				}
			}
			if len(letters) < len(answers) || len(letters) > sessions {
				return fmt.Errorf("%d letters, %d answers", len(letters), len(answers))
			}
			return nil
		},
	})
}

// What mailq has been told to do holds.
func TestWhatIsDecidedAboutAMessageStays(t *testing.T) {
	var held, deleted, due spool.ID
	mailtest.Crash(t, mailtest.Scenario{
		Setup: func(fs *durable.FS, root string) {
			_, in, err := program(fs, root)
			must(t, err)
			for _, id := range []*spool.ID{&held, &deleted, &due} {
				env := &spool.Envelope{UID: -1, To: []spool.Recipient{{Address: addr("wait@here.example")}, {Address: addr("later@here.example")}}}
				tx, err := in.Begin(t.Context(), env)
				must(t, err)
				io.WriteString(tx, "x\n")
				_, err = tx.Commit(t.Context())
				must(t, err)
				*id = env.ID
			}
		},
		Run: func(fs *durable.FS, root string) {
			r, _, err := program(fs, root)
			must(t, err, r.Once(t.Context(), due))
			must(t, r.Spool.Hold(t.Context(), held))
			fs.Answered("held")
			must(t, r.Spool.Delete(t.Context(), deleted))
			fs.Answered("deleted")
			must(t, r.Spool.Retry(t.Context(), due))
			fs.Answered("due")
			must(t, r.Spool.Release(t.Context(), held))
			fs.Answered("released")
		},
		Recover: func(fs *durable.FS, root string) error {
			r, _, err := program(fs, root)
			if err != nil {
				return err
			}
			return r.Spool.Clean(context.Background())
		},
		Check: func(root string, answers []string) error {
			r, _, err := program(durable.New(), root)
			if err != nil {
				return err
			}
			found := map[spool.ID]*spool.Entry{}
			for e, err := range r.Spool.List(context.Background()) {
				if err != nil || e.Damage != nil {
					return fmt.Errorf("%v, damage %v", err, e.Damage)
				}
				found[e.ID] = e
			}
			told := func(what string) bool { return slices.Contains(answers, what) }
			switch h, d := found[held], found[due]; {
			case h == nil || d == nil:
				return fmt.Errorf("a message is missing: %v", found)
			case told("held") && !told("due") && !h.Progress.Held, told("released") && h.Progress.Held:
				return fmt.Errorf("told %v, held: %t", answers, h.Progress.Held)
			case told("deleted") && found[deleted] != nil:
				return errors.New("what was deleted is there")
			case told("due") && d.Progress.Next.After(time.Now()):
				return errors.New("it was made due and is not")
			}
			return nil
		},
	})
}
