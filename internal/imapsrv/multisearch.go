package imapsrv

import (
	"errors"
	"fmt"
	"slices"

	"postbag/internal/account"
)

// elsewhere reports whether folders other than the selected one are to be
// searched.
func (q *question) elsewhere() bool {
	return slices.ContainsFunc(q.sources, func(f filter) bool { return !f.ofSelected() })
}

// ofSelected reports whether the selected folder is to be searched as such.
func (q *question) ofSelected() bool {
	return len(q.sources) == 0 || slices.ContainsFunc(q.sources, filter.ofSelected)
}

// doEsearch is ESEARCH (RFC 7377): a search of several folders.
func (s *session) doEsearch() (string, error) {
	q := &question{byUID: true, esearch: true}
	err := s.sp()
	if err == nil {
		err = s.readSources(q)
	}
	if err == nil {
		err = s.checkSources(q)
	}
	if err == nil {
		err = s.readQuestion(q)
	}
	if err == nil {
		err = s.checkReturns(q)
	}
	var names []string
	if err == nil {
		names, err = s.sourceNames(q)
	}
	if err != nil {
		return "", s.forget(q, err)
	}
	if q.save {
		s.sel.saved = nil // for the case that nothing is found
	}
	for _, name := range names {
		if err := s.searchIn(name, q); err != nil {
			return "", s.forget(q, err)
		}
	}
	return "done", nil
}

// readSources reads IN (...), if it is there.
func (s *session) readSources(q *question) error {
	in, err := s.in.AcceptWord("IN")
	if !in || err != nil {
		return err
	}
	if err := s.sp(); err != nil {
		return err
	}
	err = s.in.List(func() error {
		if c, err := s.in.Peek(); err == nil && c == '(' {
			return bad("no options of sources are known")
		}
		f, err := s.readFilter()
		q.sources = append(q.sources, f)
		return err
	})
	if err == nil && len(q.sources) == 0 {
		err = bad("IN which mailboxes?")
	}
	if err == nil {
		err = s.sp()
	}
	return err
}

func (s *session) checkSources(q *question) error {
	delayed := func(f filter) bool { return f.kind == "SELECTED-DELAYED" }
	switch {
	case slices.ContainsFunc(q.sources, delayed):
		return bad("no mailboxes are called selected-delayed")
	case q.ofSelected() && s.sel == nil:
		return bad("no mailbox is selected")
	}
	return nil
}

// checkReturns holds what is to be saved or kept up to date to the selected folder
// (RFC 7377 section 2.2).
func (s *session) checkReturns(q *question) error {
	switch {
	case q.save && q.elsewhere():
		return bad("what is found in other mailboxes cannot be saved")
	case q.update && !q.ofSelected():
		return bad("only the selected mailbox can be kept up to date")
	case q.update:
		return s.checkContext(q)
	}
	return nil
}

// sourceNames gives the folders that are to be searched, each once.
func (s *session) sourceNames(q *question) (names []string, err error) {
	if q.ofSelected() {
		names = append(names, s.sel.name)
	}
	if !q.elsewhere() {
		return names, nil
	}
	folders, err := s.tree.List(s.ctx)
	for _, o := range folders {
		wanted := func(f filter) bool { return !f.ofSelected() && f.has(o, s.tree.Separator()) }
		if o.Exists && !slices.Contains(names, o.Name) && slices.ContainsFunc(q.sources, wanted) {
			names = append(names, o.Name)
		}
	}
	return names, err
}

// searchIn answers for one folder: nothing where nothing is found. A folder that
// goes meanwhile has nothing.
func (s *session) searchIn(name string, q *question) error {
	at, err := s.lookInto(name)
	if errors.Is(err, account.ErrNoFolder) {
		return nil
	}
	if err != nil {
		return err
	}
	here := at == s
	if !here {
		defer at.sel.folder.Close()
	}
	found, err := at.find(q.c)
	if err != nil {
		return err
	}
	answer := *q
	answer.where = fmt.Sprintf(" MAILBOX %s UIDVALIDITY %d", s.encodeName(name), at.sel.view.UIDValidity())
	answer.update = q.update && here
	if len(found) > 0 {
		at.tellFound(&answer, found)
	}
	if here {
		s.keepContext(&answer, found)
	}
	return nil
}

// lookInto gives the session, or a copy of it that has another folder selected and
// is good for searching.
func (s *session) lookInto(name string) (*session, error) {
	if s.sel != nil && s.sel.name == name {
		return s, nil
	}
	folder, err := s.tree.Open(s.ctx, name)
	if err != nil {
		return nil, err
	}
	if err := folder.Sync(s.ctx); err != nil {
		folder.Close()
		return nil, err
	}
	at := *s
	v := folder.View()
	at.sel = &selected{name: name, folder: folder, view: v, readOnly: true}
	at.sel.claimRecent(s.ctx)
	return &at, nil
}
