package imapsrv

import (
	"errors"
	"fmt"
	"slices"

	"postbag/internal/account"
	"postbag/internal/imapwire"
	"postbag/internal/mailbox"
)

// doCopy is COPY and MOVE.
func (s *session) doCopy(byUID, move bool) (string, error) {
	positions, err := s.spSet(byUID)
	if err != nil {
		return "", err
	}
	name, err := s.spName()
	if err == nil {
		err = s.crlf()
	}
	if err != nil {
		return "", err
	}
	if move && s.sel.readOnly {
		return "", no("[READ-ONLY] mailbox is read-only")
	}
	if !byUID && s.someGone(positions) {
		return "", no("[EXPUNGEISSUED] some of the messages are gone") // all are copied, or none
	}
	to, err := s.tree.Open(s.ctx, name)
	if err != nil {
		return "", tryCreate(err)
	}
	defer to.Close()
	do, limit := mailbox.Copy, ""
	if move {
		do = mailbox.Move
		positions, limit = s.within(positions)
	} else if err := s.allOrNone(positions); err != nil {
		return "", err
	}
	var was, is []uint32
	err = s.during(func() (err error) {
		was, is, err = do(s.ctx, s.sel.folder, s.uids(positions), to)
		return err
	})
	if err != nil || len(was) == 0 {
		return "nothing to do", err
	}
	s.putIn(name, is)
	code := fmt.Sprintf("[COPYUID %d %s %s]", to.View().UIDValidity(), imapwire.FormatSet(was), imapwire.FormatSet(is))
	if !move {
		return code + " done", nil
	}
	s.line("* OK " + code + " done") // RFC 6851 section 4.3: before the EXPUNGE responses
	return s.both(limit, s.highestNow(true)), nil
}

// someGone reports whether others have expunged letters that this session still
// has numbers for. UIDs that are not there are passed over (RFC 9051 section 6.4.9).
func (s *session) someGone(positions []int) bool {
	cur := s.sel.folder.View()
	return cur != s.sel.view && slices.ContainsFunc(positions, func(i int) bool {
		_, there := cur.Index(s.sel.view.At(i).UID)
		return !there
	})
}

// tryCreate tells a client that it may make the folder (RFC 9051 section 6.4.7).
func tryCreate(err error) error {
	if errors.Is(err, account.ErrNoFolder) {
		return no("[TRYCREATE] no such mailbox")
	}
	return err
}
