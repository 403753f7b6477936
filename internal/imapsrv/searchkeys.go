package imapsrv

import (
	"io"
	"strings"
	"time"

	"postbag/internal/imapwire"
	"postbag/internal/mime"
	"postbag/internal/search"
)

// A keyReader reads the keys of SEARCH, SORT and THREAD.
type keyReader struct {
	*session
	charset   string // of the texts
	modSeq    bool   // MODSEQ was among the keys
	fixed     bool   // numbers mean the letters that have them now, for ever
	elsewhere bool   // other folders than the selected one are searched
}

// all reads keys up to the end of the command.
func (s *keyReader) all() (search.Criteria, error) {
	var all search.And
	for {
		c, err := s.anyKey(0)
		if err != nil {
			return nil, err
		}
		if all = append(all, c); s.in.AtEnd() {
			return all, s.crlf()
		}
		if err := s.sp(); err != nil {
			return nil, err
		}
	}
}

// readCharset takes the name of a charset.
func (s *keyReader) readCharset() error {
	if err := s.sp(); err != nil {
		return err
	}
	name, err := s.in.Astring()
	if err != nil {
		return err
	}
	if !mime.KnownCharset(name) {
		return no("[BADCHARSET (US-ASCII UTF-8)] that charset is not known")
	}
	s.charset = name
	return nil
}

// text reads a string, and gives it in UTF-8.
func (s *keyReader) text() (string, error) {
	text, err := s.in.Astring()
	if err != nil {
		return "", err
	}
	b, err := io.ReadAll(mime.Charset(s.charset, strings.NewReader(text)))
	return string(b), err
}

func isSetStart(c byte) bool { return c >= '0' && c <= '9' || c == '*' || c == '$' }

// maxNesting bounds NOT, OR and parentheses.
const maxNesting = 50

// flagKeys are keys that ask for one flag.
var flagKeys = map[string]search.Criteria{
	"ALL": search.And{}, "ANSWERED": search.Flag(`\Answered`), "DELETED": search.Flag(`\Deleted`), "DRAFT": search.Flag(`\Draft`),
	"FLAGGED": search.Flag(`\Flagged`), "SEEN": search.Flag(`\Seen`), "RECENT": search.Flag(`\Recent`),
	"UNANSWERED": search.Not{C: search.Flag(`\Answered`)}, "UNDELETED": search.Not{C: search.Flag(`\Deleted`)},
	"UNDRAFT": search.Not{C: search.Flag(`\Draft`)}, "UNFLAGGED": search.Not{C: search.Flag(`\Flagged`)},
	"UNSEEN": search.Not{C: search.Flag(`\Seen`)}, "OLD": search.Not{C: search.Flag(`\Recent`)},
	"NEW":               search.And{search.Flag(`\Recent`), search.Not{C: search.Flag(`\Seen`)}},
	"SAVEDATESUPPORTED": search.And{},
}

// key reads what follows the word of a search key; "" is a set or a list.
func (s *keyReader) key(word string, depth int) (search.Criteria, error) {
	if depth > maxNesting {
		return nil, no("[LIMIT] search is nested too deep")
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
	case "UIDAFTER", "UIDBEFORE":
		return s.uidKey(word)
	case "LARGER", "SMALLER":
		return s.sizeKey(word)
	case "KEYWORD", "UNKEYWORD":
		return s.keywordKey(word)
	case "OLDER", "YOUNGER":
		return s.ageKey(word)
	case "MODSEQ":
		return s.modSeqKey()
	case "EMAILID", "THREADID":
		return s.idKey(word)
	}
	if c, ok, err := s.dateKey(word); ok {
		return c, err
	}
	return s.textKey(word)
}

// ageKey reads a number of seconds (RFC 5032).
func (s *keyReader) ageKey(word string) (search.Criteria, error) {
	if err := s.sp(); err != nil {
		return nil, err
	}
	n, err := s.number32()
	return search.Age{Than: time.Now().Add(-time.Duration(n) * time.Second), Older: word == "OLDER"}, err
}

// modSeqKey reads MODSEQ, which may name a flag and whose (RFC 7162 section
// 3.1.5): there is one modseq for all of a letter's flags.
func (s *keyReader) modSeqKey() (search.Criteria, error) {
	if err := s.sp(); err != nil {
		return nil, err
	}
	if c, err := s.in.Peek(); err == nil && (c < '0' || c > '9') {
		if err := s.modSeqEntry(); err != nil {
			return nil, err
		}
	}
	n, err := s.session.modSeq()
	s.modSeq = true
	return search.ModSeq(n), err
}

func (s *keyReader) modSeqEntry() error {
	_, err := s.in.Astring()
	if err == nil {
		err = s.sp()
	}
	if err != nil {
		return err
	}
	kind, err := s.in.Atom()
	if err != nil {
		return err
	}
	switch strings.ToLower(kind) {
	case "priv", "shared", "all":
		return s.sp()
	}
	return bad("priv, shared or all expected")
}

// idKey reads an object id (RFC 8474 section 6). No letter has a THREADID.
func (s *keyReader) idKey(word string) (search.Criteria, error) {
	if err := s.sp(); err != nil {
		return nil, err
	}
	id, err := s.in.Atom()
	if word == "THREADID" {
		return search.Not{C: search.And{}}, err
	}
	return search.EmailID(id), err
}

// nextKey reads a space and a key.
func (s *keyReader) nextKey(depth int) (search.Criteria, error) {
	if err := s.sp(); err != nil {
		return nil, err
	}
	return s.anyKey(depth + 1)
}

func (s *keyReader) anyKey(depth int) (search.Criteria, error) {
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

func (s *keyReader) setOrList(depth int) (search.Criteria, error) {
	if c, err := s.in.Peek(); err != nil || c != '(' {
		return s.setKey(false)
	}
	var all search.And
	err := s.in.Members(func() error {
		c, err := s.anyKey(depth + 1)
		all = append(all, c)
		return err
	})
	return all, err
}

// setKey reads a set of numbers.
func (s *keyReader) setKey(byUID bool) (search.Criteria, error) {
	set, err := s.in.Set()
	switch {
	case err != nil:
		return nil, err
	case set.Result && s.elsewhere:
		return nil, bad("$ is of the selected mailbox") // RFC 7377 section 2.2
	case len(set.Ranges) == 0:
		return s.savedResult(), nil
	case !byUID && s.uidonly:
		return nil, errUIDRequired
	}
	c := setCriteria(set, byUID)
	if !byUID && s.fixed {
		c = s.fixedSet(set)
	}
	if set.Result {
		c = search.Or{A: c, B: s.savedResult()}
	}
	return c, nil
}

// savedResult is what `$` stands for.
func (s *keyReader) savedResult() search.Criteria {
	var saved search.UIDs
	for _, uid := range s.sel.saved {
		saved = append(saved, search.Range{First: uid, Last: uid})
	}
	return saved
}

// setCriteria is what a set means in whatever folder.
func setCriteria(set imapwire.Set, byUID bool) (c search.Criteria) {
	closed, from := set.Split()
	ranges := make([]search.Range, len(closed))
	for i, r := range closed {
		ranges[i] = search.Range(r)
	}
	var open search.Criteria
	if byUID {
		c, open = search.UIDs(ranges), search.UIDsFrom(from)
	} else {
		c, open = search.Seqs(ranges), search.SeqsFrom(from)
	}
	switch {
	case from == 0:
		return c
	case len(ranges) == 0:
		return open
	}
	return search.Or{A: c, B: open}
}

// fixedSet is the letters that have the numbers of a set now (RFC 5267 section
// 4.3).
func (s *keyReader) fixedSet(set imapwire.Set) search.Criteria {
	v := s.sel.view
	var uids search.UIDs
	for _, r := range set.Resolve(uint32(v.Len())) {
		first, last := max(r.First, 1), min(r.Last, uint32(v.Len()))
		if first <= last {
			uids = append(uids, search.Range{First: v.At(int(first) - 1).UID, Last: v.At(int(last) - 1).UID})
		}
	}
	return uids
}

// uidKey reads a UID that others are compared with (RFC 9738 section 3.2).
func (s *keyReader) uidKey(word string) (search.Criteria, error) {
	if err := s.sp(); err != nil {
		return nil, err
	}
	uid, err := s.number32()
	switch {
	case err != nil:
		return nil, err
	case word == "UIDBEFORE":
		return search.UIDs{{First: 0, Last: uid - 1}}, nil
	case uid == 1<<32-1:
		return search.UIDs{}, nil
	}
	return search.UIDs{{First: uid + 1, Last: 1<<32 - 1}}, nil
}

func (s *keyReader) sizeKey(word string) (search.Criteria, error) {
	if err := s.sp(); err != nil {
		return nil, err
	}
	n, err := s.in.Number()
	if word == "LARGER" {
		return search.Larger(n), err
	}
	return search.Smaller(n), err
}

func (s *keyReader) keywordKey(word string) (search.Criteria, error) {
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
	"SENTON": {When: search.On, Of: search.Sent}, "SENTBEFORE": {When: search.Before, Of: search.Sent}, "SENTSINCE": {When: search.Since, Of: search.Sent},
	"SAVEDON": {When: search.On, Of: search.Saved}, "SAVEDBEFORE": {When: search.Before, Of: search.Saved}, "SAVEDSINCE": {When: search.Since, Of: search.Saved},
}

func (s *keyReader) dateKey(word string) (search.Criteria, bool, error) {
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
func (s *keyReader) textKey(word string) (search.Criteria, error) {
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
	text, err := s.text()
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
