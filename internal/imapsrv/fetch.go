package imapsrv

import (
	"bytes"
	"errors"
	"slices"
	"strconv"

	"postbag/internal/imapwire"
	"postbag/internal/mailbox"
	"postbag/internal/maillog"
)

// doFetch is FETCH.
func (s *session) doFetch(byUID bool) (string, error) {
	if err := s.sp(); err != nil {
		return "", err
	}
	set, err := s.in.Set()
	if err != nil {
		return "", err
	}
	positions, err := s.letters(set, byUID)
	if err == nil {
		err = s.sp()
	}
	if err != nil {
		return "", err
	}
	items, err := s.fetchItems()
	if err != nil {
		return "", err
	}
	m, err := s.fetchModifiers(byUID)
	if err == nil {
		err = s.crlf()
	}
	if err != nil {
		return "", err
	}
	if m.changed || slices.ContainsFunc(items, func(it item) bool { return it.name == "MODSEQ" }) {
		s.useModSeq()
	}
	if m.partial != nil {
		if err := s.tooMany(m.partial.to - m.partial.from + 1); err != nil {
			return "", err
		}
		positions = m.partial.of(positions)
	}
	if m.changed {
		positions = s.changedSince(positions, m.since)
		items = withItem(items, "MODSEQ")
	}
	positions, limit := s.within(positions)
	if limit != "" {
		slices.Reverse(positions) // RFC 9738 section 3.1
	}
	if m.vanished {
		s.tellEarlier(m.since, set, 0)
	}
	if byUID && !s.uidonly {
		items = withItem(items, "UID")
	}
	if err := s.markSeen(positions, items); err != nil {
		return "", err
	}
	if err := s.fetchAll(positions, items); err != nil {
		s.tellLimit(limit) // the tagged response has a code of its own
		return "", err
	}
	return limit + "done", nil
}

// fetchAll writes the responses. What the crew cannot do, which is rare, is done
// here, and then more and more if it goes on like that.
func (s *session) fetchAll(positions []int, items []item) error {
	f := s.newFetching(items)
	missing := false
	for alone := 1; len(positions) > 0; alone = min(2*alone, maxAlone) {
		n, err := s.fetchTogether(positions, items)
		if err != nil {
			return err
		}
		if positions = positions[n:]; n >= maxAlone {
			alone = 1
		}
		now := positions[:min(alone, len(positions))]
		gone, err := f.several(now)
		if err != nil {
			return err
		}
		missing = missing || gone
		positions = positions[len(now):]
	}
	if missing {
		return no("[EXPUNGEISSUED] some of the messages are gone")
	}
	return nil
}

// maxAlone is for how many letters the crew is not asked at most.
const maxAlone = 1024

// several writes the responses for letters, and reports whether some are gone.
func (f *fetching) several(positions []int) (missing bool, err error) {
	for _, pos := range positions {
		err := f.one(pos)
		switch {
		case errors.Is(err, mailbox.ErrExpunged):
			missing = true
		case err != nil:
			return missing, err
		}
	}
	return missing, nil
}

// markSeen sets \Seen on letters whose text is fetched.
func (s *session) markSeen(positions []int, items []item) error {
	marks := false
	for _, it := range items {
		marks = marks || it.isText() && !it.peek
	}
	if !marks || s.sel.readOnly {
		return nil
	}
	var uids []uint32
	for _, i := range positions {
		if l := s.sel.view.At(i); l.Flags&mailbox.Seen == 0 {
			uids = append(uids, l.UID)
		}
	}
	if len(uids) == 0 {
		return nil
	}
	_, err := s.sel.folder.Store(s.ctx, uids, mailbox.FlagChange{Set: mailbox.Seen}, mailbox.Always)
	return err
}

// A fetching is the response for one letter after the other.
type fetching struct {
	*session
	items     []item
	asksFlags bool // as an item
	asksText  bool // in a way that sets \Seen
	tellsMod  bool // MODSEQ goes with flags that are told
	tellsUID  bool // UID goes with \Seen where that is set (RFC 7162 section 3.2.4)
	gathers   bool // responses are kept in b one after the other: it is of a crew
	steady    bool // flags are those of this session's version

	pos    int
	own    mailbox.Letter
	letter *mailbox.Letter // own: as this session's version has it
	now    *mailbox.Letter // as the newest version has it
	source source          // the text; opened when it is needed
	b      []byte
	first  bool
	begun  bool // a part of the response has been written
}

func (s *session) newFetching(items []item) *fetching {
	f := &fetching{session: s, items: items, source: s.newSource(), tellsMod: s.condstore}
	for _, it := range items {
		f.asksFlags = f.asksFlags || it.name == "FLAGS"
		f.asksText = f.asksText || it.isText() && !it.peek
		f.tellsMod = f.tellsMod && it.name != "MODSEQ"
	}
	f.tellsUID = s.condstore && !s.uidonly && f.asksText && !slices.ContainsFunc(items, func(it item) bool { return it.name == "UID" })
	return f
}

// one writes the response for one letter.
func (f *fetching) one(pos int) error {
	f.sel.view.Load(pos, &f.own)
	f.pos, f.letter, f.first, f.begun = pos, &f.own, true, false
	if f.now = f.letter; !f.steady {
		f.now = f.current(f.letter)
	}
	f.source.begin(f.letter)
	defer f.source.close()
	// Flags that changed since this version, as \Seen just did, are told too.
	changed := f.now.ModSeq != f.letter.ModSeq
	tells := f.asksFlags || f.asksText && changed && f.sel.told[f.now.UID] != f.now.ModSeq
	if err := f.announce(tells, changed); err != nil {
		return err
	}
	if !f.gathers {
		f.b = f.b[:0]
	}
	f.b = f.appendFetch(f.b, pos, f.letter)
	for i := range f.items {
		if err := f.add(&f.items[i]); err != nil {
			return f.broken(err)
		}
	}
	if tells {
		f.addNews(changed)
	}
	f.b = append(f.b, ")\r\n"...)
	if f.gathers {
		return nil
	}
	return f.flush()
}

// addNews writes what goes with flags that are told.
func (f *fetching) addNews(changed bool) {
	if !f.asksFlags {
		f.name("FLAGS")
		f.b = f.appendFlags(f.b, f.now)
	}
	if changed && f.tellsUID {
		f.name("UID")
		f.b = strconv.AppendUint(f.b, uint64(f.letter.UID), 10)
	}
	if f.tellsMod {
		f.b = appendModSeq(append(f.b, ' '), f.now)
	}
}

// announce says and notes what goes before flags that are told.
func (f *fetching) announce(tells, changed bool) error {
	if !tells {
		return nil
	}
	if f.gathers && (changed || f.hasUnknown(f.now.Keywords)) {
		return errAlone
	}
	f.tellNew(f.now)
	if changed {
		f.sel.told[f.now.UID] = f.now.ModSeq
	}
	return nil
}

// appendFetch begins a response for one letter: FETCH, or UIDFETCH for those who
// want no numbers (RFC 9586 section 3.3).
func (s *session) appendFetch(b []byte, pos int, l *mailbox.Letter) []byte {
	if s.uidonly {
		b = strconv.AppendUint(append(b, "* "...), uint64(l.UID), 10)
		return append(b, " UIDFETCH ("...)
	}
	b = strconv.AppendInt(append(b, "* "...), int64(pos)+1, 10)
	return append(b, " FETCH ("...)
}

// broken is the error of a response that cannot be completed: when the client
// has a part of it already, only the end of the connection is left.
func (f *fetching) broken(err error) error {
	if f.begun && !isIO(err) {
		f.report(maillog.Session{Kind: maillog.Troubled, Login: f.login, Err: err})
		return &connError{err}
	}
	return err
}

// name begins an item of the response.
func (f *fetching) name(text string) {
	f.space()
	f.b = append(append(f.b, text...), ' ')
}

// space stands between items.
func (f *fetching) space() {
	if !f.first {
		f.b = append(f.b, ' ')
	}
	f.first = false
}

func (f *fetching) flush() error {
	_, err := f.c.Write(f.b)
	f.b, f.begun = f.b[:0], true
	if err != nil {
		return &connError{err}
	}
	return nil
}

// add writes one item. What cannot be had is an error before anything of it is
// written.
func (f *fetching) add(it *item) error {
	switch it.name {
	case "UID":
		f.name("UID")
		f.b = strconv.AppendUint(f.b, uint64(f.letter.UID), 10)
	case "FLAGS":
		f.name("FLAGS")
		f.b = f.appendFlags(f.b, f.now)
	case "MODSEQ":
		f.space()
		f.b = appendModSeq(f.b, f.now)
	case "EMAILID":
		f.name("EMAILID")
		f.b = append(append(append(f.b, '('), f.letter.EmailID()...), ')')
	case "THREADID": // RFC 8474 section 5.2: NIL where there is none
		f.name("THREADID")
		f.b = append(f.b, "NIL"...)
	case "SAVEDATE":
		f.name("SAVEDATE")
		if t, ok := f.letter.Saved(); ok {
			f.b = imapwire.AppendTime(f.b, t)
		} else {
			f.b = append(f.b, "NIL"...)
		}
	case "INTERNALDATE":
		t, err := f.sel.folder.Internal(f.ctx, f.letter)
		if err != nil {
			return err
		}
		f.name("INTERNALDATE")
		f.b = imapwire.AppendTime(f.b, t)
	case "RFC822.SIZE":
		size, err := f.sel.folder.Size(f.ctx, f.letter)
		if err != nil {
			return err
		}
		f.name("RFC822.SIZE")
		f.b = strconv.AppendInt(f.b, size, 10)
	case "PREVIEW":
		return f.addPreview()
	case "ENVELOPE", "BODY", "BODYSTRUCTURE":
		return f.addStructure(it.name)
	default:
		return f.addSection(*it)
	}
	return nil
}

// addStructure writes what the cache has, or has now. Clients that have enabled
// UTF-8 get another form of a letter that is not ASCII.
func (f *fetching) addStructure(name string) error {
	e, err := f.source.facts()
	if err != nil {
		return err
	}
	if f.utf8 && !e.ASCII || f.rev2 && hasOtherForm(e.BodyStructure) {
		return f.addUTF8(name)
	}
	f.name(name)
	switch name {
	case "ENVELOPE":
		f.b = append(f.b, e.Envelope...)
	case "BODY":
		f.b = append(f.b, e.Body...)
	default:
		f.b = append(f.b, e.BodyStructure...)
	}
	return nil
}

// hasOtherForm reports whether IMAP4rev2 may have another form of a structure: for
// parameters with a charset and for message/global.
func hasOtherForm(structure []byte) bool {
	return bytes.Contains(structure, []byte(`*" `)) || bytes.Contains(structure, []byte(`"MESSAGE" "GLOBAL"`))
}

func (f *fetching) addUTF8(name string) error {
	part, err := f.source.structure()
	if err != nil {
		return err
	}
	f.name(name)
	e := encoder{b: f.b, utf8: true, rev2: f.rev2}
	if name == "ENVELOPE" {
		e.envelope(part.Envelope())
	} else {
		e.body(part, name == "BODYSTRUCTURE")
	}
	f.b = e.b
	return nil
}
