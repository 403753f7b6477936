package queue

import (
	"math"
	"time"
)

// A Rate bounds how many letters are tried at one destination: in no time of the
// length In begin more than Letters attempts.
type Rate struct {
	Letters int // 0: as many as there are
	In      time.Duration
}

// A pace is when attempts at a destination may begin.
type pace struct {
	spacing time.Duration // least time between two of them
	rate    Rate
}

// allowed is how many attempts the pace lets begin now.
func (d *destination) allowed(now time.Time) int {
	if now.Before(d.free) {
		return 0
	}
	n := math.MaxInt
	if d.pace.spacing > 0 {
		n = 1
	}
	if d.pace.rate.Letters > 0 {
		d.forget(now)
		n = min(n, d.pace.rate.Letters-len(d.recent))
	}
	return n
}

// begin counts an attempt, and finds when the next may begin.
func (d *destination) begin(now time.Time) {
	d.free = now.Add(d.pace.spacing)
	r := d.pace.rate
	if r.Letters == 0 {
		return
	}
	d.recent = append(d.recent, now)
	if n := len(d.recent) - r.Letters; n >= 0 && d.recent[n].Add(r.In).After(d.free) {
		d.free = d.recent[n].Add(r.In)
	}
}

// forget drops attempts that the rate counts no more.
func (d *destination) forget(now time.Time) {
	for len(d.recent) > 0 && !now.Before(d.recent[0].Add(d.pace.rate.In)) {
		d.recent = d.recent[1:]
	}
}

// counted says that an attempt of the past still bounds those to come.
func (d *destination) counted(now time.Time) bool {
	d.forget(now)
	return now.Before(d.free) || len(d.recent) > 0
}
