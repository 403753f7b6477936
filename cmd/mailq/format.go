package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"postbag/internal/spool"
)

// formats are what monitors of other mailers read.
var formats = []string{"postfix", "sendmail", "exim"}

// newPrinter gives the printer of a format.
func newPrinter(format string, w io.Writer, dir string) printer {
	switch format {
	case "sendmail":
		return &sendmailTable{w: w, dir: dir + "/queue"}
	case "exim":
		return &eximTable{w: w}
	}
	return &table{w: w}
}

// A sendmailTable is what Sendmail 8 prints for -bp. Its first line has the
// number of messages, so that they are kept until the end.
type sendmailTable struct {
	w       io.Writer
	dir     string
	entries []*spool.Entry
}

func (t *sendmailTable) print(e *spool.Entry) { t.entries = append(t.entries, e) }

const sendmailHead = "-----Q-ID----- --Size-- -----Q-Time----- ------------Sender/Recipient-----------\n"

func (t *sendmailTable) end(err error) {
	if len(t.entries) == 0 {
		if err == nil {
			fmt.Fprintf(t.w, "%s is empty\n\t\tTotal requests: 0\n", t.dir)
		}
		return
	}
	plural := "s"
	if len(t.entries) == 1 {
		plural = ""
	}
	fmt.Fprintf(t.w, "\t\t%s (%d request%s)\n%s", t.dir, len(t.entries), plural, sendmailHead)
	for _, e := range t.entries {
		t.entry(e)
	}
	fmt.Fprintf(t.w, "\t\tTotal requests: %d\n", len(t.entries))
}

func (t *sendmailTable) entry(e *spool.Entry) {
	from := "<" + masked(e.From.String()) + ">"
	if e.From.IsNull() {
		from = "MAILER-DAEMON"
	}
	flag := map[string]string{"active": "*", "hold": "Q", "corrupt": "?"}[state(e)]
	fmt.Fprintf(t.w, "%s%-1s %8d %s %s\n", e.ID, flag, e.Size, e.Arrived.Format("Mon Jan _2 15:04"), from)
	last := ""
	for i, r := range e.To {
		if done(e, i) {
			continue
		}
		if why := reason(e, i); why != "" && why != last {
			fmt.Fprintf(t.w, "%17s(%s)\n", "", masked(why))
			last = why
		}
		fmt.Fprintf(t.w, "%44s<%s>\n", "", masked(r.Address.String()))
	}
}

// An eximTable is what Exim prints for -bp: with a D those who have the message.
type eximTable struct{ w io.Writer }

func (t *eximTable) print(e *spool.Entry) {
	frozen := ""
	if e.Stopped() {
		frozen = " *** frozen ***"
	}
	fmt.Fprintf(t.w, "%s %5s %s <%s>%s\n", eximAge(time.Since(e.Arrived)), eximSize(e.Size), eximID(e.ID), masked(e.From.String()), frozen)
	for i, r := range e.To {
		mark := " "
		if done(e, i) {
			mark = "D"
		}
		fmt.Fprintf(t.w, "        %s %s\n", mark, masked(r.Address.String()))
	}
	io.WriteString(t.w, "\n")
}

func (*eximTable) end(error) {}

// eximAge is an age in three columns: minutes up to 90, hours up to 72, then
// days.
func eximAge(age time.Duration) string {
	n, unit := int(age.Minutes()), "m"
	if n > 90 {
		if n, unit = int(age.Hours()), "h"; n > 72 {
			n, unit = n/24, "d"
		}
	}
	return fmt.Sprintf("%2d%s", n, unit)
}

// eximSize is a size as Exim's string_format_size has it.
func eximSize(n int64) string {
	switch {
	case n < 1024:
		return fmt.Sprint(n)
	case n < 10<<10:
		return fmt.Sprintf("%.1fK", float64(n)/1024)
	case n < 1<<20:
		return fmt.Sprintf("%dK", (n+512)>>10)
	case n < 10<<20:
		return fmt.Sprintf("%.1fM", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%dM", (n+1<<19)>>20)
}

// eximID writes an ID as Exim does its own, in digits of base 62 by 6, 6 and 2:
// monitors look for these. The verbs take it, too.
func eximID(id spool.ID) string {
	if len(id) != 18 {
		return string(id)
	}
	at, _ := strconv.ParseInt(string(id[:13]), 16, 64)
	random, _ := strconv.ParseInt(string(id[13:]), 16, 64)
	s := base62(at, 10) + base62(random, 4)
	return s[:6] + "-" + s[6:12] + "-" + s[12:]
}

const digits62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

func base62(n int64, width int) string {
	b := make([]byte, width)
	for i := width - 1; i >= 0; i-- {
		b[i] = digits62[n%62]
		n /= 62
	}
	return string(b)
}

// parseID reads an ID, in one form or the other.
func parseID(s string) (spool.ID, error) {
	if len(s) != 16 || s[6] != '-' || s[13] != '-' {
		return spool.ParseID(s)
	}
	text := s[:6] + s[7:13] + s[14:]
	var n [2]int64
	for i := range len(text) {
		digit := strings.IndexByte(digits62, text[i])
		if digit < 0 {
			return spool.ParseID(s)
		}
		n[i/10] = n[i/10]*62 + int64(digit)
	}
	return spool.ParseID(fmt.Sprintf("%013X%05X", n[0], n[1]))
}
