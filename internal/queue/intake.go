package queue

import (
	"context"
	"slices"
	"strings"
	"time"

	"postbag/internal/deliver"
	"postbag/internal/recipient"
	"postbag/internal/spool"
	"postbag/internal/status"
)

// An Intake takes letters in. Spool, Resolver and Local must be set.
//
// A letter for one recipient with one Maildir of this host goes straight into
// it, and the sender's answer waits for that; so does each recipient of LMTP,
// with an answer of its own. All others go into the queue.
type Intake struct {
	Spool    *spool.Spool
	Resolver Resolver
	Local    *deliver.Local
	Events   Events // nil: silent
}

// A Transaction is one letter that comes in. It is for one goroutine; exactly
// one of Commit and Discard is called.
type Transaction struct {
	in     *Intake
	env    *spool.Envelope
	direct []*copying
	legs   []leg        // of LMTP: for each recipient
	draft  *spool.Draft // for those that are queued; nil: none
	queued error        // why the draft failed
	size   int64
}

// A copying is a letter on the direct way into one Maildir.
type copying struct {
	letter *deliver.Letter
	dest   recipient.Destination
	err    error
}

// A leg is what becomes of one recipient: a direct copy, a failure, or, with
// neither, the queue.
type leg struct {
	direct *copying
	err    error
}

// Begin starts a letter and sets env.ID.
func (in *Intake) Begin(ctx context.Context, env *spool.Envelope) (*Transaction, error) {
	if env.ID == "" {
		env.ID = in.Spool.NewID()
	}
	if env.Arrived.IsZero() {
		env.Arrived = time.Now()
	}
	t := &Transaction{in: in, env: env}
	var err error
	switch {
	case isLMTP(env):
		err = t.beginEach(ctx)
	case len(env.To) == 1:
		err = t.beginOne(ctx)
	default:
		err = t.beginQueued(ctx, env)
	}
	if err != nil {
		t.Discard()
		return nil, err
	}
	return t, nil
}

func isLMTP(env *spool.Envelope) bool { return strings.Contains(env.Proto, "LMTP") }

// beginOne goes the direct way if it can.
func (t *Transaction) beginOne(ctx context.Context) error {
	c, err := t.begin(ctx, t.env.To[0])
	if err != nil && status.ClassOf(err) == status.Permanent {
		return err // the sender is still there to be told
	}
	if err != nil || c == nil {
		return t.beginQueued(ctx, t.env)
	}
	t.direct = []*copying{c}
	return nil
}

// beginEach is LMTP, RFC 2033 section 4.2: a reply for each recipient. Those
// without a Maildir of ours are queued together.
func (t *Transaction) beginEach(ctx context.Context) error {
	t.legs = make([]leg, len(t.env.To))
	rest := *t.env
	rest.To = nil
	for i, to := range t.env.To {
		c, err := t.begin(ctx, to)
		t.legs[i] = leg{direct: c, err: err}
		if err == nil && c == nil {
			rest.To = append(rest.To, to)
		}
	}
	if len(rest.To) > 0 {
		return t.beginQueued(ctx, &rest)
	}
	return nil
}

// begin starts the direct way of one recipient; nil when it has none. Two that
// share a Maildir share the letter.
func (t *Transaction) begin(ctx context.Context, to spool.Recipient) (*copying, error) {
	dests, err := t.in.Resolver.Resolve(ctx, t.env.From, to.Address)
	if err != nil {
		return nil, err
	}
	if len(dests) != 1 || !dests[0].Local() || t.env.Hold || t.env.NotBefore.After(time.Now()) || wants(to, "SUCCESS") {
		return nil, nil
	}
	for _, c := range t.direct {
		if c.dest.Name == dests[0].Name {
			return c, nil
		}
	}
	letter, err := t.in.Local.Begin(ctx, mailbox(dests[0], t.env.Junk), t.env.From)
	if err != nil {
		return nil, err
	}
	c := &copying{letter: letter, dest: dests[0]}
	if t.legs != nil {
		t.direct = append(t.direct, c)
	}
	return c, nil
}

func mailbox(d recipient.Destination, junk bool) deliver.Mailbox {
	return deliver.Mailbox{Junk: junk, Dir: d.Dir, Address: d.Address, UID: d.UID, GID: d.GID, Shared: d.Shared, Sender: d.Sender}
}

func (t *Transaction) beginQueued(ctx context.Context, env *spool.Envelope) (err error) {
	t.draft, err = t.in.Spool.Create(ctx, env)
	return err
}

// Write takes the next octets, in disk form. What fails for one of several
// recipients is told at the end; for a single destination at once.
func (t *Transaction) Write(p []byte) (int, error) {
	t.size += int64(len(p))
	for _, c := range t.direct {
		if c.err == nil {
			_, c.err = c.letter.Write(p)
		}
	}
	if t.draft != nil && t.queued == nil {
		_, t.queued = t.draft.Write(p)
	}
	if t.legs == nil {
		return len(p), t.failure()
	}
	return len(p), nil
}

// failure is that of the single destination.
func (t *Transaction) failure() error {
	if len(t.direct) > 0 {
		return t.direct[0].err
	}
	return t.queued
}

// Commit makes the letter durable. perRecipient tells of each recipient of LMTP;
// err that nobody has the letter.
func (t *Transaction) Commit(ctx context.Context) (perRecipient []error, err error) {
	begun := time.Now()
	// All are durable in tmp/ before the first gets its name.
	for _, c := range t.direct {
		if c.err == nil {
			c.err = c.letter.Sync()
		}
	}
	if t.draft != nil && t.queued == nil {
		t.queued = t.draft.Commit(ctx)
	}
	for _, c := range t.direct {
		if c.err == nil {
			c.err = c.letter.Commit(ctx)
		}
	}
	t.Discard()
	t.tell(ctx, time.Since(begun))
	if t.legs == nil {
		return nil, t.failure()
	}
	for _, l := range t.legs {
		perRecipient = append(perRecipient, t.answer(l))
	}
	return perRecipient, nil
}

func (t *Transaction) answer(l leg) error {
	switch {
	case l.err != nil:
		return l.err
	case l.direct != nil:
		return l.direct.err
	}
	return t.queued
}

// taken reports whether anybody has the letter.
func (t *Transaction) taken() bool {
	return t.draft != nil && t.queued == nil || slices.ContainsFunc(t.direct, func(c *copying) bool { return c.err == nil })
}

// tell says what has been done, once it is done.
func (t *Transaction) tell(ctx context.Context, took time.Duration) {
	events := orSilent(t.in.Events)
	if !t.taken() {
		return
	}
	events.Received(ctx, t.env, t.size, took)
	for _, c := range t.direct {
		if c.err == nil {
			events.Delivered(ctx, t.env, c.dest.Address, c.dest.Dir, "delivered to mailbox")
			t.in.Spool.NoteEnd(t.env.ID, spool.HasDelivered) // it never is in the queue
		}
	}
	if t.draft != nil && t.queued == nil {
		events.Queued(ctx, t.draft.Envelope(), t.size)
		// Without a runner it waits for the next one.
		_ = t.in.Spool.WakeFor(ctx, t.env)
	}
}

// Discard lets go of what has not been committed.
func (t *Transaction) Discard() {
	for _, c := range t.direct {
		c.letter.Discard()
	}
	if t.draft != nil {
		t.draft.Discard()
	}
}

// wants reports whether the NOTIFY of a recipient names an event (RFC 3461
// section 4.1).
func wants(to spool.Recipient, what string) bool {
	for _, word := range strings.Split(to.Notify, ",") {
		if strings.EqualFold(strings.TrimSpace(word), what) {
			return true
		}
	}
	return false
}
