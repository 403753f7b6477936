package mailbox

import (
	"bytes"
	"encoding/binary"
	"slices"
)

// names holds base names of letters: one block of octets, no pointers. A name
// is known by its offset.
type names struct {
	data []byte // each name with its length before it
	size uint32 // of data, which may be yet to be read
	late []byte // those that came later; offsets go on

	finder finder // by key
}

// room is told that names of about n letters and so many octets will be added.
func (n *names) room(letters, octets int) {
	n.late = slices.Grow(n.late, octets+2*letters)
}

func (n *names) add(base string) uint32 {
	at := n.size + uint32(len(n.late))
	n.late = binary.AppendUvarint(n.late, uint64(len(base)))
	n.late = append(n.late, base...)
	return at
}

// octets is how long the names are all together.
func (n *names) octets() int { return int(n.size) + len(n.late) }

// memory is about how much they take.
func (n *names) memory() int64 {
	return int64(cap(n.data)+cap(n.late)) + 8*int64(len(n.finder.slots))
}

// get gives the name at an offset; "" when there is none.
func (n *names) get(at uint32) []byte {
	b := n.data
	if at >= n.size {
		b, at = n.late, at-n.size
	}
	if uint64(at) >= uint64(len(b)) {
		return nil
	}
	d := decoder{b: b[at:]}
	return d.raw(d.num())
}

// key gives what the letter of a row is known by.
func (n *names) key(r *row) []byte { return keyBytes(n.get(r.name)) }

// index makes the keys of all rows findable.
func (n *names) index(v *vector) {
	n.finder.room(v.length)
	for _, c := range v.chunks {
		for i := range c {
			n.learn(v, &c[i])
		}
	}
}

// learn makes a row findable, in the place of an older one of its key.
func (n *names) learn(v *vector, r *row) {
	if !n.finder.ready() {
		return
	}
	key := n.key(r)
	hash := n.finder.hash(key)
	for uid, at := n.finder.next(hash, hash); uid != 0; uid, at = n.finder.next(hash, at) {
		if old := v.find(uid); old == nil || bytes.Equal(n.key(old), key) {
			n.finder.remove(hash, uid)
			break
		}
	}
	n.finder.add(hash, r.uid)
}

// keyBytes is keyOf.
func keyBytes(base []byte) []byte {
	if at := bytes.IndexByte(base, ','); at > 0 {
		return base[:at]
	}
	return base
}

// find gives the row of the letter that is known by the key of a base name.
func (n *names) find(v *vector, base string) *row {
	if v.length == 0 {
		return nil
	}
	if !n.finder.ready() {
		n.index(v)
	}
	key := keyOf(base)
	hash := n.finder.hashString(key)
	for uid, at := n.finder.next(hash, hash); uid != 0; uid, at = n.finder.next(hash, at) {
		if r := v.find(uid); r != nil && string(n.key(r)) == key {
			return r
		}
	}
	return nil
}

// forget is told of a row that goes.
func (n *names) forget(r *row) {
	if n.finder.ready() {
		n.finder.remove(n.finder.hash(n.key(r)), r.uid)
	}
}
