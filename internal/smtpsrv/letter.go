package smtpsrv

import (
	"bytes"
	"crypto/tls"
	"slices"
	"strings"
	"sync"

	"postbag/internal/message"
	"postbag/internal/spool"
	"postbag/internal/status"
)

const (
	// letterBuffer takes an ordinary letter whole, so that it is written to
	// disk at once.
	letterBuffer = 64 << 10
	// flushAt leaves room for what one read brings.
	flushAt = letterBuffer - bigBuffer
	// maxHeader is the largest header: it is held in memory until it ends.
	maxHeader = 1 << 20
	// discardLimit is how many times the size limit a letter may be before we
	// hang up instead of waiting for its end.
	discardLimit = 4
)

// letterBuffers are shared by all sessions: memory without state.
var letterBuffers = sync.Pool{New: func() any {
	b := make([]byte, 0, letterBuffer)
	return &b
}}

// A letter is the text of a transaction on its way from the connection to the
// intake. After an error it goes on taking octets, and forgets them, until
// the client has sent the last.
type letter struct {
	unpacker
	s    *session
	env  *spool.Envelope
	tx   Transaction // nil after finish and discard, and when there never was one
	buf  *[]byte     // given back at the end
	own  int         // octets at the start of out that are our trace field
	body bool        // the header is done
	err  error       // the first
}

// begin starts a letter for the open transaction. One that cannot be taken has
// its err from the start.
func (s *session) begin(dots bool) *letter {
	l := &letter{s: s, env: s.spoolEnvelope(), buf: letterBuffers.Get().(*[]byte)}
	l.dots = dots
	l.out = (*l.buf)[:0]
	if l.tx, l.err = s.intake().Begin(s.ctx, l.env); l.err != nil {
		l.tx = nil
		return l
	}
	l.out = append(l.out, s.trace(l.env).Received().Raw...)
	l.own = len(l.out)
	return l
}

// intake is who takes letters of this client.
func (s *session) intake() Intake {
	if s.Strangers != nil && !s.mayRelay() && !s.lmtp() {
		return s.Strangers
	}
	return s.Intake
}

func (s *session) spoolEnvelope() *spool.Envelope {
	m := s.mail
	env := &spool.Envelope{
		From: m.from, To: s.withCopy(m.to), Arrived: s.now(),
		Body: string(m.opts.Body), SMTPUTF8: m.opts.UTF8, Ret: string(m.opts.Return), EnvID: m.opts.EnvelopeID, RequireTLS: m.opts.RequireTLS,
		NotBefore: m.opts.notBefore(s.now()), Release: m.opts.release, Priority: m.opts.priority, By: m.opts.deliverBy(s.now()), ByMode: m.opts.byMode,
		Proto: s.with(), ClientIP: s.peerIP(), HELO: s.helo, Login: s.login, UID: -1,
	}
	if s.proto == Stdio {
		env.UID = s.UID
	}
	return env
}

// withCopy adds who gets a copy of each letter, unseen. What comes by LMTP is a
// copy of its own that somebody else delivers to us.
func (s *session) withCopy(to []spool.Recipient) []spool.Recipient {
	if s.AlwaysBCC.IsNull() || s.lmtp() {
		return to
	}
	return append(slices.Clip(to), spool.Recipient{Address: s.AlwaysBCC, Notify: "NEVER"})
}

// peerIP is the address of the client, or "".
func (s *session) peerIP() string {
	if peer := s.peer.Addr(); peer.IsValid() {
		return peer.Unmap().String()
	}
	return ""
}

// with names the protocol, from the IANA registry "Mail Transmission Types"
// (RFC 3848, RFC 6531 section 4.3).
func (s *session) with() string {
	if !s.esmtp {
		return "SMTP"
	}
	name := "ESMTP"
	switch utf8 := s.mail.opts.UTF8; {
	case s.lmtp() && utf8:
		name = "UTF8LMTP"
	case s.lmtp():
		name = "LMTP"
	case utf8:
		name = "UTF8SMTP"
	}
	if s.c.TLS() != nil {
		name += "S"
	}
	if s.login != "" {
		name += "A"
	}
	return name
}

func (s *session) trace(env *spool.Envelope) message.Trace {
	t := message.Trace{ByHost: s.Hostname, With: env.Proto, ID: string(env.ID), UID: env.UID, At: env.Arrived, Priority: env.Priority}
	if s.proto != Stdio {
		t.FromHELO, t.FromName, t.FromIP = s.helo, s.name, traceIP(env.ClientIP)
	}
	if state := s.c.TLS(); state != nil {
		t.TLS = tls.VersionName(state.Version) + " with cipher " + tls.CipherSuiteName(state.CipherSuite)
	}
	// What goes on without SMTPUTF8 must not have it in trace fields (RFC 6531
	// section 3.7.3), and nobody knows now whether this does.
	if len(env.To) == 1 && env.To[0].Address.IsASCII() {
		t.For = env.To[0].Address.String()
	}
	return t
}

// traceIP writes an address as in an address literal (RFC 5321 section 4.1.3).
func traceIP(ip string) string {
	if strings.Contains(ip, ":") {
		return "IPv6:" + ip
	}
	return ip
}

// take unpacks the beginning of p; see unpacker.feed.
func (l *letter) take(p []byte) (used int, done bool) {
	used, done = l.feed(p)
	l.relieve()
	return used, done
}

// takeChunk unpacks all of p.
func (l *letter) takeChunk(p []byte) {
	l.chunk(p)
	l.relieve()
}

// relieve passes on what has gathered, if it is much.
func (l *letter) relieve() {
	if l.err == nil && l.size > l.s.maxSize() {
		l.fail(status.Error{Op: "receive", Class: status.Permanent, Code: "5.3.4", Reply: 552, Text: "message size exceeds fixed limit"})
	}
	if l.err != nil {
		l.out = l.out[:0]
		return
	}
	if len(l.out) >= flushAt {
		l.flush(false)
	}
}

// hopeless says that the client is not worth waiting for any longer.
func (l *letter) hopeless() bool { return l.size/discardLimit > l.s.maxSize() }

func (l *letter) fail(e status.Error) {
	if e.Err == nil {
		e.Err = errRefused
	}
	if l.err == nil {
		l.err = &e
	}
}

// flush writes what has gathered. The header is seen whole before any of it is
// written.
func (l *letter) flush(last bool) {
	if !l.body && !l.header(last) {
		return
	}
	if l.err != nil || len(l.out) == 0 {
		return
	}
	if _, err := l.tx.Write(l.out); err != nil {
		l.err = err
	}
	l.out = l.out[:0]
}

// header looks at the header, mends that of a submission, and reports whether
// it is complete.
func (l *letter) header(last bool) bool {
	text := l.out[l.own:]
	if !last && len(text) <= maxHeader && !bytes.Contains(text, []byte("\n\n")) && !bytes.HasPrefix(text, []byte("\n")) {
		return false
	}
	l.body = true
	h, rest := message.Parse(text)
	if len(text)-len(rest) > maxHeader {
		l.fail(status.Error{Op: "receive", Class: status.Permanent, Code: "5.3.4", Reply: 552, Text: "message header size exceeds fixed limit"})
		return true
	}
	if message.Hops(h) > message.MaxHops {
		l.fail(status.Error{Op: "receive", Class: status.Permanent, Code: "5.4.6", Reply: 554, Text: "too many hops, mail loop"})
		return true
	}
	switch {
	case l.s.completes():
		l.complete(h, rest)
	case len(h.Fields) == 0 && !bytes.HasPrefix(text, []byte("\n")):
		l.rewrite(h, rest) // our trace field must not swallow the text
	case h.Has(message.EnvelopeField):
		h.Escape()
		l.rewrite(h, rest)
	}
	return true
}

// completes says that the letter comes from a user, not from another server.
func (s *session) completes() bool {
	return s.proto == Stdio || s.login != ""
}

func (l *letter) complete(h *message.Header, rest []byte) {
	sub := message.Submission{Hostname: l.s.Hostname, Origin: l.s.origin(), From: l.env.From, Now: l.env.Arrived, Masquerade: l.s.Masquerade}
	if err := sub.Complete(h); err != nil {
		l.fail(status.Error{Op: "complete header", Class: status.Permanent, Code: "5.6.0", Reply: 554, Text: "bad header", Err: err})
		return
	}
	l.rewrite(h, rest)
}

// rewrite puts h in front of rest, after our trace field.
func (l *letter) rewrite(h *message.Header, rest []byte) {
	out := make([]byte, 0, len(l.out)+512)
	out = append(out, l.out[:l.own]...)
	out = append(out, h.Bytes()...)
	l.out = append(out, rest...)
}

// finish makes the letter durable, or says why it is not taken.
func (l *letter) finish() ([]error, error) {
	defer l.release()
	l.check()
	if l.err == nil {
		l.flush(true)
	}
	if l.err != nil {
		l.discard()
		return nil, l.err
	}
	tx := l.tx
	l.tx = nil
	return tx.Commit(l.s.ctx)
}

// check refuses text that other servers could read differently (RFC 5321
// section 2.3.8) or lose (NUL, RFC 5322 section 4).
func (l *letter) check() {
	if l.s.mayRelay() || l.s.lmtp() || l.s.proto == Stdio {
		return
	}
	switch {
	case (l.bareCR || l.bareLF) && !l.s.Normalize:
		l.fail(status.Error{Op: "receive", Class: status.Permanent, Code: "5.5.2", Reply: 550, Text: "bare CR or LF in message"})
	case l.nul:
		l.fail(status.Error{Op: "receive", Class: status.Permanent, Code: "5.6.0", Reply: 550, Text: "NUL in message"})
	}
}

// discard forgets the letter.
func (l *letter) discard() {
	if l.tx != nil {
		l.tx.Discard()
		l.tx = nil
	}
	l.release()
}

func (l *letter) release() {
	if l.buf != nil {
		letterBuffers.Put(l.buf)
		l.buf, l.out = nil, nil
	}
}
