package mailbox

import "hash/maphash"

// A finder tells which letters may have a name: a table of hashes and UIDs, with
// no pointers. Letters whose hashes are alike are all there; who asks compares
// their names.
type finder struct {
	seed  maphash.Seed
	slots []slot // as many as a power of two; nil until somebody asks
	used  int
}

// A slot is empty when its uid is 0. The place where a letter is looked for first
// follows from the hash, and the others follow that.
type slot struct{ hash, uid uint32 }

// minSlots is how large a finder is at least.
const minSlots = 64

// room empties the finder and makes it large enough for n letters.
func (f *finder) room(n int) {
	size := minSlots
	for size < 2*n {
		size *= 2
	}
	if f.seed == (maphash.Seed{}) {
		f.seed = maphash.MakeSeed()
	}
	f.slots, f.used = make([]slot, size), 0
}

func (f *finder) ready() bool { return f.slots != nil }

// hash is that of a name.
func (f *finder) hash(name []byte) uint32 { return uint32(maphash.Bytes(f.seed, name)) }

// hashString is that of a name, too.
func (f *finder) hashString(name string) uint32 { return uint32(maphash.String(f.seed, name)) }

// next gives the first letter with a hash from place at on, and the place behind
// it; 0 when there is no more. A search begins at place hash.
func (f *finder) next(hash uint32, at uint32) (uid, behind uint32) {
	mask := uint32(len(f.slots) - 1)
	for s := f.slots[at&mask]; s.uid != 0; s = f.slots[at&mask] {
		at++
		if s.hash == hash {
			return s.uid, at
		}
	}
	return 0, at
}

// add notes a letter.
func (f *finder) add(hash, uid uint32) {
	if f.used*4 >= len(f.slots)*3 {
		f.grow()
	}
	f.put(slot{hash, uid})
	f.used++
}

func (f *finder) put(s slot) {
	mask := uint32(len(f.slots) - 1)
	at := s.hash & mask
	for f.slots[at].uid != 0 {
		at = (at + 1) & mask
	}
	f.slots[at] = s
}

func (f *finder) grow() {
	old, used := f.slots, f.used
	f.room(len(old))
	for _, s := range old {
		if s.uid != 0 {
			f.put(s)
		}
	}
	f.used = used
}

// remove forgets a letter.
func (f *finder) remove(hash, uid uint32) {
	mask := uint32(len(f.slots) - 1)
	for at := hash & mask; f.slots[at].uid != 0; at = (at + 1) & mask {
		if f.slots[at] == (slot{hash, uid}) {
			f.close(at)
			f.used--
			return
		}
	}
}

// close empties a slot. What lies behind it, up to the next empty one, and would
// no longer be met on the way from where it is looked for first, moves up.
func (f *finder) close(hole uint32) {
	mask := uint32(len(f.slots) - 1)
	for at := (hole + 1) & mask; f.slots[at].uid != 0; at = (at + 1) & mask {
		if way := (at - f.slots[at].hash) & mask; way >= (at-hole)&mask {
			f.slots[hole] = f.slots[at]
			hole = at
		}
	}
	f.slots[hole] = slot{}
}
