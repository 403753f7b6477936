package smtpsrv

import (
	"context"

	"postbag/internal/address"
	"postbag/internal/status"
)

// Senders judges who may write what as the reverse-path. Fields that are nil
// judge nothing.
type Senders struct {
	// Domain says whether mail to a domain that is not ours could be sent: a
	// stranger's letter that cannot be answered, nor a bounce of it sent, is
	// refused.
	Domain func(ctx context.Context, domain string) error
	// Owns says whether an account may write as an address.
	Owns func(login string, from address.Address) bool
	// Free is how many octets the spool's disk still has; below MinFree and the
	// size that the client tells, letters are refused for now.
	Free    func() (int64, error)
	MinFree int64
}

// senderRefused gives the reply to MAIL when the transaction may not begin.
func (s *session) senderRefused(from address.Address, size int64) error {
	if s.Senders.MinFree > 0 && s.Senders.Free != nil {
		// A disk that cannot be asked will say itself that it is full.
		if free, err := s.Senders.Free(); err == nil && free-size < s.Senders.MinFree {
			return &status.Error{Op: "receive", Code: "4.3.1", Reply: 452, Text: "insufficient system storage", Err: errRefused}
		}
	}
	switch {
	case from.IsNull():
		return nil
	case s.login != "":
		if s.Senders.Owns != nil && !s.Senders.Owns(s.login, from) {
			return &status.Error{Op: "receive", Class: status.Permanent, Code: "5.7.1", Reply: 553, Text: "<" + from.String() + ">: sender address not owned by user " + s.login, Err: errRefused}
		}
	case !s.mayRelay() && !s.lmtp() && s.Senders.Domain != nil && !s.Recipients.Local(from):
		return s.Senders.Domain(s.ctx, from.Domain)
	}
	return nil
}
