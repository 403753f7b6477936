package mailbox

import "os"

// A difference is what a scan found that the state does not say.
type difference struct {
	fresh    []entry    // letters without a UID
	changed  []observed // names with other flags
	absent   []uint32   // letters that the scan did not show
	twins    []twin     // files whose base name another letter's file has
	moved    []move     // where letters are now, as far as it is unusual
	returned []entry    // expunged letters whose file is still there
}

type move struct {
	uid uint32
	at  string
}

// A twin is a file whose base name another file, which keeps it, has too.
type twin struct{ extra, keeps string }

// logged reports whether the difference needs the lock and the log.
func (d *difference) logged() bool {
	return len(d.fresh)+len(d.changed)+len(d.absent)+len(d.twins) > 0
}

// compare finds the differences between a listing and the state.
func (b *box) compare(l *listing) *difference {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := &b.st
	d := &difference{}
	if s.rows.length == 0 && len(s.doomed) == 0 {
		d.fresh = l.entries
		d.sortFresh()
		return d
	}
	files := make(map[uint32]int, s.rows.length) // UID to the entry that counts
	doomed := map[string]bool{}
	for _, gone := range s.doomed {
		doomed[keyOf(gone.base)] = true
	}
	for i := range l.entries {
		e := &l.entries[i]
		r, key := s.find(e.base()), keyOf(e.base())
		switch {
		case r != nil:
			if first, twice := files[r.uid]; twice {
				if b.stays(r, &l.entries[first], e) {
					d.twins = append(d.twins, twin{extra: e.at, keeps: l.entries[first].at})
					continue
				}
				d.twins = append(d.twins, twin{extra: l.entries[first].at, keeps: e.at})
			}
			files[r.uid] = i
		case doomed[key]:
			d.returned = append(d.returned, *e)
		default:
			d.fresh = append(d.fresh, *e)
		}
	}
	d.sortFresh()
	b.compareRows(d, l, files)
	return d
}

// sortFresh puts new letters into the order in which they get UIDs. Of two files
// of one key, which are neighbours then, one waits.
func (d *difference) sortFresh() {
	d.fresh = sortArrivals(d.fresh)
	one := d.fresh[:0]
	for _, e := range d.fresh {
		if n := len(one); n > 0 && keyOf(one[n-1].base()) == keyOf(e.base()) {
			d.twins = append(d.twins, twin{extra: one[n-1].at, keeps: e.at})
			one[n-1] = e
			continue
		}
		one = append(one, e)
	}
	d.fresh = one
}

// stays decides which of two files of one base name goes on being the letter
// that has the UID: true for the first. Of two names of one file a crash brought
// back the older, which is the one in new/ or with other flags; of two files it
// is the one that was read under this UID.
func (b *box) stays(r *row, first, second *entry) bool {
	x, err1 := b.store.fs.Lstat(b.path(first.at))
	y, err2 := b.store.fs.Lstat(b.path(second.at))
	if err1 == nil && err2 == nil && !os.SameFile(x, y) {
		return b.st.where(r) == first.at
	}
	if first.at[0] != second.at[0] {
		return first.at[0] == 'c'
	}
	return first.flags == r.disk
}

// compareRows looks at each letter of the state, given its entry.
func (b *box) compareRows(d *difference, l *listing, files map[uint32]int) {
	s := &b.st
	for _, c := range s.rows.chunks {
		for i := range c {
			r := &c[i]
			f, there := files[r.uid]
			if !there {
				if _, coming := s.coming[r.uid]; !coming {
					d.absent = append(d.absent, r.uid)
				}
				continue
			}
			e := &l.entries[f]
			if e.flags != r.disk {
				d.changed = append(d.changed, observed{r.uid, e.flags})
			}
			if !s.isAt(r, e.at) {
				d.moved = append(d.moved, move{r.uid, e.at})
			}
		}
	}
}
