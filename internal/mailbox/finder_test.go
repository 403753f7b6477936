package mailbox

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// TestTheFinderFindsWhatIsThere takes and gives back letters at random, whose
// hashes are often alike or neighbours.
func TestTheFinderFindsWhatIsThere(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	var f finder
	f.room(10)
	there := map[uint32][]uint32{} // by hash
	for uid := uint32(1); uid < 5000; uid++ {
		hash := 0xFFFFFFF0 + uint32(r.IntN(600))
		if r.IntN(3) > 0 {
			f.add(hash, uid)
			there[hash] = append(there[hash], uid)
		} else if all := there[hash]; len(all) > 0 {
			i := r.IntN(len(all))
			f.remove(hash, all[i])
			there[hash] = slices.Delete(all, i, i+1)
		}
		if got := f.all(hash); !slices.Equal(got, slices.Sorted(slices.Values(there[hash]))) {
			t.Fatalf("letter %d: hash %#x gives %v, want %v", uid, hash, got, there[hash])
		}
	}
	for hash, want := range there {
		if got := f.all(hash); !slices.Equal(got, slices.Sorted(slices.Values(want))) {
			t.Errorf("hash %#x gives %v, want %v", hash, got, want)
		}
	}
}

// all gives the letters with a hash.
func (f *finder) all(hash uint32) (all []uint32) {
	for uid, at := f.next(hash, hash); uid != 0; uid, at = f.next(hash, at) {
		all = append(all, uid)
	}
	slices.Sort(all)
	return all
}
