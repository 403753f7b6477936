package queue

import (
	"context"
	"errors"
	"sync"
	"time"

	"postbag/internal/spool"
)

// Run schedules the queue until ctx is done, as soon as no other process does.
// Attempts that are under way then have StopTimeout to end in. It returns nil
// after that.
func (r *Runner) Run(ctx context.Context) error {
	lock := r.takeOver(ctx)
	if lock == nil {
		return nil
	}
	defer lock.Unlock()
	attempts, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	w := r.newWork(attempts, false)
	r.Spool.HandOver(maxHandedOver)
	defer r.Spool.HandOver(0)
	defer r.alongside(attempts)()
	listener, err := r.Spool.Listen(ctx)
	if err != nil {
		w.events.Trouble(ctx, "listen for the queue", err)
		listener = nil
	}
	w.loop(ctx, listener)
	if listener != nil {
		listener.Close()
	}
	stop := time.AfterFunc(or(r.StopTimeout, defaultStop), cancel)
	defer stop.Stop()
	w.attempts.Wait()
	return nil
}

// alongside starts what runs beside the schedule; stop ends it and waits.
func (r *Runner) alongside(ctx context.Context) (stop func()) {
	if r.Also == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var running sync.WaitGroup
	running.Go(func() { r.Also(ctx) })
	return func() {
		cancel()
		running.Wait()
	}
}

// takeOver waits until this process has the scheduler's lock; nil when ctx is
// done before.
func (r *Runner) takeOver(ctx context.Context) *spool.RunnerLock {
	for {
		lock, err := r.Spool.LockRunner(ctx)
		if err == nil {
			return lock
		}
		if ctx.Err() == nil && !errors.Is(err, spool.ErrLocked) {
			orSilent(r.Events).Trouble(ctx, "take the queue over", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(takeover):
		}
	}
}

// Once makes one attempt at these messages, or at all, whatever is planned for
// them, and returns when all have ended. What others work on is left to them. It
// needs no daemon and does not disturb one.
func (r *Runner) Once(ctx context.Context, ids ...spool.ID) error {
	w := r.newWork(ctx, true)
	w.takeDrops(ctx)
	if len(ids) == 0 {
		for e, err := range r.Spool.List(ctx) {
			if err != nil {
				w.events.Trouble(ctx, "read the queue", err)
				continue
			}
			ids = append(ids, e.ID)
		}
	}
	for _, id := range ids {
		w.add(id, soon, true)
	}
	for ctx.Err() == nil {
		w.start(ctx)
		if w.idle() {
			break
		}
		timer := w.timer()
		select {
		case <-w.changed:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
	w.attempts.Wait()
	return ctx.Err()
}

// A work is one call of Run or Once. Its loop alone starts attempts.
type work struct {
	*Runner
	*schedule
	ctx     context.Context // of attempts
	events  Events
	once    bool
	changed chan struct{} // something may start
	reports pacer

	attempts sync.WaitGroup
	mu       sync.Mutex
	active   int
	told     map[spool.ID]bool // damaged messages that have been reported
}

func (r *Runner) newWork(ctx context.Context, once bool) *work {
	return &work{
		Runner: r, schedule: newSchedule(r.now, r.rules()),
		ctx: ctx, events: orSilent(r.Events), once: once,
		changed: make(chan struct{}, 1), told: map[spool.ID]bool{},
	}
}

func (r *Runner) rules() rules {
	most := or(r.RetryMax, defaultRetryMax)
	first := min(or(r.RetryMin, defaultRetryMin), most)
	return rules{limit: or(r.Concurrency, defaultConcurrency), unproven: maxActive * 3 / 4, suspend: first, most: min(4*first, most)}
}

// loop starts what is due until ctx is done.
func (w *work) loop(ctx context.Context, listener *spool.Listener) {
	var calls <-chan spool.Call
	var all <-chan struct{}
	if listener != nil {
		calls, all = listener.Calls(), listener.All()
	}
	w.clean(ctx)
	w.rescan(ctx)
	drops, full := time.NewTicker(takeover), time.NewTicker(rescan)
	defer drops.Stop()
	defer full.Stop()
	for ctx.Err() == nil {
		w.start(ctx)
		timer := w.timer()
		select {
		case <-ctx.Done():
		case c := <-calls:
			w.call(c)
		case <-all:
			w.rescan(ctx)
		case <-drops.C:
			w.takeDrops(ctx)
		case <-full.C:
			w.clean(ctx)
			w.tidy()
			w.reports.tidy(w.now())
			w.rescan(ctx)
		case <-timer.C:
		case <-w.changed:
		}
		timer.Stop()
	}
}

// timer fires when the next message is due. While all attempts are taken only
// the end of one can start another.
func (w *work) timer() *time.Timer {
	wait, ok := w.wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	if !ok || w.active >= maxActive {
		wait = rescan
	}
	return time.NewTimer(wait)
}

// start begins what may start now.
func (w *work) start(ctx context.Context) {
	for ctx.Err() == nil && w.enter() {
		st, ok := w.next()
		if !ok {
			w.leave()
			return
		}
		w.attempts.Go(func() { w.run(st) })
	}
}

func (w *work) enter() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.active >= maxActive {
		return false
	}
	w.active++
	return true
}

func (w *work) leave() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.active--
}

// run is the goroutine of one attempt.
func (w *work) run(st start) {
	next, parked := w.attempt(w.ctx, st)
	w.end(st.id, next, parked)
	w.pass(st.only)
	w.leave()
	w.poke()
}

func (w *work) poke() {
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

// rescan looks at the whole queue.
func (w *work) rescan(ctx context.Context) {
	w.takeDrops(ctx)
	now := w.now()
	for d, err := range w.Spool.Dues(ctx) {
		switch {
		case err != nil:
			w.events.Trouble(ctx, "read the queue", err)
		case d.Held:
		case d.At.IsZero(): // at once, the oldest first
			w.add(d.ID, earlier(d.ID.Time(), now), false)
		default:
			w.add(d.ID, d.At, false)
		}
	}
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// dueAt is when a message is due, never the zero time, which means never. What a
// crash has interrupted is completed at once.
func dueAt(e *spool.Entry) time.Time {
	if e.Progress.Next.IsZero() || e.Progress.Placing() {
		return e.Begin()
	}
	return e.Progress.Next
}

// takeDrops brings what users have dropped into the queue.
func (w *work) takeDrops(ctx context.Context) {
	ids, refused, err := w.Spool.TakeDrops(ctx)
	if err != nil {
		w.events.Trouble(ctx, "take what was dropped", err)
	}
	for _, no := range refused {
		w.events.Trouble(ctx, "refuse drop/"+no.File, no.Err)
	}
	for _, id := range ids {
		w.add(id, soon, false)
	}
}

func (w *work) clean(ctx context.Context) {
	if err := w.Spool.Clean(ctx); err != nil && ctx.Err() == nil {
		w.events.Trouble(ctx, "clean the queue", err)
	}
}

// stopped tells once of a message that cannot be sent.
func (w *work) stopped(ctx context.Context, e *spool.Entry) {
	w.mu.Lock()
	told := w.told[e.ID]
	w.told[e.ID] = true
	w.mu.Unlock()
	if !told {
		w.events.Stopped(ctx, e.ID, e.Damage)
	}
}
