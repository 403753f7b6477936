package imapsrv

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"postbag/internal/account"
	"postbag/internal/imapwire"
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
	to, err := s.tree.Open(s.ctx, name)
	if err != nil {
		return "", tryCreate(err)
	}
	defer to.Close()
	do := mailbox.Copy
	if move {
		do = mailbox.Move
	}
	was, is, err := do(s.ctx, s.sel.folder, s.uids(positions), to)
	if err != nil || len(was) == 0 {
		return "nothing to do", err
	}
	code := fmt.Sprintf("[COPYUID %d %s %s]", to.View().UIDValidity(), imapwire.FormatSet(was), formatInOrder(is))
	if !move {
		return code + " done", nil
	}
	s.line("* OK " + code + " done") // RFC 6851 section 4.3: before the EXPUNGE responses
	return "done", nil
}

// formatInOrder writes numbers in their order; ascending ones as ranges.
func formatInOrder(numbers []uint32) string {
	if slices.IsSorted(numbers) {
		return imapwire.FormatSet(numbers)
	}
	var words []string
	for _, n := range numbers {
		words = append(words, fmt.Sprint(n))
	}
	return strings.Join(words, ",")
}

// tryCreate tells a client that it may make the folder (RFC 9051 section 6.4.7).
func tryCreate(err error) error {
	if errors.Is(err, account.ErrNoFolder) {
		return no("[TRYCREATE] no such mailbox")
	}
	return err
}

// doAppend takes a letter (RFC 9051 section 6.3.12).
func (s *session) doAppend() (string, error) {
	name, err := s.spName()
	if err == nil {
		err = s.sp()
	}
	if err != nil {
		return "", err
	}
	flags, keywords, date, err := s.appendOptions()
	if err != nil {
		return "", err
	}
	folder, err := s.tree.Open(s.ctx, name)
	if err != nil {
		return "", tryCreate(err)
	}
	defer folder.Close()
	limit := s.MaxSize
	if limit == 0 {
		limit = defaultMaxSize
	}
	l, err := s.in.Literal(limit)
	if err != nil {
		return "", err
	}
	a := folder.NewAppend()
	defer a.Discard()
	text := &letterText{r: l, binary: l.Binary}
	if err := a.Add(flags, keywords, date, text); err != nil {
		return "", text.cause(err)
	}
	if err := s.crlf(); err != nil {
		return "", err
	}
	uids, err := a.Commit(s.ctx)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("[APPENDUID %d %s] done", folder.View().UIDValidity(), imapwire.FormatSet(uids)), nil
}

// appendOptions reads flags and date, which may be missing.
func (s *session) appendOptions() (flags mailbox.Flags, keywords []string, date time.Time, err error) {
	if c, perr := s.in.Peek(); perr == nil && c == '(' {
		names, err := s.flagList(false)
		if err == nil {
			names = slices.DeleteFunc(names, func(n string) bool { return strings.EqualFold(n, `\Recent`) })
			flags, keywords, err = parseFlags(names)
		}
		if err == nil {
			err = s.sp()
		}
		if err != nil {
			return 0, nil, date, err
		}
	}
	if c, perr := s.in.Peek(); perr == nil && c == '"' {
		text, err := s.in.String()
		if err != nil {
			return 0, nil, date, err
		}
		if date, err = time.Parse(imapwire.DateTime, text); err != nil {
			return 0, nil, date, bad("that is no date-time")
		}
		if err := s.sp(); err != nil {
			return 0, nil, date, err
		}
	}
	return flags, keywords, date, nil
}

// A letterText is the literal of APPEND. A NUL is refused unless it comes in a
// literal8 (RFC 3516 section 4.4). Errors of the connection are told from those
// of the store.
type letterText struct {
	r      io.Reader
	binary bool
	err    error
}

func (t *letterText) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	if !t.binary && bytes.IndexByte(p[:n], 0) >= 0 {
		t.err = no("[UNKNOWN-CTE] NUL in a message")
		return 0, t.err
	}
	if err != nil && err != io.EOF {
		t.err = &connError{err}
		err = t.err
	}
	return n, err
}

// cause is the error of reading, if that was it.
func (t *letterText) cause(err error) error {
	if t.err != nil {
		return t.err
	}
	return err
}

// doIdle waits for changes until the client says DONE (RFC 2177).
func (s *session) doIdle() (string, error) {
	if err := s.crlf(); err != nil {
		return "", err
	}
	s.line("+ idling")
	var changes chan struct{} // never has anything when no folder is selected
	if s.sel != nil {
		changes = s.sel.changes
	}
	for {
		s.update(true)
		s.c.Busy(false)
		input, err := s.waitInput(changes)
		s.c.Busy(true)
		if err != nil {
			return "", &connError{err}
		}
		if input {
			break
		}
	}
	s.in.Begin()
	text, err := s.in.Line()
	if err != nil {
		return "", err
	}
	if !strings.EqualFold(text, "DONE") {
		return "", bad("DONE expected")
	}
	return "done", nil
}

func (s *session) waitInput(changes <-chan struct{}) (bool, error) {
	if s.in.Buffered() > 0 {
		return true, s.c.Flush()
	}
	return s.c.WaitInput(changes)
}
