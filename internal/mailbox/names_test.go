package mailbox

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// TestLettersAreFoundByTheirNames has letters come and go at random, and looks for
// each of them.
func TestLettersAreFoundByTheirNames(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	var s state
	s.reset()
	there := map[uint32]string{}
	for uid := uint32(1); uid < 3000; uid++ {
		base := fmt.Sprintf("%d.M%dP1.host,S=%d", 1700000000+uid, r.IntN(1e6), uid)
		s.applyLetter(uint64(uid), &arrival{uid: uid, base: base})
		there[uid] = base
		if r.IntN(5) == 0 {
			first := uint32(r.IntN(int(uid))) + 1
			gone := Range{first, min(uid, first+uint32(r.IntN(30)))}
			s.applyRemoved(uint64(uid), []Range{gone}, false)
			for u := gone.First; u <= gone.Last; u++ {
				delete(there, u)
			}
		}
		if uid%50 == 0 {
			lookFor(t, &s, there)
		}
	}
}

func lookFor(t *testing.T, s *state, there map[uint32]string) {
	t.Helper()
	for uid, base := range there {
		if r := s.find(keyOf(base) + ",S=0"); r == nil || r.uid != uid {
			t.Fatalf("letter %d is found as %v", uid, r)
		}
	}
	if s.find("1700000000.M1P1.host") != nil || s.names.finder.used != len(there) {
		t.Fatalf("%d letters are to be found, want %d", s.names.finder.used, len(there))
	}
}
