package smtpout

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"postbag/internal/address"
	"postbag/internal/status"
)

// prepare decides what the extensions of the host make impossible; another host
// may do better.
func (c *conn) prepare(m Mail, l *letter, results []Result) (*transaction, error) {
	if m.RequireTLS && (c.tls == "" || !c.offers("REQUIRETLS")) {
		return nil, status.Perm("send to "+c.peer, "5.7.30", "message requires TLS, and host "+c.peer+" does not offer REQUIRETLS", nil)
	}
	if err := c.inTime(m); err != nil {
		return nil, err
	}
	t := &transaction{conn: c, mail: m, letter: l, results: results}
	if err := t.suit(); err != nil {
		return nil, err
	}
	l = t.letter
	if !t.offers("SMTPUTF8") {
		if err := t.downgrade(); err != nil {
			return nil, err
		}
	}
	limit, err := strconv.ParseInt(t.ext["SIZE"], 10, 64)
	if err == nil && limit > 0 && l.wire > limit { // RFC 1870 section 4: 0 is no limit
		return nil, status.Perm("send to "+t.peer, "5.3.4",
			fmt.Sprintf("message of %d octets is too large for host %s, which takes %d", l.wire, t.peer, limit), nil)
	}
	return t, nil
}

// inTime refuses to give a letter that is to be returned after its time to a host
// that knows no time, or needs more than is left (RFC 2852 section 4.1.4). The reply
// of LMTP says that the letter has been delivered, in time.
func (c *conn) inTime(m Mail) error {
	if !strings.HasPrefix(m.ByMode, "R") || c.hop.LMTP {
		return nil
	}
	if !c.offers("DELIVERBY") {
		return status.Perm("send to "+c.peer, "5.3.3", "host "+c.peer+" does not offer to deliver in time", nil)
	}
	least, _ := strconv.ParseInt(firstField(c.ext["DELIVERBY"]), 10, 32)
	if left := secondsUntil(m.By); left < max(least, 1) {
		return status.Perm("send to "+c.peer, "5.4.7", fmt.Sprintf("%d seconds are left, and host %s wants at least %d", left, c.peer, least), nil)
	}
	return nil
}

// firstField is what stands before the first comma or blank.
func firstField(s string) string {
	if i := strings.IndexAny(s, ", "); i >= 0 {
		return s[:i]
	}
	return s
}

// secondsUntil counts whole seconds, none too many.
func secondsUntil(t time.Time) int64 { return int64(math.Floor(time.Until(t).Seconds())) }

// byParam is BY with the time that is left, which is none or less for what is late:
// its sender has been told of that. It has nine digits (RFC 2852 section 4).
func byParam(m Mail) string {
	const most = 999_999_999
	return " BY=" + strconv.FormatInt(min(max(secondsUntil(m.By), -most), most), 10) + ";" + m.ByMode
}

// suit brings the letter into the form that the host takes.
func (t *transaction) suit() error {
	if err := t.letter.learn(); err != nil {
		return err
	}
	if !t.letter.eightBit || t.offers("8BITMIME") {
		return nil
	}
	other, err := t.letter.sevenBit()
	if err != nil || other == nil {
		return err
	}
	t.letter = other
	return other.learn()
}

// downgrade brings the envelope into ASCII for a host without SMTPUTF8: domains
// have a form in it, local parts have not (RFC 6531 section 3.2).
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

// mailLine is MAIL with what the host offers and the letter needs.
func (t *transaction) mailLine() string {
	line := "MAIL FROM:<" + t.mail.From.String() + ">"
	if t.offers("SIZE") {
		line += " SIZE=" + strconv.FormatInt(t.letter.wire, 10)
	}
	if t.offers("8BITMIME") && t.letter.eightBit {
		line += " BODY=8BITMIME"
	}
	if t.offers("SMTPUTF8") && t.needsUTF8() {
		line += " SMTPUTF8"
	}
	if t.mail.RequireTLS {
		line += " REQUIRETLS"
	}
	// RFC 6710 section 4.2: who conforms is told; others get the letter without.
	if t.mail.Priority != 0 && t.offers("MT-PRIORITY") {
		line += " MT-PRIORITY=" + strconv.Itoa(t.mail.Priority)
	}
	if t.mail.ByMode != "" && t.offers("DELIVERBY") {
		line += byParam(t.mail)
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

// originalLine encodes ORCPT: the type stands as it is (RFC 3461 section 4.2).
// An address that is not ASCII has the type utf-8 and its characters as \x{HEX},
// which every host takes (RFC 6533 section 3).
func originalLine(s string) string {
	kind, text, ok := strings.Cut(s, ";")
	if !ok {
		kind, text = "rfc822", s
	}
	if !strings.ContainsFunc(text, func(c rune) bool { return c > 0x7e }) {
		return kind + ";" + address.XText(text)
	}
	var b strings.Builder
	for _, c := range text {
		if c > 0x7e || c <= ' ' || c == '+' || c == '=' || c == '\\' {
			fmt.Fprintf(&b, `\x{%02X}`, c)
		} else {
			b.WriteRune(c)
		}
	}
	return "utf-8;" + b.String()
}
