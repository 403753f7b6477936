package queue

import (
	"context"
	"path/filepath"
	"slices"

	"postbag/internal/deliver"
	"postbag/internal/durable"
	"postbag/internal/recipient"
	"postbag/internal/spool"
)

// A target is a destination and the recipients that led to it.
type target struct {
	dest   recipient.Destination
	rcpts  []int
	placed *deliver.Placing // of an attempt that was interrupted
}

// plan resolves the recipients that wait. Destinations are one each, whoever of
// the recipients leads there; one that any of them has reached counts for all.
func (a *attempt) plan(ctx context.Context) (targets []*target, events []spool.Event) {
	byName := map[string]*target{}
	a.left, a.several = make([]int, len(a.e.To)), make([]bool, len(a.e.To))
	lead := func(i int, d recipient.Destination) {
		a.left[i]++
		t := byName[d.Name]
		if t == nil {
			t = &target{dest: d, placed: a.placing(d.Name)}
			byName[d.Name], targets = t, append(targets, t)
		}
		t.rcpts = append(t.rcpts, i)
	}
	for i := range a.e.To {
		if a.e.Progress.Rcpts[i].Settled {
			continue
		}
		dests, err := a.Resolver.Resolve(ctx, a.e.From, a.e.To[i].Address)
		a.several[i] = ownOf(dests) > 1
		for _, d := range append(dests, a.interrupted(i, dests)...) {
			if !a.ended(i, d.Name) {
				lead(i, d)
			}
		}
		if err != nil {
			a.left[i]++
			events = append(events, a.outcome(ctx, &target{rcpts: []int{i}}, "", "", deliver.Outcome{Err: err})...)
			continue
		}
		if a.left[i] == 0 { // a crash came before this was recorded
			events = append(events, spool.Event{Kind: spool.Settled, Rcpt: i})
		}
	}
	return targets, events
}

// ownOf counts destinations that are no members of a list.
func ownOf(dests []recipient.Destination) (n int) {
	for _, d := range dests {
		if d.Sender.IsNull() {
			n++
		}
	}
	return n
}

// interrupted are Maildirs into which a crash has left a letter half-way, and to
// which the recipient does not lead any more: it is completed all the same.
func (a *attempt) interrupted(i int, dests []recipient.Destination) (all []recipient.Destination) {
	for name, e := range a.e.Progress.Rcpts[i].Dests {
		known := slices.ContainsFunc(dests, func(d recipient.Destination) bool { return d.Name == name })
		if e.Kind == spool.Placed && !known {
			d := recipient.Destination{Name: name, Dir: e.Dir, UID: -1, GID: -1, Address: a.e.To[i].Address}
			if e.UID > 0 {
				d.UID, d.GID = e.UID, e.GID
			}
			if a.e.Junk { // the folder is in the journal, and is added anew
				d.Dir = filepath.Dir(e.Dir)
			}
			all = append(all, d)
		}
	}
	return all
}

// ended reports whether nothing is to be done for recipient i at a destination.
func (a *attempt) ended(i int, name string) bool {
	if a.e.Progress.Rcpts[i].Dests[name].Kind == spool.Failed {
		return true
	}
	for _, state := range a.e.Progress.Rcpts {
		if state.Dests[name].Kind == spool.Delivered {
			return true
		}
	}
	return false
}

// placing is what the journal says of a Maildir, if that is the last word.
func (a *attempt) placing(name string) *deliver.Placing {
	for _, state := range a.e.Progress.Rcpts {
		if e := state.Dests[name]; e.Kind == spool.Placed {
			return &deliver.Placing{Dir: e.Dir, Tmp: e.Tmp, Name: e.Name, At: e.Time, Owner: durable.Owner{UID: e.UID, GID: e.GID}}
		}
	}
	return nil
}

// groups are targets sorted by the attempt that they share.
type groups struct {
	local     []*target
	remote    map[string][]*target // each with a slot
	suspended map[string][]*target
	why       map[string]error // of the suspended ones
}

func (g *groups) empty() bool { return len(g.local)+len(g.remote)+len(g.suspended) == 0 }

// groups sorts targets, and takes a slot for each group of other hosts. What finds
// none is parked. A message that has waited for slots does not try its other
// destinations again.
func (a *attempt) groups(targets []*target, only []string) groups {
	g := groups{remote: map[string][]*target{}, suspended: map[string][]*target{}, why: map[string]error{}}
	for _, t := range targets {
		if t.dest.Local() {
			if only == nil {
				g.local = append(g.local, t)
			}
			continue
		}
		key := a.key(t.dest)
		if only == nil || slices.Contains(only, key) {
			a.sort(&g, key, t)
		}
	}
	return g
}

// sort puts a target of another host into its group.
func (a *attempt) sort(g *groups, key string, t *target) {
	_, known := g.remote[key]
	if !known && g.why[key] == nil && !slices.Contains(a.parked, key) {
		known, g.why[key] = a.acquire(key, a.pace(t.dest), a.eager)
		if !known && g.why[key] == nil {
			a.parked = append(a.parked, key)
		}
	}
	switch {
	case known:
		g.remote[key] = append(g.remote[key], t)
	case g.why[key] != nil:
		g.suspended[key] = append(g.suspended[key], t)
	}
}

func (a *attempt) pace(d recipient.Destination) pace {
	p := pace{spacing: a.Spacing}
	if a.Rate != nil {
		p.rate = a.Rate(d)
	}
	return p
}

func (a *attempt) key(d recipient.Destination) string {
	if a.Remote == nil {
		return "no way to other hosts"
	}
	return a.Remote.Key(d)
}
