package smtpout

import (
	"crypto/tls"
	"errors"
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
	if err := c.protected(m); err != nil {
		return nil, err
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

// protected refuses to give a letter that requires TLS to a host that does not promise
// the same (RFC 8689 section 4.2.1).
func (c *conn) protected(m Mail) error {
	switch {
	case m.RequireTLS && c.tls == "":
		return status.Perm("send to "+c.peer, "5.7.10", "message requires TLS, and there is none with host "+c.peer, nil)
	case m.RequireTLS && !c.offers("REQUIRETLS"):
		return status.Perm("send to "+c.peer, "5.7.30", "message requires TLS, and host "+c.peer+" does not offer REQUIRETLS", nil)
	}
	return nil
}

// insisting makes a failure for good of TLS that a host does not offer or has not the
// certificate for, where a letter requires it: its sender is to hear of that at once.
func (m Mail) insisting(err error) error {
	var unknown *tls.CertificateVerificationError
	if !m.RequireTLS || !errors.Is(err, ErrNoTLS) && !errors.Is(err, errCertificate) && !errors.As(err, &unknown) {
		return err
	}
	_, _, text := status.Reply(err)
	return status.Perm("secure", "5.7.10", "message requires TLS, and "+text, err)
}

// errCertificate says that a certificate is not the one that is demanded.
var errCertificate = errors.New("certificate refused")

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
	if t.mail.UTF8 { // RFC 6531 section 3.5
		return status.Perm("send to "+t.peer, "5.6.9", "host "+t.peer+" does not offer SMTPUTF8, which the header needs", nil)
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
	// RFC 6710 section 4.2: who conforms is told, also of the 0 that all else has.
	if t.offers("MT-PRIORITY") {
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
	if notify := t.notify(r); notify != "" {
		line += " NOTIFY=" + notify
	}
	if r.Orig != "" {
		line += " ORCPT=" + originalLine(r.Orig, t.offers("SMTPUTF8") && t.needsUTF8())
	}
	return line
}

// notify is what the host shall report. One that knows no time can at least tell of
// delay, where the sender wants to hear of that (RFC 2852 section 4.1.4.2).
func (t *transaction) notify(r Rcpt) string {
	if !strings.HasPrefix(t.mail.ByMode, "N") || t.offers("DELIVERBY") || !time.Now().Before(t.mail.By) {
		return r.Notify
	}
	switch {
	case r.Notify == "":
		return "FAILURE,DELAY"
	case strings.EqualFold(r.Notify, "NEVER"), strings.Contains(strings.ToUpper(r.Notify), "DELAY"):
		return r.Notify
	}
	return r.Notify + ",DELAY"
}

// originalLine encodes ORCPT: the type stands as it is (RFC 3461 section 4.2). An
// address that is not ASCII has the type utf-8, and where UTF-8 may not stand in a
// command its characters as \x{HEX}, as some have it from the start (RFC 6533 section
// 3).
func originalLine(s string, raw bool) string {
	kind, text, ok := strings.Cut(s, ";")
	if !ok {
		kind, text = "rfc822", s
	}
	encoded := strings.EqualFold(kind, "utf-8")
	foreign := strings.ContainsFunc(text, func(c rune) bool { return c > 0x7e })
	switch {
	case encoded && (raw || !foreign):
		return kind + ";" + text
	case !foreign:
		return kind + ";" + address.XText(text)
	}
	var b strings.Builder
	for _, c := range text {
		if c > 0x7e && !raw || !encoded && (c <= ' ' || c == '+' || c == '=' || c == '\\') {
			fmt.Fprintf(&b, `\x{%02X}`, c)
		} else {
			b.WriteRune(c)
		}
	}
	return "utf-8;" + b.String()
}
