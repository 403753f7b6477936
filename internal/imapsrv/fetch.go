package imapsrv

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"postbag/internal/imapwire"
	"postbag/internal/mailbox"
	"postbag/internal/maillog"
)

// An item is one thing that FETCH was asked for.
type item struct {
	name    string // FLAGS, UID, ENVELOPE ...; BODY[ and BINARY[ for sections
	section section
	peek    bool
}

// macros are short names of lists (RFC 9051 section 6.4.5).
var macros = map[string][]string{
	"ALL":  {"FLAGS", "INTERNALDATE", "RFC822.SIZE", "ENVELOPE"},
	"FAST": {"FLAGS", "INTERNALDATE", "RFC822.SIZE"},
	"FULL": {"FLAGS", "INTERNALDATE", "RFC822.SIZE", "ENVELOPE", "BODY"},
}

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

// withItem adds an item that the client did not name, but is to be told.
func withItem(items []item, name string) []item {
	for _, it := range items {
		if it.name == name {
			return items
		}
	}
	return append([]item{{name: name}}, items...)
}

// fetchItems reads a macro, an item, or a list of them.
func (s *session) fetchItems() ([]item, error) {
	var items []item
	if c, err := s.in.Peek(); err == nil && c == '(' {
		err := s.in.List(func() error {
			it, err := s.listedItem()
			items = append(items, it)
			return err
		})
		return items, err
	}
	it, err := s.fetchItem()
	if err != nil {
		return nil, err
	}
	for _, n := range macros[it.name] {
		items = append(items, item{name: n})
	}
	if items == nil {
		items = []item{it}
	}
	return items, nil
}

// listedItem reads one item of a list, in which macros have no place (RFC 9051
// section 6.4.5).
func (s *session) listedItem() (item, error) {
	it, err := s.fetchItem()
	if err == nil && macros[it.name] != nil {
		err = bad(it.name + " stands alone")
	}
	return it, err
}

// plainItems are those without a section.
const plainItems = " FLAGS UID ENVELOPE BODYSTRUCTURE BODY INTERNALDATE RFC822.SIZE RFC822 RFC822.HEADER RFC822.TEXT MODSEQ EMAILID THREADID SAVEDATE PREVIEW "

// fetchItem reads one item.
func (s *session) fetchItem() (item, error) {
	word, err := s.itemName()
	if err != nil {
		return item{}, err
	}
	it := item{name: word}
	if base, ok := strings.CutSuffix(word, ".PEEK"); ok {
		it.name, it.peek = base, true
	}
	sectioned := it.name == "BODY" || it.name == "BINARY" || it.name == "BINARY.SIZE"
	if sectioned && s.in.Accept('[') {
		it.name += "["
		it.peek = it.peek || it.name == "BINARY.SIZE["
		it.section, err = s.readSection(it.name != "BODY[")
		return it, err
	}
	if it.peek || !strings.Contains(plainItems, " "+it.name+" ") && macros[it.name] == nil {
		return item{}, bad("FETCH has no item " + word)
	}
	if it.name == "PREVIEW" {
		// Whether a preview is worth an effort (RFC 8970 section 4): here it always is.
		if _, err := s.in.AcceptAll(" (LAZY)"); err != nil {
			return item{}, err
		}
	}
	return rfc822(it), nil
}

// maxItemName bounds the name of an item or section: it has room for maxPath parts
// of up to three digits.
const maxItemName = 4*maxPath + 40

// itemName reads letters, digits and dots.
func (s *session) itemName() (string, error) {
	var b strings.Builder
	for {
		c, err := s.in.Peek()
		if err != nil {
			return "", err
		}
		if c != '.' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') {
			return strings.ToUpper(b.String()), nil
		}
		s.in.Accept(c)
		b.WriteByte(c)
		if b.Len() > maxItemName {
			return "", bad("name of an item is too long")
		}
	}
}

// rfc822 are old names of sections, which keep their names in the response.
func rfc822(it item) item {
	switch it.name {
	case "RFC822":
		it.section = section{size: -1}
	case "RFC822.HEADER":
		it.section, it.peek = section{text: "HEADER", size: -1}, true
	case "RFC822.TEXT":
		it.section = section{text: "TEXT", size: -1}
	}
	return it
}

// isText tells whether an item gives parts of the letter's text.
func (it item) isText() bool {
	switch it.name {
	case "BODY[", "BINARY[", "RFC822", "RFC822.HEADER", "RFC822.TEXT":
		return true
	}
	return false
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
	gathers   bool // responses are kept in b one after the other: it is of a crew
	steady    bool // flags are those of this session's version

	pos    int
	letter *mailbox.Letter // as this session's version has it
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
	return f
}

// one writes the response for one letter.
func (f *fetching) one(pos int) error {
	f.pos, f.letter, f.first, f.begun = pos, f.sel.view.At(pos), true, false
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
	if tells && !f.asksFlags {
		f.name("FLAGS")
		f.b = f.appendFlags(f.b, f.now)
	}
	if tells && f.tellsMod {
		f.b = appendModSeq(append(f.b, ' '), f.now)
	}
	f.b = append(f.b, ")\r\n"...)
	if f.gathers {
		return nil
	}
	return f.flush()
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
	if f.utf8 && !e.ASCII {
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

func (f *fetching) addUTF8(name string) error {
	part, err := f.source.structure()
	if err != nil {
		return err
	}
	f.name(name)
	e := encoder{b: f.b, utf8: true}
	if name == "ENVELOPE" {
		e.envelope(part.Envelope())
	} else {
		e.body(part, name == "BODYSTRUCTURE")
	}
	f.b = e.b
	return nil
}
