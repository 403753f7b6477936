package mailbox

import (
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"slices"
	"strings"
	"time"
)

// arrivedAt orders letters that have no UID yet: by the seconds and the
// microseconds that their names begin with (SECONDS.M<usec>), then by name. No
// file is looked at.
func arrivedAt(base string) (sec, usec uint64) {
	sec, rest, ok := digits(base)
	if !ok || rest != "" && rest[0] != '.' {
		return 1 << 62, 0 // not a usual name: after the others
	}
	if len(rest) > 1 && rest[1] == 'M' {
		usec, _, _ = digits(rest[2:])
	}
	return sec, usec
}

// digits reads a number below 1<<62 at the beginning of s.
func digits(s string) (n uint64, rest string, ok bool) {
	const most = 1<<62 - 1
	i := 0
	for ; i < len(s) && s[i] >= '0' && s[i] <= '9'; i++ {
		d := uint64(s[i] - '0')
		if n > (most-d)/10 {
			return most, "", false
		}
		n = n*10 + d
	}
	return n, s[i:], i > 0
}

// ranked is a new letter, and where it belongs, as far as one number can say.
type ranked struct {
	rank uint64
	at   int // in the list
}

// rankOf never orders two letters other than arrivedAt does.
func rankOf(base string) uint64 {
	const most, second = 1<<43 - 1, 1 << 20
	sec, usec := arrivedAt(base)
	if sec >= most {
		return most * second
	}
	return sec*second + min(usec, second-1)
}

// sortArrivals gives new letters in the order in which they get UIDs.
func sortArrivals(found []entry) (sorted []entry) {
	if len(found) < 2 {
		return found
	}
	orders := make([]ranked, len(found))
	for i := range found {
		orders[i] = ranked{rankOf(found[i].base()), i}
	}
	orders = sortRanks(orders)
	sortAlike(orders, found)
	sorted = make([]entry, len(found))
	for i, o := range orders {
		sorted[i] = found[o.at]
	}
	return sorted
}

// sortRanks sorts by rank, and leaves those of one rank as they are, octet by
// octet: there may be many. It gives what it was given or another list.
func sortRanks(orders []ranked) []ranked {
	spare := make([]ranked, len(orders))
	for shift := 0; shift < 64; shift += 8 {
		var place [256]int
		for _, o := range orders {
			place[byte(o.rank>>shift)]++
		}
		if place[byte(orders[0].rank>>shift)] == len(orders) {
			continue // all have the same
		}
		sum := 0
		for i, n := range place {
			place[i], sum = sum, sum+n
		}
		for _, o := range orders {
			at := &place[byte(o.rank>>shift)]
			spare[*at] = o
			*at++
		}
		orders, spare = spare, orders
	}
	return orders
}

// sortAlike puts letters of one rank into their order.
func sortAlike(orders []ranked, found []entry) {
	for len(orders) > 0 {
		n := 1
		for n < len(orders) && orders[n].rank == orders[0].rank {
			n++
		}
		if n > 1 {
			slices.SortFunc(orders[:n], func(a, b ranked) int { return compareArrivals(found, a.at, b.at) })
		}
		orders = orders[n:]
	}
}

func compareArrivals(found []entry, i, k int) int {
	a, b := found[i].base(), found[k].base()
	asec, ausec := arrivedAt(a)
	bsec, busec := arrivedAt(b)
	return cmp.Or(cmp.Compare(asec, bsec), cmp.Compare(ausec, busec), strings.Compare(keyOf(a), keyOf(b)), cmp.Compare(i, k))
}

// arrivals gives UIDs to entries, in list, which it extends. They came into the
// folder when their names say that they were delivered.
func arrivals(list []arrival, found []entry, uid uint32, now time.Time) []arrival {
	for i := range found {
		list = append(list, arrive(&found[i], uid+uint32(i), now))
	}
	return list
}

func arrive(e *entry, uid uint32, now time.Time) arrival {
	sec, _ := arrivedAt(e.base())
	a := arrival{uid: uid, id: idOf(e.base(), sec), flags: e.flags, base: e.base(), internal: unknownTime, wire: unknownSize, saved: uint32(now.Unix())}
	if sec > 0 && sec < uint64(a.saved) {
		a.saved = uint32(sec)
	}
	if a.id == 0 {
		a.id = randomID()
	}
	if !isUsual(e.at, e.base(), e.flags) {
		a.at = e.at
	}
	return a
}

// idOf is the EMAILID of a letter that was delivered: derived from its base
// name, which says that it came at sec, so that it outlives our log. Names that are no usual ones may be used
// again for other letters; those get a random id (0 here).
func idOf(base string, sec uint64) uint64 {
	if sec >= 1<<62 || sec < 1e8 || !strings.Contains(base, ".") {
		return 0
	}
	h := uint64(14695981039346656037) // FNV-1a
	for _, c := range []byte(keyOf(base)) {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return h
}

func randomID() uint64 {
	var b [8]byte
	rand.Read(b[:]) // never fails
	return binary.LittleEndian.Uint64(b[:])
}
