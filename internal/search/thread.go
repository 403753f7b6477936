package search

import (
	"cmp"
	"slices"
	"time"
)

// A Thread is a letter with the answers to it, or, with Pos below 0, the place of
// one that is not there.
type Thread struct {
	Pos      int
	Children []*Thread

	letter *Sorted
	parent *Thread
}

// OrderedSubject puts letters of one base subject together: the oldest, and all
// others as answers to it (RFC 5256 section 3).
func OrderedSubject(letters []Sorted) []*Thread {
	slices.SortFunc(letters, byDate)
	var roots []*Thread
	of := map[string]*Thread{}
	for i := range letters {
		t := &Thread{Pos: letters[i].Pos, letter: &letters[i]}
		base, _ := BaseSubject(letters[i].Subject)
		if first := of[Collate(base)]; first != nil {
			first.Children = append(first.Children, t)
			continue
		}
		of[Collate(base)] = t
		roots = append(roots, t)
	}
	return roots
}

func byDate(a, b Sorted) int {
	return cmp.Or(a.Date.Compare(b.Date), cmp.Compare(a.Pos, b.Pos))
}

// References threads letters by what they say they answer to, and then by their
// base subjects (RFC 5256 section 3, REFERENCES).
func References(letters []Sorted) []*Thread {
	roots := linked(letters)
	sortThreads(roots, (*Thread).first)
	roots = bySubject(roots)
	sortThreads(roots, (*Thread).first)
	return roots
}

// Refs threads letters by what they say they answer to and nothing else; threads
// with the newest letters come last (draft-ietf-morg-inthread).
func Refs(letters []Sorted) []*Thread {
	roots := linked(letters)
	sortThreads(roots, (*Thread).first)
	slices.SortStableFunc(roots, func(a, b *Thread) int { return a.newest().Compare(b.newest()) })
	return roots
}

// linked makes the trees of steps 1 to 3.
func linked(letters []Sorted) []*Thread {
	known := map[string]*Thread{}
	all := make([]*Thread, 0, len(letters))
	node := func(id string) *Thread {
		t := known[id]
		if t == nil {
			t = &Thread{Pos: -1}
			known[id] = t
			all = append(all, t)
		}
		return t
	}
	for i := range letters {
		l := &letters[i]
		var t *Thread
		if t = node(l.MessageID); l.MessageID == "" || t.letter != nil {
			t = &Thread{Pos: -1} // without an id, or with somebody else's
			all = append(all, t)
		}
		t.Pos, t.letter = l.Pos, l
		var parent *Thread
		for _, ref := range l.References {
			r := node(ref)
			if parent != nil && r.parent == nil {
				link(parent, r)
			}
			parent = r
		}
		t.cut()
		if parent != nil {
			link(parent, t)
		}
	}
	var roots []*Thread
	for _, t := range all {
		if t.parent == nil {
			roots = append(roots, t)
		}
	}
	return prune(roots, true)
}

// maxAncestors bounds how far is looked for a circle. Beyond it nothing is linked.
const maxAncestors = 10_000

// link makes child an answer to parent, unless it would be its own ancestor.
func link(parent, child *Thread) {
	n := 0
	for p := parent; p != nil; p = p.parent {
		if n++; p == child || n > maxAncestors {
			return
		}
		if len(child.Children) == 0 {
			break // it is nobody's ancestor
		}
	}
	child.parent = parent
	parent.Children = append(parent.Children, child)
}

// cut takes a letter away from what others believed to be its parent.
func (t *Thread) cut() {
	if t.parent == nil {
		return
	}
	at := slices.Index(t.parent.Children, t)
	t.parent.Children = slices.Delete(t.parent.Children, at, at+1)
	t.parent = nil
}

// prune removes places of letters that are not there: those without answers, and
// those inside of a tree, whose answers move up. At the root one with several
// answers stays. It uses no recursion: a chain of letters may be long.
func prune(roots []*Thread, top bool) []*Thread {
	// Parents come before their children in order, so children are done first
	// when it is walked backwards.
	order := slices.Clone(roots)
	for i := 0; i < len(order); i++ {
		order = append(order, order[i].Children...)
	}
	for _, t := range slices.Backward(order) {
		t.Children = lift(t.Children, false)
	}
	return lift(roots, top)
}

func lift(list []*Thread, top bool) []*Thread {
	var kept []*Thread
	for _, t := range list {
		switch {
		case t.letter != nil, top && len(t.Children) > 1:
			kept = append(kept, t)
		default:
			kept = append(kept, t.Children...)
		}
	}
	return kept
}

// first is the letter that a thread is sorted by: its own, or the first answer's.
func (t *Thread) first() *Sorted {
	for t.letter == nil {
		t = t.Children[0]
	}
	return t.letter
}

// newest is the date of the newest letter of a thread.
func (t *Thread) newest() (latest time.Time) {
	todo := []*Thread{t}
	for len(todo) > 0 {
		t, todo = todo[len(todo)-1], todo[:len(todo)-1]
		todo = append(todo, t.Children...)
		if t.letter != nil && t.letter.Date.After(latest) {
			latest = t.letter.Date
		}
	}
	return latest
}

// sortThreads sorts siblings by date, deepest first: a place without a letter is
// sorted by the first of its sorted answers.
func sortThreads(roots []*Thread, by func(*Thread) *Sorted) {
	order := slices.Clone(roots)
	for i := 0; i < len(order); i++ {
		order = append(order, order[i].Children...)
	}
	compare := func(a, b *Thread) int { return byDate(*by(a), *by(b)) }
	for _, t := range slices.Backward(order) {
		slices.SortFunc(t.Children, compare)
	}
	slices.SortFunc(roots, compare)
}

// bySubject joins threads of one base subject (step 5).
func bySubject(roots []*Thread) []*Thread {
	of := map[string]*Thread{}
	for _, t := range roots {
		base, reply := t.subject()
		if base == "" {
			continue
		}
		old := of[base]
		if old == nil {
			of[base] = t
			continue
		}
		_, oldReplies := old.subject()
		if old.letter != nil && (t.letter == nil || oldReplies && !reply) {
			of[base] = t
		}
	}
	var kept []*Thread
	for _, t := range roots {
		base, reply := t.subject()
		other := of[base]
		if base == "" || other == t {
			kept = append(kept, t)
			continue
		}
		_, otherReplies := other.subject()
		switch {
		case t.letter == nil && other.letter == nil:
			other.Children = append(other.Children, t.Children...)
		case other.letter == nil:
			other.Children = append(other.Children, t)
		case reply && !otherReplies:
			other.Children = append(other.Children, t)
		default:
			// Neither answers the other: both go below a place of their own.
			was := *other
			*other = Thread{Pos: -1, Children: []*Thread{&was, t}}
		}
	}
	return kept
}

func (t *Thread) subject() (base string, reply bool) {
	base, reply = BaseSubject(t.first().Subject)
	return Collate(base), reply
}
