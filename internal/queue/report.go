package queue

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"postbag/internal/address"
	"postbag/internal/message"
	"postbag/internal/spool"
)

// maxReturned is the size up to which a letter goes back whole, unless its sender
// wants its header only (RFC 3461 section 4.3). Of a larger one that is all that
// anybody gets back.
const maxReturned = 50 << 10

// returnedHeader bounds what is looked at of a header that goes back.
const returnedHeader = 256 << 10

// A notice is a report that is to be written.
type notice struct {
	kind  string // of message.Report
	about string // spool.Envelope.Report
	to    address.Address
	list  string // owner of a list, who is told instead of the sender
	rcpts []int
	at    time.Time // from which its ID comes

	fates []message.ReportRecipient // what it says of each
}

// report tells the sender of recipients that have come to their end. A report is
// in the queue, durably, before it is recorded that it was written, and is not
// sent before that; its ID follows from what it is about, so a crash in between
// does not make it twice.
func (a *attempt) report(ctx context.Context) error {
	failed, delivered, passed := a.unreported()
	var all []notice
	for list, rcpts := range failed {
		all = append(all, notice{kind: message.Failed, about: spool.ReportBounce, list: list, rcpts: rcpts})
	}
	if len(delivered) > 0 {
		all = append(all, notice{kind: message.Delivered, about: spool.ReportBounce, rcpts: delivered})
	}
	if len(passed) > 0 {
		all = append(all, notice{kind: message.Relayed, about: spool.ReportBounce, rcpts: passed})
	}
	return a.tell(ctx, all)
}

// unreported gives the settled recipients of which nobody has been told and
// somebody shall be; those that failed by the owner of the list that failed, and
// those of no list under "". One that leads through several lists is under each.
func (a *attempt) unreported() (failed map[string][]int, delivered, passed []int) {
	for i, state := range a.e.Progress.Rcpts {
		if !state.Settled || state.Reported {
			continue
		}
		for _, list := range owners(state) {
			if to := a.e.To[i]; list == "" && to.Notify != "" && !wants(to, "FAILURE") {
				continue
			}
			if failed == nil {
				failed = map[string][]int{}
			}
			failed[list] = append(failed[list], i)
		}
		switch a.succeeded(i) {
		case message.Delivered:
			delivered = append(delivered, i)
		case message.Relayed:
			passed = append(passed, i)
		}
	}
	return failed, delivered, passed
}

// owners are those who hear of what failed for a recipient: of lists, and "" for
// the sender.
func owners(state spool.State) (all []string) {
	for _, name := range slices.Sorted(maps.Keys(state.Dests)) {
		if e := state.Dests[name]; e.Kind == spool.Failed && !slices.Contains(all, e.Owner) {
			all = append(all, e.Owner)
		}
	}
	return all
}

// tell writes reports, and records them together: what several are told of is
// reported once all have been.
func (a *attempt) tell(ctx context.Context, all []notice) error {
	var ids []spool.ID
	var events []spool.Event
	for _, n := range all {
		for _, i := range n.rcpts {
			if last := a.e.Progress.Rcpts[i].Last; last != nil && (n.at.IsZero() || last.Time.Before(n.at)) {
				n.at = last.Time
			}
		}
		id, err := a.notify(ctx, n)
		if err != nil {
			return err
		}
		ids = append(ids, id)
		for _, i := range n.rcpts {
			events = append(events, spool.Event{Kind: spool.Reported, Rcpt: i, Name: string(id)})
		}
	}
	return a.recordReports(ctx, ids, events...)
}

// recordReports records that reports are in the queue, and lets them go.
func (a *attempt) recordReports(ctx context.Context, ids []spool.ID, events ...spool.Event) error {
	if err := a.record(ctx, events...); err != nil {
		return err
	}
	for _, id := range ids {
		if id != "" {
			a.letGo(ctx, id)
		}
	}
	return nil
}

// letGo has a report sent; not all at once that one sender gets.
func (a *attempt) letGo(ctx context.Context, id spool.ID) {
	at := soon
	if wait := a.reports.wait(a.e.From.String(), a.now()); wait > 0 {
		at = a.now().Add(wait)
		if err := a.Spool.Postpone(ctx, id, at); err != nil {
			a.events.Trouble(ctx, "postpone report "+string(id), err)
		}
	}
	a.add(id, at, false)
	a.poke()
}

// early says that a report is not to be sent yet: it is not yet recorded that it
// was written. Once it were gone, nobody could tell after a crash.
func (w *work) early(ctx context.Context, e *spool.Entry) bool {
	if e.About == "" {
		return false
	}
	about, err := w.Spool.Lookup(ctx, e.About)
	if err != nil {
		return !errors.Is(err, spool.ErrUnknown) // gone is what it may be
	}
	return !about.Stopped() && !slices.Contains(about.Progress.Reports, e.ID)
}

// notify decides who is told: nobody of what is itself a report on a report. A
// letter with the null reverse-path is never answered (RFC 5321 section 6.1);
// when it cannot be delivered postmaster hears of it, once.
func (a *attempt) notify(ctx context.Context, n notice) (spool.ID, error) {
	n.to = a.e.From
	if n.list != "" {
		owner, err := address.Parse(n.list)
		if err != nil {
			return "", fmt.Errorf("report on %s: %w", a.e.ID, err)
		}
		n.to = owner
	}
	if n.to.IsNull() {
		if n.kind != message.Failed || a.e.Report == spool.ReportDouble || a.e.Report == spool.ReportDelay {
			a.events.Discarded(ctx, &a.e.Envelope, "nobody is to be told of it")
			return "", nil
		}
		n.about, n.to = spool.ReportDouble, address.Address{Local: "postmaster"} // ours, whatever our domains are
	}
	n.fates = a.fates(n)
	env := &spool.Envelope{
		Arrived: a.now(), To: []spool.Recipient{{Address: n.to}},
		Body: "8BITMIME", SMTPUTF8: a.needsUTF8(n), Proto: "local", UID: -1, Report: n.about, About: a.e.ID,
		RequireTLS: a.e.RequireTLS, // RFC 8689 section 5
		Priority:   a.e.Priority,   // it is as urgent to know as what it is about
	}
	if err := a.write(ctx, env, n); err != nil {
		return "", fmt.Errorf("report on %s: %w", a.e.ID, err)
	}
	a.events.Reported(ctx, &a.e.Envelope, env.ID, n.to)
	return env.ID, nil
}

// what it is about, as a part of its ID.
func (n notice) what() string { return fmt.Sprint(n.kind, n.rcpts, n.list) }

// write brings a report into the queue, if a crash has not kept it there, and
// sets its ID. Should another message have that ID, the report gets the next.
func (a *attempt) write(ctx context.Context, env *spool.Envelope, n notice) error {
	for what := n.what(); ; what += "'" {
		env.ID = a.e.ID.Derive(n.at, what)
		err := a.queueReport(ctx, env, n, true)
		if errors.Is(err, errUnreadable) {
			err = a.queueReport(ctx, env, n, false)
		}
		if !errors.Is(err, spool.ErrQueued) {
			return err
		}
		switch there, err := a.Spool.Lookup(ctx, env.ID); {
		case err != nil && !errors.Is(err, spool.ErrUnknown):
			return err
		case err == nil && there.About == a.e.ID:
			return nil
		}
	}
}

// errUnreadable says that the letter is what stands in the way of its report.
var errUnreadable = errors.New("the letter cannot be read")

// An original is a letter that is sent back.
type original struct{ io.ReadCloser }

func (o original) Read(p []byte) (int, error) {
	n, err := o.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		err = fmt.Errorf("%w: %w", errUnreadable, err)
	}
	return n, err
}

func (a *attempt) queueReport(ctx context.Context, env *spool.Envelope, n notice, withLetter bool) error {
	d, err := a.Spool.Recreate(ctx, env)
	if err != nil {
		return err
	}
	defer d.Discard()
	var letter io.Reader
	if withLetter {
		body, err := a.l.Open()
		if err != nil {
			return err
		}
		defer body.Close()
		letter = original{body}
	}
	received := message.Trace{ByHost: a.Hostname, ID: string(env.ID), UID: -1, At: env.Arrived}.Received()
	if _, err := d.Write(received.Raw); err != nil {
		return err
	}
	if _, err := a.text(n, env, letter).WriteTo(d); err != nil {
		return err
	}
	return d.Commit(ctx)
}

func (a *attempt) text(n notice, env *spool.Envelope, letter io.Reader) message.Report {
	full := n.kind == message.Failed && !a.e.RequireTLS && a.e.Ret != "HDRS" && a.e.Size <= maxReturned
	return message.Report{
		ID: string(a.e.ID), Kind: n.kind, ReportingMTA: a.Hostname,
		From: address.Address{Local: "MAILER-DAEMON", Domain: a.Hostname}, To: n.to,
		Arrival: a.e.Arrived, Now: env.Arrived, Envid: a.e.EnvID, DeliverBy: a.e.By, Release: a.e.Release,
		Original: letter, Full: full, UTF8: env.SMTPUTF8, Recipients: n.fates,
	}
}

// fates tells what became of each recipient of a notice.
func (a *attempt) fates(n notice) (all []message.ReportRecipient) {
	for _, i := range n.rcpts {
		if n.list != "" {
			all = append(all, a.members(n, i)...)
		} else {
			all = append(all, a.rcptText(n, i))
		}
	}
	return all
}

// needsUTF8 reports whether a notice needs the forms of RFC 6533: for an address,
// or for a header that goes back.
func (a *attempt) needsUTF8(n notice) bool {
	foreign := func(c rune) bool { return c > 0x7f }
	for _, f := range n.fates {
		if !f.Final.IsASCII() || strings.ContainsFunc(f.Orig, foreign) {
			return true
		}
	}
	if !n.to.IsASCII() || !a.e.SMTPUTF8 {
		return !n.to.IsASCII()
	}
	body, err := a.l.Open()
	if err != nil {
		return false // it cannot go back
	}
	defer body.Close()
	header, err := message.ReadHeader(bufio.NewReader(body), returnedHeader)
	if err != nil {
		return true
	}
	return slices.ContainsFunc(header.Fields, func(f message.Field) bool { return bytes.ContainsFunc(f.Raw, foreign) })
}

// members tells the owner of a list of those of its members who did not get the
// letter: unlike its sender he knows who they are.
func (a *attempt) members(n notice, i int) (all []message.ReportRecipient) {
	state := a.e.Progress.Rcpts[i]
	for _, name := range slices.Sorted(maps.Keys(state.Dests)) {
		e := state.Dests[name]
		member, err := address.Parse(e.Member)
		if err != nil || e.Owner != n.list || e.Kind != spool.Failed {
			continue
		}
		all = append(all, message.ReportRecipient{
			Final: member, Action: n.kind, Status: e.Status, RemoteMTA: hostName(e.Host), Diagnostic: e.Reply, LastAttempt: e.Time,
		})
	}
	return all
}

// rcptText tells of one recipient, by the address that the sender gave: what
// aliases made of it is not for him.
func (a *attempt) rcptText(n notice, i int) message.ReportRecipient {
	state, to := a.e.Progress.Rcpts[i], a.e.To[i]
	last := state.Last
	if n.kind == message.Failed {
		last = ownFailure(state)
	}
	if last == nil {
		last = &spool.Event{Status: "4.4.1", Time: a.now(), Reply: "no attempt yet"}
	}
	r := message.ReportRecipient{
		Final: to.Address, Orig: to.Orig, Action: n.kind, Status: last.Status,
		RemoteMTA: hostName(last.Host), Diagnostic: last.Reply, LastAttempt: last.Time,
	}
	switch n.kind {
	case message.Delayed:
		r.WillRetryUntil = a.end()
		if a.late() {
			r.Status = "4.4.7" // RFC 2852 section 4.1.3
		}
	case message.Delivered, message.Relayed:
		tellSuccess(&r, state)
	}
	return r
}

// ownFailure is the last failure that is no affair of a list.
func ownFailure(state spool.State) *spool.Event {
	own := state.Failure
	for _, e := range state.Dests {
		if e.Kind == spool.Failed && e.Owner == "" && (own == nil || own.Owner != "" || e.Time.After(own.Time)) {
			own = &e
		}
	}
	return own
}

// hostName takes address and port off "mx.example.org[192.0.2.1]:25".
func hostName(host string) string {
	name, _, _ := strings.Cut(host, "[")
	return name
}

// lastWords are the last words of all destinations.
func lastWords(state spool.State) []spool.Event { return slices.Collect(maps.Values(state.Dests)) }

// warn tells the sender, once, that the letter still waits.
func (a *attempt) warn(ctx context.Context) error {
	at, p := a.warnAt(), &a.e.Progress
	if at.IsZero() || p.Warned || a.e.From.IsNull() || a.now().Before(at) {
		return nil
	}
	n := notice{kind: message.Delayed, about: spool.ReportDelay, at: a.e.Arrived}
	for i, state := range p.Rcpts {
		if to := a.e.To[i]; !state.Settled && !ofList(state) && (to.Notify == "" || wants(to, "DELAY")) {
			n.rcpts = append(n.rcpts, i)
		}
	}
	if len(n.rcpts) == 0 {
		return nil
	}
	id, err := a.notify(ctx, n)
	if err != nil {
		return err
	}
	return a.recordReports(ctx, []spool.ID{id}, spool.Event{Kind: spool.Warned, Name: string(id)})
}

// ofList reports whether what a recipient waits for is a matter of a list.
func ofList(state spool.State) bool { return state.Last != nil && state.Last.Owner != "" }
