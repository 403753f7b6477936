package queue

import (
	"context"
	"slices"

	"postbag/internal/address"
	"postbag/internal/deliver"
	"postbag/internal/recipient"
	"postbag/internal/spool"
	"postbag/internal/status"
)

var errNoRemote = status.Temp("send", "4.3.2", "this host sends no mail to others now", nil)

// remote makes the attempt of one group: one for each reverse-path.
func (a *attempt) remote(ctx context.Context, key string, group []*target) {
	var failure error
	answered := false
	for from, part := range a.bySender(group) {
		var events []spool.Event
		for i, o := range a.send(ctx, from, part) {
			failure = o.Err
			answered = answered || o.Err == nil || status.ClassOf(o.Err) == status.Permanent || o.Reply != ""
			events = append(events, a.outcome(ctx, part[i], part[i].dest.Name, key, o)...)
		}
		_ = a.note(ctx, events) // kept in a.failed
	}
	if answered {
		failure = nil
	}
	a.release(key, failure)
}

// bySender sorts targets by the reverse-path under which the letter goes there.
func (a *attempt) bySender(group []*target) map[address.Address][]*target {
	parts := map[address.Address][]*target{}
	for _, t := range group {
		from := a.sender(t.dest)
		parts[from] = append(parts[from], t)
	}
	return parts
}

// sender is the reverse-path for a destination. The null one stays: what answers
// it would be answered.
func (a *attempt) sender(d recipient.Destination) address.Address {
	switch from := a.e.From; {
	case from.IsNull():
		return from
	case !d.Sender.IsNull():
		return d.Sender
	case d.Forwarded != "" && a.Forward != nil:
		return a.Forward(from, d.Forwarded)
	default:
		return from
	}
}

// send sends to targets of one destination and one reverse-path.
func (a *attempt) send(ctx context.Context, from address.Address, part []*target) []deliver.Outcome {
	if a.Remote == nil {
		return slices.Repeat([]deliver.Outcome{{Err: errNoRemote}}, len(part))
	}
	m := a.mail()
	m.From = from
	if !part[0].dest.Sender.IsNull() {
		m.Ret, m.EnvID, m.ByMode = "", "", "" // they are about reports to the sender
	}
	to := make([]spool.Recipient, len(part))
	for i, t := range part {
		to[i] = a.forward(t)
	}
	return a.Remote.Send(ctx, part[0].dest, m, to)
}

// putOff defers what is for a suspended destination.
func (a *attempt) putOff(ctx context.Context, key string, group []*target, why error) {
	_, _, text := status.Reply(why)
	err := status.Temp("send", status.Code(why), "put off, for other letters failed: "+text, why)
	var events []spool.Event
	for _, t := range group {
		events = append(events, a.outcome(ctx, t, t.dest.Name, key, deliver.Outcome{Err: err})...)
	}
	_ = a.note(ctx, events) // kept in a.failed
}

// forward is a recipient as the next host is told of it. RFC 3461 section 5.2.7:
// what the sender wrote stays behind an alias, but that it tells of success itself when
// it is of several addresses, and before a list, which is the sender of what it sends.
func (a *attempt) forward(t *target) spool.Recipient {
	if !t.dest.Sender.IsNull() {
		return spool.Recipient{Address: t.dest.Address}
	}
	to := a.e.To[t.rcpts[0]]
	if a.several[t.rcpts[0]] {
		to.Notify = quietly(to.Notify)
	}
	if to.Orig == "" && to.Notify != "" {
		to.Orig = "rfc822;" + to.Address.String()
	}
	to.Address = t.dest.Address
	return to
}

func (a *attempt) mail() deliver.Mail {
	return deliver.Mail{
		ID: string(a.e.ID), From: a.e.From, Body: a.e.Body, SMTPUTF8: a.e.SMTPUTF8,
		Ret: a.e.Ret, EnvID: a.e.EnvID, RequireTLS: a.e.RequireTLS, Priority: a.e.Priority, By: a.e.By, ByMode: a.e.ByMode, Open: a.l.Open,
		ClientIP: a.e.ClientIP, Ours: a.e.Login != "" || a.e.UID >= 0 || a.e.Report != "",
	}
}

// local brings the message into all Maildirs, exactly once each.
func (a *attempt) local(ctx context.Context, targets []*target) {
	if len(targets) == 0 {
		return
	}
	boxes := make([]deliver.Box, len(targets))
	for i, t := range targets {
		boxes[i] = deliver.Box{Mailbox: mailbox(t.dest, a.e.Junk), Placed: t.placed}
	}
	results := a.Local.Maildirs(ctx, a.mail(), boxes, func(ctx context.Context, which []int, placings []deliver.Placing) error {
		return a.journal(ctx, targets, which, placings)
	})
	var events []spool.Event
	for i, r := range results {
		name := targets[i].dest.Name
		if r.Err != nil && r.Undo == nil && targets[i].placed != nil {
			name = "" // what the journal says of it has to stay its last word
		}
		o := deliver.Outcome{Err: r.Err}
		if r.Err == nil {
			o.Reply = "delivered to mailbox"
		}
		events = append(events, a.outcome(ctx, targets[i], name, targets[i].dest.Dir, o)...)
	}
	_ = a.note(ctx, events) // kept in a.failed
	for _, r := range results {
		if r.Undo != nil && a.sync() == nil { // else its placing still counts: the file stays
			r.Undo()
		}
	}
}

func (a *attempt) journal(ctx context.Context, targets []*target, which []int, placings []deliver.Placing) error {
	var events []spool.Event
	for k, i := range which {
		for _, rcpt := range targets[i].rcpts {
			events = append(events, spool.Event{
				Kind: spool.Placed, Rcpt: rcpt, Dest: targets[i].dest.Name,
				Dir: placings[k].Dir, Tmp: placings[k].Tmp, Name: placings[k].Name, Time: placings[k].At,
				UID: placings[k].Owner.UID, GID: placings[k].Owner.GID,
			})
		}
	}
	return a.record(ctx, events...)
}
