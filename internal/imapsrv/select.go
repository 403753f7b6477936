package imapsrv

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"postbag/internal/account"
	"postbag/internal/imapwire"
	"postbag/internal/mailbox"
)

// A selected folder, as this session believes it to be.
type selected struct {
	name     string
	folder   *mailbox.Folder
	view     *mailbox.View
	readOnly bool
	recent   recents           // letters with \Recent
	saved    []uint32          // result of SEARCH that `$` stands for: UIDs
	keywords map[string]bool   // those that FLAGS has told of
	told     map[uint32]uint64 // UID to modseq whose flags were told, or need not be
	contexts []*searchContext  // searches that are kept up to date
	delayed  bool              // the client knows that it is not told everything
	mine     map[uint32]bool   // letters that this session has put in, and that are not told yet
	cancel   func()
}

// mailboxName reads the name of a folder.
func (s *session) mailboxName() (string, error) {
	name, err := s.in.Astring()
	if err != nil {
		return "", err
	}
	return s.decodeName(name), nil
}

// spName reads a space and a name.
func (s *session) spName() (string, error) {
	if err := s.sp(); err != nil {
		return "", err
	}
	return s.mailboxName()
}

func (s *session) unselect() {
	if s.sel == nil {
		return
	}
	s.unselected(s.sel)
	s.sel.cancel()
	s.sel.folder.Close()
	s.sel = nil
}

// doSelect is SELECT and EXAMINE.
func (s *session) doSelect(readOnly bool) (string, error) {
	name, err := s.spName()
	if err != nil {
		return "", err
	}
	params, err := s.selectParams()
	if err == nil {
		err = s.crlf()
	}
	if err != nil {
		return "", err
	}
	if s.sel != nil {
		s.unselect()
		s.line("* OK [CLOSED] previous mailbox is closed")
	}
	if params.condstore {
		s.useModSeq()
	}
	folder, err := s.tree.Open(s.ctx, name)
	if err != nil {
		return "", err
	}
	if err := folder.Sync(s.ctx); err != nil {
		folder.Close()
		return "", err
	}
	listed, err := s.selectable(name)
	if err != nil {
		folder.Close()
		return "", err
	}
	sel := &selected{name: listed.Name, folder: folder, view: folder.View(), readOnly: readOnly, told: map[uint32]uint64{}, mine: map[uint32]bool{}}
	sel.claimRecent(s.ctx)
	sel.cancel = folder.Subscribe(s.c.Wake)
	s.sel = sel
	s.describe(name, listed)
	s.answerResync(params.resync)
	if readOnly {
		return "[READ-ONLY] done", nil
	}
	s.sel.folder.SettleSoon()
	return "[READ-WRITE] done", nil
}

// selectable is what List has of a folder, as far as SELECT tells of it.
func (s *session) selectable(name string) (account.Folder, error) {
	if !s.rev2 {
		return account.Folder{Name: s.tree.Canonical(name)}, nil
	}
	return s.listed(s.tree.Canonical(name))
}

// describe writes what SELECT says of a folder that the client has called by some
// name.
func (s *session) describe(called string, f account.Folder) {
	v := s.sel.view
	flags := s.tellKeywords(v.Keywords())
	if s.sel.readOnly {
		s.line("* OK [PERMANENTFLAGS ()] read-only")
	} else {
		s.line("* OK [PERMANENTFLAGS (" + flags + ` \*)] kept`)
	}
	s.line(fmt.Sprintf("* %d EXISTS", v.Len()))
	if !s.rev2 {
		s.line(fmt.Sprintf("* %d RECENT", s.sel.recent.count(v)))
		if i, ok := v.FirstUnseen(); ok && !s.uidonly {
			s.line(fmt.Sprintf("* OK [UNSEEN %d] first unseen", i+1))
		}
	} else {
		s.tellSelected(called, f)
	}
	s.line(fmt.Sprintf("* OK [UIDVALIDITY %d] valid", v.UIDValidity()))
	s.line(fmt.Sprintf("* OK [UIDNEXT %d] next", v.UIDNext()))
	s.tellHighest()
	s.line("* OK [MAILBOXID (" + v.MailboxID() + ")] id")
}

// tellSelected writes the LIST response of SELECT (RFC 9051 section 6.3.2).
func (s *session) tellSelected(called string, f account.Folder) {
	if called == f.Name {
		called = ""
	}
	s.tellName(f, called)
}

const systemFlags = `\Answered \Flagged \Deleted \Seen \Draft $Forwarded`

func (s *session) doUnselect() (string, error) {
	if err := s.crlf(); err != nil {
		return "", err
	}
	s.unselect()
	return "done", nil
}

// doClose expunges without telling, and leaves the folder.
func (s *session) doClose() (string, error) {
	if err := s.crlf(); err != nil {
		return "", err
	}
	defer s.unselect()
	if s.sel.readOnly {
		return "done", nil
	}
	// No HIGHESTMODSEQ: the client may not have been told of all below it (RFC 7162
	// section 3.2.8).
	_, err := s.sel.folder.Expunge(s.ctx, nil)
	return "done", err
}

// update tells how the newest version of the selected folder differs from this
// session's, unless NOTIFY has forbidden it.
func (s *session) update(mayExpunge bool) {
	if s.watch.tells(messageNew) {
		s.step(mayExpunge)
	}
}

// step goes to the newest version and tells how it differs. Where EXPUNGE may not
// be sent, it goes only if nothing was expunged.
func (s *session) step(mayExpunge bool) {
	sel := s.sel
	if sel == nil {
		return
	}
	cur := sel.folder.View()
	if cur == sel.view {
		return
	}
	d := mailbox.Diff(sel.view, cur)
	if len(d.Expunged) > 0 && !mayExpunge {
		return
	}
	s.loseExpunged(d.Expunged)
	s.tellExpunged(d.Expunged)
	if cur.KeywordSets() != sel.view.KeywordSets() { // their letters may be gone again
		s.tellUnknown(cur.Keywords())
	}
	sel.view = cur
	if d.Added > 0 {
		sel.claimRecent(s.ctx)
		s.tellAdded(d.Added)
	}
	for _, uid := range d.Changed {
		if s.watch.tells(flagsChange) {
			s.tellFlags(uid)
		}
	}
	clear(sel.told)
	s.tellCaughtUp()
	s.updateContexts(d)
}

// tellAdded says that there are new letters, the last ones of the version, and
// of each what NOTIFY asks for.
func (s *session) tellAdded(n int) {
	sel := s.sel
	s.line(fmt.Sprintf("* %d EXISTS", sel.view.Len()))
	if !s.rev2 {
		s.line(fmt.Sprintf("* %d RECENT", sel.recent.count(sel.view)))
	}
	if !sel.readOnly {
		sel.folder.SettleSoon()
	}
	if s.watch != nil && s.watch.selected.items != nil {
		s.tellNewItems(sel.view.Len() - n)
	}
	clear(sel.mine)
}

// tellExpunged says which letters are gone, given their positions, descending.
func (s *session) tellExpunged(positions []int) {
	if len(positions) == 0 {
		return
	}
	if s.qresync || s.uidonly {
		uids := s.uids(positions)
		slices.Reverse(uids)
		s.line("* VANISHED " + imapwire.FormatSet(uids))
		return
	}
	for _, i := range positions {
		s.line(fmt.Sprintf("* %d EXPUNGE", i+1))
	}
}

// tellKeywords writes FLAGS with some keywords and all that were told before,
// which letters may still have as far as the client knows. It returns the list.
func (s *session) tellKeywords(names []string) string {
	if s.sel.keywords == nil {
		s.sel.keywords = map[string]bool{}
	}
	for _, k := range names {
		s.sel.keywords[k] = true
	}
	flags := systemFlags
	for _, k := range slices.Sorted(maps.Keys(s.sel.keywords)) {
		flags += " " + k
	}
	s.line("* FLAGS (" + flags + ")")
	return flags
}

// tellNew writes FLAGS when a letter has a keyword that the client was not told
// of: some clients ignore those. It comes before the letter's flags.
func (s *session) tellNew(l *mailbox.Letter) { s.tellUnknown(l.Keywords) }

// tellUnknown writes FLAGS when the client was not told of some keywords.
func (s *session) tellUnknown(names []string) {
	if s.hasUnknown(names) {
		s.tellKeywords(names)
	}
}

// hasUnknown reports whether the client was not told of some keywords.
func (s *session) hasUnknown(names []string) bool {
	return slices.ContainsFunc(names, func(k string) bool { return !s.sel.keywords[k] })
}

// tellFlags writes the flags of a letter that has changed, once.
func (s *session) tellFlags(uid uint32) {
	i, ok := s.sel.view.Index(uid)
	if !ok {
		return
	}
	l := s.sel.view.At(i)
	if s.sel.told[uid] == l.ModSeq {
		return
	}
	s.tellNew(l)
	s.line(string(s.appendChange(nil, i, l)))
}

// flagNames are system flags with their names in IMAP.
var flagNames = []struct {
	flag mailbox.Flags
	name string
}{
	{mailbox.Answered, `\Answered`}, {mailbox.Flagged, `\Flagged`}, {mailbox.Deleted, `\Deleted`},
	{mailbox.Seen, `\Seen`}, {mailbox.Draft, `\Draft`}, {mailbox.Passed, "$Forwarded"},
}

// appendFlags writes the list of a letter's flags.
func (s *session) appendFlags(b []byte, l *mailbox.Letter) []byte {
	b = append(b, '(')
	start := len(b)
	add := func(name string) {
		if len(b) > start {
			b = append(b, ' ')
		}
		b = append(b, name...)
	}
	for _, f := range flagNames {
		if l.Flags&f.flag != 0 {
			add(f.name)
		}
	}
	for _, k := range l.Keywords {
		add(k)
	}
	if !s.rev2 && s.sel.recent.has(l.UID) {
		add(`\Recent`)
	}
	return append(b, ')')
}

// parseFlags sorts flags into system flags and keywords. System flags that cannot
// be set, as \Recent, are passed over (RFC 9051 section 7.1, PERMANENTFLAGS).
func parseFlags(names []string) (flags mailbox.Flags, keywords []string, err error) {
next:
	for _, name := range names {
		for _, f := range flagNames {
			if strings.EqualFold(f.name, name) {
				flags |= f.flag
				continue next
			}
		}
		if strings.HasPrefix(name, `\`) {
			continue
		}
		if len(name) > maxKeyword {
			return 0, nil, no("[LIMIT] keyword is too long")
		}
		keywords = append(keywords, name)
	}
	return flags, keywords, nil
}

// maxKeyword bounds the length of a keyword.
const maxKeyword = 100

// letters gives the letters of the session's version that a set means, by
// position, each once.
func (s *session) letters(set imapwire.Set, byUID bool) (all []int, err error) {
	if byUID {
		all = uidLetters(set, s.sel.view)
	} else {
		all, err = numbered(set, s.sel.view)
	}
	if !set.Result || err != nil {
		return all, err
	}
	for _, uid := range s.sel.saved {
		if i, ok := s.sel.view.Index(uid); ok {
			all = append(all, i)
		}
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// numbered gives the letters of sequence numbers. One that is not there is an
// error, and so is each of them, `*` too, in an empty folder (RFC 9051 section 9;
// Dovecot does the same).
func numbered(set imapwire.Set, v *mailbox.View) (all []int, err error) {
	for _, r := range set.Resolve(uint32(v.Len())) {
		if r.First == 0 || int(r.Last) > v.Len() {
			return nil, bad("no such sequence number")
		}
		all = slices.Grow(all, int(r.Last-r.First)+1)
		for n := r.First; n <= r.Last; n++ {
			all = append(all, int(n)-1)
		}
	}
	return all, nil
}

func uidLetters(set imapwire.Set, v *mailbox.View) (all []int) {
	if v.Len() == 0 {
		return nil
	}
	for _, r := range set.Resolve(v.At(v.Len() - 1).UID) {
		i, _ := v.Index(r.First)
		end, found := v.Index(r.Last)
		if found {
			end++
		}
		all = slices.Grow(all, max(0, end-i))
		for ; i < end; i++ {
			all = append(all, i)
		}
	}
	return all
}

// uids gives the UIDs of letters at positions.
func (s *session) uids(positions []int) []uint32 {
	all := make([]uint32, len(positions))
	for k, i := range positions {
		all[k] = s.sel.view.At(i).UID
	}
	return all
}

// spSet reads a space and a set, and gives its letters.
func (s *session) spSet(byUID bool) ([]int, error) {
	if err := s.sp(); err != nil {
		return nil, err
	}
	set, err := s.in.Set()
	if err != nil {
		return nil, err
	}
	return s.letters(set, byUID)
}
