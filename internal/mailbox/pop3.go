package mailbox

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// pop3 is what another server has said of a letter in POP3.
type pop3 struct {
	id    string // unique-id; "" when it is made of the UID
	order uint32 // place among the letters, from 1; 0 when it has none
}

// String is the form in the log: the unique-id, which has no blanks, and the order
// after a blank if there is one.
func (p pop3) String() string {
	if p.order == 0 {
		return p.id
	}
	return p.id + " " + strconv.FormatUint(uint64(p.order), 10)
}

func parsePOP3(text string) pop3 {
	id, order, _ := strings.Cut(text, " ")
	n, _ := strconv.ParseUint(order, 10, 32) // "" is none
	return pop3{id, uint32(n)}
}

// UIDL is the unique-id of a letter in POP3 (RFC 1939 section 7): what another
// server has given it, else what Dovecot makes of UID and UIDVALIDITY.
func (f *Folder) UIDL(l *Letter) string {
	f.b.mu.Lock()
	said := parsePOP3(f.b.st.uidls[l.UID])
	f.b.mu.Unlock()
	if said.id != "" {
		return said.id
	}
	return fmt.Sprintf("%08x%08x", l.UID, f.View().UIDValidity())
}

// POP3Order gives the positions of a version's letters in the order of POP3: those
// that another server has given a place, then the others. It is nil when that is
// the order of UIDs.
func (f *Folder) POP3Order(v *View) []int {
	places := f.places()
	if len(places) == 0 {
		return nil
	}
	type placed struct {
		at    int
		place uint32
	}
	all := make([]placed, v.Len())
	for i := range all {
		all[i] = placed{i, 1<<32 - 1}
		if n, ok := places[v.At(i).UID]; ok {
			all[i].place = n
		}
	}
	slices.SortStableFunc(all, func(a, b placed) int { return cmp.Compare(a.place, b.place) })
	order := make([]int, len(all))
	for i := range all {
		order[i] = all[i].at
	}
	return order
}

// places are those that another server has given letters, by UID.
func (f *Folder) places() map[uint32]uint32 {
	f.b.mu.Lock()
	defer f.b.mu.Unlock()
	places := map[uint32]uint32{}
	for uid, text := range f.b.st.uidls {
		if p := parsePOP3(text); p.order > 0 {
			places[uid] = p.order
		}
	}
	return places
}
