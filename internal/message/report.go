package message

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"postbag/internal/address"
)

// Kinds of a Report.
const (
	Failed    = "failed"    // some recipients will not get the letter
	Delayed   = "delayed"   // some have not got it yet
	Delivered = "delivered" // some got it, and the sender asked to be told
	Relayed   = "relayed"   // it is on its way to some, in the hands of others, and the sender asked for a time, or to be told
)

// A Report is a delivery status notification: a letter from the mail system
// to the sender of another letter, readable by a person and, as RFC 3464 has
// it, by a program. With UTF8 set it has the forms of RFC 6533, which may only
// be sent to one who can take SMTPUTF8.
type Report struct {
	ID           string          // queue ID of the letter reported on
	Kind         string          // Failed, Delayed, Delivered or Relayed
	ReportingMTA string          // our host name
	From         address.Address // mailer-daemon here, in the From field
	To           address.Address // the sender of the letter
	Arrival      time.Time       // when the letter came; zero leaves it out
	DeliverBy    time.Time       // when it was to be delivered (RFC 2852); zero leaves it out
	Release      string          // that it was to be held, "for;3600" (RFC 4865); "" leaves it out
	Now          time.Time       // when the report is made
	Envid        string          // ENVID of the letter, decoded
	Recipients   []ReportRecipient
	Original     io.Reader // the letter in disk form; nil sends none back
	Full         bool      // send the whole letter back, not just its header
	UTF8         bool      // the letter needed SMTPUTF8
}

// A ReportRecipient is what became of one recipient.
type ReportRecipient struct {
	Final          address.Address // address that was tried
	Orig           string          // ORCPT as given, "rfc822;ann@example.org", decoded
	Action         string          // failed, delayed, delivered, relayed, expanded
	Status         string          // enhanced code of RFC 3463
	RemoteMTA      string          // host that spoke; "" if none did
	Diagnostic     string          // what it said, with its reply code, or our own reason
	LastAttempt    time.Time
	WillRetryUntil time.Time // of a delayed one
}

// returnedHeader is how much of the header of the original is looked at; a
// longer one is sent back up to there.
const returnedHeader = 256 << 10

// WriteTo writes the report as a letter in disk form. It never holds Original
// in memory.
func (r Report) WriteTo(w io.Writer) (int64, error) {
	cw := &countingWriter{w: w}
	bw := bufio.NewWriter(cw)
	boundary := "postbag." + random() // well under the 70 octets of RFC 2046 section 5.1.1
	r.head(bw, boundary)
	r.words(bw)
	r.status(bw, boundary)
	if r.Original != nil {
		if err := r.original(bw, boundary); err != nil {
			return cw.n, fmt.Errorf("write report on %s: %w", r.ID, err)
		}
	}
	fmt.Fprintf(bw, "\n--%s--\n", boundary)
	if err := bw.Flush(); err != nil {
		return cw.n, fmt.Errorf("write report on %s: %w", r.ID, err)
	}
	return cw.n, nil
}

func random() string {
	var bits [12]byte
	_, _ = rand.Read(bits[:]) // never fails (crypto/rand)
	return strings.ToUpper(hex.EncodeToString(bits[:]))
}

type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

func (r Report) subject() string {
	switch r.Kind {
	case Delayed:
		return "Delayed Mail (still being retried)"
	case Delivered:
		return "Successful Mail Delivery Report"
	case Relayed:
		return "Mail Relayed"
	}
	return "Undelivered Mail Returned to Sender"
}

// head writes the header. Auto-Submitted keeps programs from answering (RFC
// 3834 section 5).
func (r Report) head(w *bufio.Writer, boundary string) {
	h := Header{Fields: []Field{
		NewField("Date", r.Now.Format(DateFormat)),
		NewField("From", "Mail Delivery System <"+r.From.String()+">"),
		NewField("To", r.To.String()),
		NewField("Subject", r.subject()),
		NewField("Auto-Submitted", "auto-replied"),
		NewField("Message-ID", "<"+r.ID+"."+random()+"@"+r.ReportingMTA+">"),
		NewField("MIME-Version", "1.0"),
		{Name: "Content-Type", Raw: []byte("Content-Type: multipart/report; report-type=delivery-status;\n\tboundary=\"" + boundary + "\"\n")},
		NewField("Content-Transfer-Encoding", "8bit"),
	}}
	_, _ = h.WriteTo(w) // bufio keeps the error for Flush
	fmt.Fprintf(w, "This is a MIME-encapsulated message.\n\n--%s\nContent-Description: Notification\n"+
		"Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n", boundary)
}

// words writes what a person reads.
func (r Report) words(w *bufio.Writer) {
	fmt.Fprintf(w, "This is the mail system at host %s.\n\n", r.ReportingMTA)
	switch r.Kind {
	case Delayed:
		io.WriteString(w, "Your message could not be delivered yet to one or more recipients.\nIT IS STILL BEING RETRIED: you do not need to send it again.\n")
	case Delivered:
		io.WriteString(w, "Your message was delivered to the recipients below, as you asked to be told.\n")
	case Relayed:
		io.WriteString(w, "Your message for the recipients below was passed on to other hosts.\n"+
			ifElse(r.DeliverBy.IsZero(), "They may not tell you whether it arrives.\n", "Whether it arrives in the time you wanted is in their hands.\n"))
	default:
		io.WriteString(w, "Your message could not be delivered to one or more recipients.\n")
		if r.Original != nil {
			io.WriteString(w, "It is attached below"+ifElse(r.Full, ".\n", " with its header only.\n"))
		}
	}
	for _, rcpt := range r.Recipients {
		fmt.Fprintf(w, "\n<%s>%s:\n", oneLineText(rcpt.Final.String()), origWords(rcpt))
		wrap(w, "    ", rcpt.reason())
		if !rcpt.WillRetryUntil.IsZero() {
			fmt.Fprintf(w, "    Will be tried until %s\n", rcpt.WillRetryUntil.Format(plainDate))
		}
	}
}

func ifElse(cond bool, yes, no string) string {
	if cond {
		return yes
	}
	return no
}

func origWords(rcpt ReportRecipient) string {
	kind, orig, _ := strings.Cut(rcpt.Orig, ";")
	if strings.EqualFold(kind, "utf-8") {
		orig = utf8Text(orig)
	}
	if orig == "" || orig == rcpt.Final.String() {
		return ""
	}
	return " (you wrote to <" + oneLineText(orig) + ">)"
}

func (rcpt ReportRecipient) reason() string {
	text := oneLineText(rcpt.Diagnostic)
	if text == "" {
		text = ifElse(rcpt.Action == Delivered, "delivered", "no reason given")
	}
	if rcpt.RemoteMTA == "" {
		return text
	}
	return "host " + oneLineText(rcpt.RemoteMTA) + " said: " + text
}

// wrap writes text with indent before each line, folded at blanks.
func wrap(w *bufio.Writer, indent, text string) {
	line := indent
	for _, word := range strings.Fields(text) {
		for len(word) > maxName/2 { // no line of a report is longer than 998 octets
			fmt.Fprintf(w, "%s\n", line)
			line, word = indent+word[:maxName/2], word[maxName/2:]
		}
		if len(line)+1+len(word) > lineWidth && line != indent {
			fmt.Fprintf(w, "%s\n", line)
			line = indent
		}
		line += ifElse(line == indent, "", " ") + word
	}
	fmt.Fprintf(w, "%s\n", line)
}

// oneLineText makes s fit on one line of any header: control characters become
// blanks.
func oneLineText(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}

// status writes what a program reads (RFC 3464 section 2).
func (r Report) status(w *bufio.Writer, boundary string) {
	kind := ifElse(r.UTF8, "message/global-delivery-status", "message/delivery-status")
	fmt.Fprintf(w, "\n--%s\nContent-Description: Delivery report\nContent-Type: %s\n", boundary, kind)
	if r.UTF8 {
		io.WriteString(w, "Content-Transfer-Encoding: 8bit\n")
	}
	io.WriteString(w, "\n")
	r.field(w, "Original-Envelope-Id", r.Envid)
	r.field(w, "Reporting-MTA", "dns; "+r.ReportingMTA)
	r.field(w, "X-Postbag-Queue-ID", r.ID)
	r.dateField(w, "Arrival-Date", r.Arrival)
	r.dateField(w, "Deliver-By-Date", r.DeliverBy)  // RFC 2852
	r.field(w, "Future-Release-Request", r.Release) // RFC 4865 section 5.1.2
	for _, rcpt := range r.Recipients {
		io.WriteString(w, "\n")
		r.field(w, "Original-Recipient", r.typed(rcpt.Orig))
		r.field(w, "Final-Recipient", r.typed("rfc822;"+rcpt.Final.String()))
		r.field(w, "Action", rcpt.Action)
		r.field(w, "Status", rcpt.Status)
		if rcpt.RemoteMTA != "" {
			r.field(w, "Remote-MTA", "dns; "+rcpt.RemoteMTA)
		}
		if rcpt.Diagnostic != "" {
			r.field(w, "Diagnostic-Code", ifElse(rcpt.RemoteMTA != "", "smtp; ", "x-postbag; ")+rcpt.Diagnostic)
		}
		r.dateField(w, "Last-Attempt-Date", rcpt.LastAttempt)
		r.dateField(w, "Will-Retry-Until", rcpt.WillRetryUntil)
	}
}

// typed writes an address with its type, "rfc822; ann@example.org". One that
// is not ASCII has the type utf-8 of RFC 6533 section 3, in the form that the
// report may carry.
func (r Report) typed(s string) string {
	kind, text, ok := strings.Cut(s, ";")
	if !ok {
		return ""
	}
	text = strings.TrimSpace(text)
	encoded := strings.EqualFold(kind, "utf-8") // perhaps
	if isASCII([]byte(text)) && (!encoded || !r.UTF8) {
		return kind + "; " + text
	}
	if encoded {
		text = utf8Text(text)
	}
	return "utf-8; " + ifElse(r.UTF8, text, utf8XText(text))
}

// utf8Text undoes utf8XText, whose forms come in ORCPT, too (RFC 6533 section 3). What
// is in no such form stays as it is.
func utf8Text(s string) string {
	var b strings.Builder
	for rest := s; rest != ""; {
		before, code, found := strings.Cut(rest, "\\x{")
		hex, after, closed := strings.Cut(code, "}")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		n, err := strconv.ParseUint(hex, 16, 32)
		if !closed || err != nil || len(hex) < 2 || len(hex) > 6 || n < ' ' || !utf8.ValidRune(rune(n)) {
			return s
		}
		b.WriteRune(rune(n))
		rest = after
	}
	return b.String()
}

// utf8XText is the utf-8-addr-xtext form of RFC 6533 section 3.
func utf8XText(s string) string {
	var b strings.Builder
	for _, c := range s {
		if c <= ' ' || c >= 0x7f || c == '+' || c == '=' || c == '\\' {
			fmt.Fprintf(&b, "\\x{%02X}", c)
			continue
		}
		b.WriteRune(c)
	}
	return b.String()
}

func (r Report) field(w *bufio.Writer, name, value string) {
	if value == "" {
		return
	}
	value = oneLineText(value[:min(len(value), maxName-len(name)-2)])
	if !r.UTF8 {
		value = strings.Map(func(c rune) rune {
			if c >= 0x7f {
				return '?'
			}
			return c
		}, value)
	}
	_, _ = w.Write(NewField(name, value).Raw)
}

func (r Report) dateField(w *bufio.Writer, name string, t time.Time) {
	if !t.IsZero() {
		r.field(w, name, t.Format(plainDate))
	}
}

// original writes the letter, or its header, as the last part.
func (r Report) original(w *bufio.Writer, boundary string) error {
	br := bufio.NewReader(r.Original)
	h, err := ReadHeader(br, returnedHeader)
	if err != nil {
		return err
	}
	head := h.Bytes()
	encoding := "8bit"
	if !r.Full && isASCII(head) {
		encoding = "7bit"
	}
	fmt.Fprintf(w, "\n--%s\nContent-Description: %s\nContent-Type: %s\nContent-Transfer-Encoding: %s\n\n",
		boundary, ifElse(r.Full, "Undelivered Message", "Message Headers"), r.originalType(), encoding)
	if !r.Full {
		head = bytes.TrimSuffix(head, []byte("\n"))
		_, err = w.Write(head)
		return err
	}
	if _, err = w.Write(head); err == nil {
		_, err = io.Copy(w, br)
	}
	return err
}

func (r Report) originalType() string {
	switch {
	case r.Full && r.UTF8:
		return "message/global"
	case r.Full:
		return "message/rfc822"
	case r.UTF8:
		return "message/global-headers"
	}
	return "text/rfc822-headers"
}
