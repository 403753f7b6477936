package spool

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postbag/internal/durable"
	"postbag/internal/mailtest"
)

// text is what the messages of these tests hold.
var text = "Subject: x\n\n" + strings.Repeat("text\n", 2000)

// faultCase is one operation on the queue.
type faultCase struct {
	name  string
	setUp func(s *Spool) error // on a disk without faults; queues the message `one`
	run   func(s *Spool) error
	// check looks at the queue afterwards, knowing how run ended. e is the
	// message, nil when it is not in the queue.
	check func(e *Entry, err error) error
}

const one = ID("0006611E80000ABCDE")

func put(s *Spool, write func(*Envelope) (*Draft, error)) error {
	e := letter("ann@example.org", "bob@example.org")
	e.ID, e.UID = one, os.Geteuid()
	d, err := write(e)
	if err != nil {
		return err
	}
	defer d.Discard()
	if _, err := io.WriteString(d, text); err != nil {
		return err
	}
	return d.Commit(ctx)
}

func create(s *Spool) error {
	return put(s, func(e *Envelope) (*Draft, error) { return s.Create(ctx, e) })
}

func recreate(s *Spool) error {
	return put(s, func(e *Envelope) (*Draft, error) { return s.Recreate(ctx, e) })
}

func dropOne(s *Spool) error {
	return put(s, func(e *Envelope) (*Draft, error) { return s.Drop(ctx, e) })
}

func take(s *Spool) error {
	_, _, err := s.TakeDrops(ctx)
	return err
}

// on does something under the lock of the message.
func on(do func(l *Locked) error) func(s *Spool) error {
	return func(s *Spool) error { return s.with(ctx, one, do) }
}

var attempted = Event{Kind: Attempted, Next: 1}

// attemptedSetUp queues the message and lets an attempt begin.
func attemptedSetUp(s *Spool) error {
	return errors.Join(create(s), on(func(l *Locked) error { return l.Begin(ctx, attempted) })(s))
}

// damagedSetUp leaves progress with damage between two records.
func damagedSetUp(s *Spool) error {
	record := on(func(l *Locked) error { return l.Record(ctx, Event{Kind: Deferred, Rcpt: 1, Dest: "x"}) })
	if err := errors.Join(attemptedSetUp(s), record(s), record(s)); err != nil {
		return err
	}
	raw, err := os.ReadFile(s.progressPath(one))
	if err == nil {
		raw[len(raw)/2] ^= 0xff
		err = os.WriteFile(s.progressPath(one), raw, 0o600)
	}
	return err
}

// thereIff is the check of what puts a message into the queue.
func thereIff(e *Entry, err error) error {
	if (e != nil) != (err == nil) {
		return fmt.Errorf("in the queue: %t", e != nil)
	}
	return nil
}

// stays is the check of what changes a message; holds tells whether it has.
func stays(holds func(e *Entry) bool) func(e *Entry, err error) error {
	return func(e *Entry, err error) error {
		if e == nil || err == nil && !holds(e) {
			return errors.New("the message is gone, or not as it was said to be")
		}
		return nil
	}
}

func deleteOne(s *Spool) error { return s.Delete(ctx, one) }

// goneIff is the check of what removes a message.
func goneIff(e *Entry, err error) error {
	if e != nil && err == nil {
		return errors.New("it is still there")
	}
	return nil
}

// tornSetUp leaves half a record behind a whole one.
func tornSetUp(s *Spool) error {
	if err := attemptedSetUp(s); err != nil {
		return err
	}
	whole, err := os.ReadFile(s.progressPath(one))
	record := on(func(l *Locked) error { return l.Record(ctx, Event{Kind: Deferred, Rcpt: 1, Dest: "x"}) })
	if err = errors.Join(err, record(s)); err != nil {
		return err
	}
	st, err := os.Stat(s.progressPath(one))
	if err != nil {
		return err
	}
	return os.Truncate(s.progressPath(one), (int64(len(whole))+st.Size())/2)
}

// handOn queues a message that stays in memory, and removes it.
func handOn(s *Spool) error {
	s.HandOver(1 << 20)
	if err := create(s); err != nil {
		return err
	}
	return deleteOne(s)
}

// overwrite queues a shorter message in the file of one that has left.
func overwrite(s *Spool) error {
	if err := handOn(s); err != nil {
		return err
	}
	return put(s, func(e *Envelope) (*Draft, error) {
		e.To = e.To[:1]
		return s.Create(ctx, e)
	})
}

var faultCases = []faultCase{
	{"remove what is in memory", nil, handOn, goneIff},
	{"write over what has left", nil, overwrite, func(e *Entry, err error) error {
		if e == nil && err == nil || e != nil && err == nil && len(e.To) != 1 {
			return errors.New("it is not in the queue")
		}
		return nil
	}},
	{"create", nil, create, thereIff},
	{"create again after a crash", func(s *Spool) error {
		return os.WriteFile(s.Path("queue", "tmp", one.fileName()), []byte("x"), 0o600)
	}, recreate, thereIff},
	{"begin an attempt", create, on(func(l *Locked) error { return l.Begin(ctx, attempted) }),
		stays(func(e *Entry) bool { return e.Progress.Attempts == 1 })},
	{"record", attemptedSetUp, on(func(l *Locked) error {
		return l.Record(ctx, Event{Kind: Delivered, Rcpt: 0, Dest: "x"}, Event{Kind: Settled, Rcpt: 0})
	}), func(e *Entry, err error) error {
		if e == nil || err == nil && !e.Progress.Rcpts[0].Settled || (e.Progress.Rcpts[0].Last != nil) != e.Progress.Rcpts[0].Settled {
			return errors.New("a half of the records counts, or none of those that were made")
		}
		return nil
	}},
	{"remove", attemptedSetUp, on(func(l *Locked) error { return l.Remove(ctx) }), goneIff},
	{"delete", create, deleteOne, goneIff},
	{"delete after an attempt", attemptedSetUp, deleteOne, goneIff},
	{"lock after a torn record", tornSetUp, on(func(*Locked) error { return nil }), func(e *Entry, err error) error {
		if e == nil || e.Progress.Attempts != 1 {
			return errors.New("what was recorded before does not count")
		}
		return nil
	}},
	{"hold", create, func(s *Spool) error { return s.Hold(ctx, one) }, stays(func(e *Entry) bool { return e.Progress.Held })},
	{"retry", attemptedSetUp, func(s *Spool) error { return s.Retry(ctx, one) }, stays(func(e *Entry) bool { return e.Progress.Next.UnixMicro() > 1 })},
	{"release what is damaged", damagedSetUp, func(s *Spool) error { return s.Release(ctx, one) }, func(e *Entry, err error) error {
		if e == nil || err == nil && e.Damage != nil {
			return fmt.Errorf("released, and yet %v", e)
		}
		return nil
	}},
}

func TestEachFaultAtEachStepOfTheQueue(t *testing.T) {
	for _, c := range faultCases {
		t.Run(c.name, func(t *testing.T) {
			mailtest.Faults(t, mailtest.FaultScenario{
				Setup: func(fs *durable.FS, root string) {
					s, err := Open(fs, root, Options{})
					if err == nil && c.setUp != nil {
						err = c.setUp(s)
					}
					if err != nil {
						t.Fatal(err)
					}
				},
				Run: func(fs *durable.FS, root string) error {
					s, err := Open(fs, root, Options{})
					if err != nil {
						return err
					}
					return c.run(s)
				},
				Check: func(root string, err error) error {
					e, found := onlyOne(root)
					if found != nil {
						return found
					}
					if e != nil && e.Damage != nil && !strings.Contains(c.name, "damaged") {
						return e.Damage
					}
					return c.check(e, err)
				},
			})
		})
	}
}

// onlyOne gives the message, whose text must be whole.
func onlyOne(root string) (found *Entry, err error) {
	s, err := Open(durable.New(), root, Options{})
	if err != nil {
		return nil, err
	}
	for e, err := range s.List(ctx) {
		if err != nil || found != nil {
			return nil, fmt.Errorf("more than one message, or %v", err)
		}
		found = e
		body, err := s.OpenMessage(e)
		if err != nil {
			return nil, err
		}
		b, err := io.ReadAll(body)
		body.Close()
		if err != nil || string(b) != text {
			return nil, fmt.Errorf("torn: %d octets, %v", len(b), err)
		}
	}
	return found, s.Clean(ctx)
}

// A clean-up that fails takes nothing that is queued, and the next one does what
// it left.
func TestEachFaultAtEachStepOfCleaning(t *testing.T) {
	orphan := ID("0006611E80000ABCDF")
	mailtest.Faults(t, mailtest.FaultScenario{
		Setup: func(fs *durable.FS, root string) {
			s, err := Open(fs, root, Options{})
			if err = errors.Join(err, attemptedSetUp(s), os.WriteFile(s.progressPath(orphan), []byte("x"), 0o600)); err != nil {
				t.Fatal(err)
			}
		},
		Run: func(fs *durable.FS, root string) error {
			s, err := Open(fs, root, Options{})
			if err != nil {
				return err
			}
			return s.Clean(ctx)
		},
		Check: func(root string, _ error) error {
			e, err := onlyOne(root) // cleans again
			if err == nil && (e == nil || e.Damage != nil || e.Progress.Attempts != 1) {
				err = fmt.Errorf("the message is %+v", e)
			}
			if left, _ := filepath.Glob(filepath.Join(root, "queue", "progress", "*")); len(left) != 1 {
				err = errors.Join(err, fmt.Errorf("left: %q", left))
			}
			return err
		},
	})
}

// Opening makes the directories of a new spool; one that could not be made whole
// is made so by the next.
func TestEachFaultAtEachStepOfANewSpool(t *testing.T) {
	mailtest.Faults(t, mailtest.FaultScenario{
		Setup: func(*durable.FS, string) {},
		Run: func(fs *durable.FS, root string) error {
			_, err := Open(fs, filepath.Join(root, "a", "spool"), Options{})
			return err
		},
		Check: func(root string, _ error) error {
			dir := filepath.Join(root, "a", "spool")
			s, err := Open(durable.New(), dir, Options{})
			if err = errors.Join(err, create(s), dropOne(s)); err != nil {
				return err
			}
			_, err = onlyOne(dir)
			return err
		},
	})
}

func TestEachFaultAtEachStepOfADrop(t *testing.T) {
	mailtest.Faults(t, mailtest.FaultScenario{
		Setup: func(fs *durable.FS, root string) {
			if _, err := Open(fs, root, Options{}); err != nil {
				t.Fatal(err)
			}
		},
		Run: func(fs *durable.FS, root string) error {
			s, err := Open(fs, root, Options{})
			if err != nil {
				return err
			}
			return dropOne(s)
		},
		Check: func(root string, err error) error {
			s, operr := Open(durable.New(), root, Options{})
			if operr = errors.Join(operr, take(s)); operr != nil {
				return operr
			}
			e, found := onlyOne(root)
			return errors.Join(found, thereIff(e, err))
		},
	})
}

func TestEachFaultAtEachStepOfTakingADrop(t *testing.T) {
	mailtest.Faults(t, mailtest.FaultScenario{
		Setup: func(fs *durable.FS, root string) {
			s, err := Open(fs, root, Options{})
			if err = errors.Join(err, dropOne(s)); err != nil {
				t.Fatal(err)
			}
		},
		Run: func(fs *durable.FS, root string) error {
			s, err := Open(fs, root, Options{})
			if err != nil {
				return err
			}
			return take(s)
		},
		Check: func(root string, err error) error {
			s, operr := Open(durable.New(), root, Options{Now: func() time.Time { return time.Now().Add(2 * dropAge) }})
			if operr = errors.Join(operr, take(s)); operr != nil {
				return operr
			}
			e, found := onlyOne(root)
			left, _ := filepath.Glob(filepath.Join(root, "drop", "*"))
			if len(left) > 0 {
				found = errors.Join(found, fmt.Errorf("left: %q", left))
			}
			return errors.Join(found, thereIff(e, nil))
		},
	})
}
