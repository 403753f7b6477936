package imapsrv

import (
	"fmt"
	"slices"

	"postbag/internal/imapwire"
	"postbag/internal/mailbox"
	"postbag/internal/maillog"
)

// A searchContext is a search whose result a client has, and is told of when it
// changes (RFC 5267 section 4.3).
type searchContext struct {
	*question
	tag    string
	result []uint32 // UIDs, in the order of the result
}

const (
	maxContexts = 10     // of a session
	maxSorted   = 10_000 // letters in a sorted one: each that comes is put in its place
)

// checkContext refuses a second context of one tag (RFC 5267 section 4.3).
func (s *session) checkContext(q *question) error {
	if q.update && s.contextOf(s.tag) >= 0 {
		return bad("a search of that tag is kept up to date already")
	}
	return nil
}

func (s *session) contextOf(tag string) int {
	return slices.IndexFunc(s.sel.contexts, func(x *searchContext) bool { return x.tag == tag })
}

// keepContext keeps the result of a search up to date from now on, if it was
// asked for.
func (s *session) keepContext(q *question, found []int) {
	switch {
	case !q.update:
		return
	case len(s.sel.contexts) >= maxContexts, q.keys != nil && len(found) > maxSorted:
		s.line("* NO [NOUPDATE " + quoted(s.tag) + "] too much to keep up to date") // section 4.3.1
		return
	}
	s.sel.contexts = append(s.sel.contexts, &searchContext{question: q, tag: s.tag, result: s.uids(found)})
}

func quoted(text string) string { return string(imapwire.AppendString(nil, text, false)) }

// doCancelUpdate is CANCELUPDATE (RFC 5267 section 4.3.5).
func (s *session) doCancelUpdate() (string, error) {
	var tags []string
	for len(tags) == 0 || !s.in.AtEnd() {
		if err := s.sp(); err != nil {
			return "", err
		}
		tag, err := s.in.String()
		if err != nil {
			return "", err
		}
		tags = append(tags, tag)
	}
	if err := s.crlf(); err != nil {
		return "", err
	}
	for _, tag := range tags {
		i := s.contextOf(tag)
		if i < 0 {
			return "", no("no search of that tag is kept up to date")
		}
		s.sel.contexts = slices.Delete(s.sel.contexts, i, i+1)
	}
	return "done", nil
}

// loseExpunged takes letters that are about to be told of as expunged out of
// results: while their numbers mean something (RFC 5267 section 4.3.4).
func (s *session) loseExpunged(positions []int) {
	if len(s.sel.contexts) == 0 || len(positions) == 0 {
		return
	}
	gone := s.uids(positions)
	slices.Reverse(gone) // ascending
	for _, x := range s.sel.contexts {
		s.removeFrom(x, gone)
	}
}

// updateContexts finds out what has come to be in results and what no longer is,
// of letters that are new or have changed.
func (s *session) updateContexts(d mailbox.Delta) {
	if len(s.sel.contexts) == 0 {
		return
	}
	var candidates []int
	for _, uid := range d.Changed {
		if i, ok := s.sel.view.Index(uid); ok {
			candidates = append(candidates, i)
		}
	}
	first := s.sel.view.Len() - d.Added
	for i := first; i < s.sel.view.Len(); i++ {
		candidates = append(candidates, i)
	}
	for _, x := range s.sel.contexts {
		if err := s.updateContext(x, candidates, first); err != nil {
			s.report(maillog.Session{Kind: maillog.Troubled, Login: s.login, Err: err})
		}
	}
}

// updateContext looks at letters at positions, of which those from first on are
// new.
func (s *session) updateContext(x *searchContext, candidates []int, first int) error {
	var come, gone []uint32
	var fresh []int
	r := s.newRow()
	for _, i := range candidates {
		in, err := r.fits(x.c, i)
		if err != nil {
			return err
		}
		uid := s.sel.view.At(i).UID
		switch was := x.has(uid); {
		case in && !was:
			come = append(come, uid)
			if i >= first {
				fresh = append(fresh, i)
			}
		case was && !in:
			gone = append(gone, uid)
		}
	}
	slices.Sort(gone)
	s.removeFrom(x, gone)
	if x.items != nil {
		s.tellItems(fresh, x.items)
	}
	return s.addTo(x, come)
}

func (x *searchContext) has(uid uint32) bool {
	if x.keys == nil {
		_, found := slices.BinarySearch(x.result, uid)
		return found
	}
	return slices.Contains(x.result, uid)
}

// removeFrom takes letters, given by ascending UIDs, out of a result, and says so:
// of a search as a set, of a sort each at its place, the last ones first.
func (s *session) removeFrom(x *searchContext, gone []uint32) {
	var were []uint32
	var places []byte
	for i, uid := range slices.Backward(x.result) {
		if _, went := slices.BinarySearch(gone, uid); went {
			were = append(were, uid)
			places = fmt.Appendf(places, " %d %d", i+1, s.number(x, uid))
		}
	}
	if len(were) == 0 {
		return
	}
	slices.Sort(were)
	x.result = slices.DeleteFunc(x.result, func(uid uint32) bool { _, went := slices.BinarySearch(were, uid); return went })
	if x.keys == nil {
		places = s.unplaced(x, were)
	}
	s.tellContext(x, "REMOVEFROM", places)
}

// addTo puts letters into a result, and says so.
func (s *session) addTo(x *searchContext, come []uint32) (err error) {
	if len(come) == 0 {
		return nil
	}
	slices.Sort(come)
	if x.keys == nil {
		x.result = append(x.result, come...)
		slices.Sort(x.result)
		s.tellContext(x, "ADDTO", s.unplaced(x, come))
		return nil
	}
	if x.result, err = s.inOrder(x, come); err != nil {
		return err
	}
	var places []byte
	for i, uid := range x.result {
		if _, came := slices.BinarySearch(come, uid); came {
			places = fmt.Appendf(places, " %d %d", i+1, s.number(x, uid))
		}
	}
	s.tellContext(x, "ADDTO", places)
	return nil
}

// inOrder gives a sorted result with letters more.
func (s *session) inOrder(x *searchContext, come []uint32) ([]uint32, error) {
	var positions []int
	for _, uid := range append(slices.Clone(x.result), come...) {
		if i, ok := s.sel.view.Index(uid); ok {
			positions = append(positions, i)
		}
	}
	slices.Sort(positions)
	sorted, err := s.sorted(positions, x.keys)
	return s.uids(sorted), err
}

// unplaced writes letters at place 0: wherever they are (RFC 5267 section 4.3.3).
func (s *session) unplaced(x *searchContext, uids []uint32) []byte {
	numbers := make([]uint32, len(uids))
	for i, uid := range uids {
		numbers[i] = s.number(x, uid)
	}
	return []byte(" 0 " + imapwire.FormatSet(numbers))
}

// number is how a letter is called in a context.
func (s *session) number(x *searchContext, uid uint32) uint32 {
	if x.byUID {
		return uid
	}
	i, _ := s.sel.view.Index(uid)
	return uint32(i) + 1
}

func (s *session) tellContext(x *searchContext, what string, places []byte) {
	uid := ""
	if x.byUID {
		uid = " UID"
	}
	s.line(fmt.Sprintf("* ESEARCH (TAG %s%s)%s %s (%s)", quoted(x.tag), x.where, uid, what, places[1:]))
}
