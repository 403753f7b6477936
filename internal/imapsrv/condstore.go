package imapsrv

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"postbag/internal/imapwire"
	"postbag/internal/mailbox"
)

// useModSeq turns CONDSTORE on: from now on flags come with their modseq (RFC 7162
// section 3.1). Whoever has a folder selected is told where it stands.
func (s *session) useModSeq() {
	if s.condstore {
		return
	}
	s.condstore = true
	if s.sel != nil {
		s.tellHighest()
	}
}

func (s *session) tellHighest() {
	s.line(fmt.Sprintf("* OK [HIGHESTMODSEQ %d] highest", s.sel.view.HighestModSeq()))
}

// tellDelayed says up to where a client knows everything, when it has just been told
// of flags that are newer than an expunge of which it may not be told yet (RFC 7162
// sections 3.2 and 6).
func (s *session) tellDelayed() {
	sel := s.sel
	if !s.condstore || sel == nil || s.verb != "FETCH" && s.verb != "STORE" || sel.view == sel.folder.View() {
		return
	}
	s.tellHighest()
	sel.delayed = true
}

// tellCaughtUp says that it knows everything again.
func (s *session) tellCaughtUp() {
	if s.sel.delayed {
		s.tellHighest()
	}
	s.sel.delayed = false
}

// A resync is what a client that comes back knows of a folder (RFC 7162 section
// 3.2.5).
type resync struct {
	validity  uint32
	modseq    uint64
	known     *imapwire.Set
	seqs      imapwire.Set // pairs of sequence numbers and UIDs that it believes in
	uids      imapwire.Set
	hasSample bool
}

// selectParams are what may follow the name in SELECT.
type selectParams struct {
	condstore bool
	resync    *resync
}

func (s *session) selectParams() (p selectParams, err error) {
	if !s.in.Accept(' ') {
		return p, nil
	}
	err = s.in.Members(func() error {
		name, err := s.in.Atom()
		if err != nil {
			return err
		}
		switch strings.ToUpper(name) {
		case "CONDSTORE":
			p.condstore = true
			return nil
		case "QRESYNC":
			if !s.qresync {
				return bad("ENABLE QRESYNC first") // RFC 7162 section 3.2.5
			}
			p.resync = &resync{}
			return s.readResync(p.resync)
		}
		return bad("parameter " + name + " is not known")
	})
	return p, err
}

// readResync reads (UIDVALIDITY MODSEQ [known UIDs] [(numbers UIDs)]).
func (s *session) readResync(q *resync) error {
	if err := s.sp(); err != nil {
		return err
	}
	n := 0
	return s.in.List(func() (err error) {
		c, _ := s.in.Peek()
		switch n++; {
		case n == 1:
			q.validity, err = s.number32()
		case n == 2:
			q.modseq, err = s.modSeq()
		case c == '(' && s.uidonly:
			err = errUIDRequired // RFC 9586 section 3.7: numbers are in it
		case c == '(' && !q.hasSample:
			q.hasSample = true
			err = s.readSample(q)
		case n == 3:
			q.known = &imapwire.Set{}
			*q.known, err = s.plainSet()
		default:
			err = bad("QRESYNC has too many arguments")
		}
		return err
	})
}

func (s *session) readSample(q *resync) (err error) {
	if err = s.in.Expect('('); err != nil {
		return err
	}
	if q.seqs, err = s.plainSet(); err != nil {
		return err
	}
	if err = s.sp(); err != nil {
		return err
	}
	if q.uids, err = s.plainSet(); err != nil {
		return err
	}
	return s.in.Expect(')')
}

// plainSet reads a set in which `*` and `$` have no place (RFC 7162 section 7).
func (s *session) plainSet() (imapwire.Set, error) {
	set, err := s.in.Set()
	star := func(r imapwire.Range) bool { return r.First == imapwire.Star || r.Last == imapwire.Star }
	if err == nil && (set.Result || slices.ContainsFunc(set.Ranges, star)) {
		err = bad("numbers are expected")
	}
	return set, err
}

func (s *session) number32() (uint32, error) {
	n, err := s.in.Number()
	if err == nil && (n == 0 || n > 1<<32-1) {
		err = bad("number is out of range")
	}
	return uint32(n), err
}

func (s *session) modSeq() (uint64, error) {
	n, err := s.in.Number()
	return uint64(n), err
}

// answerResync tells what has vanished and what has changed since a client was
// here.
func (s *session) answerResync(q *resync) {
	v := s.sel.view
	if q == nil || q.validity != v.UIDValidity() {
		return
	}
	limit := imapwire.Set{Ranges: []imapwire.Range{{First: 1, Last: imapwire.Star}}}
	if q.known != nil {
		limit = *q.known
	}
	s.tellEarlier(q.modseq, limit, q.agreed(v))
	for _, i := range v.ChangedSince(q.modseq) {
		l := v.At(i)
		if q.known != nil && !inRanges(l.UID, q.known.Resolve(v.UIDNext()-1)) {
			continue
		}
		s.tellNew(l)
		s.line(string(s.appendChange(nil, i, l)))
	}
}

// agreed is a UID up to which the client's letters are known to be ours: where
// the same number has the same UID, nothing below can have gone.
func (q *resync) agreed(v *mailbox.View) uint32 {
	var last uint32
	uids := flatten(q.uids)
	for k, n := range flatten(q.seqs) {
		if k >= len(uids) || int(n) > v.Len() || v.At(int(n)-1).UID != uids[k] {
			break
		}
		last = uids[k]
	}
	return last
}

// maxSample bounds the pairs of a client's sample that are looked at.
const maxSample = 10_000

func flatten(set imapwire.Set) (all []uint32) {
	for _, r := range set.Resolve(1) {
		for n := uint64(r.First); n <= uint64(r.Last) && len(all) < maxSample; n++ {
			all = append(all, uint32(n))
		}
	}
	return all
}

// tellEarlier writes VANISHED (EARLIER) for the UIDs of a set, above a UID, that
// went after a modseq.
func (s *session) tellEarlier(modseq uint64, limit imapwire.Set, above uint32) {
	v := s.sel.view
	wanted := limit.Resolve(max(v.UIDNext()-1, 1))
	var gone []imapwire.Range
	for _, r := range v.VanishedSince(modseq) {
		r.First = max(r.First, above+1)
		for _, w := range wanted {
			if first, last := max(r.First, w.First), min(r.Last, w.Last); first <= last {
				gone = append(gone, imapwire.Range{First: first, Last: last})
			}
		}
	}
	if len(gone) > 0 {
		s.line("* VANISHED (EARLIER) " + imapwire.FormatRanges(gone))
	}
}

func inRanges(n uint32, ranges []imapwire.Range) bool {
	_, found := slices.BinarySearchFunc(ranges, n, func(r imapwire.Range, n uint32) int {
		switch {
		case r.Last < n:
			return -1
		case r.First > n:
			return 1
		}
		return 0
	})
	return found
}

// appendModSeq writes MODSEQ as an item of FETCH.
func appendModSeq(b []byte, l *mailbox.Letter) []byte {
	b = append(b, "MODSEQ ("...)
	return append(strconv.AppendUint(b, l.ModSeq, 10), ')')
}

// appendChange writes a FETCH response for flags that have changed.
func (s *session) appendChange(b []byte, pos int, l *mailbox.Letter) []byte {
	b = s.appendFetch(b, pos, l)
	if !s.uidonly {
		b = fmt.Appendf(b, "UID %d ", l.UID)
	}
	b = s.appendFlags(append(b, "FLAGS "...), l)
	if s.condstore {
		b = appendModSeq(append(b, ' '), l)
	}
	return append(b, ')')
}

// fetchModifiers are what may follow the items of FETCH (RFC 7162 section 3.1.4).
type fetchModifiers struct {
	changed  bool // only letters that
	since    uint64
	vanished bool
	partial  *partialRange // RFC 9394 section 3.3
}

func (s *session) fetchModifiers(byUID bool) (m fetchModifiers, err error) {
	if !s.in.Accept(' ') {
		return m, nil
	}
	err = s.in.Members(func() error {
		name, err := s.in.Atom()
		if err != nil {
			return err
		}
		switch strings.ToUpper(name) {
		case "CHANGEDSINCE":
			if err = s.sp(); err == nil {
				m.changed = true
				m.since, err = s.modSeq()
			}
			return err
		case "PARTIAL":
			m.partial, err = s.readPartial()
			return err
		case "VANISHED":
			if !s.qresync || !byUID {
				return bad("VANISHED needs ENABLE QRESYNC and UID FETCH") // RFC 7162 section 3.2.6
			}
			m.vanished = true
			return nil
		}
		return bad("modifier " + name + " is not known")
	})
	if err == nil && m.vanished && !m.changed {
		err = bad("VANISHED needs CHANGEDSINCE")
	}
	return m, err
}

// changedSince keeps the letters that have changed since, as of now.
func (s *session) changedSince(positions []int, modseq uint64) []int {
	return slices.DeleteFunc(positions, func(i int) bool { return s.current(s.sel.view.At(i)).ModSeq <= modseq })
}

// unchangedSince reads the modifier of STORE.
func (s *session) unchangedSince() (modseq uint64, given bool, err error) {
	if c, perr := s.in.Peek(); perr != nil || c != '(' {
		return mailbox.Always, false, nil
	}
	err = s.in.Members(func() error {
		name, err := s.in.Atom()
		if err == nil && !strings.EqualFold(name, "UNCHANGEDSINCE") {
			err = bad("modifier " + name + " is not known")
		}
		if err == nil {
			err = s.sp()
		}
		if err == nil {
			modseq, err = s.modSeq()
		}
		return err
	})
	if err == nil {
		err = s.sp()
	}
	return modseq, true, err
}

// store changes letters, and gives those that it has left alone because they have
// changed since. A change that does not touch what is to be changed is no reason
// to (RFC 7162 section 3.1.12): those letters are tried once more, as of the version
// that was looked at.
func (s *session) store(uids []uint32, change mailbox.FlagChange, since uint64) (modified []uint32, err error) {
	folder := s.sel.folder
	modified, err = folder.Store(s.ctx, uids, change, since)
	if err != nil || len(modified) == 0 || change.Replace {
		return modified, err
	}
	cur := folder.View()
	left, again := split(modified, func(uid uint32) bool { return s.unaffected(cur, uid, &change, since) })
	if len(again) == 0 {
		return modified, nil
	}
	again, err = folder.Store(s.ctx, again, change, cur.HighestModSeq())
	modified = append(left, again...)
	slices.Sort(modified)
	return modified, err
}

// split gives the members of a list that are not so, and those that are.
func split(list []uint32, so func(uint32) bool) (not, are []uint32) {
	for _, n := range list {
		if so(n) {
			are = append(are, n)
		} else {
			not = append(not, n)
		}
	}
	return not, are
}

// unaffected reports whether the flags of a change are still those of which the
// client knows, whose knowledge is from since. With 0 it asks whether a keyword is
// there at all; a system flag always is (section 3.1.3).
func (s *session) unaffected(cur *mailbox.View, uid uint32, c *mailbox.FlagChange, since uint64) bool {
	i, there := cur.Index(uid)
	if !there {
		return false
	}
	flags, keywords := affected(c, cur.At(i))
	if since == 0 {
		return (c.Set|c.Clear)&^mailbox.Passed == 0 && flags == 0 && keywords == nil
	}
	old, known := s.sel.view.Index(uid)
	if !known || s.sel.view.At(old).ModSeq > since {
		return false
	}
	wereFlags, wereKeywords := affected(c, s.sel.view.At(old))
	return flags == wereFlags && slices.Equal(keywords, wereKeywords)
}

// affected gives what a letter has of the flags that a change speaks of.
func affected(c *mailbox.FlagChange, l *mailbox.Letter) (flags mailbox.Flags, keywords []string) {
	for _, k := range l.Keywords {
		if slices.ContainsFunc(slices.Concat(c.SetKeywords, c.ClearKeywords), func(n string) bool { return strings.EqualFold(n, k) }) {
			keywords = append(keywords, k)
		}
	}
	return l.Flags & (c.Set | c.Clear), keywords
}

// modified is the response code for letters that a STORE has left alone.
func (s *session) modified(uids []uint32, byUID bool) string {
	if len(uids) == 0 {
		return ""
	}
	numbers := uids
	if !byUID {
		numbers = nil
		for _, uid := range uids {
			if i, ok := s.sel.view.Index(uid); ok {
				numbers = append(numbers, uint32(i)+1)
			}
		}
	}
	return "[MODIFIED " + imapwire.FormatSet(numbers) + "] "
}

// highestNow is the response code of a command that has expunged (RFC 7162
// section 3.2.7).
func (s *session) highestNow(expunged bool) string {
	if !s.condstore || !expunged {
		return ""
	}
	return fmt.Sprintf("[HIGHESTMODSEQ %d] ", s.sel.folder.View().HighestModSeq())
}
