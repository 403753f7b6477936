// Package popsrv holds one session of a POP3 server (RFC 1939), with CAPA, TOP,
// UIDL, STLS, SASL, PIPELINING, RESP-CODES, AUTH-RESP-CODE, EXPIRE, UTF8 and LANG
// (RFC 2449, 2595, 3206, 5034, 6856).
//
// # What it promises
//
// A session sees the mailbox as it was at its login, whatever others deliver or
// expunge meanwhile; numbers never move. QUIT is answered with +OK after the
// letters marked by DELE are gone for good; a session that ends in any other
// way deletes nothing. Letters stay in new/ and keep their flags: a mailbox that
// is read by POP3 looks untouched to IMAP.
//
// There is no lock for the time of a session: any number of sessions of POP3
// and IMAP may use a mailbox. Of two that delete the same letter, both are told
// that it is gone, which it is.
//
// # Departures
//
//   - Letters with UTF-8 in their headers are given also to a client that did
//     not ask for UTF8. RFC 6856 section 2.1 would have them changed or refused;
//     but every server gives them, and clients cope.
//   - A dot is stuffed after every LF, not only after CRLF: most clients take a
//     bare LF for the end of a line, and would cut the letter there.
package popsrv

import (
	"context"
	"time"

	"postbag/internal/auth"
	"postbag/internal/mailbox"
	"postbag/internal/maillog"
	"postbag/internal/metrics"
	"postbag/internal/netserve"
)

// A Server holds what all sessions share. Its fields must not change while a
// session runs. Hostname, Accounts and Open are needed.
type Server struct {
	Hostname string
	Accounts auth.Directory
	Throttle *auth.Throttle // nil: failed logins are only counted per session

	// Open opens the inbox of an account; the session closes the folder.
	Open func(ctx context.Context, a auth.Account) (*mailbox.Folder, error)

	Plaintext   string                // policy for Conn.PlaintextOK
	StartTLS    bool                  // a certificate is there
	Preauth     *auth.Account         // the session is already logged in
	IdleTimeout time.Duration         // 0 means 10 minutes (RFC 1939 section 3)
	Report      func(maillog.Session) // told what happens; nil: nobody
	Commands    *metrics.Counters     // of each name; nil: nobody counts
}

const (
	// defaultIdle is the least that RFC 1939 section 3 allows.
	defaultIdle = 10 * time.Minute
	// maxErrors is how many commands may be wrong in a row before we hang up.
	maxErrors = 20
	// maxLoginFailures is how many failed logins a connection has.
	maxLoginFailures = 5
	// maxLine bounds a command line in octets, with its end: RFC 2449 section 4
	// has 255.
	maxLine = 12 << 10
	// maxResponse bounds a line of SASL, which may be of any length (RFC 5034
	// section 4): tokens of OAuth are of 10 KiB, too.
	maxResponse = 32 << 10
)

// Serve runs one session on c, to its end. It does not close c. It returns the
// error that ended the session before QUIT, if there is one to report: a client
// that goes away is none.
func (s *Server) Serve(ctx context.Context, c netserve.Client) error {
	idle := s.IdleTimeout
	if idle == 0 {
		idle = defaultIdle
	}
	c.SetIdleTimeout(idle)
	sess := &session{Server: s, c: c, ctx: ctx, in: newLines(c)}
	defer sess.end()
	if s.Preauth != nil {
		sess.enter(*s.Preauth, s.Preauth.Name, "preauth")
	} else {
		sess.ok(s.Hostname + " POP3 server ready")
	}
	return sess.run()
}
