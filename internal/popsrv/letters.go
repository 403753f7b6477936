package popsrv

import (
	"errors"
	"strconv"
	"strings"

	"postbag/internal/maillog"
)

// number reads the number of a letter, and answers itself when there is none.
func (s *session) number(arg string) (i int, ok bool) {
	n, err := strconv.ParseUint(arg, 10, 31)
	if err != nil {
		s.wrong("that is no number of a letter")
		return 0, false
	}
	if i = int(n) - 1; !s.drop.there(i) {
		s.err("", "no such letter")
		return 0, false
	}
	return i, true
}

func (s *session) doStat() {
	count, octets := s.drop.stat()
	s.okf("%d %d", count, octets)
}

// doList lists sizes.
func (s *session) doList(arg string) {
	count, octets := s.drop.stat()
	s.listing(arg, strconv.Itoa(count)+" letters ("+strconv.FormatInt(octets, 10)+" octets)", func(b []byte, i int) []byte {
		return strconv.AppendInt(b, s.drop.sizes[i], 10)
	})
}

// doUIDL lists unique-ids.
func (s *session) doUIDL(arg string) {
	s.listing(arg, "", func(b []byte, i int) []byte { return s.drop.folder.AppendUIDL(b, s.drop.letter(i)) })
}

// listing answers with the value of one letter, or of all.
func (s *session) listing(arg, head string, value func(b []byte, i int) []byte) {
	if arg != "" {
		if i, ok := s.number(arg); ok {
			s.ok(string(value(numbered(nil, i), i)))
		}
		return
	}
	s.ok(head)
	var line []byte
	for i := range s.drop.sizes {
		if s.drop.there(i) {
			line = append(value(numbered(line[:0], i), i), "\r\n"...)
			_, _ = s.c.Write(line) // a failed write shows at the next read
		}
	}
	s.line(".")
}

// numbered begins a line about a letter.
func numbered(b []byte, i int) []byte { return append(strconv.AppendInt(b, int64(i)+1, 10), ' ') }

func (s *session) doDele(arg string) {
	if i, ok := s.number(arg); ok {
		s.drop.deleted[i] = true
		s.ok("marked")
	}
}

func (s *session) doRset() {
	clear(s.drop.deleted)
	s.ok("")
}

func (s *session) doRetr(arg string) {
	i, ok := s.number(arg)
	if !ok {
		return
	}
	s.send(i, -1)
}

func (s *session) doTop(args string) {
	number, lines, _ := strings.Cut(args, " ")
	i, ok := s.number(number)
	if !ok {
		return
	}
	n, err := strconv.ParseUint(strings.TrimSpace(lines), 10, 31)
	if err != nil {
		s.wrong("the number of lines is missing")
		return
	}
	s.send(i, int(n))
}

// send gives a letter: all of it if lines is -1, else its header, the empty
// line and so many lines of its body.
func (s *session) send(i, lines int) {
	text, err := s.drop.open(s.ctx, i, s.in.waiting)
	if err != nil {
		s.fail(err)
		return
	}
	defer text.Close()
	s.ok(strconv.FormatInt(text.Size(), 10) + " octets")
	out := &stuffer{w: s.c, start: true}
	if lines < 0 {
		_, err = text.WriteTo(out)
		s.drop.retrieved++
		s.drop.octets += text.Size()
	} else {
		_, err = text.WriteTo(&topper{w: out, left: lines, start: true})
	}
	if err != nil && !errors.Is(err, errEnough) {
		// The client must not take what it has for the whole letter.
		s.report(maillog.Session{Kind: maillog.Troubled, Login: s.login, Err: err})
		s.quit = true
		return
	}
	if err := out.finish(); err != nil {
		s.quit = true
	}
}
