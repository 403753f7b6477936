package queue

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"postbag/internal/address"
	"postbag/internal/message"
	"postbag/internal/spool"
)

// report writes the reports that are due: of failures, of success that the
// sender asked for, of delay. A report is in the queue before the record says so;
// a crash in between makes a second one, never none.
func (a *attempt) report() error {
	if err := a.reportSettled(); err != nil {
		return err
	}
	return a.warn()
}

// reportSettled tells of all recipients that were settled and not yet told of.
func (a *attempt) reportSettled() error {
	var failed, arrived []int
	for i := range a.entry.To {
		state := &a.entry.Progress.Rcpts[i]
		if !state.Settled || state.Reported {
			continue
		}
		if state.Failure != nil {
			failed = append(failed, i)
		} else {
			arrived = append(arrived, i)
		}
	}
	if err := a.reportOn(message.Failed, failed); err != nil {
		return err
	}
	return a.reportOn(message.Delivered, arrived)
}

// reportOn writes one report about some recipients and records that.
func (a *attempt) reportOn(kind string, rcpts []int) error {
	var told []int
	for _, i := range rcpts {
		a.events = append(a.events, spool.Event{Kind: spool.Reported, Rcpt: i})
		if a.wanted(kind, i) {
			told = append(told, i)
		}
	}
	if len(told) > 0 {
		if err := a.write(kind, told); err != nil {
			a.events = nil
			return err
		}
	}
	if !slices.ContainsFunc(rcpts, func(i int) bool { return a.entry.Progress.Rcpts[i].Failure != nil }) && len(told) == 0 {
		a.events = nil // the message is about to go; nothing need be remembered
		return nil
	}
	return a.record()
}

// wanted follows NOTIFY (RFC 3461 section 4.1). Without it failures and delays
// are told.
func (a *attempt) wanted(kind string, i int) bool {
	notify := a.entry.To[i].Notify
	switch kind {
	case message.Delivered:
		return strings.Contains(notify, "SUCCESS") && !a.entry.From.IsNull() && (a.relays[i] || a.arrivedHere(i))
	case message.Delayed:
		return notify == "" || strings.Contains(notify, "DELAY")
	}
	return notify == "" || strings.Contains(notify, "FAILURE")
}

// arrivedHere tells whether a recipient's letter lies in a Maildir of this host.
func (a *attempt) arrivedHere(i int) bool {
	for name := range a.entry.Progress.Rcpts[i].Dests {
		if strings.HasPrefix(name, "maildir:") {
			return true
		}
	}
	return false
}

// addressee is who gets a report of a kind: the sender; of what has none (a
// report itself, mostly) postmaster, once and no further.
func (a *attempt) addressee(kind string) (to address.Address, report string, ok bool) {
	e := a.entry
	switch {
	case e.Report == spool.ReportDouble:
		return address.Address{}, "", false
	case !e.From.IsNull() && kind == message.Delayed:
		return e.From, spool.ReportDelay, true
	case !e.From.IsNull():
		return e.From, spool.ReportBounce, true
	case kind == message.Failed && e.Report != spool.ReportDelay:
		return address.Address{Local: "postmaster"}, spool.ReportDouble, true
	}
	return address.Address{}, "", false
}

// write puts a report into the queue.
func (a *attempt) write(kind string, rcpts []int) error {
	to, report, ok := a.addressee(kind)
	if !ok {
		a.loop.events.Discarded(a.ctx, &a.entry.Envelope, "a report that cannot be delivered: "+a.entry.To[rcpts[0]].Address.String())
		return nil
	}
	env := &spool.Envelope{To: []spool.Recipient{{Address: to}}, Arrived: a.now(), Proto: "local", UID: -1, Report: report}
	env.SMTPUTF8 = !to.IsASCII()
	draft, err := a.Spool.Create(a.ctx, env)
	if err != nil {
		return err
	}
	defer draft.Discard()
	original, err := a.locked.Open()
	if err != nil {
		return err
	}
	defer original.Close()
	received := message.Trace{ByHost: a.Hostname, ID: string(env.ID), UID: -1, At: a.now()}.Received()
	if _, err := draft.Write(received.Raw); err != nil {
		return err
	}
	r := a.compose(kind, rcpts, to)
	r.Original = original
	if _, err := r.WriteTo(draft); err != nil {
		return err
	}
	if err := draft.Commit(a.ctx); err != nil {
		return err
	}
	a.loop.events.Reported(a.ctx, &a.entry.Envelope, env.ID, to)
	a.schedule.add(env.ID, a.now(), false)
	_ = a.Spool.Wake(a.ctx, env.ID) // the loop may be asleep
	return nil
}

// maxReturned is the largest letter that comes back whole; of larger ones only
// the header does (Postfix: bounce_size_limit).
const maxReturned = 50_000

// compose fills in a report. Its ID is that of the letter reported on.
func (a *attempt) compose(kind string, rcpts []int, to address.Address) message.Report {
	e := a.entry
	r := message.Report{
		ID: string(e.ID), Kind: kind, ReportingMTA: a.Hostname, To: to,
		From:    address.Address{Local: "MAILER-DAEMON", Domain: a.Hostname},
		Arrival: e.Arrived, Now: a.now(), Envid: e.EnvID, UTF8: e.SMTPUTF8 && !allASCII(e),
		Full: kind == message.Failed && e.Ret != "HDRS" && e.Size <= maxReturned,
	}
	for _, i := range rcpts {
		r.Recipients = append(r.Recipients, a.reportRecipient(kind, i))
	}
	return r
}

// reportRecipient is a recipient as the sender wrote it: what aliases made of it
// is nobody's business.
func (a *attempt) reportRecipient(kind string, i int) message.ReportRecipient {
	to, state := a.entry.To[i], &a.entry.Progress.Rcpts[i]
	r := message.ReportRecipient{Final: to.Address, Orig: to.Orig, Action: kind, LastAttempt: a.entry.Progress.Last}
	last := state.Last
	if kind == message.Failed {
		last = state.Failure
	}
	if last != nil {
		r.Status, r.Diagnostic = last.Status, last.Reply
		r.RemoteMTA = remoteName(last.Host)
	}
	switch kind {
	case message.Delivered:
		r.Status = "2.0.0"
		if a.relays[i] {
			r.Action = "relayed" // RFC 3461 section 5.2.2
		}
	case message.Delayed:
		r.WillRetryUntil = a.entry.Arrived.Add(or(a.Lifetime, defaultLifetime))
	}
	if r.Status == "" {
		r.Status = "4.0.0"
	}
	return r
}

// remoteName takes address and port off "mx.example.org[192.0.2.1]:25".
func remoteName(host string) string {
	name, _, _ := strings.Cut(host, "[")
	return name
}

// warn tells the sender, once, that a letter is late.
func (a *attempt) warn() error {
	e := a.entry
	if a.DelayWarning == 0 || e.Progress.Warned || e.From.IsNull() || a.now().Sub(e.Arrived) < a.DelayWarning {
		return nil
	}
	var late []int
	for i := range e.To {
		if !e.Progress.Rcpts[i].Settled && a.wanted(message.Delayed, i) {
			late = append(late, i)
		}
	}
	if len(late) == 0 {
		return nil
	}
	if err := a.write(message.Delayed, late); err != nil {
		return fmt.Errorf("warn of delay: %w", err)
	}
	return a.locked.Record(a.ctx, spool.Event{Kind: spool.Warned, Time: time.Time{}})
}
