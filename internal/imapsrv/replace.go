package imapsrv

import (
	"fmt"

	"postbag/internal/imapwire"
	"postbag/internal/mailbox"
)

// doReplace is REPLACE (RFC 8508): a letter comes in, and the one that it is to
// stand for goes. Killed in between, both are there, never none.
func (s *session) doReplace(byUID bool) (string, error) {
	uid, err := s.replaced(byUID)
	if err != nil {
		return "", err
	}
	name, err := s.spName()
	if err == nil {
		err = s.sp()
	}
	if err != nil {
		return "", err
	}
	if s.sel.readOnly {
		return "", no("[READ-ONLY] mailbox is read-only")
	}
	folder, err := s.tree.Open(s.ctx, name)
	if err != nil {
		return "", tryCreate(err)
	}
	defer folder.Close()
	a := folder.NewAppend()
	defer a.Discard()
	if err := s.appendOne(a); err != nil {
		return "", err
	}
	if err := s.crlf(); err != nil {
		return "", err
	}
	return s.replace(name, folder, a, uid)
}

// replaced reads a space and the number of the letter that is to go.
func (s *session) replaced(byUID bool) (uint32, error) {
	if err := s.sp(); err != nil {
		return 0, err
	}
	n, err := s.number32()
	if err != nil {
		return 0, err
	}
	positions, err := s.letters(imapwire.Set{Ranges: []imapwire.Range{{First: n, Last: n}}}, byUID)
	if err == nil && len(positions) == 0 {
		err = no("[NONEXISTENT] there is no such message")
	}
	if err != nil {
		return 0, err
	}
	return s.sel.view.At(positions[0]).UID, nil
}

func (s *session) replace(name string, folder *mailbox.Folder, a *mailbox.Append, uid uint32) (string, error) {
	if _, there := s.sel.folder.View().Index(uid); !there {
		return "", no("[EXPUNGEISSUED] that message is gone")
	}
	if err := a.Instead(s.ctx, s.sel.folder, uid); err != nil {
		return "", err
	}
	uids, err := a.Commit(s.ctx)
	if err != nil {
		return "", err
	}
	s.putIn(name, uids)
	s.line(fmt.Sprintf("* OK [APPENDUID %d %s] stored", folder.View().UIDValidity(), imapwire.FormatSet(uids)))
	if _, err := s.sel.folder.Expunge(s.ctx, []uint32{uid}); err != nil {
		return "", err
	}
	return s.highestNow(true) + "done", nil
}
