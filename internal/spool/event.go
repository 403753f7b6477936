package spool

import (
	"encoding/json"
	"fmt"
	"time"
)

// A Kind says what an Event tells.
type Kind string

// What can happen to a queued message. The words stand in progress files.
const (
	Attempted Kind = "attempted" // an attempt begins; Next is when the one after it is due
	Placed    Kind = "placed"    // tmp/Tmp of the Maildir Dir is whole and about to become new/Name
	Delivered Kind = "delivered" // Dest has it
	Deferred  Kind = "deferred"  // Dest could not take it this time
	Failed    Kind = "failed"    // Dest will never take it
	Settled   Kind = "settled"   // the recipient has all destinations behind it
	Reported  Kind = "reported"  // the sender has been told how it ended; Name is the ID of the report
	Warned    Kind = "warned"    // the sender has been told of the delay; Name is the ID of the report
	Held      Kind = "held"      // no attempt until Released
	Released  Kind = "released"
	Retry     Kind = "retry" // Next is when the next attempt is due, whatever was planned
)

// An Event is one step in the life of a queued message.
type Event struct {
	Kind Kind      `json:"e"`
	Time time.Time `json:"-"` // Record sets it when it is zero
	Usec int64     `json:"t"`

	Rcpt int    `json:"r,omitempty"` // which of Envelope.To
	Dest string `json:"d,omitempty"` // where to; names that do not change from attempt to attempt

	Next   int64  `json:"n,omitempty"` // microseconds since 1970; see At
	Status string `json:"s,omitempty"` // RFC 3463
	Reply  string `json:"m,omitempty"` // what the next hop said, or why
	Host   string `json:"h,omitempty"` // who said so
	Took   bool   `json:"q,omitempty"` // Delivered: the next host will report on it
	Tell   bool   `json:"y,omitempty"` // Delivered: to a host, and the sender hears of that (RFC 2852)
	Via    string `json:"v,omitempty"` // the rule that chose the way: a route, "mx:DOMAIN", a Maildir
	Way    string `json:"w,omitempty"` // what the DNS said, and which TLS was demanded of whom
	Cause  string `json:"c,omitempty"` // what this host alone may know of a failure; never in a report

	Owner  string `json:"o,omitempty"` // of the list that sent it: who hears of its end instead of the sender
	Member string `json:"a,omitempty"` // of that list: where it went

	Dir  string `json:"dir,omitempty"`
	Tmp  string `json:"tmp,omitempty"`
	Name string `json:"name,omitempty"`
	UID  int    `json:"uid,omitempty"` // Placed: whose tmp/Tmp is; 0: this process's
	GID  int    `json:"gid,omitempty"`
}

// At is the time in Next.
func (e Event) At() time.Time { return time.UnixMicro(e.Next) }

// maxReply bounds what a next hop may make us write, and what causes may.
const maxReply = 2000

func (e Event) encode() ([]byte, error) {
	e.Usec = e.Time.UnixMicro()
	for _, text := range []*string{&e.Reply, &e.Cause, &e.Way} {
		if len(*text) > maxReply {
			*text = (*text)[:maxReply]
		}
	}
	b, err := json.Marshal(e)
	if err == nil && len(b) > maxFrame {
		err = fmt.Errorf("event %s: %d octets", e.Kind, len(b))
	}
	return b, err
}

func decodeEvent(b []byte) (Event, error) {
	var e Event
	if err := json.Unmarshal(b, &e); err != nil {
		return e, fmt.Errorf("%w: event: %v", errDamaged, err)
	}
	e.Time = time.UnixMicro(e.Usec)
	return e, nil
}

// A Progress is what the events of a message add up to.
type Progress struct {
	Attempts int
	Last     time.Time // begin of the last attempt
	Next     time.Time // when the next is due; zero is at once
	Held     bool
	Warned   bool
	Reports  []ID    // that have been written about it
	Rcpts    []State // one for each of Envelope.To
}

// A State is how far one recipient is.
type State struct {
	Settled  bool // nothing is left to do, but perhaps to report Failure
	Reported bool
	Failure  *Event           // the last destination that failed for good
	Last     *Event           // the last thing that happened
	Dests    map[string]Event // last event of each destination; nil when there is none
}

// Pending reports whether any recipient still waits.
func (p *Progress) Pending() bool {
	for i := range p.Rcpts {
		if !p.Rcpts[i].Settled {
			return true
		}
	}
	return false
}

// Placing reports whether a letter is on its way from tmp/ to new/ of a
// Maildir, which a crash has interrupted if no attempt is under way.
func (p *Progress) Placing() bool {
	for i := range p.Rcpts {
		for _, e := range p.Rcpts[i].Dests {
			if e.Kind == Placed {
				return true
			}
		}
	}
	return false
}

func newProgress(e *Envelope) Progress {
	return Progress{Held: e.Hold, Rcpts: make([]State, len(e.To))}
}

// apply adds one event. An event about a recipient that the envelope does not
// have is damage.
func (p *Progress) apply(e Event) error {
	switch e.Kind {
	case Attempted:
		p.Attempts++
		p.Last, p.Next = e.Time, e.At()
		return nil
	case Retry:
		p.Next = e.At()
		return nil
	case Held, Released:
		p.Held = e.Kind == Held
		return nil
	case Warned:
		p.Warned = true
	}
	if (e.Kind == Warned || e.Kind == Reported) && e.Name != "" {
		p.Reports = append(p.Reports, ID(e.Name))
	}
	if e.Kind == Warned {
		return nil
	}
	if e.Rcpt < 0 || e.Rcpt >= len(p.Rcpts) {
		return fmt.Errorf("%w: event for recipient %d of %d", errDamaged, e.Rcpt, len(p.Rcpts))
	}
	p.Rcpts[e.Rcpt].apply(e)
	return nil
}

func (s *State) apply(e Event) {
	switch e.Kind {
	case Settled:
		s.Settled = true
		return
	case Reported:
		s.Reported = true
		return
	case Failed:
		s.Failure = &e
	}
	s.Last = &e
	if s.Dests == nil {
		s.Dests = map[string]Event{}
	}
	s.Dests[e.Dest] = e
}
