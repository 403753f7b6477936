package smtpsrv

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"postbag/internal/quota"
	"postbag/internal/status"
)

// errRefused is the cause of a refusal that has no other.
var errRefused = errors.New("refused")

// doData receives a letter that ends at CRLF.CRLF. The client is told to send
// before there is a place for the letter: it sends while the place is made, and
// hears at the end if that failed.
func (s *session) doData(args string) {
	if args != "" {
		s.refuse(501, "5.5.4", "DATA takes no parameter")
		return
	}
	if !s.readyForText() {
		return
	}
	s.replyLine(354, "End data with <CR><LF>.<CR><LF>")
	_ = s.c.Flush() // what is wrong shows at the next read
	l := s.begin(true)
	s.in.grow()
	err := s.receive(l)
	s.in.shrink()
	if err != nil {
		l.discard()
		s.lost(err)
		return
	}
	s.finish(l)
}

// readyForText answers if there is no transaction with recipients.
func (s *session) readyForText() bool {
	switch {
	case s.mail == nil:
		s.refuse(503, "5.5.1", "MAIL first")
	case len(s.mail.to) == 0 && s.mail.refused > 0:
		s.reply(554, "5.5.1", "no valid recipients")
	case len(s.mail.to) == 0:
		s.refuse(503, "5.5.1", "RCPT first")
	default:
		return true
	}
	return false
}

// errHopeless ends a letter that is far too long.
var errHopeless = errors.New("message far exceeds the size limit")

// errTooSlow ends a letter whose client only keeps the connection busy.
var errTooSlow = errors.New("message comes too slowly")

// A pace watches how fast the text of a letter comes. A client may be silent for
// as long as it may between commands, and must make up for it.
type pace struct {
	grace  time.Duration
	begun  time.Time
	octets int64
}

func (s *session) pace() pace {
	return pace{grace: orDefault(s.IdleTimeout, defaultIdle), begun: time.Now()}
}

// add counts octets that have come.
func (p *pace) add(n int) error {
	p.octets += int64(n)
	if time.Since(p.begun) > p.grace+time.Duration(p.octets/minRate)*time.Second {
		return errTooSlow
	}
	return nil
}

// receive reads the text of DATA. What it leaves unread is what follows it.
func (s *session) receive(l *letter) error {
	pace := s.pace()
	for {
		if p := s.in.pending(); len(p) > 0 {
			used, done := l.take(p)
			s.in.consume(used)
			if done {
				return nil
			}
			if err := pace.add(used); err != nil {
				return err
			}
		}
		if l.hopeless() {
			return errHopeless
		}
		if err := s.in.fill(); err != nil {
			return err
		}
	}
}

// lost ends a session in the middle of a letter: nothing that follows can be
// told from text.
func (s *session) lost(err error) {
	s.quit = true
	s.mail = nil
	switch {
	case errors.Is(err, errHopeless):
		s.reply(552, "5.3.4", "message size exceeds fixed limit")
	case errors.Is(err, errTooSlow):
		s.reply(421, "4.4.2", s.Hostname+" error: message comes too slowly")
	case s.draining():
		s.reply(421, "4.3.2", s.Hostname+" service is shutting down")
	default:
		s.reply(421, "4.4.2", s.Hostname+" timeout or lost connection in text")
	}
	s.Log.Lost(s.ctx, s.peerIP(), "text", err)
}

// finish commits a letter and answers: one reply, in LMTP one for each
// recipient (RFC 2033 section 4.2). The transaction is over either way.
func (s *session) finish(l *letter) {
	id := string(l.env.ID)
	mail := s.mail
	s.mail, s.bdat = nil, nil
	perRecipient, err := l.finish()
	if err != nil {
		s.logFailure(id, err)
		for range s.replies(mail) {
			s.refuseStatus(err)
		}
		return
	}
	s.idle, s.failures = 0, 0
	if !s.lmtp() {
		s.reply(250, "2.0.0", "Ok: queued as "+id)
		return
	}
	for i, rcpt := range mail.to {
		if i < len(perRecipient) && perRecipient[i] != nil {
			s.refuseStatus(perRecipient[i])
			continue
		}
		s.reply(250, "2.1.5", "<"+rcpt.Address.String()+"> saved as "+id)
	}
}

// replies is how many replies a letter gets.
func (s *session) replies(m *envelope) int {
	if s.lmtp() {
		return len(m.to)
	}
	return 1
}

// logFailure records why a letter was not taken. A full mailbox is its owner's
// affair.
func (s *session) logFailure(id string, err error) {
	ours := status.ClassOf(err) == status.Temporary && !errors.Is(err, quota.ErrOver)
	s.Log.NotTaken(s.ctx, id, s.peerIP(), replyCode(err), err, ours)
}

// replyCode is the two codes of the reply to an error, for the log.
func replyCode(err error) string {
	code, enhanced, _ := status.Reply(err)
	return strconv.Itoa(code) + " " + enhanced
}

// doBdat receives one chunk of a letter (RFC 3030 section 2). Its octets
// follow the command whatever we answer, so a size that cannot be understood
// ends the session.
func (s *session) doBdat(args string) {
	size, last, ok := parseBdat(args)
	if !ok {
		s.reply(501, "5.5.4", "syntax: BDAT size [LAST]")
		s.quit = true
		return
	}
	s.in.grow()
	err := s.chunk(size, last)
	s.in.shrink()
	if err != nil {
		s.reset()
		s.lost(err)
	}
}

func parseBdat(args string) (size int64, last, ok bool) {
	number, word, _ := strings.Cut(args, " ")
	last = strings.EqualFold(strings.TrimSpace(word), "LAST")
	n, err := strconv.ParseUint(number, 10, 63)
	return int64(n), last, err == nil && (last || word == "")
}

// chunk receives size octets and answers.
func (s *session) chunk(size int64, last bool) error {
	if s.bdat == nil && !s.openBdat(last) {
		return s.swallow(size, nil)
	}
	l := s.bdat
	if err := s.swallow(size, l); err != nil {
		return err
	}
	if last {
		l.end()
		s.finish(l)
		return nil
	}
	if l.err != nil {
		s.refuseStatus(l.err)
		s.reset()
		return nil
	}
	s.reply(250, "2.0.0", strconv.FormatInt(size, 10)+" octets received")
	return nil
}

// openBdat starts a letter with its first chunk, or answers why not. The last
// chunk of LMTP has a reply for each recipient, whatever they say.
func (s *session) openBdat(last bool) bool {
	if !s.readyForText() {
		return false
	}
	l := s.begin(false)
	if l.err != nil {
		s.logFailure("", l.err)
		n := 1
		if last {
			n = s.replies(s.mail)
		}
		for range n {
			s.refuseStatus(l.err)
		}
		l.discard()
		s.reset()
		return false
	}
	s.bdat = l
	return true
}

// swallow reads size octets into l, or nowhere.
func (s *session) swallow(size int64, l *letter) error {
	pace := s.pace()
	for size > 0 {
		p := s.in.pending()
		if int64(len(p)) > size {
			p = p[:size]
		}
		if l != nil {
			l.takeChunk(p)
		}
		s.in.consume(len(p))
		size -= int64(len(p))
		if l != nil && l.hopeless() || l == nil && size > discardLimit*s.maxSize() {
			return errHopeless
		}
		if size == 0 {
			return nil
		}
		if err := pace.add(len(p)); err != nil {
			return err
		}
		if err := s.in.fill(); err != nil {
			return err
		}
	}
	return nil
}
