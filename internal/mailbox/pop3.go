package mailbox

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io/fs"
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

// AppendUIDL appends the unique-id that a letter has in POP3 (RFC 1939 section 7):
// what another server has given it, else what Dovecot makes of UID and UIDVALIDITY.
func (f *Folder) AppendUIDL(b []byte, l *Letter) []byte {
	f.b.mu.Lock()
	said := parsePOP3(f.b.st.uidls[l.UID])
	f.b.mu.Unlock()
	if said.id != "" {
		return append(b, said.id...)
	}
	return appendHex(appendHex(b, l.UID), f.View().UIDValidity())
}

func appendHex(b []byte, n uint32) []byte {
	var octets [4]byte
	binary.BigEndian.PutUint32(octets[:], n)
	return hex.AppendEncode(b, octets[:])
}

// Sizes gives the sizes of all letters of a version, by position, as Size does; -1
// for those that are gone.
func (f *Folder) Sizes(ctx context.Context, v *View) ([]int64, error) {
	sizes := make([]int64, 0, v.Len())
	for _, c := range v.chunks {
		sizes = f.b.appendSizes(sizes, c)
	}
	for i, size := range sizes {
		if size != unknownSize {
			continue
		}
		n, err := f.Size(ctx, v.At(i))
		switch {
		case err == nil:
			sizes[i] = n
		case !errors.Is(err, ErrExpunged) && !errors.Is(err, fs.ErrNotExist):
			return nil, err
		}
	}
	return sizes, nil
}

// appendSizes appends the sizes of letters, as far as they are known.
func (b *box) appendSizes(sizes []int64, rows []row) []int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range rows {
		size := int64(unknownSize)
		if r := b.st.rows.find(rows[i].uid); r != nil {
			size = b.sizeOf(r)
		}
		sizes = append(sizes, size)
	}
	return sizes
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
