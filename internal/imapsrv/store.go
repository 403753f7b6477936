package imapsrv

import (
	"fmt"
	"slices"
	"strings"

	"postbag/internal/mailbox"
)

// flagList reads flags in parentheses, or for STORE without them.
func (s *session) flagList(bare bool) ([]string, error) {
	var names []string
	one := func() error {
		name, err := s.in.Flag()
		names = append(names, name)
		return err
	}
	if c, err := s.in.Peek(); err == nil && c == '(' || !bare {
		return names, s.in.List(one)
	}
	for {
		if err := one(); err != nil {
			return nil, err
		}
		if !s.in.Accept(' ') {
			return names, nil
		}
	}
}

// doStore changes flags.
func (s *session) doStore(byUID bool) (string, error) {
	positions, err := s.spSet(byUID)
	if err == nil {
		err = s.sp()
	}
	if err != nil {
		return "", err
	}
	item, err := s.storeItem()
	if err == nil {
		err = s.sp()
	}
	if err != nil {
		return "", err
	}
	names, err := s.flagList(true)
	if err == nil {
		err = s.crlf()
	}
	if err != nil {
		return "", err
	}
	if s.sel.readOnly {
		return "", no("[READ-ONLY] mailbox is read-only")
	}
	change, err := flagChange(item, names)
	if err != nil {
		return "", err
	}
	uids := s.uids(positions)
	if _, err := s.sel.folder.Store(s.ctx, uids, change, mailbox.Always); err != nil {
		return "", err
	}
	s.tellStored(positions, uids, strings.HasSuffix(item, ".SILENT"), byUID)
	return "done", nil
}

// storeItem reads FLAGS, +FLAGS or -FLAGS, with or without .SILENT.
func (s *session) storeItem() (string, error) {
	sign := ""
	for _, c := range "+-" {
		if s.in.Accept(byte(c)) {
			sign = string(c)
			break
		}
	}
	name, err := s.in.Atom()
	if err != nil {
		return "", err
	}
	name = strings.ToUpper(name)
	if name != "FLAGS" && name != "FLAGS.SILENT" {
		return "", bad("STORE changes FLAGS")
	}
	return sign + name, nil
}

func flagChange(item string, names []string) (c mailbox.FlagChange, err error) {
	// Clients send back what they were told, \Recent too.
	names = slices.DeleteFunc(names, func(n string) bool { return strings.EqualFold(n, `\Recent`) })
	flags, keywords, err := parseFlags(names)
	if err != nil {
		return c, err
	}
	if item[0] == '-' {
		return mailbox.FlagChange{Clear: flags, ClearKeywords: keywords}, nil
	}
	return mailbox.FlagChange{Set: flags, SetKeywords: keywords, Replace: item[0] != '+'}, nil
}

// tellStored writes the flags as they are now; with silent it only remembers
// that the client knows.
func (s *session) tellStored(positions []int, uids []uint32, silent, byUID bool) {
	cur := s.sel.folder.View()
	for k, uid := range uids {
		i, ok := cur.Index(uid)
		if !ok {
			continue
		}
		l := cur.At(i)
		s.sel.told[uid] = l.ModSeq
		if silent {
			continue
		}
		s.tellNew(l)
		b := fmt.Appendf(nil, "* %d FETCH (", positions[k]+1)
		if byUID {
			b = fmt.Appendf(b, "UID %d ", uid)
		}
		b = s.appendFlags(append(b, "FLAGS "...), l)
		s.line(string(b) + ")")
	}
}

// doExpunge is EXPUNGE and UID EXPUNGE (RFC 4315). The responses come with the
// step to the next version.
func (s *session) doExpunge(byUID bool) (string, error) {
	var uids []uint32
	if byUID {
		positions, err := s.spSet(true)
		if err != nil {
			return "", err
		}
		for _, i := range positions {
			if l := s.current(s.sel.view.At(i)); l.Flags&mailbox.Deleted != 0 {
				uids = append(uids, l.UID)
			}
		}
	}
	if err := s.crlf(); err != nil {
		return "", err
	}
	if s.sel.readOnly {
		return "", no("[READ-ONLY] mailbox is read-only")
	}
	if byUID && len(uids) == 0 {
		return "done", nil
	}
	_, err := s.sel.folder.Expunge(s.ctx, uids)
	return "done", err
}

// current gives a letter as the newest version has it.
func (s *session) current(l *mailbox.Letter) *mailbox.Letter {
	cur := s.sel.folder.View()
	if i, ok := cur.Index(l.UID); ok {
		return cur.At(i)
	}
	return l
}
