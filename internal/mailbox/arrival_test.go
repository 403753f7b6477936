package mailbox

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestWhenALetterArrived(t *testing.T) {
	for base, want := range map[string][2]uint64{
		"1700000000.M5P1.host":         {1700000000, 5},
		"1700000000.M000123P1.host":    {1700000000, 123},
		"1700000000.M":                 {1700000000, 0},
		"1700000000.P1.host":           {1700000000, 0},
		"1700000000.":                  {1700000000, 0},
		"1700000000":                   {1700000000, 0},
		"4611686018427387903.M1":       {1<<62 - 1, 1},
		"4611686018427387904.M1":       {1 << 62, 0},
		"99999999999999999999.M1":      {1 << 62, 0},
		"1.M99999999999999999999P":     {1, 1<<62 - 1},
		"1700000000,S=1":               {1 << 62, 0},
		"a1700000000.M5":               {1 << 62, 0},
		"-5.M5":                        {1 << 62, 0},
		"":                             {1 << 62, 0},
		".M5":                          {1 << 62, 0},
		"1700000000.M-5":               {1700000000, 0},
		"00000000001700000000.M000005": {1700000000, 5},
	} {
		if sec, usec := arrivedAt(base); [2]uint64{sec, usec} != want {
			t.Errorf("arrivedAt(%q) = %d, %d; want %d", base, sec, usec, want)
		}
	}
}

// TestLettersGetUIDsInTheirOrder compares with an order that looks at two letters
// at a time.
func TestLettersGetUIDsInTheirOrder(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for n := range 300 {
		found := make([]entry, n)
		for i := range found {
			found[i] = entryAt("cur/" + someName(r) + ":2,")
		}
		want := make([]int, n)
		for i := range want {
			want[i] = i
		}
		slices.SortStableFunc(want, func(a, b int) int { return compareArrivals(found, a, b) })
		for i, e := range sortArrivals(found) {
			if e != found[want[i]] {
				t.Fatalf("letter %d of %d is %q, want %q", i, n, e.at, found[want[i]].at)
			}
		}
	}
}

// someName is one of a few, usual or not.
func someName(r *rand.Rand) string {
	sec := []uint64{1700000000, 1700000001, 1700000256, 1 << 43, 1 << 50, 1<<62 + 1}[r.IntN(6)]
	switch r.IntN(4) {
	case 0:
		return fmt.Sprintf("letter%d", r.IntN(9))
	case 1:
		return fmt.Sprintf("%d.M%dP%d.host,S=%d", sec, r.IntN(3)*700_000, r.IntN(3), r.IntN(9))
	}
	return fmt.Sprintf("%d.M%dP1.host", sec, r.IntN(2_000_000))
}
