package smtpout

import (
	"io"

	"postbag/internal/status"
)

// maxRecipients is how many recipients one transaction has: every host takes
// them (RFC 5321 section 4.5.3.1.8), and the commands and replies of so many fit
// into the buffers of both sides, so that neither waits for the other (RFC 2920
// section 3.1).
const maxRecipients = 100

// deliver sends a letter to all its recipients, in as many transactions as the
// host wants. An error means that nothing was decided about any of them.
func (c *conn) deliver(m Mail, l *letter) ([]Result, error) {
	results := make([]Result, len(m.Rcpts))
	t, err := c.prepare(m, l, results)
	if err != nil {
		return nil, err
	}
	pending := make([]int, len(m.Rcpts))
	for i := range pending {
		pending[i] = i
	}
	for first := true; len(pending) > 0; first = false {
		n := min(len(pending), c.recipientLimit())
		later, err := t.next(pending[:n])
		if err != nil && first {
			c.stale = c.reused && c.broken && !t.texted
			return nil, err
		}
		if err != nil {
			t.settle(pending, reply{}, err)
			break
		}
		pending = append(later, pending[n:]...)
	}
	return results, nil
}

// recipientLimit is maxRecipients, or what the host says (RFC 9422).
func (c *conn) recipientLimit() int {
	if n := c.limit("RCPTMAX"); n > 0 {
		return min(n, maxRecipients)
	}
	return maxRecipients
}

// A transaction is one letter on one connection.
type transaction struct {
	*conn
	mail    Mail
	letter  *letter
	results []Result
	rcpts   []int // indices of the recipients of this transaction
	taken   []int // those of them that the host accepts
	later   []int // those it has no room for in this one
	texted  bool  // some of the letter has been sent
}

// settle sets the result of some recipients.
func (t *transaction) settle(which []int, r reply, err error) {
	for _, i := range which {
		t.results[i] = Result{Err: err, Host: t.peer, TLS: t.tls}
		if r.code != 0 {
			t.results[i].Reply = r.text()
		}
		t.results[i].DSN = err == nil && t.offers("DSN")
		t.results[i].Timely = err == nil && (t.offers("DELIVERBY") || t.hop.LMTP)
	}
}

// next makes one transaction. It returns those recipients that the host had no
// room for beside others that it took.
func (t *transaction) next(rcpts []int) (later []int, err error) {
	if t.broken { // by the one before
		return nil, t.lost("MAIL", io.ErrUnexpectedEOF)
	}
	t.rcpts, t.taken, t.later, t.texted = rcpts, nil, nil, false
	data, err := t.envelope()
	if err != nil {
		return nil, err
	}
	if len(t.taken) == 0 {
		t.settle(t.later, reply{}, errRoom(t.peer))
		return nil, t.nothing(data)
	}
	return t.later, t.text(data)
}

func errRoom(peer string) error {
	return status.Temp("RCPT "+peer, "4.5.3", "host "+peer+" takes no more recipients now", nil)
}

// envelope sends MAIL and RCPT and sorts the recipients; pipelined, with DATA
// behind them, whose reply it gives then. An error means that nothing is
// decided.
func (t *transaction) envelope() (data reply, err error) {
	if !t.offers("PIPELINING") {
		return reply{}, t.stepwise()
	}
	t.queue(t.mailLine())
	for _, i := range t.rcpts {
		t.queue(t.rcptLine(t.mail.Rcpts[i]))
	}
	if !t.offers("CHUNKING") {
		t.queue("DATA")
	}
	if err := t.flush(t.t.Command); err != nil {
		return reply{}, t.lost("MAIL", err)
	}
	mail, err := t.mailReply()
	for _, i := range t.rcpts {
		if err == nil {
			err = t.rcptReply(i)
		}
	}
	if err == nil && !t.offers("CHUNKING") {
		data, err = t.read("DATA", t.t.Data)
	}
	if err == nil {
		err = t.refuseSender(mail)
	}
	return data, err
}

// stepwise is envelope for a host that takes one command at a time.
func (t *transaction) stepwise() error {
	t.queue(t.mailLine())
	if err := t.flush(t.t.Command); err != nil {
		return t.lost("MAIL", err)
	}
	mail, err := t.mailReply()
	if err != nil {
		return err
	}
	if !mail.ok() {
		return t.refuseSender(mail)
	}
	for _, i := range t.rcpts {
		t.queue(t.rcptLine(t.mail.Rcpts[i]))
		if err := t.flush(t.t.Command); err != nil {
			return t.lost("RCPT", err)
		}
		if err := t.rcptReply(i); err != nil {
			return err
		}
	}
	return nil
}

func (t *transaction) mailReply() (reply, error) {
	r, err := t.read("MAIL", t.t.Command)
	t.begun = err == nil && r.ok()
	return r, err
}

// refuseSender is for a reply to MAIL that is no success. A refusal for good
// decides about all recipients; one that may pass does not, for the next host may
// be better.
func (t *transaction) refuseSender(r reply) error {
	if r.ok() {
		return nil
	}
	refusal := t.refused("MAIL", r)
	if status.ClassOf(refusal) == status.Temporary {
		return refusal
	}
	t.settle(t.rcpts, r, refusal)
	return nil
}

func (t *transaction) rcptReply(i int) error {
	r, err := t.read("RCPT", t.t.Command)
	switch {
	case err != nil || !t.begun: // without a sender, what is said of a recipient means nothing
		return err
	case r.ok():
		t.taken = append(t.taken, i)
		return nil
	case noRoom(r) && len(t.taken) > 0:
		t.later = append(t.later, i)
		return nil
	}
	if r.code == 552 {
		r.code = 452 // RFC 5321 section 4.5.3.1.10
	}
	t.settle([]int{i}, r, t.refused("RCPT", r))
	return nil
}

// noRoom tells that a host wants no more recipients in one transaction: 452, and
// 552 of old ones (RFC 5321 section 4.5.3.1.10), unless its enhanced code says
// that it means the mailbox.
func noRoom(r reply) bool {
	if r.code != 452 && r.code != 552 {
		return false
	}
	code := r.enhanced(byte('0' + r.code/100))[1:]
	return code == ".5.3" || code == ".0.0"
}

// nothing ends a transaction without recipients. A host that wants the letter all
// the same gets the end of one, as RFC 2920 section 3.1 has it.
func (t *transaction) nothing(data reply) error {
	if data.code != 354 {
		return nil
	}
	if t.hop.LMTP { // who knows how many replies would come
		t.broken = true
		return nil
	}
	if _, err := t.command(".", t.t.End); err != nil {
		t.broken = true // all recipients are settled
	}
	return nil
}

// reset ends a transaction that the host may think open: the next MAIL would be
// an error.
func (c *conn) reset() {
	r, err := c.command("RSET", c.t.Command)
	c.begun, c.broken = false, c.broken || err != nil || !r.ok()
}

// loginCodes are refusals of us, not of the letter (RFC 4954 section 6): the
// login can be mended.
var loginCodes = map[int]bool{530: true, 534: true, 535: true, 538: true}

// mixedUp are replies of a host that does not understand our commands, or not
// now: that is no word about the letter (RFC 5321 section 4.2.2).
var mixedUp = map[int]bool{500: true, 502: true, 503: true, 555: true}

// refused is the failure that a reply to a command stands for, in the words of
// its host.
func (t *transaction) refused(verb string, r reply) error {
	if verb != endOfText && (loginCodes[r.code] || mixedUp[r.code]) {
		return status.Temp(verb+" "+t.peer, "4.5.1", t.said(r), nil)
	}
	err := r.refusal(verb + " " + t.peer)
	if e, ok := err.(*status.Error); ok {
		e.Text = t.said(r)
	}
	return err
}
