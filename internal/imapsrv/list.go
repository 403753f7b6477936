package imapsrv

import (
	"fmt"
	"slices"
	"strings"

	"postbag/internal/account"
	"postbag/internal/maillog"
)

// A listing is what LIST was asked (RFC 5258).
type listing struct {
	lsub       bool
	extended   bool // asked as only RFC 5258 can
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
		l.extended = true
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
		l.extended = true
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
		l.extended = true
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
	if err == nil && text != "" { // "" asks for no folder (RFC 9051 section 6.3.9)
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
	if len(l.patterns) == 0 {
		if l.extended {
			return nil
		}
		s.line("* " + l.verb() + ` (\Noselect) ` + s.quotedSeparator() + ` ""`) // RFC 9051 section 6.3.9: the separator is asked
		return nil
	}
	folders, err := s.tree.List(s.ctx)
	if err != nil {
		return err
	}
	for _, f := range folders {
		if !l.has(f, folders) {
			continue
		}
		s.listLine(l, f, folders)
		if l.metadata != nil && f.Exists {
			if err := s.listMetadata(l, f); err != nil {
				s.report(maillog.Session{Kind: maillog.Troubled, Login: s.login, Err: err})
			}
		}
		if len(l.status) > 0 && f.Exists && l.selects(f) { // RFC 9051 section 6.3.9.8, example 11

			if err := s.statusOf(f.Name, l.status); err != nil {
				s.report(maillog.Session{Kind: maillog.Troubled, Login: s.login, Err: err}) // the others are told all the same
			}
		}
	}
	return nil
}

// has decides whether a folder is in the list.
func (l *listing) has(f account.Folder, all []account.Folder) bool {
	if !l.fits(f.Name) {
		return false
	}
	if l.selects(f) {
		return true
	}
	// A level stands for those below it that the pattern keeps out (RFC 3501 section
	// 6.3.9, RFC 9051 section 6.3.9.3).
	return (l.lsub || l.recursive) && l.selectsBelow(f, all, func(o account.Folder) bool { return !l.fits(o.Name) })
}

// selects tells whether a folder is of those that the selection options mean.
func (l *listing) selects(f account.Folder) bool {
	switch {
	case l.special && len(f.SpecialUse) == 0:
		return false
	case l.subscribed:
		return f.Subscribed
	}
	return f.Exists || f.HasChildren
}

// selectsBelow tells whether there are such folders below f.
func (l *listing) selectsBelow(f account.Folder, all []account.Folder, which func(account.Folder) bool) bool {
	return slices.ContainsFunc(all, func(o account.Folder) bool {
		return strings.HasPrefix(o.Name, f.Name+string(rune(l.sep))) && l.selects(o) && which(o)
	})
}

// fits tells whether a name is of one of the patterns.
func (l *listing) fits(name string) bool {
	return slices.ContainsFunc(l.patterns, func(p string) bool { return match(name, p, l.sep) })
}

// listLine writes one LIST or LSUB response.
func (s *session) listLine(l *listing, f account.Folder, all []account.Folder) {
	var attrs []string
	switch {
	case l.lsub && !f.Subscribed, !f.Exists && l.lsub:
		attrs = append(attrs, `\Noselect`)
	case !f.Exists && f.HasChildren && !l.extended && !s.rev2: // those who ask so may not know of \NonExistent
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
	if l.recursive && l.selectsBelow(f, all, func(account.Folder) bool { return true }) { // RFC 9051 section 6.3.9.6
		more = ` ("CHILDINFO" ("SUBSCRIBED"))`
	}
	s.line(fmt.Sprintf("* %s (%s) %s %s%s", l.verb(), strings.Join(attrs, " "), s.quotedSeparator(), s.encodeName(f.Name), more))
}

// match compares a name with a pattern: * is anything, % anything within a level.
// INBOX has no case.
func match(name, pattern string, sep byte) bool {
	folded := 0 // octets of the name
	if first, _, _ := strings.Cut(name, string(rune(sep))); first == account.Inbox {
		folded = len(first)
	}
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
		case p < len(pattern) && n < len(name) && (pattern[p] == name[n] || n < folded && pattern[p]&^0x20 == name[n]):
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
