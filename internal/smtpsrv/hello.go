package smtpsrv

import (
	"strconv"
	"strings"
	"time"

	"postbag/internal/auth"
)

// doHello answers HELO, EHLO and LHLO. Each ends an open transaction (RFC 5321
// section 4.1.4). What the client calls itself is recorded, not judged.
func (s *session) doHello(verb, name string) {
	if (verb == "LHLO") != s.lmtp() {
		s.refuse(500, "5.5.1", "wrong protocol for "+verb) // RFC 2033 section 4.1
		return
	}
	if name == "" {
		s.refuse(501, "5.5.4", "syntax: "+verb+" hostname")
		return
	}
	s.reset()
	s.helo = clientName(name)
	s.esmtp = verb != "HELO"
	if !s.esmtp {
		s.replyLine(250, s.Hostname)
		return
	}
	s.replyLines(250, append([]string{s.Hostname}, s.keywords()...))
}

// maxName is the longest name of a host, RFC 5321 section 4.5.3.1.2.
const maxName = 255

// clientName is what a client calls itself, as it can stand in trace fields: names
// of hosts are ASCII on the wire (RFC 6531 section 3.7.1).
func clientName(s string) string {
	s, _, _ = strings.Cut(s, " ")
	return strings.Map(func(c rune) rune {
		if c > 0x7f {
			return '?'
		}
		return c
	}, s[:min(len(s), maxName)])
}

// keywords are the extensions offered now.
func (s *session) keywords() []string {
	words := []string{
		"PIPELINING",
		"SIZE " + strconv.FormatInt(s.maxSize(), 10),
	}
	if s.startTLSOffered() {
		words = append(words, "STARTTLS")
	}
	if mechs := s.mechanisms(); len(mechs) > 0 {
		words = append(words, "AUTH "+strings.Join(mechs, " "))
	}
	words = append(words, "ENHANCEDSTATUSCODES", "8BITMIME")
	if s.dsnOffered() {
		words = append(words, "DSN")
	}
	if s.c.TLS() != nil {
		words = append(words, "REQUIRETLS")
	}
	if s.futureOffered() {
		latest := s.now().Add(maxHold).UTC().Format(time.RFC3339)
		words = append(words, "FUTURERELEASE "+strconv.Itoa(int(maxHold/time.Second))+" "+latest)
	}
	if s.priorityOffered() {
		words = append(words, "MT-PRIORITY")
	}
	if s.deliverByOffered() {
		words = append(words, "DELIVERBY "+strconv.Itoa(int(minDeliverBy/time.Second)))
	}
	if s.xclientOffered() {
		words = append(words, "XCLIENT "+xclientAttributes)
	}
	limit := orDefault(s.MaxRecipients, defaultMaxRecipients)
	return append(words, "SMTPUTF8", "CHUNKING", "LIMITS RCPTMAX="+strconv.Itoa(limit)) // RFC 9422
}

func (s *session) maxSize() int64 { return orDefault(s.MaxSize, defaultMaxSize) }

func (s *session) startTLSOffered() bool {
	return s.StartTLS && s.proto != Stdio && s.c.TLS() == nil
}

// dsnOffered keeps strangers from asking for reports to addresses that may not
// be theirs. On a submission port the client will have authenticated.
func (s *session) dsnOffered() bool {
	return s.mayRelay() || s.demandsAuth() || s.lmtp()
}

// futureOffered lets those who submit say when a letter shall go (RFC 4865).
func (s *session) futureOffered() bool { return s.demandsAuth() }

// priorityOffered lets those whose mail we send say what is urgent. Strangers
// would all be in a hurry (RFC 6710 section 11).
func (s *session) priorityOffered() bool { return s.mayRelay() || s.demandsAuth() }

// deliverByOffered lets those who may ask for reports say by when a letter shall be
// delivered: that, too, is a way to have reports sent (RFC 2852).
func (s *session) deliverByOffered() bool { return s.mayRelay() || s.demandsAuth() }

// mechanisms are those of AUTH that may be used now.
func (s *session) mechanisms() []string {
	if s.Accounts == nil || s.login != "" || s.proto == Stdio || s.lmtp() {
		return nil
	}
	if s.proto == SMTP && !s.trusted && !s.AuthOnMX {
		return nil
	}
	return auth.Mechanisms(s.Accounts, s.plaintextOK(), s.exchange())
}

// plaintextOK says that passwords may be sent in the clear: all the way, where a
// proxy has told us of the client.
func (s *session) plaintextOK() bool {
	if s.proxy && s.Plaintext == "loopback" {
		return s.c.PlaintextOK("never")
	}
	return s.c.PlaintextOK(s.Plaintext)
}

// doStartTLS begins TLS. What the client sent ahead was not protected and is
// forgotten, as is all it said (RFC 3207 section 4.2).
func (s *session) doStartTLS(args string) {
	switch {
	case args != "":
		s.refuse(501, "5.5.4", "STARTTLS takes no parameter")
	case s.c.TLS() != nil:
		s.refuse(503, "5.5.1", "TLS is active")
	case !s.startTLSOffered():
		s.refuse(502, "5.5.1", "STARTTLS not offered")
	default:
		s.startTLS()
	}
}

func (s *session) startTLS() {
	s.reset()
	s.in.drop()
	s.reply(220, "2.0.0", "ready to start TLS")
	if err := s.c.StartTLS(s.ctx); err != nil {
		s.quit = true // nothing that we could say would be understood
		return
	}
	s.helo, s.esmtp, s.login = "", false, ""
}

// replyLines writes a reply of several lines.
func (s *session) replyLines(code int, lines []string) {
	s.out = s.out[:0]
	for i, line := range lines {
		s.out = strconv.AppendInt(s.out, int64(code), 10)
		mark := byte('-')
		if i == len(lines)-1 {
			mark = ' '
		}
		s.out = append(append(append(s.out, mark), line...), '\r', '\n')
	}
	_, _ = s.c.Write(s.out) // a failed write shows at the next read
}
