package imapsrv

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"postbag/internal/mailbox"
	"postbag/internal/mailcache"
	"postbag/internal/mime"
	"postbag/internal/search"
)

// sortKeys are the criteria of SORT (RFC 5256 section 3, RFC 5957 section 3).
var sortKeys = map[string]search.By{
	"ARRIVAL": search.Arrival, "CC": search.Cc, "DATE": search.SentDate, "FROM": search.From, "SIZE": search.Size,
	"SUBJECT": search.Subject, "TO": search.To, "DISPLAYFROM": search.DisplayFrom, "DISPLAYTO": search.DisplayTo,
}

// doSort is SORT, with ESORT (RFC 5267 section 3).
func (s *session) doSort(byUID bool) (string, error) {
	q := &question{byUID: byUID, verb: "SORT"}
	return s.search(q, s.readSort(q))
}

// readSort reads [RETURN (...)] (criteria) charset keys.
func (s *session) readSort(q *question) error {
	if err := s.sp(); err != nil {
		return err
	}
	word, err := s.optionalWord("RETURN")
	if err == nil && word != "" {
		if err = s.readReturn(q); err == nil {
			err = s.sp()
		}
	}
	if err == nil {
		q.keys, err = s.sortCriteria()
	}
	if err == nil {
		err = s.charsetAndKeys(q)
	}
	return err
}

// charsetAndKeys reads a charset and search keys.
func (s *session) charsetAndKeys(q *question) error {
	r := &keyReader{session: s, fixed: q.update}
	err := r.readCharset()
	if err == nil {
		err = s.sp()
	}
	if err != nil {
		return err
	}
	if q.c, err = r.all(); err == nil {
		s.noteModSeq(q, r)
	}
	return err
}

func (s *session) sortCriteria() (keys []search.SortKey, err error) {
	reverse := false
	err = s.in.List(func() error {
		name, err := s.in.Atom()
		if err != nil {
			return err
		}
		if name = strings.ToUpper(name); name == "REVERSE" && !reverse {
			reverse = true
			return nil
		}
		by, ok := sortKeys[name]
		if !ok {
			return bad("SORT has no key " + name)
		}
		keys = append(keys, search.SortKey{By: by, Reverse: reverse})
		reverse = false
		return nil
	})
	if err == nil && (reverse || len(keys) == 0) {
		err = bad("SORT by what?")
	}
	return keys, err
}

// sorted brings positions into an order.
func (s *session) sorted(found []int, keys []search.SortKey) ([]int, error) {
	values := make([]search.Value, len(found)*len(keys))
	err := s.each(found, func(r *row, i int) (err error) {
		for k, key := range keys {
			if values[i*len(keys)+k], err = r.value(key.By); err != nil {
				return err
			}
		}
		return nil
	})
	order := search.Sort(values, keys)
	for i, at := range order {
		order[i] = found[at]
	}
	return order, err
}

// each calls ask for letters, on all processors at once.
func (s *session) each(positions []int, ask func(r *row, i int) error) error {
	return s.eachOf(len(positions), true, func() func(int) error {
		r := s.newRow()
		return func(i int) error {
			r.at(positions[i], s.sel.view.At(positions[i]))
			defer r.close()
			return ask(r, i)
		}
	})
}

// value is what a letter is sorted by. Of one whose file is gone nothing is known.
func (r *row) value(by search.By) (v search.Value, err error) {
	switch by {
	case search.Arrival:
		v.Number, err = seconds(r.Internal())
	case search.Size:
		v.Number, err = r.Size()
	case search.SentDate:
		v.Number, err = seconds(r.sentOrArrived())
	case search.Subject:
		var e mailcache.Entry
		if e, err = r.brief(); err == nil {
			v.Text = search.CollateSubject(mime.DecodeHeader(e.Fields.Get("Subject")))
		}
	default:
		v.Text, err = r.firstAddress(by)
	}
	if errors.Is(err, mailbox.ErrExpunged) {
		err = nil
	}
	return v, err
}

func seconds(t time.Time, err error) (int64, error) { return t.Unix(), err }

// sentOrArrived is the sent date of RFC 5256 section 2.2: the INTERNALDATE of
// letters that have none.
func (r *row) sentOrArrived() (time.Time, error) {
	t, err := r.Sent()
	if err == nil && t.IsZero() {
		return r.Internal()
	}
	return t, err
}

var addressKeys = map[search.By]string{
	search.Cc: "Cc", search.From: "From", search.To: "To", search.DisplayFrom: "From", search.DisplayTo: "To",
}

// firstAddress is what the first address of a field, as ENVELOPE has it, is sorted
// by.
func (r *row) firstAddress(by search.By) (string, error) {
	e, err := r.brief()
	if err != nil {
		return "", err
	}
	list := mime.ParseAddresses(e.Fields.Get(addressKeys[by]))
	if len(list) == 0 {
		return "", nil
	}
	a := list[0]
	if a.Kind == mime.GroupStart {
		a = mime.Address{Name: a.Name, Mailbox: a.Name}
	}
	if by != search.DisplayFrom && by != search.DisplayTo {
		return search.Collate(a.Mailbox), nil
	}
	if shown := mime.DecodeHeader(a.Name); shown != "" {
		return search.Collate(shown), nil
	}
	return search.Collate(strings.TrimSuffix(a.Mailbox+"@"+a.Host, "@")), nil
}

// threaders are the algorithms of THREAD.
var threaders = map[string]func([]search.Sorted) []*search.Thread{
	"ORDEREDSUBJECT": search.OrderedSubject, "REFERENCES": search.References, "REFS": search.Refs,
}

// doThread is THREAD (RFC 5256 section 3).
func (s *session) doThread(byUID bool) (string, error) {
	if err := s.sp(); err != nil {
		return "", err
	}
	name, err := s.in.Atom()
	if err != nil {
		return "", err
	}
	thread := threaders[strings.ToUpper(name)]
	if thread == nil {
		return "", bad("THREAD has no algorithm " + name)
	}
	q := &question{byUID: byUID}
	if err := s.charsetAndKeys(q); err != nil {
		return "", err
	}
	found, err := s.find(q.c)
	if err != nil {
		return "", err
	}
	letters := make([]search.Sorted, len(found))
	err = s.each(found, func(r *row, i int) error {
		letters[i].Pos = found[i]
		err := r.forThread(&letters[i])
		if errors.Is(err, mailbox.ErrExpunged) {
			return nil // nothing is known of it
		}
		return err
	})
	if err != nil {
		return "", err
	}
	b := []byte("* THREAD")
	for i, t := range thread(letters) {
		if i == 0 {
			b = append(b, ' ')
		}
		b = s.appendThread(b, t, byUID)
	}
	s.line(string(b))
	return "done", nil
}

func (r *row) forThread(l *search.Sorted) (err error) {
	if l.Date, err = r.sentOrArrived(); err != nil {
		return err
	}
	e, err := r.brief()
	if err != nil {
		return err
	}
	l.Subject = mime.DecodeHeader(e.Fields.Get("Subject"))
	if ids := mime.MessageIDs(e.Fields.Get("Message-ID")); len(ids) > 0 {
		l.MessageID = ids[0]
	}
	if l.References = mime.MessageIDs(e.Fields.Get("References")); len(l.References) == 0 {
		ids := mime.MessageIDs(e.Fields.Get("In-Reply-To"))
		l.References = ids[:min(1, len(ids))]
	}
	l.References = slices.Compact(l.References)
	return nil
}

// appendThread writes a thread: one answer goes on in the line, several are in
// parentheses each. It uses no recursion, which a chain of answers could make
// deep.
func (s *session) appendThread(b []byte, root *search.Thread, byUID bool) []byte {
	b = append(b, '(')
	todo := []threadStep{{t: root}}
	for len(todo) > 0 {
		step := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if step.t == nil {
			b = append(b, ')')
			continue
		}
		if step.open {
			b = append(b, '(')
		}
		t := step.t
		if t.Pos >= 0 {
			b = strconv.AppendUint(b, uint64(s.numbers([]int{t.Pos}, byUID)[0]), 10)
			if len(t.Children) > 0 {
				b = append(b, ' ')
			}
		}
		several := len(t.Children) > 1
		for _, c := range slices.Backward(t.Children) {
			if several {
				todo = append(todo, threadStep{})
			}
			todo = append(todo, threadStep{t: c, open: several})
		}
	}
	return append(b, ')')
}

// A threadStep is a thread that is to be written, with parentheses or not, or
// with nil the closing parenthesis.
type threadStep struct {
	t    *search.Thread
	open bool
}
