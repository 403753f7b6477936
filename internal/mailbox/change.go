package mailbox

import (
	"context"
	"math"
	"slices"
)

// Always makes a Store change letters whatever their modseq is.
const Always = math.MaxUint64

// Store changes flags and keywords of letters. UIDs that are not there are
// passed over. Letters with a modseq greater than unchangedSince are left as
// they are and returned (RFC 7162 section 3.1.3): nobody, in any process, can
// change a letter between the comparison and the change. All letters that are
// changed get the same modseq, the HighestModSeq of the version that follows.
//
// When Store returns, the change survives a crash: it is in the log. The names
// of the files follow in the background, as debts.
func (f *Folder) Store(ctx context.Context, uids []uint32, change FlagChange, unchangedSince uint64) (modified []uint32, err error) {
	b := f.b
	err = f.change(ctx, func() error {
		if err := b.assign(change.SetKeywords); err != nil {
			return err
		}
		set, named := b.st.split(change.SetKeywords)
		unset, unnamed := b.st.split(change.ClearKeywords)
		change.Set, change.SetKeywords = change.Set&system|set, named
		change.Clear, change.ClearKeywords = change.Clear&system|unset, unnamed
		var targets []uint32
		targets, modified = b.targets(sorted(uids), &change, unchangedSince)
		if len(targets) == 0 {
			return nil
		}
		_, modseq, recs, err := b.number(0)
		if err != nil {
			return err
		}
		return b.commit(append(recs, encodeFlags(modseq, &change, targets))...)
	})
	return modified, err
}

// targets picks the letters that a change makes any difference to.
func (b *box) targets(uids []uint32, c *FlagChange, unchangedSince uint64) (targets, modified []uint32) {
	same := map[uint32]bool{} // keyword sets that the change leaves as they are
	for _, uid := range uids {
		r := b.st.rows.find(uid)
		if r == nil {
			continue
		}
		if r.modseq > unchangedSince {
			modified = append(modified, uid)
			continue
		}
		keeps, known := same[r.kw]
		if !known {
			set := b.st.sets[r.kw]
			keeps = slices.Equal(c.keywords(set), set)
			same[r.kw] = keeps
		}
		if !keeps || c.flags(r.flags) != r.flags {
			targets = append(targets, uid)
		}
	}
	return targets, modified
}

// Expunge takes letters out of the folder: exactly those of uids, whatever
// their flags, or with nil all that have the Deleted flag. It returns those
// that it took. When Expunge returns they stay away also after a crash; their
// files follow in the background.
func (f *Folder) Expunge(ctx context.Context, uids []uint32) (gone []uint32, err error) {
	b := f.b
	err = f.change(ctx, func() error {
		if gone = b.expungeable(uids); len(gone) == 0 {
			return nil
		}
		return b.expunge(gone)
	})
	if err != nil {
		return nil, err
	}
	return gone, nil
}

func (b *box) expunge(uids []uint32) error {
	_, modseq, recs, err := b.number(0)
	if err != nil {
		return err
	}
	if err := b.commit(append(recs, encodeRemoved(kindExpunge, modseq, uids))...); err != nil {
		return err
	}
	for _, uid := range uids {
		d := b.st.doomed[uid]
		d.ours = true
		b.st.doomed[uid] = d
	}
	return nil
}

func (b *box) expungeable(uids []uint32) (there []uint32) {
	if uids != nil {
		for _, uid := range sorted(uids) {
			if b.st.rows.find(uid) != nil {
				there = append(there, uid)
			}
		}
		return there
	}
	for _, c := range b.st.rows.chunks {
		for i := range c {
			if c[i].flags&Deleted != 0 {
				there = append(there, c[i].uid)
			}
		}
	}
	return there
}

// Alter changes something of the folder that is no letter, by alter, and raises
// the HighestModSeq: who comes back sees by it that there is something new (RFC
// 7162 section 3.2).
func (f *Folder) Alter(ctx context.Context, alter func() error) error {
	b := f.b
	return f.change(ctx, func() error {
		_, modseq, recs, err := b.number(0)
		if err != nil {
			return err
		}
		if err := alter(); err != nil {
			return err
		}
		return b.commit(append(recs, encodeFlags(modseq, &FlagChange{}, nil))...)
	})
}

// change runs f with all locks, publishes what it did, and sees to the debts.
func (f *Folder) change(ctx context.Context, do func() error) error {
	b := f.b
	if err := b.lockCtx(ctx); err != nil {
		return err
	}
	defer b.unlock()
	if err := b.exclusive(ctx, do); err != nil {
		return err
	}
	b.payLater(b.patience())
	return b.publish()
}

// sorted gives list ascending and without repetitions, itself if it is.
func sorted[T uint32 | string](list []T) []T {
	for i := 1; i < len(list); i++ {
		if list[i-1] >= list[i] {
			list = slices.Clone(list)
			slices.Sort(list)
			return slices.Compact(list)
		}
	}
	return list
}
