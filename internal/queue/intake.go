package queue

import (
	"context"
	"errors"
	"os"
	"strings"
	"time"

	"postbag/internal/deliver"
	"postbag/internal/recipient"
	"postbag/internal/spool"
)

// Intake takes letters in. A letter for one recipient with one Maildir of this
// host goes straight there: its sender waits, and nothing else is written. All
// others go into the queue. In LMTP each recipient has its own answer, and each
// that can goes the direct way.
type Intake struct {
	Spool    *spool.Spool
	Resolver Resolver
	Local    *deliver.Local
	Events   Events // nil: silent
}

// A Transaction is a letter on its way in, for one goroutine.
type Transaction struct {
	in      *Intake
	env     *spool.Envelope
	began   time.Time
	letters []direct
	draft   *spool.Draft
	queued  []int // recipients that the draft is for
}

// A direct is a recipient whose letter goes straight into a Maildir.
type direct struct {
	rcpt   int
	dest   recipient.Destination
	letter *deliver.Letter
}

// Begin starts a letter and sets env.ID.
func (in *Intake) Begin(ctx context.Context, env *spool.Envelope) (*Transaction, error) {
	env.ID = in.Spool.NewID()
	if env.Arrived.IsZero() {
		env.Arrived = time.Now()
	}
	t := &Transaction{in: in, env: env, began: time.Now()}
	for i := range env.To {
		if d, ok := in.directWay(ctx, env, i); ok {
			letter, err := in.Local.Begin(ctx, mailboxOf(d), env.From)
			if err != nil {
				t.Discard()
				return nil, err
			}
			t.letters = append(t.letters, direct{i, d, letter})
			continue
		}
		t.queued = append(t.queued, i)
	}
	if err := t.beginDraft(ctx); err != nil {
		t.Discard()
		return nil, err
	}
	return t, nil
}

func mailboxOf(d recipient.Destination) deliver.Mailbox {
	return deliver.Mailbox{Dir: d.Dir, Address: d.Address, UID: d.UID}
}

// directWay finds the one Maildir of a recipient that may go straight there.
func (in *Intake) directWay(ctx context.Context, env *spool.Envelope, i int) (recipient.Destination, bool) {
	to := env.To[i]
	if env.Hold || len(env.To) > 1 && env.Proto != "LMTP" || strings.Contains(to.Notify, "SUCCESS") {
		return recipient.Destination{}, false
	}
	found, err := in.Resolver.Resolve(ctx, to.Address)
	if err != nil || len(found) != 1 || !found[0].Local() {
		return recipient.Destination{}, false
	}
	d := found[0]
	return d, d.UID < 0 || d.UID == os.Geteuid()
}

// beginDraft starts the queue file of those that do not go the direct way.
func (t *Transaction) beginDraft(ctx context.Context) (err error) {
	if len(t.queued) == 0 {
		return nil
	}
	env := *t.env
	env.To = nil
	for _, i := range t.queued {
		env.To = append(env.To, t.env.To[i])
	}
	t.draft, err = t.in.Spool.Create(ctx, &env)
	return err
}

// Write appends to the letter, in disk form.
func (t *Transaction) Write(p []byte) (int, error) {
	for _, d := range t.letters {
		if _, err := d.letter.Write(p); err != nil {
			return 0, err
		}
	}
	if t.draft != nil {
		return t.draft.Write(p)
	}
	return len(p), nil
}

// Commit makes the letter durable. All files are synced before the first is
// visible. perRecipient tells of each recipient; err of the letter as a whole,
// of which then nothing was taken.
func (t *Transaction) Commit(ctx context.Context) (perRecipient []error, err error) {
	defer t.Discard()
	perRecipient = make([]error, len(t.env.To))
	var failed []error
	for _, d := range t.letters {
		if err := d.letter.Sync(); err != nil {
			perRecipient[d.rcpt] = err
			failed = append(failed, err)
		}
	}
	if t.draft != nil {
		if err := t.commitDraft(ctx); err != nil {
			failed = append(failed, err)
			for _, i := range t.queued {
				perRecipient[i] = err
			}
		}
	}
	for _, d := range t.letters {
		if perRecipient[d.rcpt] != nil {
			continue
		}
		if err := t.place(ctx, d); err != nil {
			perRecipient[d.rcpt] = err
			failed = append(failed, err)
		}
	}
	if len(failed) > 0 && allSet(perRecipient) {
		return perRecipient, errors.Join(failed...)
	}
	return perRecipient, nil
}

func allSet(errs []error) bool {
	for _, err := range errs {
		if err == nil {
			return false
		}
	}
	return true
}

func (t *Transaction) commitDraft(ctx context.Context) error {
	draft := t.draft
	t.draft = nil
	if err := draft.Commit(ctx); err != nil {
		draft.Discard()
		return err
	}
	// ErrNoRunner and the rest: the letter is safe, and found by whoever runs
	// the queue next.
	_ = t.in.Spool.Wake(ctx, draft.Envelope().ID)
	return nil
}

func (t *Transaction) place(ctx context.Context, d direct) error {
	if err := d.letter.Commit(ctx); err != nil {
		return err
	}
	orSilent(t.in.Events).Delivered(ctx, t.env, t.env.To[d.rcpt].Address, d.dest.Dir, "")
	return nil
}

// Discard lets go of what has not been committed.
func (t *Transaction) Discard() {
	for _, d := range t.letters {
		d.letter.Discard()
	}
	if t.draft != nil {
		t.draft.Discard()
		t.draft = nil
	}
}
