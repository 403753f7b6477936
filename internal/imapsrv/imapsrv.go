// Package imapsrv holds one session of an IMAP server: IMAP4rev1 (RFC 3501) and
// IMAP4rev2 (RFC 9051).
//
// # What it promises
//
// An OK to APPEND, COPY, MOVE, STORE and EXPUNGE, and every UID and flag that is
// told, survives a crash: package mailbox sees to it. A session believes one
// version of its folder (a mailbox.View) and steps to the next only where EXPUNGE
// may be sent, so that sequence numbers mean what the client thinks they do.
// Octets of a literal are never read as commands.
//
// # Why there is an engine here
//
// The server of github.com/emersion/go-imap/v2 carries out the literal of a
// refused command as new commands, and cannot be extended.
package imapsrv

import (
	"context"
	"time"

	"postbag/internal/account"
	"postbag/internal/auth"
	"postbag/internal/maillog"
	"postbag/internal/metrics"
	"postbag/internal/netserve"
)

// Conn is the connection of a session, usually a *netserve.Conn. Writes may wait
// until WaitInput, too.
type Conn interface {
	netserve.Client
	// WaitInput waits until the client has sent something (true) or Wake has been
	// called (false), which anybody may do at any time.
	WaitInput() (bool, error)
	Wake()
}

// A Server holds what all sessions share. Its fields must not change while a
// session runs. Accounts and Open are needed.
type Server struct {
	Accounts auth.Directory
	Throttle *auth.Throttle // nil: failed logins are only counted per session

	// Open opens the folders of an account; the session closes the tree.
	Open func(ctx context.Context, a auth.Account) (*account.Tree, error)

	Plaintext    string                // policy for Conn.PlaintextOK
	StartTLS     bool                  // a certificate is there
	Preauth      *auth.Account         // the session is already logged in
	MaxSize      int64                 // octets of a letter in APPEND; 0 means 50 MiB
	MessageLimit int                   // letters that one command may work on; 0 for any number
	IdleTimeout  time.Duration         // 0 means 30 minutes (RFC 9051 section 5.4)
	Version      string                // for ID
	Report       func(maillog.Session) // told what happens; nil: nobody
	Commands     *metrics.Counters     // of each name; nil: nobody counts
}

const (
	defaultIdle    = 30 * time.Minute
	loginTimeout   = time.Minute     // of one read before the login
	loginLimit     = 3 * time.Minute // from the greeting to the login
	defaultMaxSize = 50 << 20
	// maxErrors bounds wrong commands in a row; maxEarlyErrors those before the
	// login.
	maxErrors      = 20
	maxEarlyErrors = 5
	// maxLoginFailures is how many failed logins a connection has.
	maxLoginFailures = 5
)

// Serve runs one session on c, to its end. It does not close c. It returns the
// error that ended the session, if there is one to report.
func (s *Server) Serve(ctx context.Context, c Conn) error {
	sess := newSession(ctx, s, c)
	defer sess.end()
	if s.Preauth != nil {
		if !sess.enter(*s.Preauth, "preauth") {
			sess.line("* BYE mailbox is not available")
			return nil
		}
		sess.line("* PREAUTH [CAPABILITY " + sess.capabilities() + "] logged in as " + s.Preauth.Name)
	} else {
		sess.line("* OK [CAPABILITY " + sess.capabilities() + "] postbag ready")
	}
	return sess.run()
}
