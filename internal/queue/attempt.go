package queue

import (
	"context"
	"errors"
	"os"
	"slices"
	"sync"
	"time"

	"postbag/internal/address"
	"postbag/internal/deliver"
	"postbag/internal/recipient"
	"postbag/internal/spool"
	"postbag/internal/status"
)

// An attempt is one try at one message.
type attempt struct {
	*loop
	ctx    context.Context
	locked *spool.Locked
	entry  *spool.Entry
	only   []string // destinations it has waited for; nil: all

	jobs   []job
	events []spool.Event
	undo   []func() // to be called once events are recorded
	parked []string
	plans  [][]recipient.Destination // of each recipient; nil: not resolved
	relays map[int]bool              // recipients whose next hop does not report
}

// A job is one destination of one recipient.
type job struct {
	rcpt int
	dest recipient.Destination
}

// attempt tries a message and says when it is due again (zero: never), and which
// destinations it waits for.
func (l *loop) attempt(st start) (next time.Time, parked []string) {
	ctx := l.work
	locked, err := l.Spool.Lock(ctx, st.id)
	switch {
	case errors.Is(err, spool.ErrUnknown):
		return time.Time{}, nil
	case errors.Is(err, spool.ErrLocked):
		return l.now().Add(busyWait), nil
	case err != nil:
		l.Runner.trouble(ctx, "lock message "+string(st.id), err)
		return l.now().Add(l.backoff(0)), nil
	}
	defer locked.Unlock()
	a := &attempt{loop: l, ctx: ctx, locked: locked, entry: locked.Entry(), only: st.only, relays: map[int]bool{}}
	e := a.entry
	if e.Stopped() {
		l.tellStopped(ctx, e)
		return time.Time{}, nil
	}
	if st.only == nil && !st.force && e.Progress.Next.After(l.now()) && !e.Progress.Placing() {
		return e.Progress.Next, nil
	}
	return a.run()
}

func (r *Runner) trouble(ctx context.Context, what string, err error) {
	orSilent(r.Events).Trouble(ctx, what, err)
}

// backoff is the time to the next attempt at a message of that age: the age
// itself, within bounds (as Postfix has it).
func (r *Runner) backoff(age time.Duration) time.Duration {
	return min(max(age, or(r.RetryMin, defaultRetryMin)), or(r.RetryMax, defaultRetryMax))
}

// run makes the attempt.
func (a *attempt) run() (time.Time, []string) {
	a.plan()
	remote := a.acquire()
	if len(a.jobs) == 0 && len(remote) == 0 && len(a.parked) > 0 && len(a.events) == 0 {
		return a.entry.Progress.Next, a.parked
	}
	next := a.now().Add(a.backoff(a.now().Sub(a.entry.Arrived)))
	if err := a.begin(next); err != nil {
		for key := range remote {
			a.schedule.release(key, true)
		}
		a.trouble(a.ctx, "begin attempt at "+string(a.entry.ID), err)
		return next, nil
	}
	results := a.sendAll(remote)
	a.deliverLocal()
	for range remote {
		a.take(<-results)
	}
	if err := a.settle(); err != nil {
		a.trouble(a.ctx, "record attempt at "+string(a.entry.ID), err)
		return next, nil
	}
	return a.finish(next)
}

// begin records the attempt before it is made. One that goes on where an earlier
// one had to wait for its destination is a part of that.
func (a *attempt) begin(next time.Time) error {
	if a.only != nil && a.entry.Progress.Attempts > 0 {
		return nil
	}
	return a.locked.Begin(a.ctx, spool.Event{Kind: spool.Attempted, Next: next.UnixMicro()})
}

// plan resolves all recipients that wait.
func (a *attempt) plan() {
	a.plans = make([][]recipient.Destination, len(a.entry.To))
	for i, to := range a.entry.To {
		state := &a.entry.Progress.Rcpts[i]
		if state.Settled {
			continue
		}
		found, err := a.Resolver.Resolve(a.ctx, to.Address)
		if err != nil {
			a.unresolved(i, err)
			found = nil
		}
		a.plans[i] = found
		for _, d := range found {
			if done(state, d.Name) {
				continue
			}
			a.jobs = append(a.jobs, job{i, d})
		}
		a.jobs = append(a.jobs, interrupted(i, state, found)...)
	}
}

func done(state *spool.State, name string) bool {
	e, ok := state.Dests[name]
	return ok && (e.Kind == spool.Delivered || e.Kind == spool.Failed)
}

// interrupted are Maildirs that a crash has left half-way and that the recipient
// does not lead to any more: their letters are completed all the same.
func interrupted(rcpt int, state *spool.State, found []recipient.Destination) (jobs []job) {
	for name, e := range state.Dests {
		known := slices.ContainsFunc(found, func(d recipient.Destination) bool { return d.Name == name })
		if e.Kind == spool.Placed && !known {
			jobs = append(jobs, job{rcpt, recipient.Destination{Name: name, Dir: e.Dir, UID: -1}})
		}
	}
	return jobs
}

// unresolved is a recipient of whom it is not known where to bring the letter.
// An address that there is not is a failure for good.
func (a *attempt) unresolved(i int, err error) {
	if a.only != nil && status.ClassOf(err) == status.Temporary {
		return
	}
	a.note(i, "resolve", deliver.Outcome{Err: err}, "")
}

// note adds the event that an outcome is.
func (a *attempt) note(rcpt int, dest string, o deliver.Outcome, where string) {
	e := spool.Event{Rcpt: rcpt, Dest: dest, Host: o.Host, Reply: o.Reply}
	env, to := &a.entry.Envelope, a.entry.To[rcpt].Address
	if o.Host != "" {
		where = o.Host
	}
	switch {
	case o.Err == nil:
		e.Kind = spool.Delivered
		a.loop.events.Delivered(a.ctx, env, to, where, o.Reply)
	case status.ClassOf(o.Err) == status.Permanent:
		e.Kind, e.Status, e.Reply = spool.Failed, status.Code(o.Err), reason(o)
		a.loop.events.Failed(a.ctx, env, to, where, e.Status, o.Err.Error())
	default:
		e.Kind, e.Status, e.Reply = spool.Deferred, status.Code(o.Err), reason(o)
		a.loop.events.Deferred(a.ctx, env, to, where, e.Status, o.Err.Error())
	}
	a.events = append(a.events, e)
}

// reason is what the sender and mailq are told: the words of the other host,
// whose name stands beside, or ours without anything that is only for the log.
func reason(o deliver.Outcome) string {
	if o.Reply != "" {
		return o.Reply
	}
	_, _, text := status.Reply(o.Err)
	return text
}

// A group is what goes to one destination together.
type group struct {
	key  string
	dest recipient.Destination
	jobs []job
}

// acquire takes the remote jobs out, by destination, as far as there are slots.
// The others are parked.
func (a *attempt) acquire() map[string]*group {
	groups := map[string]*group{}
	var local []job
	for _, j := range a.jobs {
		if j.dest.Local() {
			if a.only == nil {
				local = append(local, j)
			}
			continue
		}
		if a.Remote == nil {
			a.note(j.rcpt, j.dest.Name, deliver.Outcome{Err: status.Temp("send to "+j.dest.Address.String(), "4.3.2", "this host sends no mail to others now", errNoRemote)}, "")
			continue
		}
		key := a.Remote.Key(j.dest)
		if a.only != nil && !slices.Contains(a.only, key) {
			continue
		}
		g := groups[key]
		if g == nil {
			if slices.Contains(a.parked, key) {
				continue
			}
			if !a.schedule.acquire(key) {
				a.parked = append(a.parked, key)
				continue
			}
			g = &group{key: key, dest: j.dest}
			groups[key] = g
		}
		g.jobs = append(g.jobs, j)
	}
	a.jobs = local
	return groups
}

var errNoRemote = errors.New("no way to other hosts")

// sent is what became of a group.
type sent struct {
	group    *group
	outcomes []deliver.Outcome
}

// sendAll starts an attempt for each group.
func (a *attempt) sendAll(groups map[string]*group) <-chan sent {
	results := make(chan sent, len(groups))
	mail := a.mail()
	var wg sync.WaitGroup
	for _, g := range groups {
		wg.Go(func() {
			var to []spool.Recipient
			for _, j := range g.jobs {
				rcpt := a.entry.To[j.rcpt]
				rcpt.Address = j.dest.Address
				to = append(to, rcpt)
			}
			outcomes := a.Remote.Send(a.ctx, g.dest, mail, to)
			a.schedule.release(g.key, answered(outcomes))
			results <- sent{g, outcomes}
		})
	}
	return results
}

// answered tells whether a destination spoke with us at all.
func answered(outcomes []deliver.Outcome) bool {
	for _, o := range outcomes {
		if o.Err == nil || o.Host != "" {
			return true
		}
	}
	return false
}

func (a *attempt) mail() deliver.Mail {
	e := a.entry
	return deliver.Mail{
		ID: string(e.ID), From: e.From, Body: e.Body, SMTPUTF8: e.SMTPUTF8 && !allASCII(e), Ret: e.Ret, EnvID: e.EnvID,
		Size: e.Size, Open: a.locked.Open,
	}
}

// allASCII tells whether no address of the envelope needs SMTPUTF8.
func allASCII(e *spool.Entry) bool {
	ok := e.From.IsASCII()
	for _, r := range e.To {
		ok = ok && r.Address.IsASCII()
	}
	return ok
}

// take notes what became of a group.
func (a *attempt) take(s sent) {
	for k, j := range s.group.jobs {
		o := s.outcomes[k]
		a.note(j.rcpt, j.dest.Name, o, s.group.key)
		if o.Err == nil && !o.DSN {
			a.relays[j.rcpt] = true
		}
	}
}

// deliverLocal brings the letter into Maildirs, exactly once into each.
func (a *attempt) deliverLocal() {
	if len(a.jobs) == 0 {
		return
	}
	boxes := make([]deliver.Box, len(a.jobs))
	for k, j := range a.jobs {
		boxes[k] = deliver.Box{Mailbox: deliver.Mailbox{Dir: j.dest.Dir, Address: a.finalAddress(j), UID: ownUID(j.dest.UID)}}
		if e, ok := a.entry.Progress.Rcpts[j.rcpt].Dests[j.dest.Name]; ok && e.Kind == spool.Placed {
			boxes[k].Placed = &deliver.Placing{Dir: e.Dir, Tmp: e.Tmp, Name: e.Name, At: e.Time}
		}
	}
	for k, r := range a.Local.Maildirs(a.ctx, a.mail(), boxes, a.journal) {
		a.note(a.jobs[k].rcpt, a.jobs[k].dest.Name, deliver.Outcome{Err: r.Err}, a.jobs[k].dest.Dir)
		if r.Undo != nil {
			a.undo = append(a.undo, r.Undo)
		}
	}
}

func (a *attempt) finalAddress(j job) address.Address {
	if j.dest.Address.IsNull() {
		return a.entry.To[j.rcpt].Address
	}
	return j.dest.Address
}

// ownUID lets the account of the process's own uid be its own.
func ownUID(uid int) int {
	if uid == os.Geteuid() {
		return -1
	}
	return uid
}

// journal records placings durably before the letters are renamed.
func (a *attempt) journal(ctx context.Context, boxes []int, placings []deliver.Placing) error {
	events := make([]spool.Event, len(boxes))
	for k, i := range boxes {
		p := placings[k]
		events[k] = spool.Event{Kind: spool.Placed, Time: p.At, Rcpt: a.jobs[i].rcpt, Dest: a.jobs[i].dest.Name, Dir: p.Dir, Tmp: p.Tmp, Name: p.Name}
	}
	return a.locked.Record(ctx, events...)
}
