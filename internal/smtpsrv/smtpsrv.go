// Package smtpsrv holds one session of a mail server: SMTP (RFC 5321) as a
// mail exchanger, submission with STARTTLS or under TLS (RFC 6409, RFC 8314),
// LMTP (RFC 2033), and SMTP on standard input for sendmail -bs.
//
// # What it promises
//
// A 250 to DATA or to the last BDAT is sent only after [Transaction.Commit]
// returned, which makes the letter durable; in LMTP the reply for a recipient
// says that its letter is in the Maildir. A session that ends before that
// leaves nothing behind, and the client, which has no 250, sends again.
//
// A letter ends at CRLF.CRLF and nowhere else, and octets of a letter are
// never read as commands: a command that was to be followed by octets we
// cannot count ends the session. Letters with a bare CR or LF are refused from
// strangers, so that no server behind us can see another end; what is stored
// has no CR at all.
//
// # Why there is an engine here and not go-smtp's Server
//
// The types are those of github.com/emersion/go-smtp (MailOptions,
// RcptOptions, SMTPError). Its Server was to be mended from outside, by a
// filter between it and the connection. That filter has to answer EHLO and
// STARTTLS itself, read every command to fix its address and its parameters,
// frame DATA and BDAT, watch AUTH dialogues, close after 421, and take over
// timeouts and draining; what is left for the Server is the table of commands,
// and each octet is framed twice. TestDefectsOfTheLibrary shows the same
// dialogues with both; BenchmarkSession has the figures: for a letter of 4 KiB
// the Server alone, without a filter, takes more than the engine here in
// processor time, and copies a letter at a tenth of its speed.
package smtpsrv

import (
	"context"
	"net/netip"
	"time"

	"postbag/internal/address"
	"postbag/internal/auth"
	"postbag/internal/maillog"
	"postbag/internal/message"
	"postbag/internal/netserve"
	"postbag/internal/spool"
)

// Protocols that a session can speak: what [Conn.Proto] returns.
const (
	SMTP        = "smtp"        // mail exchanger and relay
	Submission  = "submission"  // AUTH demanded
	Submissions = "submissions" // the same under TLS from the start
	LMTP        = "lmtp"        // local recipients only, a reply for each
	Stdio       = "stdio"       // sendmail -bs: a local user, no AUTH, no STARTTLS
)

// Conn is the connection of a session, usually a *netserve.Conn. Writes may
// wait until the next Read or Flush, as RFC 2920 wants.
type Conn interface {
	netserve.Client
	Loopback() bool
}

// Recipients knows which addresses we take mail for.
type Recipients interface {
	// Local says that the domain of a is ours, or that a has none: then we
	// alone know whether there is such a recipient.
	Local(a address.Address) bool
	// Relay says that mail for the domain of a is taken from anybody and sent
	// on.
	Relay(a address.Address) bool
	// Check returns nil when mail from somebody for a can be delivered or sent
	// on, else a status error for the reply to RCPT.
	Check(ctx context.Context, from, a address.Address) error
}

// Intake makes letters durable.
type Intake interface {
	// Begin starts a letter and sets env.ID.
	Begin(ctx context.Context, env *spool.Envelope) (Transaction, error)
}

// A Transaction is a letter that is being received. Exactly one of Commit and
// Discard is called.
type Transaction interface {
	// Write appends to the letter, in disk form.
	Write(p []byte) (int, error)
	// Commit makes the letter durable and then returns. perRecipient has an
	// entry for each of env.To: nil when its letter has arrived. err says that
	// the letter as a whole was not taken.
	Commit(ctx context.Context) (perRecipient []error, err error)
	Discard()
}

// A Server holds what all sessions share. Its fields must not change while a
// session runs. Hostname, Intake and Recipients are needed; other fields have
// a use when they are zero.
type Server struct {
	Hostname    string
	Origin      string // domain appended to a sender without one; "" means Hostname
	Intake      Intake
	Strangers   Intake // for letters of those who may not relay, but by LMTP; nil: Intake
	Recipients  Recipients
	Accounts    auth.Directory // nil: no AUTH
	Throttle    *auth.Throttle // nil: failed logins are only counted per session
	RelayFrom   []netip.Prefix // may relay without AUTH
	XclientFrom []netip.Prefix // may tell for whom they are connected
	AuthOnMX    bool           // offer AUTH on smtp:// to everybody
	Plaintext   string         // policy for Conn.PlaintextOK
	StartTLS    bool           // a certificate is there
	Senders     Senders        // who may write what as the reverse-path
	Normalize   bool           // take bare CR and LF from strangers too, as line ends

	Masquerade message.Masquerade // hosts that are not shown in letters of our own
	AlwaysBCC  address.Address    // gets a copy of each letter; null: nobody does

	MaxSize       int64         // octets of a letter; 0 means 50 MiB
	MaxRecipients int           // of a letter; 0 means 1,000
	MaxErrors     int           // refused commands before we hang up; 0 means 20
	IdleTimeout   time.Duration // 0 means 5 minutes (RFC 5321 section 4.5.3.2.7)

	UID int              // who runs sendmail -bs; used with Stdio only
	Log *maillog.Log     // nil: silent
	Now func() time.Time // nil: time.Now
}

const (
	defaultMaxSize       = 50 << 20
	defaultMaxRecipients = 1000 // RFC 5321 section 4.5.3.1.8 asks for at least 100
	defaultMaxErrors     = 20   // Postfix: smtpd_hard_error_limit
	defaultIdle          = 5 * time.Minute
	// maxIdleCommands bounds commands that do nothing (NOOP, RSET, VRFY),
	// counted anew with each letter taken. Postfix: smtpd_junk_command_limit.
	maxIdleCommands = 100
	// minRate is how many octets of a letter must come in a second, on average,
	// after IdleTimeout. Postfix has smtpd_min_data_rate = 500 when it is busy.
	minRate = 100
	// maxHold is how long a letter may be held back for its sender.
	maxHold = 30 * 24 * time.Hour
	// minDeliverBy is the least time for a letter that is else returned (RFC 2852).
	minDeliverBy = time.Minute
	// maxLoginFailures is how many failed logins a connection has.
	maxLoginFailures = 5
)

func orDefault[T int | int64 | time.Duration](v, def T) T {
	if v == 0 {
		return def
	}
	return v
}

func (s *Server) now() time.Time {
	if s.Now == nil {
		return time.Now()
	}
	return s.Now()
}

func (s *Server) origin() string {
	if s.Origin == "" {
		return s.Hostname
	}
	return s.Origin
}

// Serve runs one session on c, to its end. It does not close c. It returns
// the error that ended the session before QUIT, if there is one to report:
// a client that goes away is none.
func (s *Server) Serve(ctx context.Context, c Conn) error { return s.Begin(ctx, c)() }

// Begin greets the client. Rest is the session from there, as Serve has it: it
// must be called.
func (s *Server) Begin(ctx context.Context, c Conn) (rest func() error) {
	c.SetIdleTimeout(orDefault(s.IdleTimeout, defaultIdle))
	sess := &session{Server: s, c: c, ctx: ctx, in: newLines(c, orDefault(s.IdleTimeout, defaultIdle)), proto: c.Proto()}
	sess.peer = c.Peer()
	sess.trustPeer()
	sess.greet()
	return func() error {
		defer sess.end()
		return sess.run()
	}
}
