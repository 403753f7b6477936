package smtpsrv

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"postbag/internal/netserve"
	"postbag/internal/status"
)

// A session is the state of one connection.
type session struct {
	*Server
	c     Conn
	ctx   context.Context
	in    *lines
	out   []byte // scratch for one reply
	proto string

	client
	helo    string // what the client calls itself; "" before HELO
	esmtp   bool   // it said EHLO or LHLO
	trusted bool   // by its address: may relay without AUTH
	login   string // account, once authenticated

	mail *envelope // open transaction, from MAIL to the end of DATA
	bdat *letter   // letter coming in by BDAT, with mail open

	failures int // refused commands
	idle     int // commands that did nothing, since the last letter
	logins   int // failed logins
	quit     bool
}

// trustPeer decides whether the address of the client lets it relay. An
// unknown peer never may; the loopback counts only when both ends are on it
// (a proxy on this host must not lend its address to strangers).
func (s *session) trustPeer() {
	s.trusted = s.proto == Stdio || s.proto == SMTP && s.contains(s.RelayFrom, s.peer.Addr(), s.loopback())
}

// loopback says that the client itself is on this host.
func (s *session) loopback() bool { return s.c.Loopback() && !s.proxy }

// contains says whether nets have an address; that of the loopback is one only
// where both ends are on it.
func (s *session) contains(nets []netip.Prefix, a netip.Addr, loopback bool) bool {
	a = a.Unmap()
	if !a.IsValid() || a.IsLoopback() && !loopback {
		return false
	}
	return slices.ContainsFunc(nets, func(p netip.Prefix) bool { return p.Contains(a) || sameMapped(p, a) })
}

// sameMapped lets ::ffff:192.0.2.0/120 stand for 192.0.2.0/24.
func sameMapped(p netip.Prefix, peer netip.Addr) bool {
	return p.Addr().Is4In6() && p.Bits() >= 96 && peer.Is4() &&
		netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96).Contains(peer)
}

// mayRelay says that mail from this client is not a stranger's.
func (s *session) mayRelay() bool { return s.trusted || s.login != "" }

func (s *session) lmtp() bool { return s.proto == LMTP }

func (s *session) demandsAuth() bool { return s.proto == Submission || s.proto == Submissions }

func (s *session) greet() {
	kind := " ESMTP postbag"
	if s.lmtp() {
		kind = " LMTP postbag"
	}
	s.replyLine(220, s.Hostname+kind)
}

// end leaves nothing of the session behind.
func (s *session) end() {
	s.reset()
	s.in.release()
	_ = s.c.Flush() // the peer may be gone; whoever closes the connection logs it
}

// run reads and answers commands until the session ends.
func (s *session) run() error {
	for !s.quit {
		if s.draining() {
			s.reply(421, "4.3.2", s.Hostname+" service is shutting down")
			return nil
		}
		s.c.Busy(len(s.in.pending()) > 0)
		line, err := s.in.line()
		s.c.Busy(true)
		switch {
		case errors.Is(err, errLineTooLong):
			s.misread(line, "line too long")
		case err != nil:
			return s.readError(err)
		default:
			s.command(line)
		}
		s.in.shrink()
	}
	return nil
}

func (s *session) draining() bool { return netserve.Ending(s.c) }

// readError says goodbye where somebody may still listen.
func (s *session) readError(err error) error {
	switch {
	case s.draining():
		s.reply(421, "4.3.2", s.Hostname+" service is shutting down")
	case errors.Is(err, os.ErrDeadlineExceeded):
		s.reply(421, "4.4.2", s.Hostname+" timeout, closing connection")
	case !errors.Is(err, io.EOF):
		return err
	}
	return nil
}

// command carries out one command line.
func (s *session) command(line []byte) {
	if bytes.IndexByte(line, 0) >= 0 || bytes.IndexByte(line, '\r') >= 0 {
		s.misread(line, "control character in command")
		return
	}
	verb, args, _ := strings.Cut(string(line), " ")
	args = strings.Trim(args, " \t")
	verb = strings.ToUpper(verb)
	if startsChunk(line) && verb != "BDAT" {
		s.misread(line, "command not recognized")
		return
	}
	if s.bdat != nil && strings.Contains(" RCPT DATA AUTH STARTTLS XCLIENT ", " "+verb+" ") { // RFC 3030 section 2
		s.refuse(503, "5.5.1", "BDAT expected")
		return
	}
	switch verb {
	case "MAIL":
		s.doMail(args)
	case "RCPT":
		s.doRcpt(args)
	case "DATA":
		s.doData(args)
	case "BDAT":
		s.doBdat(args)
	case "AUTH":
		s.doAuth(args)
	default:
		s.control(verb, args)
	}
}

// misread answers a line that is no command. After one that meant to announce
// a chunk the session ends: its octets would be read as commands.
func (s *session) misread(line []byte, why string) {
	if startsChunk(line) {
		s.reply(500, "5.5.2", why)
		s.quit = true
		return
	}
	s.refuse(500, "5.5.2", why)
}

func startsChunk(line []byte) bool {
	return len(line) >= 4 && bytes.EqualFold(line[:4], []byte("BDAT"))
}

// control carries out the commands that do not belong to a letter.
func (s *session) control(verb, args string) {
	switch verb {
	case "HELO", "EHLO", "LHLO":
		s.doHello(verb, args)
	case "STARTTLS":
		s.doStartTLS(args)
	case "XCLIENT":
		s.doXclient(args)
	case "QUIT":
		s.reply(221, "2.0.0", "Bye")
		s.quit = true
	case "RSET":
		s.doRset(args)
	case "NOOP":
		s.harmless(250, "2.0.0", "Ok")
	case "HELP":
		s.harmless(214, "2.0.0", "see RFC 5321")
	case "VRFY":
		s.doVrfy(args)
	case "EXPN", "TURN", "ETRN", "SEND", "SOML", "SAML":
		s.refuse(502, "5.5.1", "command not implemented")
	case "GET", "POST", "CONNECT", "PUT", "OPTIONS":
		// A browser was made to talk to us; what follows is its body.
		s.reply(221, "2.7.0", "this is a mail server")
		s.quit = true
	default:
		s.refuse(500, "5.5.2", "command not recognized")
	}
}

// doRset ends the transaction. Parameters that nobody has defined are an error (RFC
// 5321 section 4.1.1).
func (s *session) doRset(args string) {
	if args != "" {
		s.refuse(501, "5.5.4", "RSET takes no parameter")
		return
	}
	s.reset()
	s.harmless(250, "2.0.0", "Ok")
}

// doVrfy tells nobody who is here (RFC 5321 section 3.5.3).
func (s *session) doVrfy(args string) {
	if args == "" {
		s.refuse(501, "5.5.4", "syntax: VRFY address")
		return
	}
	s.harmless(252, "2.0.0", "send some mail, I will try my best")
}

// reset ends the transaction, if there is one, without a letter.
func (s *session) reset() {
	if s.bdat != nil {
		s.bdat.discard()
		s.bdat = nil
	}
	s.mail = nil
}

// harmless answers a command that does nothing, as often as is usual.
func (s *session) harmless(code int, enhanced, text string) {
	if s.idle++; s.idle > maxIdleCommands {
		s.hangUp("too many commands without a letter")
		return
	}
	s.reply(code, enhanced, text)
}

// refuse answers a command that was wrong, and counts.
func (s *session) refuse(code int, enhanced, text string) {
	s.reply(code, enhanced, text)
	s.fault()
}

// fault counts an error, and ends a session that consists of them.
func (s *session) fault() {
	if s.failures++; s.failures >= orDefault(s.MaxErrors, defaultMaxErrors) {
		s.hangUp("too many errors")
	}
}

func (s *session) hangUp(why string) {
	s.reply(421, "4.7.0", s.Hostname+" error: "+why)
	s.quit = true
}

// refuseStatus answers with what err may tell a peer.
func (s *session) refuseStatus(err error) {
	code, enhanced, text := status.Reply(err)
	s.reply(code, enhanced, text)
}

// reply writes one line with an enhanced status code (RFC 2034).
func (s *session) reply(code int, enhanced, text string) {
	s.replyLine(code, enhanced+" "+text)
}

// maxReply is the longest text of a reply: RFC 5321 section 4.5.3.1.5 has 512
// octets for the line.
const maxReply = 500

// replyLine writes one line of what may be said in one.
func (s *session) replyLine(code int, text string) {
	s.writeLine(code, text[:min(len(text), maxReply)])
}

// writeLine writes one line. A failed write shows at the next read. What we quote
// must not make a line of its own, and replies are ASCII though addresses are not (RFC
// 6531 section 3.7.4.2).
func (s *session) writeLine(code int, text string) {
	s.out = strconv.AppendInt(s.out[:0], int64(code), 10)
	s.out = append(s.out, ' ')
	for _, c := range text {
		if c < ' ' || c >= 0x7f {
			c = '?'
		}
		s.out = append(s.out, byte(c))
	}
	s.out = append(s.out, '\r', '\n')
	_, _ = s.c.Write(s.out)
}
