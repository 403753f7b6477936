package imapsrv

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"postbag/internal/account"
	"postbag/internal/imapwire"
	"postbag/internal/maildir"
	"postbag/internal/maillog"
)

// decodeName gives a folder's name in UTF-8. Names on the wire are modified
// UTF-7, with IMAP4rev2 UTF-8; whichever cannot be mistaken is understood.
func (s *session) decodeName(name string) string {
	if s.utf8 {
		return name
	}
	return maildir.DecodeFolder(name)
}

// encodeName writes a folder's name as a string.
func (s *session) encodeName(name string) string {
	if !s.utf8 {
		name = maildir.EncodeFolder(name)
	}
	return string(imapwire.AppendString(nil, name, s.utf8))
}

func (s *session) quotedSeparator() string {
	return string(imapwire.AppendString(nil, string(rune(s.tree.Separator())), false))
}

// oneFolder reads a command with the name of a folder and carries it out.
func (s *session) oneFolder(do func(ctx context.Context, name string) error) (string, error) {
	name, err := s.spName()
	if err == nil {
		err = s.crlf()
	}
	if err == nil {
		err = do(s.ctx, name)
	}
	if err == nil {
		s.tellTree(s.tree.Canonical(name))
	}
	return "done", err
}

// doCreate makes a folder, and tells its MAILBOXID (RFC 8474 section 4.1).
func (s *session) doCreate() (string, error) {
	name, err := s.spName()
	var uses []string
	if err == nil {
		uses, err = s.createParams()
	}
	if err == nil {
		err = s.crlf()
	}
	if err == nil {
		err = s.tree.Create(s.ctx, name, uses...)
	}
	if err != nil {
		return "", err
	}
	folder, err := s.tree.Open(s.ctx, name)
	if err != nil {
		return "", err
	}
	defer folder.Close()
	s.tellTree(s.tree.Canonical(name))
	return "[MAILBOXID (" + folder.MailboxID() + ")] done", nil
}

// createParams reads (USE (\Sent ...)), which may be missing (RFC 6154 section 3).
func (s *session) createParams() (uses []string, err error) {
	if !s.in.Accept(' ') {
		return nil, nil
	}
	err = s.in.List(func() error {
		name, err := s.in.Atom()
		if err == nil && !strings.EqualFold(name, "USE") {
			err = bad("parameter " + name + " is not known")
		}
		if err == nil {
			err = s.sp()
		}
		if err == nil {
			uses, err = s.flagList(false)
		}
		return err
	})
	return uses, err
}

// doDelete removes a folder. A session that has it selected has none from then
// on.
func (s *session) doDelete() (string, error) {
	name, err := s.spName()
	if err == nil {
		err = s.crlf()
	}
	if err == nil {
		err = s.tree.Delete(s.ctx, name)
	}
	if err != nil {
		return "", err
	}
	if s.sel != nil && s.sel.name == s.tree.Canonical(name) {
		s.unselect()
		s.line("* OK [CLOSED] the selected mailbox is deleted")
	}
	s.tellTree(s.tree.Canonical(name))
	return "done", nil
}

func (s *session) doSubscribe() (string, error) { return s.oneFolder(s.tree.Subscribe) }

func (s *session) doUnsubscribe() (string, error) { return s.oneFolder(s.tree.Unsubscribe) }

func (s *session) doRename() (string, error) {
	from, err := s.spName()
	if err != nil {
		return "", err
	}
	to, err := s.spName()
	if err == nil {
		err = s.crlf()
	}
	if err == nil {
		err = s.tree.Rename(s.ctx, from, to)
	}
	if err == nil {
		s.tellTree(s.tree.Canonical(from), s.tree.Canonical(to))
	}
	return "done", err
}

func (s *session) doNamespace() (string, error) {
	if err := s.crlf(); err != nil {
		return "", err
	}
	s.line(`* NAMESPACE (("" ` + s.quotedSeparator() + `)) NIL NIL`)
	return "done", nil
}

// A listing is what LIST was asked (RFC 5258).
type listing struct {
	lsub       bool
	sep        byte
	patterns   []string
	subscribed bool // selection: only what is subscribed to
	special    bool // selection: only what has a special use
	recursive  bool
	returnSub  bool
	status     []string // RETURN (STATUS (...)), RFC 5819
	metadata   *metadataQuery
}

func (l *listing) verb() string {
	if l.lsub {
		return "LSUB"
	}
	return "LIST"
}

func (s *session) doLsub() (string, error) {
	l := &listing{lsub: true, subscribed: true, sep: s.tree.Separator()}
	ref, err := s.spName()
	if err != nil {
		return "", err
	}
	if err := s.pattern(l, ref); err != nil {
		return "", err
	}
	if err := s.crlf(); err != nil {
		return "", err
	}
	return "done", s.list(l)
}

// doList is LIST, with the options of RFC 5258.
func (s *session) doList() (string, error) {
	l := &listing{sep: s.tree.Separator()}
	if err := s.sp(); err != nil {
		return "", err
	}
	if c, err := s.in.Peek(); err == nil && c == '(' {
		if err := s.in.List(func() error { return s.selection(l) }); err != nil {
			return "", err
		}
		if err := s.sp(); err != nil {
			return "", err
		}
	}
	ref, err := s.mailboxName()
	if err != nil {
		return "", err
	}
	if err := s.patterns(l, ref); err != nil {
		return "", err
	}
	if s.in.Accept(' ') {
		if err := s.returns(l); err != nil {
			return "", err
		}
	}
	if err := s.crlf(); err != nil {
		return "", err
	}
	if l.recursive && !l.subscribed {
		return "", bad("RECURSIVEMATCH needs SUBSCRIBED")
	}
	return "done", s.list(l)
}

// selection reads a selection option.
func (s *session) selection(l *listing) error {
	name, err := s.in.Atom()
	if err != nil {
		return err
	}
	switch strings.ToUpper(name) {
	case "SUBSCRIBED":
		l.subscribed, l.returnSub = true, true
	case "SPECIAL-USE":
		l.special = true
	case "RECURSIVEMATCH":
		l.recursive = true
	case "REMOTE":
	default:
		return bad("selection option " + name + " is not known")
	}
	return nil
}

// patterns reads one pattern or a list of them.
func (s *session) patterns(l *listing, ref string) error {
	if err := s.sp(); err != nil {
		return err
	}
	if c, err := s.in.Peek(); err == nil && c == '(' {
		return s.in.Members(func() error { return s.onePattern(l, ref) })
	}
	return s.onePattern(l, ref)
}

func (s *session) pattern(l *listing, ref string) error {
	if err := s.sp(); err != nil {
		return err
	}
	return s.onePattern(l, ref)
}

func (s *session) onePattern(l *listing, ref string) error {
	text, err := s.in.ListMailbox()
	if err == nil {
		l.patterns = append(l.patterns, ref+s.decodeName(text))
	}
	return err
}

// returns reads RETURN (...).
func (s *session) returns(l *listing) error {
	word, err := s.in.Atom()
	if err != nil {
		return err
	}
	if !strings.EqualFold(word, "RETURN") {
		return bad("RETURN expected")
	}
	if err := s.sp(); err != nil {
		return err
	}
	return s.in.List(func() error {
		name, err := s.in.Atom()
		if err != nil {
			return err
		}
		switch strings.ToUpper(name) {
		case "SUBSCRIBED":
			l.returnSub = true
		case "CHILDREN", "SPECIAL-USE": // always told
		case "STATUS":
			if err := s.sp(); err != nil {
				return err
			}
			l.status, err = s.statusItems()
			return err
		case "METADATA":
			return s.readListMetadata(l)
		default:
			return bad("return option " + name + " is not known")
		}
		return nil
	})
}

// list writes what was asked for.
func (s *session) list(l *listing) error {
	if len(l.patterns) == 1 && l.patterns[0] == "" {
		s.line("* " + l.verb() + ` (\Noselect) ` + s.quotedSeparator() + ` ""`) // RFC 9051 section 6.3.9: the separator is asked
		return nil
	}
	folders, err := s.tree.List(s.ctx)
	if err != nil {
		return err
	}
	for _, f := range folders {
		if !s.listed(l, f, folders) {
			continue
		}
		s.listLine(l, f, folders)
		if l.metadata != nil && f.Exists {
			if err := s.listMetadata(l, f); err != nil {
				s.report(maillog.Session{Kind: maillog.Troubled, Login: s.login, Err: err})
			}
		}
		if len(l.status) > 0 && f.Exists {
			if err := s.statusOf(f.Name, l.status); err != nil {
				s.report(maillog.Session{Kind: maillog.Troubled, Login: s.login, Err: err}) // the others are told all the same
			}
		}
	}
	return nil
}

// listed decides whether a folder is in the list.
func (s *session) listed(l *listing, f account.Folder, all []account.Folder) bool {
	if !l.fits(f.Name) {
		return false
	}
	switch {
	case l.lsub && !f.Subscribed:
		// A level stands for those below it that the pattern keeps out (RFC 3501
		// section 6.3.9).
		return slices.ContainsFunc(all, func(o account.Folder) bool {
			return o.Subscribed && !l.fits(o.Name) && strings.HasPrefix(o.Name, f.Name+string(rune(l.sep)))
		})
	case l.special && len(f.SpecialUse) == 0:
		return false
	case l.subscribed && !f.Subscribed:
		return l.recursive && l.subscribedBelow(f, all)
	case !l.subscribed && !f.Exists && !f.HasChildren:
		return false
	}
	return true
}

// fits tells whether a name is of one of the patterns.
func (l *listing) fits(name string) bool {
	return slices.ContainsFunc(l.patterns, func(p string) bool { return match(name, p, l.sep) })
}

// subscribedBelow tells whether a folder below f is subscribed to that is not
// listed itself (RFC 5258 section 3.5).
func (l *listing) subscribedBelow(f account.Folder, all []account.Folder) bool {
	return slices.ContainsFunc(all, func(o account.Folder) bool {
		return o.Subscribed && !l.fits(o.Name) && strings.HasPrefix(o.Name, f.Name+string(rune(l.sep)))
	})
}

// listLine writes one LIST or LSUB response.
func (s *session) listLine(l *listing, f account.Folder, all []account.Folder) {
	var attrs []string
	switch {
	case l.lsub && !f.Subscribed, !f.Exists && l.lsub:
		attrs = append(attrs, `\Noselect`)
	case !f.Exists && f.HasChildren:
		attrs = append(attrs, `\Noselect`)
	case !f.Exists:
		attrs = append(attrs, `\NonExistent`)
	}
	if !l.lsub {
		if f.HasChildren {
			attrs = append(attrs, `\HasChildren`)
		} else {
			attrs = append(attrs, `\HasNoChildren`)
		}
		if f.Subscribed && l.returnSub {
			attrs = append(attrs, `\Subscribed`)
		}
		attrs = append(attrs, f.SpecialUse...)
	}
	more := ""
	if l.recursive && l.subscribedBelow(f, all) {
		more = ` ("CHILDINFO" ("SUBSCRIBED"))`
	}
	s.line(fmt.Sprintf("* %s (%s) %s %s%s", l.verb(), strings.Join(attrs, " "), s.quotedSeparator(), s.encodeName(f.Name), more))
}

// match compares a name with a pattern: * is anything, % anything within a level.
// INBOX has no case.
func match(name, pattern string, sep byte) bool {
	if strings.EqualFold(pattern, account.Inbox) {
		pattern = account.Inbox
	}
	return wildcard(name, pattern, sep)
}

func wildcard(name, pattern string, sep byte) bool {
	// Positions of the last * or %, to go back to: linear in practice, and no
	// recursion that a client could make deep.
	starP, starN, percentP, percentN := -1, 0, -1, 0
	p, n := 0, 0
	for n < len(name) || p < len(pattern) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			starP, starN, percentP = p, n, -1
			p++
		case p < len(pattern) && pattern[p] == '%':
			percentP, percentN = p, n
			p++
		case p < len(pattern) && n < len(name) && pattern[p] == name[n]:
			p, n = p+1, n+1
		case percentP >= 0 && percentN < len(name) && name[percentN] != sep:
			percentN++
			p, n = percentP+1, percentN
		case starP >= 0 && starN < len(name):
			starN++
			p, n, percentP = starP+1, starN, -1
		default:
			return false
		}
	}
	return true
}
