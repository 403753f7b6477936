package fetch

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"postbag/internal/status"
)

// How long a watch waits.
const (
	// idleTime is how long one IDLE lasts: servers may end a session after 30
	// minutes (RFC 2177), and routers forget connections sooner.
	idleTime = 20 * time.Minute
	// pollTime is how often folders are looked at of which the server does not
	// tell.
	pollTime = time.Minute
	// firstPause doubles with each session that fails, up to maxPause.
	firstPause = 2 * time.Second
	maxPause   = 5 * time.Minute
	// maxLogins is how many logins in a row may be refused after one that was
	// not: servers hiccup, but lock accounts too.
	maxLogins = 3
)

// Watch fetches what is new, now and whenever more comes, until ctx is done; it
// returns nil then. It connects anew whatever happens to the connection, with a
// password that is asked for anew; only what nobody but a person can mend ends
// it: a wrong target, a login that is refused, a certificate that is no good.
func (f *Fetch) Watch(ctx context.Context) error {
	pause, refused, before := firstPause, 0, false
	for {
		r := &run{Fetch: f, ctx: ctx, watching: true}
		began := time.Now()
		err := r.run()
		if r.sum != (Summary{}) { // of POP3, what its end has deleted
			r.report(Event{Kind: Passed, Sum: r.sum})
		}
		if ctx.Err() != nil {
			return nil
		}
		before = before || r.loggedIn
		if status.ExitCode(err) == status.ExNoPerm {
			refused++
		} else {
			refused = 0
		}
		if lasting(err, before, refused) {
			return err
		}
		wait := pollTime
		if err != nil {
			r.warn("%v", err)
			if time.Since(began) > maxPause {
				pause = firstPause
			}
			wait, pause = pause+rand.N(pause/2+1), min(2*pause, maxPause)
		} else {
			pause = firstPause
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

// lasting reports whether an error will not pass by itself. Once a session has
// gone well, the host and its certificate are right.
func lasting(err error, before bool, refused int) bool {
	switch status.ExitCode(err) {
	case status.ExUsage, status.ExNoInput, status.ExIOErr, status.ExConfig:
		return true
	case status.ExNoPerm:
		return !before || refused >= maxLogins
	case status.ExProtocol:
		return !before
	}
	return false
}

// news makes what is told of the open folder a signal.
func (b *imapBox) news() *imapclient.UnilateralDataHandler {
	return &imapclient.UnilateralDataHandler{Mailbox: func(d *imapclient.UnilateralDataMailbox) {
		if d.NumMessages == nil {
			return
		}
		select {
		case b.changed <- struct{}{}:
		default:
		}
	}}
}

func (b *imapBox) canIdle() bool {
	return b.c.Caps().Has(imap.CapIdle) || b.c.Caps().Has(imap.CapIMAP4rev2)
}

// idle waits until the server tells of something, or until it is time to look.
func (b *imapBox) idle(r *run) (bool, error) {
	wait, canIdle := idleTime, b.canIdle()
	if !canIdle || b.folders > 1 && !b.attended.all() {
		wait = pollTime
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	if !canIdle {
		return true, b.sleep(r, timer)
	}
	var cmd *imapclient.IdleCommand
	err := b.wait(func() (err error) {
		// Some servers tell within IDLE of nothing that came before it.
		if err := b.c.Noop().Wait(); err != nil {
			return err
		}
		cmd, err = b.c.Idle()
		return err
	})
	if err != nil {
		return true, b.command(r, "watch", err)
	}
	serr := b.sleep(r, timer)
	err = b.wait(func() error {
		if err := cmd.Close(); err != nil {
			return err
		}
		return cmd.Wait()
	})
	if serr != nil {
		return true, serr
	}
	return true, b.command(r, "watch", err)
}

// sleep waits for news, the timer, the end of the connection or of the run.
func (b *imapBox) sleep(r *run, timer *time.Timer) error {
	select {
	case <-b.changed:
	case <-timer.C:
	case <-b.c.Closed():
	case <-r.ctx.Done():
		return r.ctx.Err()
	}
	return nil
}
