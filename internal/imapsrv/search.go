package imapsrv

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"postbag/internal/imapwire"
	"postbag/internal/mailbox"
	"postbag/internal/search"
)

// A question is what SEARCH or SORT was asked.
type question struct {
	byUID   bool
	verb    string   // of the old response: SEARCH or SORT
	returns []string // of RETURN, in their order
	esearch bool
	save    bool
	partial *partialRange
	modSeq  bool     // the greatest modseq is told, too
	update  bool     // what changes of the result is told (RFC 5267 section 4.3)
	items   []item   // of letters that come to be in it (RFC 5465 section 7)
	sources []filter // the folders, of ESEARCH; none means the selected one
	where   string   // more in the correlator of its answers
	c       search.Criteria
	keys    []search.SortKey // of SORT
}

// asks reports whether RETURN has one of the names.
func (q *question) asks(names ...string) bool {
	return slices.ContainsFunc(q.returns, func(r string) bool { return slices.Contains(names, r) })
}

// doSearch is SEARCH, with ESEARCH (RFC 4731), SEARCHRES (RFC 5182) and PARTIAL
// (RFC 9394).
func (s *session) doSearch(byUID bool) (string, error) {
	q := &question{byUID: byUID, verb: "SEARCH", esearch: s.rev2}
	err := s.sp()
	if err == nil {
		err = s.readQuestion(q)
	}
	return s.search(q, err)
}

// search answers a question about the selected folder, if it could be read.
func (s *session) search(q *question, err error) (string, error) {
	if err == nil {
		err = s.checkContext(q)
	}
	var found []int
	limit := ""
	if err == nil {
		limit, err = s.limitSearch(q)
	}
	if err == nil {
		found, err = s.find(q.c)
	}
	if err == nil && q.keys != nil {
		found, err = s.sorted(found, q.keys)
	}
	if err != nil {
		return "", s.forget(q, err)
	}
	s.tellFound(q, found)
	s.keepContext(q, found)
	return limit + "done", nil
}

// forget empties the saved result when a search that would save is refused (RFC
// 5182 section 2.1); one that is no command at all changes nothing.
func (s *session) forget(q *question, err error) error {
	var a *answer
	var syntax *imapwire.SyntaxError
	if q.save && s.sel != nil && !errors.As(err, &syntax) && (!errors.As(err, &a) || a.status == "NO") {
		s.sel.saved = nil
	}
	return err
}

// find gives the positions of letters that fulfil the criteria.
func (s *session) find(c search.Criteria) ([]int, error) {
	hits := make([]bool, s.sel.view.Len())
	err := s.eachOf(len(hits), search.ReadsFiles(c), func() func(int) error {
		r := s.newRow()
		return func(i int) (err error) {
			hits[i], err = r.fits(c, i)
			return err
		}
	})
	var found []int
	for i, hit := range hits {
		if hit {
			found = append(found, i)
		}
	}
	return found, err
}

// fits asks whether one letter fulfils the criteria. One whose file is gone does
// not.
func (r *row) fits(c search.Criteria, i int) (bool, error) {
	r.at(i, r.current(r.sel.view.At(i)))
	defer r.close()
	ok, err := search.Match(c, r)
	if errors.Is(err, mailbox.ErrExpunged) {
		return false, nil
	}
	return ok, err
}

// numbers gives sequence numbers or UIDs of letters at positions.
func (s *session) numbers(positions []int, byUID bool) []uint32 {
	if byUID {
		return s.uids(positions)
	}
	all := make([]uint32, len(positions))
	for k, i := range positions {
		all[k] = uint32(i) + 1
	}
	return all
}

// tellFound writes SEARCH, SORT or ESEARCH, and saves the result.
func (s *session) tellFound(q *question, found []int) {
	if q.save {
		s.save(q, found)
	}
	if !q.esearch {
		b := []byte("* " + q.verb)
		for _, n := range s.numbers(found, q.byUID) {
			b = strconv.AppendUint(append(b, ' '), uint64(n), 10)
		}
		if q.modSeq && len(found) > 0 {
			b = fmt.Appendf(b, " (MODSEQ %d)", s.highestOf(found))
		}
		s.line(string(b))
		return
	}
	if len(q.returns) == 0 && q.save && !q.update {
		return // only saved, nothing told
	}
	b := fmt.Appendf(nil, "* ESEARCH (TAG %s%s)", imapwire.AppendString(nil, s.tag, false), q.where)
	if q.byUID {
		b = append(b, " UID"...)
	}
	for _, r := range q.returns {
		b = s.appendReturn(b, q, r, found)
	}
	if q.modSeq && len(found) > 0 {
		b = fmt.Appendf(b, " MODSEQ %d", s.highestOf(q.told(found)))
	}
	s.line(string(b))
}

func (s *session) appendReturn(b []byte, q *question, name string, found []int) []byte {
	switch {
	case name == "COUNT":
		return fmt.Appendf(b, " COUNT %d", len(found))
	case name == "PARTIAL":
		set := "NIL"
		if part := q.partial.of(found); len(part) > 0 {
			set = imapwire.FormatSet(s.numbers(part, q.byUID))
		}
		return fmt.Appendf(b, " PARTIAL (%s %s)", q.partial.text, set)
	case len(found) == 0:
		return b
	case name == "MIN":
		return fmt.Appendf(b, " MIN %d", s.numbers(found[:1], q.byUID)[0])
	case name == "MAX":
		return fmt.Appendf(b, " MAX %d", s.numbers(found[len(found)-1:], q.byUID)[0])
	}
	return fmt.Appendf(b, " ALL %s", imapwire.FormatSet(s.numbers(found, q.byUID)))
}

// told are the letters that the answer speaks of, of those that were found: with
// MIN, MAX and PARTIAL alone only those (RFC 5182 section 2.1, RFC 4731 section
// 3.2).
func (q *question) told(found []int) (told []int) {
	if len(found) == 0 || len(q.returns) == 0 || q.asks("ALL", "COUNT") {
		return found
	}
	if q.asks("MIN") {
		told = append(told, found[0])
	}
	if q.asks("MAX") {
		told = append(told, found[len(found)-1])
	}
	if q.asks("PARTIAL") {
		told = append(told, q.partial.of(found)...)
	}
	return told
}

// save keeps the result for `$`.
func (s *session) save(q *question, found []int) {
	uids := s.uids(q.told(found))
	slices.Sort(uids)
	s.sel.saved = slices.Compact(uids)
}

func (s *session) highestOf(positions []int) (highest uint64) {
	for _, i := range positions {
		highest = max(highest, s.current(s.sel.view.At(i)).ModSeq)
	}
	return highest
}

// readQuestion reads the arguments of SEARCH.
func (s *session) readQuestion(q *question) error {
	word, err := s.optionalWord("RETURN", "CHARSET")
	if err == nil && word == "RETURN" {
		if err = s.readReturn(q); err == nil {
			err = s.sp()
		}
		if err == nil {
			word, err = s.optionalWord("CHARSET")
		}
	}
	keys := &keyReader{session: s, fixed: q.update && !q.elsewhere(), elsewhere: q.elsewhere()}
	if err == nil && word == "CHARSET" {
		if err = keys.readCharset(); err == nil {
			err = s.sp()
		}
	}
	if err != nil {
		return err
	}
	if q.esearch && q.returns == nil && !q.save && !q.update {
		q.returns = []string{"ALL"}
	}
	if q.c, err = keys.all(); err == nil {
		s.noteModSeq(q, keys)
	}
	return err
}

// noteModSeq sees to it that a question about modseqs is answered with one.
func (s *session) noteModSeq(q *question, keys *keyReader) {
	if q.modSeq = keys.modSeq; q.modSeq {
		s.useModSeq()
	}
}

// optionalWord reads one of the words if it comes next.
func (s *session) optionalWord(words ...string) (string, error) {
	for _, w := range words {
		ok, err := s.in.AcceptWord(w)
		if ok || err != nil {
			return w, err
		}
	}
	return "", nil
}

// readReturn reads the list of RETURN.
func (s *session) readReturn(q *question) error {
	q.esearch = true
	if err := s.sp(); err != nil {
		return err
	}
	err := s.in.List(func() error {
		name, err := s.in.Atom()
		if err != nil {
			return err
		}
		switch name = strings.ToUpper(name); name {
		case "SAVE":
			q.save = true
			return nil
		case "CONTEXT": // a hint that there will be more questions like it (RFC 5267 section 4.2)
			return nil
		case "UPDATE":
			q.update = true
			q.items, err = s.newItems()
			return err
		case "MIN", "MAX", "ALL", "COUNT":
		case "PARTIAL":
			if q.partial != nil {
				return bad("one PARTIAL is enough") // RFC 5267 section 4.4
			}
			if q.partial, err = s.readPartial(); err != nil {
				return err
			}
		default:
			return bad("RETURN has no " + name)
		}
		if !q.asks(name) {
			q.returns = append(q.returns, name)
		}
		return nil
	})
	if err == nil && q.asks("ALL") && q.asks("PARTIAL") {
		err = bad("ALL and PARTIAL do not go together") // RFC 9394 section 3.1
	}
	if err == nil && q.returns == nil && !q.save && !q.update {
		q.returns = []string{"ALL"}
	}
	return err
}

// A partialRange is a part of a result: from the beginning, or with negative
// numbers from the end (RFC 9394).
type partialRange struct {
	text     string
	from, to int // counted from 1
	back     bool
}

// readPartial reads a space and A:B or -A:-B.
func (s *session) readPartial() (*partialRange, error) {
	if err := s.sp(); err != nil {
		return nil, err
	}
	p := &partialRange{back: s.in.Accept('-')}
	a, err := s.number32()
	if err == nil {
		err = s.in.Expect(':')
	}
	if err == nil && p.back {
		err = s.in.Expect('-')
	}
	var b uint32
	if err == nil {
		b, err = s.number32()
	}
	p.from, p.to = int(min(a, b)), int(max(a, b))
	p.text = fmt.Sprintf("%d:%d", p.from, p.to) // the same as B:A (RFC 5267 section 5)
	if p.back {
		p.text = fmt.Sprintf("-%d:-%d", a, b)
	}
	return p, err
}

// of gives the part.
func (p *partialRange) of(all []int) []int {
	n := len(all)
	from, to := min(p.from-1, n), min(p.to, n)
	if p.back {
		from, to = n-to, n-from
	}
	return all[from:to]
}
