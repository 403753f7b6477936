package mailbox

import (
	"context"
)

// follow brings the state up to date without a scan of the whole folder: by what
// inotify has told, or, where cur/ is as it was, by a look at new/. It reports
// false when only a scan can tell: events were lost, a file went and nothing says
// where to, or a name is there twice.
//
// now was taken before the events were: what they do not tell yet they will.
func (b *box) follow(ctx context.Context, now stamps) (bool, error) {
	if !b.well() || b.keysChanged() {
		return false, nil
	}
	if !b.seen.firm || !b.event.watching() {
		return b.followSettled(ctx, now)
	}
	if err := b.loadNames(); err != nil {
		return false, err
	}
	names, now, err := b.takeEvents(now)
	if err != nil || names == nil {
		b.event.lose()
		return false, err
	}
	if len(names) == 0 {
		if now.sub[1] != b.seen.sub[1] {
			return false, nil
		}
		return b.followNew(ctx, now)
	}
	return b.followNames(ctx, now, names)
}

// takeEvents gives the events, nil when some were lost, and stamps from before
// what they do not tell.
func (b *box) takeEvents(now stamps) (map[string]bool, stamps, error) {
	names, whole := b.event.take()
	if !whole {
		return nil, now, nil
	}
	if names == nil {
		names = map[string]bool{}
	}
	after, err := b.stamps()
	if err == nil && after.sub != now.sub {
		now = stamps{sub: after.sub} // what has come since is to be heard of, so they are not old
	}
	return names, now, gone(err)
}

// followSettled looks at new/ alone if the stamp of cur/ shows that nothing has
// happened there. From then on events tell, where there are any.
func (b *box) followSettled(ctx context.Context, now stamps) (bool, error) {
	if !b.seen.settled[1] || now.sub[1] != b.seen.sub[1] {
		return false, nil
	}
	if err := b.loadNames(); err != nil {
		return false, err
	}
	b.event.clear()
	now, err := b.stamps()
	if err != nil || !b.seen.settled[1] || now.sub[1] != b.seen.sub[1] {
		b.event.lose()
		return false, gone(err)
	}
	done, err := b.followNew(ctx, now)
	if !done {
		b.event.lose()
	}
	return done, err
}

// followNew looks at new/ alone: few letters are there.
func (b *box) followNew(ctx context.Context, now stamps) (bool, error) {
	l := &listing{}
	if err := l.read(b.store.fs, b.path("new"), "new", b.st.keys.mask()); err != nil {
		return false, gone(err)
	}
	names := map[string]bool{}
	for i := range l.entries {
		names[l.entries[i].at] = true
	}
	b.mu.Lock()
	for _, at := range b.st.at {
		if at[0] == 'n' && !names[at] {
			names[at] = false
		}
	}
	b.mu.Unlock()
	return b.followNames(ctx, now, names)
}

// followNames looks at the files that events have named.
func (b *box) followNames(ctx context.Context, now stamps, names map[string]bool) (bool, error) {
	d, ok, err := b.review(names)
	if err != nil || !ok {
		b.event.lose()
		return false, err
	}
	if d.logged() {
		err = b.exclusive(ctx, func() error {
			// Others may have given UIDs before we had the lock.
			if d, ok, err = b.review(names); err != nil || !ok {
				return err
			}
			return b.write(d)
		})
		if err != nil || !ok {
			b.event.lose()
			return false, err
		}
	}
	b.adopt(&listing{before: now, after: now}, d)
	return true, nil
}

// review finds out what has become of the letters whose files are named.
func (b *box) review(names map[string]bool) (d *difference, ok bool, err error) {
	there := map[string]entry{} // by key
	var went []entry
	for at, came := range names {
		e := entryAt(at)
		e.flags &= b.st.keys.mask()
		if e.at[4] == '.' || b.expected(e, came) {
			continue
		}
		exists, err := b.exists(at)
		if err != nil {
			return nil, false, err
		}
		if !exists {
			went = append(went, e)
			continue
		}
		if _, twice := there[keyOf(e.base())]; twice {
			return nil, false, nil
		}
		there[keyOf(e.base())] = e
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	d = &difference{}
	for _, e := range went {
		r := b.st.find(e.base())
		if _, moved := there[keyOf(e.base())]; r != nil && !moved {
			return nil, false, nil
		}
	}
	for _, e := range there {
		if !b.reviewFile(d, e) {
			return nil, false, nil
		}
	}
	d.sortFresh()
	return d, true, nil
}

// expected reports whether an event says only what is known already, as those
// of our own renames do: the letter is where it is thought to be, with the flags
// that it is thought to have.
func (b *box) expected(e entry, came bool) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.st.find(e.base())
	if r == nil {
		return false
	}
	at := b.st.where(r)
	if came {
		return at == e.at && r.disk == e.flags
	}
	there, err := b.exists(at)
	return at != e.at && there && err == nil
}

// reviewFile adds what a file that is there means; false if only a scan tells.
func (b *box) reviewFile(d *difference, e entry) bool {
	r := b.st.find(e.base())
	if r == nil {
		for _, gone := range b.st.doomed {
			if keyOf(gone.base) == keyOf(e.base()) {
				d.returned = append(d.returned, e)
				return true
			}
		}
		d.fresh = append(d.fresh, e)
		return true
	}
	if at := b.st.where(r); at != e.at {
		if still, err := b.exists(at); err != nil || still {
			return false // two files of one name
		}
	}
	if e.flags != r.disk {
		d.changed = append(d.changed, observed{r.uid, e.flags})
	}
	d.moved = append(d.moved, move{r.uid, e.at})
	return true
}
