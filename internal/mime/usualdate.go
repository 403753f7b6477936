package mime

import (
	"strings"
	"time"
)

// usualDate reads a date as nearly all letters have it, "Mon, 2 Jan 2006 15:04:05
// -0700", perhaps with the name of the zone in parentheses. Of any other it says
// nothing: what it reads is what net/mail would, in a tenth of the time.
func usualDate(s string) (t time.Time, ok bool) {
	r := reader{s: s, ok: true}
	r.oneOf("SunMonTueWedThuFriSat")
	r.word(", ")
	day := r.dayNumber()
	r.word(" ")
	month := r.oneOf("JanFebMarAprMayJunJulAugSepOctNovDec") + 1
	r.word(" ")
	year := r.number(4)
	r.word(" ")
	hour := r.number(2)
	r.word(":")
	minute := r.number(2)
	r.word(":")
	second := r.number(2)
	r.word(" ")
	zone := r.zone()
	r.comment()
	if !r.ok || day == 0 || hour > 23 || minute > 59 || second > 59 {
		return t, false
	}
	t = time.Date(year, time.Month(month), day, hour, minute, second, 0, time.FixedZone("", zone))
	return t, t.Day() == day // no 30th of February
}

// A reader takes a text of fixed form apart.
type reader struct {
	s  string
	ok bool // all of it was there so far
}

// take takes n octets.
func (r *reader) take(n int) string {
	if n > len(r.s) {
		r.ok = false
		return ""
	}
	text := r.s[:n]
	r.s = r.s[n:]
	return text
}

func (r *reader) word(w string) { r.ok = r.take(len(w)) == w && r.ok }

// number takes a number of n digits.
func (r *reader) number(n int) (v int) {
	for _, c := range []byte(r.take(n)) {
		if c < '0' || c > '9' {
			r.ok = false
		}
		v = v*10 + int(c-'0')
	}
	return v
}

// dayNumber takes one digit or two.
func (r *reader) dayNumber() int {
	if len(r.s) > 1 && r.s[1] == ' ' {
		return r.number(1)
	}
	return r.number(2)
}

// oneOf takes one of words of three letters, and gives its number.
func (r *reader) oneOf(words string) int {
	w := r.take(3)
	for i := 0; i < len(words); i += 3 {
		if words[i:i+3] == w {
			return i / 3
		}
	}
	r.ok = false
	return 0
}

// zone takes an offset, and gives it in seconds.
func (r *reader) zone() int {
	sign := r.take(1)
	hours, minutes := r.number(2), r.number(2)
	r.ok = r.ok && (sign == "+" || sign == "-") && hours < 24 && minutes < 60
	if sign == "-" {
		return -(hours*60 + minutes) * 60
	}
	return (hours*60 + minutes) * 60
}

// comment takes the rest: nothing, or a few letters in parentheses.
func (r *reader) comment() {
	if r.s == "" {
		return
	}
	name, open := strings.CutPrefix(r.s, " (")
	name, closed := strings.CutSuffix(name, ")")
	r.ok = r.ok && open && closed
	for _, c := range []byte(name) {
		if c < 'A' || c > 'Z' {
			r.ok = false
		}
	}
}
