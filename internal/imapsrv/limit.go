package imapsrv

import (
	"fmt"
	"slices"

	"postbag/internal/search"
)

// within keeps of letters, which ascend, the last ones that one command may work
// on, and gives the response code that says so; "" when these are all (RFC 9738
// section 3.1).
func (s *session) within(positions []int) (kept []int, code string) {
	n := s.MessageLimit
	if n == 0 || len(positions) <= n {
		return positions, ""
	}
	kept = slices.Clone(positions[len(positions)-n:])
	return kept, s.limitCode(s.sel.view.At(kept[0]).UID)
}

// limitCode names the limit and the least UID that was worked on.
func (s *session) limitCode(uid uint32) string {
	return fmt.Sprintf("[MESSAGELIMIT %d %d] ", s.MessageLimit, uid)
}

// both gives what a tagged OK says when there is a second response code: the limit
// is told before it.
func (s *session) both(limit, code string) string {
	if code != "" {
		s.tellLimit(limit)
		limit = ""
	}
	return limit + code + "done"
}

// tellLimit says that more letters were named than were worked on.
func (s *session) tellLimit(limit string) {
	if limit != "" {
		s.line("* NO " + limit + "the others are left alone")
	}
}

// tooMany refuses so many letters.
func (s *session) tooMany(n int) error {
	if s.MessageLimit == 0 || n <= s.MessageLimit {
		return nil
	}
	return no(fmt.Sprintf("[MESSAGELIMIT %d] too many messages", s.MessageLimit))
}

// allOrNone refuses to work on more letters than one command may.
func (s *session) allOrNone(positions []int) error {
	if _, code := s.within(positions); code != "" {
		return no(code + "too many messages")
	}
	return nil
}

// lastDeleted keeps the last letters that UID EXPUNGE may remove.
func (s *session) lastDeleted(uids []uint32) (kept []uint32, code string) {
	n := s.MessageLimit
	if n == 0 || len(uids) <= n {
		return uids, ""
	}
	kept = uids[len(uids)-n:]
	return kept, s.limitCode(kept[0])
}

// limitSearch narrows a search to the last letters that may be looked at, of those
// that it names by number.
func (s *session) limitSearch(q *question) (code string, err error) {
	if s.MessageLimit == 0 || q.keys != nil || s.sel.view.Len() <= s.MessageLimit {
		return "", nil
	}
	named, seen, least, r := search.Numbers(q.c), 0, uint32(0), s.newRow()
	defer r.close()
	for i := s.sel.view.Len() - 1; i >= 0; i-- {
		l := s.sel.view.At(i)
		r.at(i, l)
		ok, err := search.Match(named, r)
		if err != nil {
			return "", err
		}
		if !ok {
			continue
		}
		if seen == s.MessageLimit {
			q.c = search.And{search.UIDs{{First: least, Last: 1<<32 - 1}}, q.c}
			return s.limitCode(least), nil
		}
		seen, least = seen+1, l.UID
	}
	return "", nil
}
