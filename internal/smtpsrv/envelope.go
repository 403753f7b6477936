package smtpsrv

import (
	"strconv"
	"strings"
	"time"

	"postbag/internal/address"
	"postbag/internal/spool"
)

// An envelope is an open transaction: MAIL was accepted.
type envelope struct {
	from    address.Address
	opts    *options
	to      []spool.Recipient
	refused int // recipients that were not taken
}

// doMail opens a transaction. A second MAIL inside one is an error (RFC 5321
// section 4.1.4); recipients must never belong to another sender.
func (s *session) doMail(args string) {
	path, ok := afterColon(args, "FROM")
	switch {
	case s.mail != nil:
		s.refuse(503, "5.5.1", "nested MAIL command")
	case s.lmtp() && s.helo == "":
		s.refuse(503, "5.5.1", "LHLO first")
	case s.demandsAuth() && s.login == "":
		s.refuse(530, "5.7.0", "authentication required")
	case !ok:
		s.refuse(501, "5.5.4", "syntax: MAIL FROM:<address>")
	default:
		s.openMail(path)
	}
}

func (s *session) openMail(path string) {
	from, rest, err := parsePath(path)
	if err != nil {
		s.refuse(501, "5.1.7", "bad sender address syntax")
		return
	}
	opts, bad := mailOptions(rest, offered{s.dsnOffered(), s.futureOffered(), s.priorityOffered(), s.deliverByOffered()})
	switch {
	case bad != nil:
		s.refuse(bad.Code, "5.5.4", bad.Message)
	case !from.IsASCII() && !opts.UTF8:
		s.refuse(550, "5.6.7", "sender address needs SMTPUTF8") // RFC 6531 section 3.5
	case opts.RequireTLS && s.c.TLS() == nil:
		s.refuse(530, "5.7.10", "REQUIRETLS needs TLS") // RFC 8689 section 2
	case opts.notBefore(s.now()).After(s.now().Add(maxHold)):
		s.refuse(501, "5.5.4", "hold time exceeds the limit")
	case strings.HasPrefix(opts.byMode, "R") && opts.by < minDeliverBy:
		s.refuse(555, "5.5.4", "time is below the minimum of "+strconv.Itoa(int(minDeliverBy/time.Second))+" seconds")
	case opts.byMode != "" && opts.deliverBy(s.now()).Before(opts.notBefore(s.now())):
		s.refuse(501, "5.5.4", "message is to be delivered before it is to be sent")
	case opts.Size > s.maxSize():
		s.refuse(552, "5.3.4", "message size exceeds fixed limit") // RFC 1870 section 6.1
	default:
		if from.Domain == "" && !from.IsNull() {
			from.Domain = s.origin()
		}
		if err := s.senderRefused(from, opts.Size); err != nil {
			s.refuseStatus(err)
			s.Log.Refused(s.ctx, s.peerIP(), from.String(), "", replyCode(err), err.Error())
			s.fault()
			return
		}
		if s.mayRelay() {
			from = s.Masquerade.Address(from)
		}
		s.mail = &envelope{from: from, opts: opts}
		s.reply(250, "2.1.0", "Ok")
	}
}

// doRcpt adds a recipient.
func (s *session) doRcpt(args string) {
	path, ok := afterColon(args, "TO")
	switch {
	case s.mail == nil:
		s.refuse(503, "5.5.1", "MAIL first")
	case !ok:
		s.refuse(501, "5.5.4", "syntax: RCPT TO:<address>")
	case len(s.mail.to) >= orDefault(s.MaxRecipients, defaultMaxRecipients):
		s.reply(452, "4.5.3", "too many recipients") // RFC 5321 section 4.5.3.1.10
	default:
		s.addRcpt(path)
	}
}

func (s *session) addRcpt(path string) {
	to, rest, err := parsePath(path)
	if err != nil || to.IsNull() {
		s.refuse(501, "5.1.3", "bad recipient address syntax")
		return
	}
	opts, bad := rcptOptions(rest, s.dsnOffered())
	switch {
	case bad != nil:
		s.refuse(bad.Code, "5.5.4", bad.Message)
	case !to.IsASCII() && !s.mail.opts.UTF8:
		s.refuse(553, "5.6.7", "recipient address needs SMTPUTF8")
	case s.admitted(to):
		s.mail.to = append(s.mail.to, spool.Recipient{Address: to, Orig: originalString(opts), Notify: notifyString(opts)})
		s.reply(250, "2.1.5", "Ok")
	default:
		s.mail.refused++
		if !s.mayRelay() && !s.lmtp() {
			s.fault() // strangers who try names
		}
	}
}

// admitted decides whether mail for to is taken from this client, and answers
// if it is not. What an address leads to is decided by its own server: ours
// for local domains; for others we only must be willing to send there.
func (s *session) admitted(to address.Address) bool {
	if !s.Recipients.Local(to) {
		switch {
		case s.lmtp():
			s.reply(550, "5.7.1", "<"+to.String()+">: not a local recipient")
			return false
		case !s.mayRelay() && !s.Recipients.Relay(to):
			s.reply(550, "5.7.1", "<"+to.String()+">: relay access denied")
			s.Log.Refused(s.ctx, s.peerIP(), s.mail.from.String(), to.String(), "550 5.7.1", "relay access denied")
			return false
		}
	}
	if err := s.Recipients.Check(s.ctx, s.mail.from, to); err != nil {
		s.refuseStatus(err)
		s.Log.Refused(s.ctx, s.peerIP(), s.mail.from.String(), to.String(), replyCode(err), err.Error())
		return false
	}
	return true
}

// afterColon returns what follows word and a colon. Blanks around the colon
// are not in the grammar, but old scripts have them.
func afterColon(args, word string) (string, bool) {
	if len(args) < len(word) || !strings.EqualFold(args[:len(word)], word) {
		return "", false
	}
	rest, ok := strings.CutPrefix(strings.TrimLeft(args[len(word):], " "), ":")
	rest = strings.TrimLeft(rest, " ")
	return rest, ok && rest != ""
}

// parsePath reads a path and returns the parameters after it. The brackets may
// be missing, as for Sendmail and Postfix.
func parsePath(s string) (address.Address, string, error) {
	if strings.HasPrefix(s, "<") {
		return address.ParsePath(s)
	}
	word, rest, _ := strings.Cut(s, " ")
	a, err := address.ParseUnqualified(word)
	return a, rest, err
}
