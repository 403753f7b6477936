package mime

import (
	"net/mail"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// loose is a date that net/mail will not take: with or without a day of the week,
// seconds and a zone, and whatever follows.
var loose = regexp.MustCompile(`(?i)^(?:[a-z]+\.?,?\s+)?(\d{1,2})[\s-]+([a-z]{3})[a-z]*[\s-]+(\d{2,4})(?:\s+(\d{1,2}):(\d{2})(?::(\d{2}))?)?\s*([+-]\d{4})?`)

// ParseDate reads the value of a Date field, also one that is not quite right; a
// missing time is midnight and a missing zone UTC (RFC 5256 section 2.2). It
// reports false when there is no date to be seen.
func ParseDate(s string) (time.Time, bool) {
	s = strings.TrimSpace(s)
	if t, ok := usualDate(s); ok {
		return t, true
	}
	if t, err := mail.ParseDate(s); err == nil {
		return t, true
	}
	m := loose.FindStringSubmatch(s)
	if m == nil {
		return time.Time{}, false
	}
	month, err := time.Parse("Jan", m[2])
	if err != nil {
		return time.Time{}, false
	}
	n := func(i int) int { v, _ := strconv.Atoi(m[i]); return v } // "" is 0
	year, day := n(3), n(1)
	switch {
	case len(m[3]) == 2 && year < 50:
		year += 2000 // RFC 5322 section 4.3
	case len(m[3]) <= 3:
		year += 1900
	}
	hour, minute, second := n(4), n(5), n(6)
	if day < 1 || day > 31 || hour > 23 || minute > 59 || second > 60 {
		hour, minute, second = 0, 0, 0
	}
	zone := time.UTC
	if m[7] != "" {
		offset := n(7)
		zone = time.FixedZone("", (offset/100*60+offset%100)*60)
	}
	return time.Date(year, month.Month(), day, hour, minute, second, 0, zone), true
}
