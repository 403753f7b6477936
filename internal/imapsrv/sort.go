package imapsrv

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"postbag/internal/mailbox"
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
	q.c, err = r.all()
	s.noteModSeq(q, r)
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

func (s *session) sorted(found []int, keys []search.SortKey) ([]int, error) {
	needs := map[search.By]bool{}
	for _, k := range keys {
		needs[k.By] = true
	}
	letters, err := s.describeAll(found, func(r *row, l *search.Sorted) error { return r.forSort(l, needs) })
	search.Sort(letters, keys)
	order := make([]int, len(letters))
	for i := range letters {
		order[i] = letters[i].Pos
	}
	return order, err
}

// describeAll asks for what is to be known of letters. One whose file is gone is
// left as it is: nothing is known of it.
func (s *session) describeAll(positions []int, ask func(*row, *search.Sorted) error) ([]search.Sorted, error) {
	all := make([]search.Sorted, len(positions))
	err := s.eachOf(len(positions), true, func(i int) error {
		r := &row{session: s, pos: positions[i], letter: s.sel.view.At(positions[i])}
		defer r.close()
		all[i].Pos = positions[i]
		if err := ask(r, &all[i]); !errors.Is(err, mailbox.ErrExpunged) {
			return err
		}
		return nil
	})
	return all, err
}

// forSort fills in what the keys need.
func (r *row) forSort(l *search.Sorted, needs map[search.By]bool) (err error) {
	if needs[search.Arrival] {
		if l.Arrival, err = r.Internal(); err != nil {
			return err
		}
	}
	if needs[search.Size] {
		if l.Size, err = r.Size(); err != nil {
			return err
		}
	}
	if needs[search.SentDate] {
		if err := r.sentOrArrived(l); err != nil {
			return err
		}
	}
	for by, field := range addressKeys {
		if needs[by] {
			if err := r.firstAddress(l, by, field); err != nil {
				return err
			}
		}
	}
	if needs[search.Subject] {
		h, err := r.header()
		if err != nil {
			return err
		}
		l.Subject = mime.DecodeHeader(h.Get("Subject"))
	}
	return nil
}

// sentOrArrived is the sent date of RFC 5256 section 2.2: the INTERNALDATE of
// letters that have none.
func (r *row) sentOrArrived(l *search.Sorted) (err error) {
	if l.Date, err = r.Sent(); err == nil && l.Date.IsZero() {
		l.Date, err = r.Internal()
	}
	return err
}

var addressKeys = map[search.By]string{
	search.Cc: "Cc", search.From: "From", search.To: "To", search.DisplayFrom: "From", search.DisplayTo: "To",
}

// firstAddress fills in the first address of a field, as ENVELOPE has it.
func (r *row) firstAddress(l *search.Sorted, by search.By, field string) error {
	h, err := r.header()
	if err != nil {
		return err
	}
	list := mime.ParseAddresses(h.Get(field))
	if len(list) == 0 {
		return nil
	}
	a := list[0]
	if a.Kind == mime.GroupStart {
		a = mime.Address{Name: a.Name, Mailbox: a.Name}
	}
	shown := mime.DecodeHeader(a.Name)
	if shown == "" {
		shown = strings.TrimSuffix(a.Mailbox+"@"+a.Host, "@")
	}
	switch by {
	case search.Cc:
		l.Cc = a.Mailbox
	case search.From:
		l.From = a.Mailbox
	case search.To:
		l.To = a.Mailbox
	case search.DisplayFrom:
		l.DisplayFrom = shown
	case search.DisplayTo:
		l.DisplayTo = shown
	}
	return nil
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
	letters, err := s.describeAll(found, (*row).forThread)
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

func (r *row) forThread(l *search.Sorted) error {
	if err := r.sentOrArrived(l); err != nil {
		return err
	}
	h, err := r.header()
	if err != nil {
		return err
	}
	l.Subject = mime.DecodeHeader(h.Get("Subject"))
	if ids := mime.MessageIDs(h.Get("Message-ID")); len(ids) > 0 {
		l.MessageID = ids[0]
	}
	if l.References = mime.MessageIDs(h.Get("References")); len(l.References) == 0 {
		ids := mime.MessageIDs(h.Get("In-Reply-To"))
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
