package mailbox

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
)

// names holds base names of letters: one block of octets, no pointers. A name
// is known by its offset.
type names struct {
	data []byte // each name with its length before it
	size uint32 // of data, which may be yet to be read
	late []byte // those that came later; offsets go on

	seed   maphash.Seed
	byHash map[uint64]uint32 // hash of key to UID; nil until somebody asks
	twins  map[string]uint32 // keys whose hash another one has
}

func (n *names) add(base string) uint32 {
	at := n.size + uint32(len(n.late))
	n.late = binary.AppendUvarint(n.late, uint64(len(base)))
	n.late = append(n.late, base...)
	return at
}

// octets is how long the names are all together.
func (n *names) octets() int { return int(n.size) + len(n.late) }

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

// index makes the base names of all rows findable.
func (n *names) index(v *vector) {
	n.seed = maphash.MakeSeed()
	n.byHash = make(map[uint64]uint32, v.length)
	n.twins = nil
	for _, c := range v.chunks {
		for i := range c {
			n.learn(v, n.get(c[i].name), c[i].uid)
		}
	}
}

func (n *names) learn(v *vector, base []byte, uid uint32) {
	if n.byHash == nil {
		return
	}
	base = keyBytes(base)
	h := maphash.Bytes(n.seed, base)
	if other, taken := n.byHash[h]; taken && other != uid {
		if r := v.find(other); r != nil && string(keyBytes(n.get(r.name))) != string(base) {
			if n.twins == nil {
				n.twins = map[string]uint32{}
			}
			n.twins[string(base)] = uid
			return
		}
	}
	n.byHash[h] = uid
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
	if n.byHash == nil {
		n.index(v)
	}
	base = keyOf(base)
	if uid, ok := n.twins[base]; ok {
		return v.find(uid)
	}
	uid, ok := n.byHash[maphash.String(n.seed, base)]
	if !ok {
		return nil
	}
	if r := v.find(uid); r != nil && string(keyBytes(n.get(r.name))) == base {
		return r
	}
	return nil
}

// forget is told of a row that goes.
func (n *names) forget(r *row) {
	if n.byHash == nil {
		return
	}
	base := keyBytes(n.get(r.name))
	if uid, ok := n.twins[string(base)]; ok && uid == r.uid {
		delete(n.twins, string(base))
		return
	}
	if h := maphash.Bytes(n.seed, base); n.byHash[h] == r.uid {
		delete(n.byHash, h)
	}
}
