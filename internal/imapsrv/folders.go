package imapsrv

import (
	"context"
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

// newName reads a space and the name that a folder is to have. Without UTF-8 an
// ampersand has to be modified UTF-7 (RFC 9051 appendix A.1): what is not would be
// listed as another name.
func (s *session) newName() (string, error) {
	if err := s.sp(); err != nil {
		return "", err
	}
	text, err := s.in.Astring()
	if err != nil {
		return "", err
	}
	name := s.decodeName(text)
	if !s.utf8 && strings.Contains(text, "&") && maildir.EncodeFolder(name) != text {
		err = no("[CANNOT] not modified UTF-7")
	}
	return name, err
}

// tellNormal tells clients of IMAP4rev2 what a folder is called that they called
// otherwise (RFC 9051 section 6.3.9.7).
func (s *session) tellNormal(name, called string) {
	if !s.rev2 || name == called {
		return
	}
	f, err := s.listed(name)
	if err != nil {
		s.report(maillog.Session{Kind: maillog.Troubled, Login: s.login, Err: err})
		return
	}
	s.tellName(f, called)
}

// listed is what List has of a folder, which may not be there.
func (s *session) listed(name string) (account.Folder, error) {
	all, err := s.tree.List(s.ctx)
	for _, f := range all {
		if f.Name == name {
			return f, err
		}
	}
	return account.Folder{Name: name}, err
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
	name, err := s.newName()
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
	s.tellNormal(s.tree.Canonical(name), name)
	s.tellTree(s.tree.Canonical(name))
	return "[MAILBOXID (" + folder.MailboxID() + ")] done", nil
}

// createParams reads (USE (\Sent ...)), which may be missing (RFC 6154 section 3).
func (s *session) createParams() (uses []string, err error) {
	if !s.in.Accept(' ') {
		return nil, nil
	}
	err = s.in.Members(func() error {
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
	if err != nil {
		return "", err
	}
	canonical := s.tree.Canonical(name)
	if err := s.tree.Delete(s.ctx, name); err != nil {
		return "", err
	}
	if s.sel != nil && s.sel.name == canonical {
		s.unselect()
		s.line("* OK [CLOSED] the selected mailbox is deleted")
	}
	s.tellNormal(canonical, name)
	s.tellTree(canonical)
	return "done", nil
}

func (s *session) doSubscribe() (string, error) { return s.oneFolder(s.tree.Subscribe) }

func (s *session) doUnsubscribe() (string, error) { return s.oneFolder(s.tree.Unsubscribe) }

func (s *session) doRename() (string, error) {
	from, err := s.spName()
	if err != nil {
		return "", err
	}
	to, err := s.newName()
	if err == nil {
		err = s.crlf()
	}
	if err != nil {
		return "", err
	}
	was, is := s.tree.Canonical(from), s.tree.Canonical(to)
	if err := s.tree.Rename(s.ctx, from, to); err != nil {
		return "", err
	}
	if from != was || to != is {
		s.tellNormal(is, from)
	}
	s.tellTree(was, is)
	return "done", nil
}

func (s *session) doNamespace() (string, error) {
	if err := s.crlf(); err != nil {
		return "", err
	}
	s.line(`* NAMESPACE (("" ` + s.quotedSeparator() + `)) NIL NIL`)
	return "done", nil
}
