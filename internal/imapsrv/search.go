package imapsrv

import (
	"errors"
	"fmt"
	"io"
	"net/mail"
	"slices"
	"strings"
	"time"

	"postbag/internal/imapwire"
	"postbag/internal/mailbox"
	"postbag/internal/mime"
	"postbag/internal/search"
)

// A question is what SEARCH was asked.
type question struct {
	returns []string // of RETURN; nil: the old response
	esearch bool
	save    bool
	c       search.Criteria
}

// doSearch is SEARCH, with ESEARCH (RFC 4731) and SEARCHRES (RFC 5182).
func (s *session) doSearch(byUID bool) (string, error) {
	q := &question{esearch: s.rev2}
	if err := s.readQuestion(q); err != nil {
		return "", err
	}
	var found []uint32 // UIDs
	var numbers []uint32
	for i := range s.sel.view.Len() {
		r := &row{session: s, pos: i, letter: s.current(s.sel.view.At(i))}
		ok, err := search.Match(q.c, r)
		r.close()
		if err != nil && !errors.Is(err, mailbox.ErrExpunged) {
			return "", err
		}
		if !ok || err != nil {
			continue
		}
		found = append(found, r.letter.UID)
		if byUID {
			numbers = append(numbers, r.letter.UID)
		} else {
			numbers = append(numbers, uint32(i)+1)
		}
	}
	if q.save {
		s.sel.saved = found
	}
	s.tellFound(q, numbers, byUID)
	return "done", nil
}

// tellFound writes SEARCH or ESEARCH.
func (s *session) tellFound(q *question, numbers []uint32, byUID bool) {
	if !q.esearch {
		b := []byte("* SEARCH")
		for _, n := range numbers {
			b = fmt.Appendf(b, " %d", n)
		}
		s.line(string(b))
		return
	}
	if len(q.returns) == 0 && q.save {
		return // only saved, nothing told
	}
	b := fmt.Appendf(nil, "* ESEARCH (TAG %s)", imapwire.AppendString(nil, s.tag, false))
	if byUID {
		b = append(b, " UID"...)
	}
	for _, r := range q.returns {
		switch {
		case r == "COUNT":
			b = fmt.Appendf(b, " COUNT %d", len(numbers))
		case len(numbers) == 0:
		case r == "MIN":
			b = fmt.Appendf(b, " MIN %d", numbers[0])
		case r == "MAX":
			b = fmt.Appendf(b, " MAX %d", numbers[len(numbers)-1])
		case r == "ALL":
			b = fmt.Appendf(b, " ALL %s", imapwire.FormatSet(numbers))
		}
	}
	s.line(string(b))
}

// readQuestion reads the arguments of SEARCH.
func (s *session) readQuestion(q *question) error {
	if err := s.sp(); err != nil {
		return err
	}
	var all search.And
	first := true
	for {
		c, err := s.in.Peek()
		if err != nil {
			return err
		}
		word := ""
		if c != '(' && !isSetStart(c) {
			if word, err = s.in.Atom(); err != nil {
				return err
			}
			word = strings.ToUpper(word)
		}
		switch {
		case first && word == "RETURN":
			err = s.readReturn(q)
		case word == "CHARSET":
			err = s.readCharset()
			first = false
		default:
			first = false
			var k search.Criteria
			if k, err = s.key(word, 0); err == nil {
				all = append(all, k)
			}
		}
		if err != nil {
			return err
		}
		if s.in.AtEnd() {
			break
		}
		if err := s.sp(); err != nil {
			return err
		}
	}
	if len(all) == 0 {
		return bad("nothing to search for")
	}
	if q.esearch && q.returns == nil && !q.save {
		q.returns = []string{"ALL"}
	}
	q.c = all
	return s.crlf()
}

func isSetStart(c byte) bool { return c >= '0' && c <= '9' || c == '*' || c == '$' }

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
		case "MIN", "MAX", "ALL", "COUNT":
			q.returns = append(q.returns, name)
		default:
			return bad("RETURN has no " + name)
		}
		return nil
	})
	if err == nil && q.returns == nil && !q.save {
		q.returns = []string{"ALL"}
	}
	return err
}

func (s *session) readCharset() error {
	if err := s.sp(); err != nil {
		return err
	}
	name, err := s.in.Astring()
	if err != nil {
		return err
	}
	if !strings.EqualFold(name, "UTF-8") && !strings.EqualFold(name, "US-ASCII") {
		return no("[BADCHARSET (US-ASCII UTF-8)] that charset is not known")
	}
	return nil
}

// maxNesting bounds NOT, OR and parentheses.
const maxNesting = 50

// flagKeys are keys that ask for one flag.
var flagKeys = map[string]search.Criteria{
	"ALL": search.And{}, "ANSWERED": search.Flag(`\Answered`), "DELETED": search.Flag(`\Deleted`), "DRAFT": search.Flag(`\Draft`),
	"FLAGGED": search.Flag(`\Flagged`), "SEEN": search.Flag(`\Seen`), "RECENT": search.Flag(`\Recent`),
	"UNANSWERED": search.Not{C: search.Flag(`\Answered`)}, "UNDELETED": search.Not{C: search.Flag(`\Deleted`)},
	"UNDRAFT": search.Not{C: search.Flag(`\Draft`)}, "UNFLAGGED": search.Not{C: search.Flag(`\Flagged`)},
	"UNSEEN": search.Not{C: search.Flag(`\Seen`)}, "OLD": search.Not{C: search.Flag(`\Recent`)},
	"NEW": search.And{search.Flag(`\Recent`), search.Not{C: search.Flag(`\Seen`)}},
}

// key reads what follows the word of a search key; "" is a set or a list.
func (s *session) key(word string, depth int) (search.Criteria, error) {
	if depth > maxNesting {
		return nil, bad("search is nested too deep")
	}
	if c, ok := flagKeys[word]; ok {
		return c, nil
	}
	switch word {
	case "":
		return s.setOrList(depth)
	case "NOT":
		c, err := s.nextKey(depth)
		return search.Not{C: c}, err
	case "OR":
		a, err := s.nextKey(depth)
		if err != nil {
			return nil, err
		}
		b, err := s.nextKey(depth)
		return search.Or{A: a, B: b}, err
	case "UID":
		if err := s.sp(); err != nil {
			return nil, err
		}
		return s.setKey(true)
	case "LARGER", "SMALLER":
		return s.sizeKey(word)
	case "KEYWORD", "UNKEYWORD":
		return s.keywordKey(word)
	}
	if c, ok, err := s.dateKey(word); ok {
		return c, err
	}
	return s.textKey(word)
}

// nextKey reads a space and a key.
func (s *session) nextKey(depth int) (search.Criteria, error) {
	if err := s.sp(); err != nil {
		return nil, err
	}
	return s.anyKey(depth + 1)
}

func (s *session) anyKey(depth int) (search.Criteria, error) {
	c, err := s.in.Peek()
	if err != nil {
		return nil, err
	}
	if c == '(' || isSetStart(c) {
		return s.key("", depth)
	}
	word, err := s.in.Atom()
	if err != nil {
		return nil, err
	}
	return s.key(strings.ToUpper(word), depth)
}

func (s *session) setOrList(depth int) (search.Criteria, error) {
	if c, err := s.in.Peek(); err != nil || c != '(' {
		return s.setKey(false)
	}
	var all search.And
	err := s.in.List(func() error {
		c, err := s.anyKey(depth + 1)
		all = append(all, c)
		return err
	})
	return all, err
}

// setKey reads a set of numbers, which `*` is the last letter's of.
func (s *session) setKey(byUID bool) (search.Criteria, error) {
	set, err := s.in.Set()
	if err != nil {
		return nil, err
	}
	if set.Result {
		var saved search.UIDs
		for _, uid := range s.sel.saved {
			saved = append(saved, search.Range{First: uid, Last: uid})
		}
		return saved, nil
	}
	last := uint32(s.sel.view.Len())
	if byUID && last > 0 {
		last = s.sel.view.At(int(last) - 1).UID
	}
	var ranges []search.Range
	for _, r := range set.Resolve(last) {
		ranges = append(ranges, search.Range(r))
	}
	if byUID {
		return search.UIDs(ranges), nil
	}
	return search.Seqs(ranges), nil
}

func (s *session) sizeKey(word string) (search.Criteria, error) {
	if err := s.sp(); err != nil {
		return nil, err
	}
	n, err := s.in.Number()
	if word == "LARGER" {
		return search.Larger(n), err
	}
	return search.Smaller(n), err
}

func (s *session) keywordKey(word string) (search.Criteria, error) {
	if err := s.sp(); err != nil {
		return nil, err
	}
	name, err := s.in.Flag()
	if word == "UNKEYWORD" {
		return search.Not{C: search.Flag(name)}, err
	}
	return search.Flag(name), err
}

// whens are the keys that compare dates.
var whens = map[string]search.Date{
	"ON": {When: search.On}, "BEFORE": {When: search.Before}, "SINCE": {When: search.Since},
	"SENTON": {When: search.On, Sent: true}, "SENTBEFORE": {When: search.Before, Sent: true}, "SENTSINCE": {When: search.Since, Sent: true},
}

func (s *session) dateKey(word string) (search.Criteria, bool, error) {
	d, ok := whens[word]
	if !ok {
		return nil, false, nil
	}
	if err := s.sp(); err != nil {
		return nil, true, err
	}
	text, err := s.in.Astring()
	if err != nil {
		return nil, true, err
	}
	if d.Day, err = time.Parse("_2-Jan-2006", text); err != nil {
		if d.Day, err = time.Parse("2-Jan-2006", text); err != nil {
			return nil, true, bad("that is no date")
		}
	}
	return d, true, nil
}

// textKey reads keys that look for text.
func (s *session) textKey(word string) (search.Criteria, error) {
	field := ""
	switch word {
	case "BODY", "TEXT":
	case "SUBJECT", "FROM", "TO", "CC", "BCC":
		field = word
	case "HEADER":
		if err := s.sp(); err != nil {
			return nil, err
		}
		var err error
		if field, err = s.in.Astring(); err != nil {
			return nil, err
		}
	default:
		return nil, bad("SEARCH has no key " + word)
	}
	if err := s.sp(); err != nil {
		return nil, err
	}
	text, err := s.in.Astring()
	switch {
	case err != nil:
		return nil, err
	case word == "BODY":
		return search.Body(text), nil
	case word == "TEXT":
		return search.Text(text), nil
	}
	return search.Field{Name: field, Text: text}, nil
}

// A row is one letter, as search asks for it.
type row struct {
	*session
	pos    int
	letter *mailbox.Letter
	src    *source
	head   *mime.Part
}

func (r *row) close() {
	if r.src != nil {
		r.src.close()
	}
}

func (r *row) source() *source {
	if r.src == nil {
		r.src = &source{ctx: r.ctx, folder: r.sel.folder, letter: r.letter}
	}
	return r.src
}

func (r *row) Seq() uint32 { return uint32(r.pos) + 1 }
func (r *row) UID() uint32 { return r.letter.UID }

func (r *row) HasFlag(flag string) bool {
	if strings.EqualFold(flag, `\Recent`) {
		return r.letter.UID > r.sel.recent
	}
	for _, f := range flagNames {
		if strings.EqualFold(f.name, flag) {
			return r.letter.Flags&f.flag != 0
		}
	}
	return slices.ContainsFunc(r.letter.Keywords, func(k string) bool { return strings.EqualFold(k, flag) })
}

func (r *row) Size() (int64, error)         { return r.sel.folder.Size(r.ctx, r.letter) }
func (r *row) Internal() (time.Time, error) { return r.sel.folder.Internal(r.ctx, r.letter) }

func (r *row) header() (mime.Header, error) {
	if r.head == nil {
		c, err := r.source().content()
		if err != nil {
			return nil, err
		}
		if r.head, err = mime.ParseHeader(c); err != nil {
			return nil, err
		}
	}
	return r.head.Header, nil
}

func (r *row) Fields(name string) ([]string, error) {
	h, err := r.header()
	if err != nil {
		return nil, err
	}
	var values []string
	for _, v := range h.Values(name) {
		values = append(values, mime.DecodeHeader(v))
		if addressFields[strings.ToUpper(name)] {
			values = append(values, plainAddresses(v)...)
		}
	}
	return values, nil
}

// addressFields hold addresses, which are found as ENVELOPE has them, too:
// without comments and blanks (RFC 9051 section 6.4.4).
var addressFields = map[string]bool{"FROM": true, "TO": true, "CC": true, "BCC": true, "SENDER": true, "REPLY-TO": true}

func plainAddresses(value string) (all []string) {
	for _, a := range mime.ParseAddresses(value) {
		if a.Kind == mime.Mailbox {
			all = append(all, mime.DecodeHeader(a.Name)+" <"+a.Mailbox+"@"+a.Host+">")
		}
	}
	return all
}

func (r *row) Sent() (time.Time, error) {
	h, err := r.header()
	if err != nil {
		return time.Time{}, err
	}
	t, err := mail.ParseDate(h.Get("Date"))
	if err != nil {
		return time.Time{}, nil // a date that nobody can read is none
	}
	return t, nil
}

// maxSearched bounds how much of one part is searched.
const maxSearched = 16 << 20

func (r *row) Contains(folded string, header bool) (bool, error) {
	root, err := r.source().structure()
	if err != nil {
		return false, err
	}
	return r.within(root, folded, header)
}

// within looks into a part: its header, if that counts, and its text or its
// parts.
func (r *row) within(p *mime.Part, folded string, header bool) (bool, error) {
	if header {
		for _, f := range p.Header {
			if strings.Contains(search.Fold(f.Name+": "+mime.DecodeHeader(f.Value)), folded) {
				return true, nil
			}
		}
	}
	for _, c := range p.Children {
		if ok, err := r.within(c, folded, header); ok || err != nil {
			return ok, err
		}
	}
	if p.Message != nil {
		return r.within(p.Message, folded, true)
	}
	if !strings.EqualFold(p.Type, "text") {
		return false, nil
	}
	body, err := r.source().slice(p.BodyOffset, p.BodySize)
	if err != nil {
		return false, err
	}
	text, err := io.ReadAll(io.LimitReader(p.Text(body), maxSearched))
	return strings.Contains(search.Fold(string(text)), folded), err
}
