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
	since, conditional, err := s.unchangedSince()
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
	if conditional {
		s.useModSeq()
	}
	positions, limit := s.within(positions)
	var modified []uint32
	err = s.during(func() (err error) {
		modified, err = s.store(s.uids(positions), change, since)
		return err
	})
	if err != nil {
		return "", err
	}
	st := stored{silent: strings.HasSuffix(item, ".SILENT"), byUID: byUID}
	if limit != "" {
		slices.Reverse(positions) // RFC 9738 section 3.1
	}
	s.tellStored(positions, modified, st)
	return s.both(limit, s.modified(modified, byUID)), nil
}

// stored is how a STORE was asked for.
type stored struct{ silent, byUID bool }

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
// that the client knows them, but with CONDSTORE modseqs are always told (RFC 7162
// section 3.1.3). Of letters that were left alone nothing is told here.
func (s *session) tellStored(positions []int, modified []uint32, st stored) {
	cur := s.sel.folder.View()
	for _, pos := range positions {
		uid := s.sel.view.At(pos).UID
		i, ok := cur.Index(uid)
		if _, left := slices.BinarySearch(modified, uid); !ok || left {
			continue
		}
		l := cur.At(i)
		s.sel.told[uid] = l.ModSeq
		if !st.silent || s.condstore {
			s.tellNew(l)
			s.line(string(s.appendStored(pos, l, st)))
		}
	}
}

func (s *session) appendStored(pos int, l *mailbox.Letter, st stored) []byte {
	b := s.appendFetch(nil, pos, l)
	if !s.uidonly && (st.byUID || s.condstore) { // RFC 7162 section 3.2.4
		b = fmt.Appendf(b, "UID %d ", l.UID)
	}
	if !st.silent {
		b = s.appendFlags(append(b, "FLAGS "...), l)
	}
	if s.condstore {
		if !st.silent {
			b = append(b, ' ')
		}
		b = appendModSeq(b, l)
	}
	return append(b, ')')
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
	uids, limit := s.lastDeleted(uids)
	var gone []uint32
	err := s.during(func() (err error) {
		gone, err = s.sel.folder.Expunge(s.ctx, uids)
		return err
	})
	return s.both(limit, s.highestNow(len(gone) > 0)), err
}

// current gives a letter as the newest version has it.
func (s *session) current(l *mailbox.Letter) *mailbox.Letter {
	cur := s.sel.folder.View()
	if cur == s.sel.view {
		return l
	}
	if i, ok := cur.Index(l.UID); ok {
		return cur.At(i)
	}
	return l
}
