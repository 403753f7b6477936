// Package fetch pulls letters from a remote mailbox, by IMAP or POP3, and hands
// them to a target: a Maildir, an mbox, a command, a mail system or standard
// output.
//
// # Guarantees
//
//   - A letter is deleted on the server only after the target has it for good
//     and the journal (package fetchlog) says so, durably.
//   - Into a Maildir or an mbox each letter comes exactly once, however often
//     fetch is killed. Every other target may get the letter again that it was
//     just getting.
//   - What arrives is what the server sent: octet by octet, CRLF as LF. A letter
//     that did not come whole does not arrive at all.
//   - A server that says nothing for Timeout is given up.
//
// Errors carry the exit code of sysexits(3): 68 for a host that is not known, 69
// for one that does not answer, 76 for a server that breaks the protocol or
// whose certificate is no good, 77 for a login that is refused, 75 for the rest.
package fetch

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"slices"
	"time"

	"postbag/internal/durable"
	"postbag/internal/fetchlog"
	"postbag/internal/status"
)

// A Fetch is one account and what to do with its letters. Source, Target, FS
// and State are needed; the zero value of the rest works.
type Fetch struct {
	Source   Source
	Target   Target
	FS       *durable.FS
	State    string // the directory of the journals
	Hostname string // in names of letters, and said to hosts
	Origin   string // the domain of a recipient who has none

	Folders     []string      // patterns of IMAP folders; none means the source's folder alone
	Delete      bool          // delete on the server what has been delivered
	DeleteAfter time.Duration // delete what was delivered so long ago; 0: never
	TLS         TLSMode
	TLSConfig   *tls.Config // roots and so on; the server's name is filled in
	Mechanism   string      // the SASL mechanism, in lower case; "" takes the best that both know
	Password    func(context.Context) (string, error)
	Timeout     time.Duration // for each read and write; default a minute

	Stdout   io.Writer                                                         // for the target "-"
	Stderr   io.Writer                                                         // of commands; default none
	Environ  []string                                                          // of commands
	Sendmail []string                                                          // the program and its first arguments, for the target sendmail
	Dial     func(ctx context.Context, network, addr string) (net.Conn, error) // default net.Dialer
	Report   func(Event)                                                       // told what happens; default nobody
	Now      func() time.Time                                                  // default time.Now
}

// A Summary counts what a run did.
type Summary struct {
	Fetched int   // letters delivered
	Octets  int64 // of them, in wire form
	Known   int   // letters on the server that had been delivered before
	Deleted int   // on the server
}

// An Event is something that happened.
type Event struct {
	Kind   EventKind
	Source Source
	Folder string  // on the server
	Key    string  // UID or unique-id
	Size   int64   // in wire form
	Path   string  // where a letter went, when that is a file
	Text   string  // of a warning
	Total  int     // with Began: letters to be fetched
	Sum    Summary // with Passed
}

// EventKind says what happened.
type EventKind string

// The kinds of Event.
const (
	Began   EventKind = "began"   // a folder with Total new letters
	Fetched EventKind = "fetched" // a letter, for good
	Deleted EventKind = "deleted" // a letter on the server
	Warning EventKind = "warning"
	Passed  EventKind = "passed" // all that was new is here; Sum counts what this brought
)

// Run fetches all letters that are new, once. It finishes first what a run that
// was killed had begun. The Summary also counts what was done before an error.
func (f *Fetch) Run(ctx context.Context) (Summary, error) {
	r := &run{Fetch: f, ctx: ctx}
	err := r.run()
	r.report(Event{Kind: Passed, Sum: r.sum})
	return r.sum, err
}

// A run is one session with the server.
type run struct {
	*Fetch
	ctx context.Context
	log *fetchlog.Log
	to  sink
	sum Summary

	watching bool // the session goes on when all is fetched
	loggedIn bool
	release  func() bool // takes off the watch of ctx over the connection
}

// A letter is on its way from the server to the target.
type letter struct {
	folder   *fetchlog.Folder
	key      string
	local    string // the folder in Maildir++ that it goes to; "" for the Maildir itself
	flags    string // as letters of a Maildir name
	internal time.Time
	size     int64 // as the server says, in wire form; 0 when it did not
}

// A mailbox is the server's side of a session.
type mailbox interface {
	// fetch hands each new letter to r.put, and calls r.flush after each batch.
	fetch(r *run) error
	// remove deletes letters that have been delivered.
	remove(r *run, done []letter) error
	// close ends the session; what remove did counts only if it returns nil.
	close(r *run) error
	// idle waits until there may be something new; false when the server cannot
	// tell within a session.
	idle(r *run) (bool, error)
	// abort drops the connection.
	abort()
}

func (r *run) run() (err error) {
	if r.log, err = fetchlog.Open(r.FS, r.State, r.Source.Account(), r.Target.key()); err != nil {
		return lockError(err)
	}
	r.log.Now = r.Now
	defer r.log.Close()
	if n := r.log.Damaged(); n > 1 { // one is the line that a crash tore
		r.warn("%d lines of the journal were damaged; letters may be fetched again", n)
	}
	if r.to, err = r.openSink(); err != nil {
		return err
	}
	defer r.to.discard()
	if err := r.to.recover(r.log.Pending()); err != nil {
		return err
	}
	box, err := r.connect()
	if r.release != nil {
		defer r.release()
	}
	if err != nil {
		return r.cause(err)
	}
	r.loggedIn = true
	if err := r.session(box); err != nil {
		box.abort()
		return r.cause(err)
	}
	if err := box.close(r); err != nil {
		return r.cause(err)
	}
	return r.to.refused()
}

// session fetches what is new, and again whenever there may be more if that is
// to be watched for.
func (r *run) session(box mailbox) error {
	for {
		if err := box.fetch(r); err != nil {
			return err
		}
		if !r.watching {
			return nil
		}
		r.report(Event{Kind: Passed, Sum: r.sum})
		r.sum = Summary{}
		if more, err := box.idle(r); err != nil || !more {
			return err
		}
	}
}

// cause prefers the reason why a session was ended to what that looks like.
func (r *run) cause(err error) error {
	if err != nil && r.ctx.Err() != nil {
		return status.Exit(status.ExTempFail, r.op("fetch"), context.Cause(r.ctx))
	}
	return err
}

func (r *run) connect() (mailbox, error) {
	if r.Source.isPOP() {
		return r.connectPOP()
	}
	return r.connectIMAP()
}

func lockError(err error) error {
	if errors.Is(err, fetchlog.ErrLocked) {
		return status.Exit(status.ExTempFail, "fetch", err)
	}
	return err
}

// A batch is so many letters or octets: for each, the journal and the
// directories are synced once, and deletions wait for its end.
const (
	batchLetters = 64
	batchOctets  = 16 << 20
)

// batches cuts letters into batches.
func batches(letters []letter) iter.Seq[[]letter] {
	return func(yield func([]letter) bool) {
		start, octets := 0, int64(0)
		for i := range letters {
			if i > start && (i-start >= batchLetters || octets+letters[i].size > batchOctets) {
				if !yield(letters[start:i]) {
					return
				}
				start, octets = i, 0
			}
			octets += letters[i].size
		}
		if start < len(letters) {
			yield(letters[start:])
		}
	}
}

// put takes one letter to the target. It is delivered for good after the next
// flush.
func (r *run) put(l letter, text io.Reader) error {
	if err := r.ctx.Err(); err != nil {
		return err
	}
	return r.to.put(r.ctx, l, text)
}

// flush makes all letters put so far durable in the target, and then deletes
// them on the server if that is wanted.
func (r *run) flush(box mailbox) error {
	done, err := r.to.commit(r.ctx)
	for _, d := range done {
		if d.known {
			r.sum.Known++
			continue
		}
		r.sum.Fetched++
		r.sum.Octets += d.octets
		r.report(Event{Kind: Fetched, Folder: d.folder.Name(), Key: d.key, Size: d.octets, Path: d.path})
	}
	if err != nil || !r.Delete || len(done) == 0 {
		return err
	}
	letters := make([]letter, len(done))
	for i, d := range done {
		letters[i] = d.letter
	}
	return box.remove(r, letters)
}

// deletes reports whether anything may be deleted on the server.
func (r *run) deletes() bool { return r.Delete || r.DeleteAfter > 0 }

// due are those of letters delivered before that are to be deleted now.
func (r *run) due(left []letter) []letter {
	if r.Delete {
		return left
	}
	if r.DeleteAfter == 0 {
		return nil
	}
	limit := r.now().Add(-r.DeleteAfter)
	return slices.DeleteFunc(left, func(l letter) bool { return l.folder.DoneAt(l.key).After(limit) })
}

func (r *run) report(e Event) {
	if r.Report != nil {
		e.Source = r.Source
		r.Report(e)
	}
}

func (r *run) warn(format string, args ...any) {
	r.report(Event{Kind: Warning, Text: fmt.Sprintf(format, args...)})
}

// deleted counts letters that the server has been told to delete.
func (r *run) deleted(letters []letter) {
	r.sum.Deleted += len(letters)
	for _, l := range letters {
		r.report(Event{Kind: Deleted, Folder: l.folder.Name(), Key: l.key})
	}
}

func (r *run) op(what string) string { return what + " " + r.Source.String() }

func (r *run) now() time.Time {
	if r.Now != nil {
		return r.Now()
	}
	return time.Now()
}

// gone forgets letters that have left the server, which its complete list of
// keys shows, so that the journal does not grow for ever.
func (r *run) gone(folder *fetchlog.Folder, present map[string]bool) error {
	keys := slices.DeleteFunc(folder.Keys(), func(k string) bool { return present[k] })
	if len(keys) == 0 {
		return nil
	}
	return r.log.Forget(folder.Name(), keys...)
}
