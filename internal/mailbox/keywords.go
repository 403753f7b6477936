package mailbox

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"postbag/internal/mboxlog"
	"postbag/internal/uidlist"
)

// Where Dovecot was, dovecot-keywords says which keywords the letters a to z of
// names stand for, a line `NUMBER NAME` each. That is taken over, and kept: a
// keyword that is new gets a letter while there are any, on the disk before
// anybody is told. Such keywords are bits of Flags, and so reach names as debts
// and come back from names as flags do. In other folders, and beyond the 26,
// keywords are in the log alone.
const (
	keywordsName = "dovecot-keywords"
	maxKeys      = 26
)

// A keymap is what the letters mean. It never changes: another one takes its
// place.
type keymap struct {
	names [maxKeys]string

	mu   sync.Mutex
	memo map[uint64][]string // of letters and keyword set
}

// mask is the flags that the names of this folder carry.
func (k *keymap) mask() Flags {
	mask := system
	for i, name := range k.names {
		if name != "" {
			mask |= firstKey << i
		}
	}
	return mask
}

// named gives the keywords that letters stand for.
func (k *keymap) named(letters Flags) (all []string) {
	for i, name := range k.names {
		if letters&(firstKey<<i) != 0 && name != "" {
			all = append(all, name)
		}
	}
	return all
}

// letter is the letter of a keyword; 0 when it has none.
func (k *keymap) letter(keyword string) Flags {
	for i, name := range k.names {
		if name != "" && strings.EqualFold(name, keyword) {
			return firstKey << i
		}
	}
	return 0
}

// keywords gives all keywords of a letter, sorted.
func (k *keymap) keywords(sets [][]string, r *row) []string {
	letters := r.flags &^ system
	if letters == 0 {
		return sets[r.kw]
	}
	key := uint64(letters)<<32 | uint64(r.kw)
	k.mu.Lock()
	defer k.mu.Unlock()
	all, ok := k.memo[key]
	if !ok {
		all = sorted(append(k.named(letters), sets[r.kw]...))
		if k.memo == nil {
			k.memo = map[uint64][]string{}
		}
		k.memo[key] = all
	}
	return all
}

// split tells keywords that have letters from the others, which it gives as
// they are written here.
func (s *state) split(keywords []string) (letters Flags, others []string) {
	for _, k := range keywords {
		if l := s.keys.letter(k); l != 0 {
			letters |= l
		} else {
			others = append(others, k)
		}
	}
	return letters, s.spell(others)
}

// applyKeys takes another keymap. A keyword that has got a letter moves from
// the log's sets to that: a debt.
func (s *state) applyKeys(names [maxKeys]string) {
	s.keys = &keymap{names: names}
	s.learnSpelling(s.keys.named(^system))
	moved := map[uint32]bool{}
	for i, set := range s.sets {
		if letters, _ := s.split(set); letters != 0 {
			moved[uint32(i)] = true
		}
	}
	if len(moved) == 0 {
		return
	}
	for c := range s.rows.chunks {
		for i := range s.rows.chunks[c] {
			if moved[s.rows.chunks[c][i].kw] {
				r := &s.rows.owned(c)[i]
				letters, others := s.split(s.sets[r.kw])
				r.kw = s.intern(others)
				s.setFlags(r, r.flags|letters, r.disk)
			}
		}
	}
}

func encodeKeys(names [maxKeys]string) mboxlog.Record {
	e := encoder{}
	e.strings(names[:])
	return mboxlog.Record{Kind: kindKeys, Payload: e.b}
}

func (d *decoder) keys() (names [maxKeys]string) {
	copy(names[:], d.strings())
	return names
}

// keysStamp tells whether dovecot-keywords has changed.
func (b *box) keysStamp() stamp {
	st, err := b.store.fs.Stat(b.path(keywordsName))
	if err != nil {
		return stamp{}
	}
	return stampOf(st)
}

func (b *box) keysChanged() bool { return b.keysStamp() != b.keysSeen }

// learnKeys brings what dovecot-keywords says into the log. The folder is
// locked.
func (b *box) learnKeys() error {
	now := b.keysStamp()
	names, err := b.readKeys()
	if err != nil {
		return err
	}
	if names != b.st.keys.names && names != ([maxKeys]string{}) {
		if err := b.commit(encodeKeys(names)); err != nil {
			return err
		}
	}
	b.keysSeen = now
	return nil
}

// readKeys reads dovecot-keywords; none when there is none. Lines that make no
// sense are passed over.
func (b *box) readKeys() (names [maxKeys]string, err error) {
	text, err := b.store.fs.ReadFile(b.path(keywordsName))
	if errors.Is(err, fs.ErrNotExist) {
		return names, nil
	}
	for line := range strings.Lines(string(text)) {
		number, name, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		n, nerr := strconv.Atoi(number)
		if ok && nerr == nil && n >= 0 && n < maxKeys && atom(name) {
			names[n] = name
		}
	}
	return names, err
}

// atom reports whether a name can be a keyword (RFC 9051 section 9).
func atom(name string) bool {
	return name != "" && !strings.ContainsFunc(name, func(r rune) bool {
		return r <= ' ' || r > '~' || strings.ContainsRune(`(){%*"\]`, r)
	})
}

// assign gives letters to keywords that have none, where Dovecot was and as long
// as there are letters. The folder is locked.
func (b *box) assign(keywords []string) error {
	missing := map[string]string{}
	for _, k := range keywords {
		if b.st.keys.letter(k) == 0 {
			missing[strings.ToLower(k)] = k
		}
	}
	if len(missing) == 0 || b.keysStamp() == (stamp{}) {
		return nil
	}
	lock, ok, err := uidlist.Lock(b.store.fs, b.path(keywordsName), b.store.o.LockWait)
	if err == nil && !ok {
		err = inUse(keywordsName)
	}
	if err != nil {
		return err
	}
	defer lock.Unlock()
	if err := b.learnKeys(); err != nil {
		return err
	}
	return b.extendKeys(missing)
}

// extendKeys adds keywords to dovecot-keywords, whose lock is held, then to the
// log.
func (b *box) extendKeys(missing map[string]string) error {
	names, changed := b.st.keys.names, false
	for _, small := range slices.Sorted(maps.Keys(missing)) {
		free := slices.Index(names[:], "")
		if free >= 0 && b.st.keys.letter(small) == 0 {
			names[free], changed = b.st.spell([]string{missing[small]})[0], true
		}
	}
	if !changed {
		return nil
	}
	var text strings.Builder
	for i, name := range names {
		if name != "" {
			fmt.Fprintf(&text, "%d %s\n", i, name)
		}
	}
	path := b.path(keywordsName)
	if err := b.store.fs.WriteFile(path, []byte(text.String()), b.modeOf(path)); err != nil {
		return err
	}
	return b.learnKeys()
}
