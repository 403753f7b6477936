package recipient

// A set tells what is new. It needs memory of its own only for a second member:
// most addresses lead to one destination by one step.
type set struct {
	any   bool
	first string
	more  map[string]bool
}

// add reports whether s was not in the set.
func (t *set) add(s string) bool {
	switch {
	case !t.any:
		t.any, t.first = true, s
		return true
	case t.first == s || t.more[s]:
		return false
	case t.more == nil:
		t.more = map[string]bool{}
	}
	t.more[s] = true
	return true
}
