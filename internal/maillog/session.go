package maillog

import (
	"context"
	"net/netip"
)

// A Session is something in a session with a mailbox that is worth a line.
type Session struct {
	Kind      SessionKind
	Peer      netip.AddrPort
	Login     string // as the client gave it
	Method    string // of the login: a SASL mechanism, the command of one, or "preauth"
	TLS       bool
	Retrieved int   // letters, with LoggedOut
	Octets    int64 // of them
	Deleted   int
	Clean     bool  // with LoggedOut: the client said goodbye
	Err       error // with LoginFailed and Troubled
}

// A SessionKind says what happened.
type SessionKind int

// The kinds of Session.
const (
	LoggedIn SessionKind = iota
	LoginFailed
	LoggedOut
	Troubled // an error of this host, which the client is told nothing of
)

// Session writes the line about e in a session of that protocol.
func (l *Log) Session(ctx context.Context, proto string, e Session) {
	peer := ""
	if e.Peer.IsValid() {
		peer = e.Peer.String()
	}
	switch e.Kind {
	case LoggedIn:
		l.Login(ctx, proto, peer, e.Login, e.Method, e.TLS)
	case LoginFailed:
		l.LoginFailed(ctx, proto, peer, e.Login, e.Method, e.Err)
	case LoggedOut:
		l.Logout(ctx, proto, peer, e.Login, e.Retrieved, e.Octets, e.Deleted, e.Clean)
	case Troubled:
		l.SessionFailed(ctx, proto, peer, e.Login, e.Err)
	}
}
