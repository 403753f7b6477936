package imapsrv

import (
	"slices"
	"strings"

	"postbag/internal/account"
)

// A filter says which folders are meant (RFC 5465 section 6, RFC 7377 section
// 2.2).
type filter struct {
	kind  string   // SELECTED, SELECTED-DELAYED, INBOXES, PERSONAL, SUBSCRIBED, SUBTREE, SUBTREE-ONE or MAILBOXES
	names []string // of the last three
}

// ofSelected reports whether the selected folder is meant, whichever it is.
func (f filter) ofSelected() bool { return strings.HasPrefix(f.kind, "SELECTED") }

// readFilter reads the word of a filter, and the names that belong to it.
func (s *session) readFilter() (f filter, err error) {
	word, err := s.in.Atom()
	if err != nil {
		return f, err
	}
	switch f.kind = strings.ToUpper(word); f.kind {
	case "SELECTED", "SELECTED-DELAYED", "INBOXES", "PERSONAL", "SUBSCRIBED":
		return f, nil
	case "SUBTREE", "SUBTREE-ONE", "MAILBOXES":
	default:
		return f, bad("no folders are called " + word)
	}
	if err = s.sp(); err == nil {
		f.names, err = s.names()
	}
	return f, err
}

// names reads the name of a folder, or a list of them.
func (s *session) names() (names []string, err error) {
	one := func() error {
		name, err := s.mailboxName()
		names = append(names, s.tree.Canonical(name))
		return err
	}
	if c, perr := s.in.Peek(); perr == nil && c == '(' {
		err = s.in.List(one)
	} else {
		err = one()
	}
	return names, err
}

// has decides whether a folder is meant. Whoever delivers may deliver into any
// folder, so all are inboxes (RFC 5465 section 6.3).
func (f filter) has(o account.Folder, sep byte) bool {
	switch f.kind {
	case "INBOXES", "PERSONAL":
		return true
	case "SUBSCRIBED":
		return o.Subscribed
	case "MAILBOXES":
		return slices.Contains(f.names, o.Name)
	}
	return slices.ContainsFunc(f.names, func(top string) bool {
		rest, below := below(o.Name, top, sep)
		return o.Name == top || below && (f.kind == "SUBTREE" || !strings.ContainsRune(rest, rune(sep)))
	})
}

// below gives what follows in the name of a folder that is below another one.
// Everything is below "".
func below(name, top string, sep byte) (rest string, ok bool) {
	if top == "" {
		return name, true
	}
	return strings.CutPrefix(name, top+string(rune(sep)))
}
