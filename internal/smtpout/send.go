package smtpout

import (
	"fmt"
	"io"
	"strconv"

	"postbag/internal/address"
	"postbag/internal/status"
)

// A transaction is one letter on one connection.
type transaction struct {
	*conn
	mail    Mail
	open    func() (io.ReadCloser, error)
	results []Result
	taken   []int // indices of recipients that the host accepts
	utf8    bool  // SMTPUTF8 is declared
}

// groupSize is how many RCPT commands are sent before replies are read: both
// sides' buffers hold that much, so neither can wait for the other (RFC 2920
// section 3.1).
const groupSize = 100

func (c *conn) send(m Mail, open func() (io.ReadCloser, error)) ([]Result, error) {
	t := &transaction{conn: c, mail: m, open: open, results: make([]Result, len(m.Rcpts))}
	if err := t.prepare(); err != nil {
		t.settle(t.all(), reply{}, err)
		return t.results, nil
	}
	if err := t.envelope(); err != nil {
		c.stale = c.reused && c.broken
		return nil, err
	}
	if len(t.taken) == 0 {
		return t.results, nil
	}
	return t.results, t.text()
}

func (t *transaction) all() []int {
	all := make([]int, len(t.mail.Rcpts))
	for i := range all {
		all[i] = i
	}
	return all
}

// settle sets the result of some recipients.
func (t *transaction) settle(which []int, r reply, err error) {
	for _, i := range which {
		t.results[i] = Result{Err: err, Host: t.peer}
		if r.code != 0 {
			t.results[i].Reply = r.text()
		}
		t.results[i].DSN = err == nil && t.offers("DSN")
	}
}

// prepare decides what the extensions of the host make impossible.
func (t *transaction) prepare() error {
	t.utf8 = t.offers("SMTPUTF8")
	if !t.utf8 {
		if err := t.downgrade(); err != nil {
			return err
		}
	}
	limit, err := strconv.ParseInt(t.ext["SIZE"], 10, 64)
	if err == nil && limit > 0 && t.mail.Size > limit { // RFC 1870 section 4: 0 is no limit
		return status.Perm("send to "+t.peer, "5.3.4",
			fmt.Sprintf("message of %d octets is too large for host %s, which takes %d", t.mail.Size, t.peer, limit), nil)
	}
	return nil
}

// downgrade brings the envelope into ASCII for a host without SMTPUTF8: domains
// have a form in it, local parts have not.
func (t *transaction) downgrade() error {
	needs := status.Perm("send to "+t.peer, "5.6.7", "host "+t.peer+" does not offer SMTPUTF8", nil)
	if t.mail.UTF8 {
		return needs
	}
	var err error
	if t.mail.From, err = inASCII(t.mail.From); err != nil {
		return needs
	}
	rcpts := append([]Rcpt(nil), t.mail.Rcpts...)
	for i := range rcpts {
		if rcpts[i].Address, err = inASCII(rcpts[i].Address); err != nil {
			return needs
		}
	}
	t.mail.Rcpts = rcpts
	return nil
}

func inASCII(a address.Address) (address.Address, error) {
	if a.IsNull() || a.IsASCII() {
		return a, nil
	}
	return a.ASCII()
}

// needsUTF8 says that the envelope or the letter cannot do without.
func (t *transaction) needsUTF8() bool {
	if t.mail.UTF8 || !t.mail.From.IsASCII() {
		return true
	}
	for _, r := range t.mail.Rcpts {
		if !r.Address.IsASCII() {
			return true
		}
	}
	return false
}

// envelope sends MAIL and RCPT and sorts the recipients. An error means that
// nothing is decided. The last group of commands has DATA behind it.
func (t *transaction) envelope() error {
	pipelining := t.offers("PIPELINING")
	t.queue(t.mailLine())
	if !pipelining {
		if err := t.flush(t.t.Command); err != nil {
			return t.lost("MAIL", err)
		}
		if done, err := t.mailReply(); done || err != nil {
			return err
		}
	}
	size := groupSize
	if !pipelining {
		size = 1
	}
	first := pipelining // the reply to MAIL is still to come
	for start := 0; start < len(t.mail.Rcpts); start += size {
		end := min(start+size, len(t.mail.Rcpts))
		done, err := t.group(start, end, first)
		if done || err != nil {
			return err
		}
		first = false
	}
	return nil
}

// group sends some RCPT commands and reads their replies.
func (t *transaction) group(start, end int, first bool) (done bool, err error) {
	for _, r := range t.mail.Rcpts[start:end] {
		t.queue(t.rcptLine(r))
	}
	if err := t.flush(t.t.Command); err != nil {
		return false, t.lost("RCPT", err)
	}
	if first {
		if done, err := t.mailReply(); err != nil || done {
			t.broken = true // the replies to RCPT are not read
			return done, err
		}
	}
	for i := start; i < end; i++ {
		if err := t.rcptReply(i); err != nil {
			return false, err
		}
	}
	return false, nil
}

// mailReply reads the reply to MAIL. A refusal for good decides about all
// recipients; one that may pass does not, for the next host may be better.
func (t *transaction) mailReply() (done bool, err error) {
	r, err := t.read("MAIL", t.t.Command)
	if err != nil || r.ok() {
		return false, err
	}
	refusal := t.refused("MAIL", r)
	if status.ClassOf(refusal) == status.Temporary {
		t.broken = true
		return true, refusal
	}
	t.settle(t.all(), r, refusal)
	t.broken = true
	return true, nil
}

func (t *transaction) rcptReply(i int) error {
	r, err := t.read("RCPT", t.t.Command)
	if err != nil {
		return err
	}
	if r.ok() {
		t.taken = append(t.taken, i)
		return nil
	}
	if r.code == 552 {
		r.code = 452 // RFC 5321 section 4.5.3.1.10: 552 here means too many recipients
	}
	t.settle([]int{i}, r, t.refused("RCPT", r))
	return nil
}

// refused is the failure that a reply stands for, in the words of its host.
func (t *transaction) refused(verb string, r reply) error {
	err := r.refusal(verb + " " + t.peer)
	if e, ok := err.(*status.Error); ok {
		e.Text = t.said(r)
	}
	return err
}

// mailLine is MAIL with what the host offers and the letter needs.
func (t *transaction) mailLine() string {
	line := "MAIL FROM:<" + t.mail.From.String() + ">"
	if t.offers("SIZE") && t.mail.Size > 0 {
		line += " SIZE=" + strconv.FormatInt(t.mail.Size, 10)
	}
	if t.offers("8BITMIME") && t.mail.EightBit {
		line += " BODY=8BITMIME"
	}
	if t.utf8 && t.needsUTF8() {
		line += " SMTPUTF8"
	}
	if t.offers("DSN") {
		if t.mail.Ret != "" {
			line += " RET=" + t.mail.Ret
		}
		if t.mail.EnvID != "" {
			line += " ENVID=" + address.XText(t.mail.EnvID)
		}
	}
	return line
}

func (t *transaction) rcptLine(r Rcpt) string {
	line := "RCPT TO:<" + r.Address.String() + ">"
	if !t.offers("DSN") {
		return line
	}
	if r.Notify != "" {
		line += " NOTIFY=" + r.Notify
	}
	if r.Orig != "" {
		line += " ORCPT=" + originalLine(r.Orig)
	}
	return line
}
