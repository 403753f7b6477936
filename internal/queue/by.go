package queue

import (
	"slices"
	"time"

	"postbag/internal/deliver"
	"postbag/internal/spool"
)

// end is when the letter is given up: after its life, or when it was to be
// delivered, if its sender wants it back then (RFC 2852 section 4.1).
func (a *attempt) end() time.Time {
	end := a.e.Begin().Add(or(a.Lifetime, defaultLifetime))
	if a.e.Returned() && a.e.By.Before(end) {
		return a.e.By
	}
	return end
}

// tooLate says that the letter must not be delivered any more.
func (a *attempt) tooLate() bool { return a.e.Returned() && !a.now().Before(a.e.By) }

// notAfterBy brings the next attempt forward to when the letter is to be delivered:
// what is to be done then is done in time.
func (a *attempt) notAfterBy(next time.Time) time.Time {
	if by := a.e.By; a.e.ByMode != "" && by.After(a.now()) && by.Before(next) {
		return by
	}
	return next
}

// warnAt is when the sender is told that the letter still waits; zero is never. Who
// has said by when he wants to be told is told then, and not at another time; what
// was late when it came was told of by who sent it (RFC 2852 section 4.1).
func (a *attempt) warnAt() time.Time {
	switch {
	case a.timed():
		return a.e.By
	case a.DelayWarning > 0:
		return a.e.Begin().Add(a.DelayWarning)
	}
	return time.Time{}
}

// timed says that the sender wants to be told when the letter is not delivered by a
// time that lay before it.
func (a *attempt) timed() bool {
	return a.e.ByMode != "" && !a.e.Returned() && a.e.By.After(a.e.Arrived)
}

// late says that this time has passed.
func (a *attempt) late() bool { return a.timed() && !a.now().Before(a.e.By) }

// tells says whether the sender hears that a host has the letter: one that does not
// know by when it shall be delivered, while there is time, or any if he follows its way
// (RFC 2852 section 4.1.4).
func (a *attempt) tells(t *target, o deliver.Outcome) bool {
	if a.e.ByMode == "" || o.Err != nil || o.Host == "" || !t.dest.Sender.IsNull() {
		return false
	}
	return a.e.Traced() || !o.Timely && a.now().Before(a.e.By)
}

// relayed says that the sender hears of a recipient that other hosts have got the
// letter, unless he wants to hear of nothing.
func relayed(to spool.Recipient, state spool.State) bool {
	return !wants(to, "NEVER") && slices.ContainsFunc(lastWords(state), func(e spool.Event) bool { return e.Tell })
}
