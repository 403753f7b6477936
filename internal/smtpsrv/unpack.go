package smtpsrv

import "bytes"

// An unpacker turns the octets of DATA or BDAT into the disk form of a letter.
//
// In DATA only CRLF.CRLF ends the letter, and a dot is taken off only from a
// line that begins after a CRLF (RFC 5321 section 4.5.2), so that we and
// whoever sent or relays the letter see its end at the same place. A CR or LF
// that stands alone is noted; in what is passed on it is a line end of its own,
// except that one CR before a CRLF belongs to that CRLF (text that was given
// CRLF twice has it in each line). The result has no CR.
//
// It works by lines, not by octets: of each line only the end is looked for,
// with the instructions that the processor has for that.
type unpacker struct {
	out  []byte // disk form so far; the user empties it
	dots bool   // DATA: unstuff, and find the end
	mid  bool   // in the middle of a line, or after a bare LF
	held int    // BDAT: how many CRs the chunk before ended in, at most two

	bareCR, bareLF, nul bool
	size                int64 // octets of the letter on the wire, CRLF line ends
}

// feed unpacks the beginning of p. used is how much; up to three octets at the
// end of p are not used when what follows decides what they are, and must be
// given again in front of it. done says that the letter ended, after used.
func (u *unpacker) feed(p []byte) (used int, done bool) {
	if !u.nul {
		u.nul = bytes.IndexByte(p, 0) >= 0
	}
	for used < len(p) {
		i := bytes.IndexByte(p[used:], '\n')
		if i < 0 {
			return used + u.part(p[used:]), false
		}
		line := p[used : used+i]
		used += i + 1
		if u.line(line) {
			return used, true
		}
	}
	return used, false
}

// line unpacks one line, given without its LF. It reports the end of DATA.
func (u *unpacker) line(line []byte) bool {
	n := len(line)
	crlf := n > 0 && line[n-1] == '\r'
	if crlf {
		line = line[:n-1]
	} else {
		u.bareLF = true
	}
	if u.dots && !u.mid && len(line) > 0 && line[0] == '.' {
		if len(line) == 1 && crlf {
			return true
		}
		line = line[1:]
	}
	u.text(line, true)
	u.out = append(u.out, '\n')
	u.size += 2
	u.mid = !crlf
	return false
}

// part unpacks what stands after the last LF and returns how much of it. CRs
// at its end are half of a CRLF, or one that belongs to it, or alone.
func (u *unpacker) part(p []byte) int {
	n := len(bytes.TrimSuffix(bytes.TrimSuffix(p, []byte{'\r'}), []byte{'\r'}))
	undecided := u.dots && !u.mid && n < 2 && p[0] == '.' // a dot to take off, or the end
	if undecided || n == 0 {
		return 0
	}
	text := p[:n]
	if u.dots && !u.mid && text[0] == '.' {
		text = text[1:]
	}
	u.text(text, false)
	u.mid = true
	return n
}

// text appends text, which has no LF. ended says that a line end follows.
func (u *unpacker) text(text []byte, ended bool) {
	if bytes.IndexByte(text, '\r') < 0 {
		u.out = append(u.out, text...)
		u.size += int64(len(text))
		return
	}
	u.bareCR = true
	if ended {
		text = bytes.TrimSuffix(text, []byte{'\r'})
	}
	for _, c := range text {
		if c == '\r' {
			c = '\n'
			u.size++
		}
		u.out = append(u.out, c)
		u.size++
	}
}

// chunk unpacks all of p, a part of a BDAT chunk.
func (u *unpacker) chunk(p []byte) {
	if u.held > 0 { // rare: the chunk before was cut in a line end
		p = append([]byte("\r\r"[:u.held]), p...)
	}
	used, _ := u.feed(p)
	u.held = len(p) - used // without dots only CRs are ever left over
}

// end unpacks what a letter sent by BDAT ends in.
func (u *unpacker) end() {
	u.text([]byte("\r\r"[:u.held]), false)
	u.held = 0
}
