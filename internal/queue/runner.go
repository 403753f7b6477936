package queue

import (
	"context"
	"errors"
	"sync"
	"time"

	"postbag/internal/spool"
)

// A loop is a Runner that holds the scheduler's lock.
type loop struct {
	*Runner
	events   Events
	schedule *schedule
	listener *spool.Listener
	active   int // attempts that run; of the loop's goroutine
	done     chan int
	work     context.Context // of attempts: outlives ctx by StopTimeout
	running  sync.WaitGroup
	stopped  map[spool.ID]bool // damaged ones that have been told of
	mu       sync.Mutex
}

// Run schedules the queue until ctx ends. While another process does, it waits to
// take over. Attempts that run when ctx ends have StopTimeout.
func (r *Runner) Run(ctx context.Context) error {
	for {
		lock, err := r.Spool.LockRunner(ctx)
		if err == nil {
			err = r.hold(ctx, lock, func(l *loop) error { return l.run(ctx) })
		}
		if ctx.Err() != nil {
			return nil
		}
		if !errors.Is(err, spool.ErrLocked) && err != nil {
			orSilent(r.Events).Trouble(ctx, "run queue", err)
		}
		select {
		case <-time.After(takeover):
		case <-ctx.Done():
			return nil
		}
	}
}

// Once makes one attempt at each of the messages, or at all there are, whether
// they are due or not. When another process runs the queue, it is told to.
func (r *Runner) Once(ctx context.Context, ids ...spool.ID) error {
	lock, err := r.Spool.LockRunner(ctx)
	if errors.Is(err, spool.ErrLocked) {
		return r.tell(ctx, ids)
	}
	if err != nil {
		return err
	}
	return r.hold(ctx, lock, func(l *loop) error { return l.once(ctx, ids) })
}

// tell makes messages due and wakes the process that runs the queue.
func (r *Runner) tell(ctx context.Context, ids []spool.ID) error {
	if len(ids) > 0 {
		return r.Spool.Wake(ctx, ids...)
	}
	for e, err := range r.Spool.List(ctx) {
		if err != nil || e.Active || e.Stopped() || e.Progress.Attempts == 0 {
			continue
		}
		if err := r.Spool.Retry(ctx, e.ID); err != nil && !errors.Is(err, spool.ErrLocked) && !errors.Is(err, spool.ErrUnknown) {
			return err
		}
	}
	return r.Spool.Wake(ctx)
}

// hold runs f with the scheduler's lock and socket.
func (r *Runner) hold(ctx context.Context, lock *spool.RunnerLock, f func(*loop) error) error {
	defer lock.Unlock()
	listener, err := r.Spool.Listen(ctx)
	if err != nil {
		return err
	}
	defer listener.Close()
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	l := &loop{
		Runner: r, events: orSilent(r.Events), schedule: newSchedule(or(r.Concurrency, defaultConcurrency)), listener: listener,
		done: make(chan int, maxActive), work: work, stopped: map[spool.ID]bool{},
	}
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(or(r.StopTimeout, defaultStop), cancel) })
	defer stop()
	err = f(l)
	l.running.Wait()
	return err
}

// run goes on until ctx ends.
func (l *loop) run(ctx context.Context) error {
	if err := l.Spool.Clean(ctx); err != nil {
		l.events.Trouble(ctx, "clean spool", err)
	}
	l.look(ctx, false)
	again := time.NewTicker(rescan)
	defer again.Stop()
	for ctx.Err() == nil {
		l.start()
		timer := l.timer()
		select {
		case id := <-l.listener.IDs():
			l.schedule.add(id, l.now(), false)
		case <-l.listener.All():
			l.look(ctx, false)
		case <-again.C:
			l.look(ctx, false)
		case <-l.done:
			l.active--
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
	return nil
}

// timer fires when the next message is due.
func (l *loop) timer() *time.Timer {
	wait, ok := l.schedule.wait(l.now())
	if !ok || l.active >= maxActive {
		wait = rescan
	}
	return time.NewTimer(wait)
}

// once goes on until nothing is left to attempt.
func (l *loop) once(ctx context.Context, ids []spool.ID) error {
	for _, id := range ids {
		l.schedule.add(id, l.now(), true)
	}
	if len(ids) == 0 {
		l.look(ctx, true)
	}
	for ctx.Err() == nil {
		l.start()
		if l.active == 0 && l.schedule.idle(l.now()) {
			return nil
		}
		timer := time.NewTimer(time.Second)
		select {
		case id := <-l.listener.IDs():
			l.schedule.add(id, l.now(), false)
		case <-l.listener.All():
			l.look(ctx, false)
		case <-l.done:
			l.active--
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
	return nil
}

// look takes what users have dropped and puts all messages into the schedule.
func (l *loop) look(ctx context.Context, force bool) {
	l.takeDrops(ctx)
	for e, err := range l.Spool.List(ctx) {
		if err != nil {
			if ctx.Err() == nil {
				l.events.Trouble(ctx, "read queue", err)
			}
			continue
		}
		if e.Stopped() {
			l.tellStopped(ctx, e)
			continue
		}
		at := e.Progress.Next
		if at.IsZero() || e.Progress.Placing() {
			at = l.now()
		}
		if force {
			at = l.now()
		}
		l.schedule.add(e.ID, at, force)
	}
}

// takeDrops moves submissions of unprivileged users into the queue.
func (l *loop) takeDrops(ctx context.Context) {
	ids, refused, err := l.Spool.TakeDrops(ctx)
	if err != nil {
		l.events.Trouble(ctx, "take dropped messages", err)
	}
	for _, r := range refused {
		l.events.Trouble(ctx, "refused dropped file "+r.File, r.Err)
	}
	for _, id := range ids {
		l.schedule.add(id, l.now(), false)
	}
}

// tellStopped tells of a damaged message once.
func (l *loop) tellStopped(ctx context.Context, e *spool.Entry) {
	l.mu.Lock()
	told := l.stopped[e.ID]
	l.stopped[e.ID] = true
	l.mu.Unlock()
	if e.Damage != nil && !told {
		l.events.Stopped(ctx, e.ID, e.Damage)
	}
}

// start begins all attempts that may begin now.
func (l *loop) start() {
	for l.active < maxActive {
		st, ok := l.schedule.next(l.now())
		if !ok {
			return
		}
		l.active++
		l.running.Go(func() {
			next, parked := l.attempt(st)
			l.schedule.end(st.id, next, parked)
			l.done <- 1
		})
	}
}
