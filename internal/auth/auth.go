// Package auth knows who may log in, and how: accounts with their passwords, and
// the server's side of SASL.
//
// A wrong password and an unknown name are the same error after the same work,
// so that nobody learns which names there are. Secrets are compared in constant
// time. How many passwords are hashed at one time is bounded by the processors.
//
// The source of accounts is a passwd-file as Dovecot has it (see File).
package auth

import (
	"context"
	"errors"
)

// Errors that callers tell apart. Whatever else a Directory returns is trouble
// of this host, and temporary.
var (
	ErrBadCredentials = errors.New("authentication failed")
	ErrNoAccount      = errors.New("no such account")
)

// An Account is somebody who has a mailbox here.
type Account struct {
	Name    string // as in the users file: "ann" or "ann@example.org"
	UID     int    // -1: none of its own
	GID     int    // -1: none of its own
	Home    string
	Maildir string // where its mail is, when the users file says so
}

// A Directory knows accounts. It is safe for concurrent use.
type Directory interface {
	// Lookup finds an account by the name that somebody logs in or is written
	// to with, name or name@domain. ErrNoAccount when there is none.
	Lookup(ctx context.Context, name string) (Account, error)
	// Verify checks a password. ErrBadCredentials when name or password is
	// wrong.
	Verify(ctx context.Context, name, password string) (Account, error)
	// SCRAM gives what is needed to check a proof. An unknown name has
	// credentials too, which no password fits; then the Account is empty.
	SCRAM(ctx context.Context, name string) (Credentials, Account, error)
	// SCRAMPossible tells whether every account can use SCRAM.
	SCRAMPossible() bool
	// Token gives whose an OAuth token is: name, where it is not "", however the
	// account may be written. ErrBadCredentials, perhaps a *TokenError, when it is
	// not good.
	Token(ctx context.Context, name, token string) (Account, error)
	// TokensPossible tells whether there is anybody who can check tokens.
	TokensPossible() bool
	// List gives all accounts.
	List(ctx context.Context) ([]Account, error)
}

// Credentials are what a server keeps for SCRAM-SHA-256 (RFC 5802 section 3).
type Credentials struct {
	Salt       []byte
	Iterations int
	StoredKey  []byte
	ServerKey  []byte
}
