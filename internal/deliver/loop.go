package deliver

import (
	"bytes"
	"strings"
)

// A loopFinder looks for a Delivered-To field with one address in the header of
// a letter that streams by.
type loopFinder struct {
	address string
	line    []byte // start of a line that has not ended yet
	done    bool   // the header is over
	found   bool
}

// deliveredTo is compared without regard to case.
const deliveredTo = "Delivered-To:"

// look takes the next octets of the letter.
func (f *loopFinder) look(p []byte) {
	for !f.done && len(p) > 0 {
		lf := bytes.IndexByte(p, '\n')
		if lf < 0 {
			f.keep(p)
			return
		}
		if len(f.line) == 0 {
			f.check(p[:lf])
		} else {
			f.keep(p[:lf])
			f.check(f.line)
			f.line = f.line[:0]
		}
		p = p[lf+1:]
	}
}

// keep remembers as much of a line as an address can be long.
func (f *loopFinder) keep(p []byte) {
	const enough = len(deliveredTo) + 1024
	if room := enough - len(f.line); len(p) > room {
		p = p[:max(room, 0)]
	}
	f.line = append(f.line, p...)
}

func (f *loopFinder) check(line []byte) {
	line = bytes.TrimSuffix(line, []byte{'\r'})
	if len(line) == 0 {
		f.done = true
		return
	}
	if len(line) < len(deliveredTo) || line[0]|0x20 != 'd' {
		return
	}
	name, value := line[:len(deliveredTo)], line[len(deliveredTo):]
	if strings.EqualFold(string(name), deliveredTo) &&
		strings.EqualFold(string(bytes.TrimSpace(value)), f.address) {
		f.found = true
	}
}
