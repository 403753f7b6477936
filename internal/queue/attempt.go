package queue

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"postbag/internal/deliver"
	"postbag/internal/recipient"
	"postbag/internal/spool"
	"postbag/internal/status"
)

// An attempt is one at one message, whose lock it holds.
type attempt struct {
	*work
	l *spool.Locked
	e *spool.Entry

	mu     sync.Mutex // of l, and of what follows: groups end on their own
	eager  bool       // suspended destinations are tried, too
	left   []int      // of each recipient: destinations that have not ended
	failed error      // of the first record that could not be made
	parked []string   // destinations without a free slot
	began  bool       // something was tried, or nothing had to be
}

// A target is a destination and the recipients that led to it.
type target struct {
	dest   recipient.Destination
	rcpts  []int
	placed *deliver.Placing // of an attempt that was interrupted
}

// attempt makes one at a message. It returns when the next is due, zero for
// never, and the destinations that the message waits for a slot of.
func (w *work) attempt(ctx context.Context, st start) (next time.Time, parked []string) {
	l, err := w.Spool.Lock(ctx, st.id)
	switch {
	case errors.Is(err, spool.ErrUnknown):
		return time.Time{}, nil
	case errors.Is(err, spool.ErrLocked):
		return w.later(busyWait), nil
	case err != nil:
		w.events.Trouble(ctx, "attempt "+string(st.id), err)
		return w.later(or(w.RetryMin, defaultRetryMin)), nil
	}
	defer l.Unlock()
	a := &attempt{work: w, l: l, e: l.Entry(), eager: st.eager}
	switch {
	case a.e.Damage != nil:
		w.stopped(ctx, a.e)
		return time.Time{}, nil
	case a.e.Progress.Held:
		return time.Time{}, nil
	case !st.force && st.only == nil && dueAt(a.e).After(w.now()):
		return dueAt(a.e), nil
	case w.early(ctx, a.e):
		return w.later(busyWait), nil
	}
	if err := a.run(ctx, st.only); err != nil {
		w.events.Trouble(ctx, "attempt "+string(st.id), err)
		return w.later(or(w.RetryMin, defaultRetryMin)), nil
	}
	switch {
	case !a.e.Progress.Pending():
		return time.Time{}, nil
	case !a.began:
		// Nothing could be tried: it is looked at now and then, for its time
		// may run out while it is parked.
		return w.now().Add(or(w.RetryMax, defaultRetryMax)), a.parked
	}
	return a.e.Progress.Next, a.parked
}

// later is a time from now; a single pass does not wait for it.
func (w *work) later(d time.Duration) time.Time {
	if w.once {
		return time.Time{}
	}
	return w.now().Add(d)
}

// run brings the message as far as it goes now. An error means that something
// could not be recorded: then nothing more is done, and what is on the disk
// counts.
func (a *attempt) run(ctx context.Context, only []string) error {
	// What an interrupted attempt has settled is reported first: its report
	// has its ID from that.
	if err := a.report(ctx); err != nil {
		return err
	}
	if a.e.Progress.Pending() {
		if err := a.deliver(ctx, only); err != nil {
			return err
		}
		if err := a.report(ctx); err != nil {
			return err
		}
	}
	if a.e.Progress.Pending() {
		return nil
	}
	if err := a.l.Remove(ctx); err != nil {
		return err
	}
	a.events.Removed(ctx, a.e.ID)
	return nil
}

// deliver tries all destinations that have not ended, each group of its own.
func (a *attempt) deliver(ctx context.Context, only []string) error {
	targets, events := a.plan(ctx)
	if err := a.record(ctx, events...); err != nil {
		return err
	}
	g := a.groups(targets, only)
	if len(a.parked) > 0 && g.empty() {
		return a.expire(ctx)
	}
	if err := a.begin(ctx, only); err != nil {
		for key := range g.remote {
			a.release(key, nil)
		}
		return err
	}
	var groups sync.WaitGroup
	for key, group := range g.remote {
		groups.Go(func() { a.remote(ctx, key, group) })
	}
	for key, group := range g.suspended {
		a.putOff(ctx, key, group, g.why[key])
	}
	a.local(ctx, g.local)
	groups.Wait()
	if a.failed != nil {
		return a.failed
	}
	return a.expire(ctx)
}

// begin records the attempt before it is made. One that goes on where an earlier
// one had to wait for a slot is a part of that.
func (a *attempt) begin(ctx context.Context, only []string) error {
	a.began = true
	if only != nil && a.e.Progress.Next.After(a.now()) {
		return nil
	}
	return a.l.Begin(ctx, spool.Event{Kind: spool.Attempted, Next: a.next().UnixMicro()})
}

// next is when the attempt after this one is due: the wait is as long as the
// message is old, so it doubles, and a tenth of chance keeps those apart that
// came together.
func (a *attempt) next() time.Time {
	now := a.now()
	wait := now.Sub(a.e.Arrived)
	wait = min(max(wait, or(a.RetryMin, defaultRetryMin)), or(a.RetryMax, defaultRetryMax))
	next := now.Add(wait + rand.N(wait/10+1))
	if end := a.e.Arrived.Add(or(a.Lifetime, defaultLifetime)); next.After(end) && end.After(now) {
		return end
	}
	return next
}

// plan resolves the recipients that wait. Destinations are one each, whoever of
// the recipients leads there; one that any of them has reached counts for all.
func (a *attempt) plan(ctx context.Context) (targets []*target, events []spool.Event) {
	byName := map[string]*target{}
	a.left = make([]int, len(a.e.To))
	lead := func(i int, d recipient.Destination) {
		a.left[i]++
		t := byName[d.Name]
		if t == nil {
			t = &target{dest: d, placed: a.placing(d.Name)}
			byName[d.Name], targets = t, append(targets, t)
		}
		t.rcpts = append(t.rcpts, i)
	}
	for i := range a.e.To {
		if a.e.Progress.Rcpts[i].Settled {
			continue
		}
		dests, err := a.Resolver.Resolve(ctx, a.e.To[i].Address)
		for _, d := range append(dests, a.interrupted(i, dests)...) {
			if !a.ended(i, d.Name) {
				lead(i, d)
			}
		}
		if err != nil {
			a.left[i]++
			events = append(events, a.outcome(ctx, []int{i}, "", "", deliver.Outcome{Err: err})...)
			continue
		}
		if a.left[i] == 0 { // a crash came before this was recorded
			events = append(events, spool.Event{Kind: spool.Settled, Rcpt: i})
		}
	}
	return targets, events
}

// interrupted are Maildirs into which a crash has left a letter half-way, and to
// which the recipient does not lead any more: it is completed all the same.
func (a *attempt) interrupted(i int, dests []recipient.Destination) (all []recipient.Destination) {
	for name, e := range a.e.Progress.Rcpts[i].Dests {
		known := slices.ContainsFunc(dests, func(d recipient.Destination) bool { return d.Name == name })
		if e.Kind == spool.Placed && !known {
			all = append(all, recipient.Destination{Name: name, Dir: e.Dir, UID: -1, Address: a.e.To[i].Address})
		}
	}
	return all
}

// ended reports whether nothing is to be done for recipient i at a destination.
func (a *attempt) ended(i int, name string) bool {
	if a.e.Progress.Rcpts[i].Dests[name].Kind == spool.Failed {
		return true
	}
	for _, state := range a.e.Progress.Rcpts {
		if state.Dests[name].Kind == spool.Delivered {
			return true
		}
	}
	return false
}

// placing is what the journal says of a Maildir, if that is the last word.
func (a *attempt) placing(name string) *deliver.Placing {
	for _, state := range a.e.Progress.Rcpts {
		if e := state.Dests[name]; e.Kind == spool.Placed {
			return &deliver.Placing{Dir: e.Dir, Tmp: e.Tmp, Name: e.Name, At: e.Time}
		}
	}
	return nil
}

// groups are targets sorted by the attempt that they share.
type groups struct {
	local     []*target
	remote    map[string][]*target // each with a slot
	suspended map[string][]*target
	why       map[string]error // of the suspended ones
}

func (g *groups) empty() bool { return len(g.local)+len(g.remote)+len(g.suspended) == 0 }

// groups sorts targets, and takes a slot for each group of other hosts. What finds
// none is parked. A message that has waited for slots does not try its other
// destinations again.
func (a *attempt) groups(targets []*target, only []string) groups {
	g := groups{remote: map[string][]*target{}, suspended: map[string][]*target{}, why: map[string]error{}}
	for _, t := range targets {
		if t.dest.Local() {
			if only == nil {
				g.local = append(g.local, t)
			}
			continue
		}
		key := a.key(t.dest)
		if only == nil || slices.Contains(only, key) {
			a.sort(&g, key, t)
		}
	}
	return g
}

// sort puts a target of another host into its group.
func (a *attempt) sort(g *groups, key string, t *target) {
	_, known := g.remote[key]
	if !known && g.why[key] == nil && !slices.Contains(a.parked, key) {
		known, g.why[key] = a.acquire(key, a.Spacing, a.eager)
		if !known && g.why[key] == nil {
			a.parked = append(a.parked, key)
		}
	}
	switch {
	case known:
		g.remote[key] = append(g.remote[key], t)
	case g.why[key] != nil:
		g.suspended[key] = append(g.suspended[key], t)
	}
}

func (a *attempt) key(d recipient.Destination) string {
	if a.Remote == nil {
		return "no way to other hosts"
	}
	return a.Remote.Key(d)
}

var errNoRemote = status.Temp("send", "4.3.2", "this host sends no mail to others now", nil)

// remote makes the attempt of one group.
func (a *attempt) remote(ctx context.Context, key string, group []*target) {
	to := make([]spool.Recipient, len(group))
	for i, t := range group {
		to[i] = a.forward(t)
	}
	outcomes := slices.Repeat([]deliver.Outcome{{Err: errNoRemote}}, len(group))
	if a.Remote != nil {
		outcomes = a.Remote.Send(ctx, group[0].dest, a.mail(), to)
	}
	var events []spool.Event
	failure := outcomes[0].Err
	for i, t := range group {
		o := outcomes[i]
		if o.Err == nil || status.ClassOf(o.Err) == status.Permanent || o.Reply != "" {
			failure = nil // it has answered
		}
		events = append(events, a.outcome(ctx, t.rcpts, t.dest.Name, key, o)...)
	}
	_ = a.note(ctx, events) // kept in a.failed
	a.release(key, failure)
}

// putOff defers what is for a suspended destination.
func (a *attempt) putOff(ctx context.Context, key string, group []*target, why error) {
	_, _, text := status.Reply(why)
	err := status.Temp("send", status.Code(why), "put off, for other letters failed: "+text, why)
	var events []spool.Event
	for _, t := range group {
		events = append(events, a.outcome(ctx, t.rcpts, t.dest.Name, key, deliver.Outcome{Err: err})...)
	}
	_ = a.note(ctx, events) // kept in a.failed
}

// forward is a recipient as the next host is told of it. RFC 3461 section 5.2.7:
// what the sender wrote stays behind an alias.
func (a *attempt) forward(t *target) spool.Recipient {
	to := a.e.To[t.rcpts[0]]
	if to.Orig == "" && to.Notify != "" {
		to.Orig = "rfc822;" + to.Address.String()
	}
	to.Address = t.dest.Address
	return to
}

func (a *attempt) mail() deliver.Mail {
	return deliver.Mail{
		ID: string(a.e.ID), From: a.e.From, Body: a.e.Body, SMTPUTF8: a.e.SMTPUTF8,
		Ret: a.e.Ret, EnvID: a.e.EnvID, Size: a.e.Size, Open: a.l.Open,
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
		boxes[i] = deliver.Box{Mailbox: mailbox(t.dest), Placed: t.placed}
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
		events = append(events, a.outcome(ctx, targets[i].rcpts, name, targets[i].dest.Dir, o)...)
	}
	if a.note(ctx, events) != nil {
		return // the placings still count: their files stay
	}
	for _, r := range results {
		if r.Undo != nil {
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
			})
		}
	}
	return a.record(ctx, events...)
}

// outcome turns how a destination went into events of all recipients that led
// there.
func (a *attempt) outcome(ctx context.Context, rcpts []int, name, where string, o deliver.Outcome) []spool.Event {
	a.mu.Lock()
	defer a.mu.Unlock()
	e := spool.Event{Kind: spool.Delivered, Dest: name, Status: "2.0.0", Reply: o.Reply, Host: o.Host, Took: o.Reports}
	if o.Err != nil {
		e.Kind, e.Status = spool.Deferred, status.Code(o.Err)
		if status.ClassOf(o.Err) == status.Permanent {
			e.Kind = spool.Failed
		}
		if o.Reply == "" {
			_, _, e.Reply = status.Reply(o.Err)
			e.Cause = o.Err.Error()
		}
	}
	e.Via = where
	var events []spool.Event
	for _, i := range rcpts {
		e.Rcpt = i
		events = append(events, e)
		a.say(ctx, e, where, o.Err)
		if e.Kind == spool.Deferred {
			continue
		}
		if a.left[i]--; a.left[i] == 0 {
			events = append(events, spool.Event{Kind: spool.Settled, Rcpt: i})
		}
	}
	return events
}

// say logs an event, with the cause that peers are not told.
func (a *attempt) say(ctx context.Context, e spool.Event, where string, err error) {
	to := a.e.To[e.Rcpt].Address
	if e.Host != "" {
		where = e.Host
	}
	switch e.Kind {
	case spool.Delivered:
		a.events.Delivered(ctx, &a.e.Envelope, to, where, e.Reply)
	case spool.Deferred:
		a.events.Deferred(ctx, &a.e.Envelope, to, where, e.Status, err.Error())
	case spool.Failed:
		a.events.Failed(ctx, &a.e.Envelope, to, where, e.Status, err.Error())
	}
}

// note records what a group has done, and keeps the first error.
func (a *attempt) note(ctx context.Context, events []spool.Event) error {
	err := a.record(ctx, events...)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.failed == nil {
		a.failed = err
	}
	return err
}

func (a *attempt) record(ctx context.Context, events ...spool.Event) error {
	if len(events) == 0 {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.l.Record(ctx, events...)
}

// expire gives up what has waited too long. A Maildir that may have the letter
// is not given up: the next attempt finds out.
func (a *attempt) expire(ctx context.Context) error {
	lifetime := or(a.Lifetime, defaultLifetime)
	if a.now().Before(a.e.Arrived.Add(lifetime)) {
		return a.warn(ctx)
	}
	var events []spool.Event
	for i, state := range a.e.Progress.Rcpts {
		if state.Settled || holdsPlaced(state) {
			continue
		}
		e := expired(state, lifetime)
		e.Rcpt = i
		a.events.Failed(ctx, &a.e.Envelope, a.e.To[i].Address, e.Host, e.Status, e.Reply)
		events = append(events, e, spool.Event{Kind: spool.Settled, Rcpt: i})
	}
	return a.record(ctx, events...)
}

func holdsPlaced(state spool.State) bool {
	for _, e := range state.Dests {
		if e.Kind == spool.Placed {
			return true
		}
	}
	return false
}

// expired is the failure of one that has waited too long, with the last reason.
func expired(state spool.State, lifetime time.Duration) spool.Event {
	e := spool.Event{Kind: spool.Failed, Status: "4.4.7", Reply: fmt.Sprintf("not delivered within %s", lifetime)}
	if last := state.Last; last != nil && last.Kind == spool.Deferred {
		e.Dest, e.Host = last.Dest, last.Host
		e.Reply = last.Reply + " (" + e.Reply + ")"
	}
	return e
}
