// Package queue decides what is tried when: it takes letters in (Intake) and
// brings those that are queued to their destinations (Runner).
//
// What it promises: a letter for which Intake's Commit returned nil is in a
// Maildir or in the queue, durably. A queued one stays there until each of its
// recipients has it, or its sender has been told that it has not; into a Maildir
// it goes exactly once, to another host at least once. A failure that nobody has
// classified is tried again, never bounced.
//
// # The Runner
//
// One process schedules a spool (spool.LockRunner); another takes over when it
// dies. One goroutine owns the schedule. An attempt at a message is one
// goroutine, which holds the message's lock and starts one more for each group
// of recipients that share a destination. A group needs a slot of its
// destination; one that finds none is parked and takes no goroutine, no lock and
// no descriptor while it waits. So a dead destination holds a few attempts (one,
// once it is known to be dead) and nobody else's letters; see slots.
//
// The next attempt is recorded before the attempt (spool.Locked.Begin).
// Recipients are resolved anew each time: routes, aliases and accounts may have
// changed since the letter came.
package queue

import (
	"context"
	"time"

	"postbag/internal/address"
	"postbag/internal/deliver"
	"postbag/internal/recipient"
	"postbag/internal/spool"
)

// A Resolver tells where mail from somebody for an address leads to now. Errors are status errors:
// permanent for an address that there is not.
type Resolver interface {
	Resolve(ctx context.Context, from, a address.Address) ([]recipient.Destination, error)
}

// A Remote brings a message to recipients that share a destination.
type Remote interface {
	// Key names what limits on concurrency count as one destination.
	Key(d recipient.Destination) string
	// Send makes one attempt. It returns an outcome for each address.
	Send(ctx context.Context, d recipient.Destination, m deliver.Mail, to []spool.Recipient) []deliver.Outcome
}

// Events is told what happens; package maillog writes it down.
type Events interface {
	// Received is a letter that is durable, from a client or, told at its first
	// attempt, from a program of this host. It comes before all else of that ID.
	// took is the time from its last octet until it was durable.
	Received(ctx context.Context, e *spool.Envelope, size int64, took time.Duration)
	Delivered(ctx context.Context, e *spool.Envelope, to address.Address, where, reply string)
	Deferred(ctx context.Context, e *spool.Envelope, to address.Address, where, status, why string)
	Failed(ctx context.Context, e *spool.Envelope, to address.Address, where, status, why string)
	Reported(ctx context.Context, e *spool.Envelope, report spool.ID, to address.Address)
	Discarded(ctx context.Context, e *spool.Envelope, why string)
	Queued(ctx context.Context, e *spool.Envelope, size int64)
	Removed(ctx context.Context, id spool.ID)
	Stopped(ctx context.Context, id spool.ID, why error)
	Trouble(ctx context.Context, what string, err error)
}

// silent is the Events of those who want none.
type silent struct{}

func (silent) Received(context.Context, *spool.Envelope, int64, time.Duration)                    {}
func (silent) Delivered(context.Context, *spool.Envelope, address.Address, string, string)        {}
func (silent) Deferred(context.Context, *spool.Envelope, address.Address, string, string, string) {}
func (silent) Failed(context.Context, *spool.Envelope, address.Address, string, string, string)   {}
func (silent) Reported(context.Context, *spool.Envelope, spool.ID, address.Address)               {}
func (silent) Discarded(context.Context, *spool.Envelope, string)                                 {}
func (silent) Queued(context.Context, *spool.Envelope, int64)                                     {}
func (silent) Removed(context.Context, spool.ID)                                                  {}
func (silent) Stopped(context.Context, spool.ID, error)                                           {}
func (silent) Trouble(context.Context, string, error)                                             {}

func orSilent(e Events) Events {
	if e == nil {
		return silent{}
	}
	return e
}

// A Runner attempts what is queued. Spool, Resolver, Local and Hostname must be
// set; fields must not change once it runs.
type Runner struct {
	Spool    *spool.Spool
	Resolver Resolver
	Local    *deliver.Local
	Remote   Remote // nil: everything for other hosts is deferred
	Events   Events // nil: silent
	Hostname string // of the postmaster and in reports

	// Also, if it is set, runs as long as this process schedules the queue; its
	// context ends after the last attempt.
	Also func(ctx context.Context)

	// Forward gives the reverse-path of a letter from somebody that a domain of
	// ours sends on to another host; nil: it stays.
	Forward func(from address.Address, domain string) address.Address

	RetryMin     time.Duration                    // 0: 5 minutes
	RetryMax     time.Duration                    // 0: 4 hours
	Lifetime     time.Duration                    // 0: 5 days
	Concurrency  int                              // attempts at one destination at a time; 0: 20
	DelayWarning time.Duration                    // when a sender is told that his letter waits; 0: never
	Spacing      time.Duration                    // least time between the beginnings of two attempts at one destination
	Rate         func(recipient.Destination) Rate // of attempts at one; nil: as many as may be
	StopTimeout  time.Duration                    // what attempts have to end in when Run shall; 0: a minute
	Now          func() time.Time
}

const (
	defaultRetryMin    = 5 * time.Minute
	defaultRetryMax    = 4 * time.Hour
	defaultLifetime    = 5 * 24 * time.Hour
	defaultConcurrency = 20
	defaultStop        = time.Minute

	// maxActive bounds the attempts at one time, and with them descriptors: each
	// has up to three.
	maxActive = 1000
	// maxHandedOver bounds what is kept in memory of letters for their first
	// attempt, those that are being attempted too.
	maxHandedOver = 8 << 20
	// takeover is how often a process that does not schedule looks whether it
	// should.
	takeover = 10 * time.Second
	// rescan is how often the whole queue is looked at, for messages whose
	// wake was lost.
	rescan = 15 * time.Minute
	// busyWait is when a message is tried again that somebody else works on.
	busyWait = 2 * time.Second
)

func or[T int | time.Duration](v, def T) T {
	if v == 0 {
		return def
	}
	return v
}

func (r *Runner) now() time.Time {
	if r.Now == nil {
		return time.Now()
	}
	return r.Now()
}
