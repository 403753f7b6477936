package mailbox

// certify runs f, which renames files, and takes the stamps that result for
// known: if the directories are watched, whatever others did meanwhile is told
// by events. Nobody else has those, so the stamps are not old whatever their age,
// until the events have been looked at (unchanged).
func (b *box) certify(f func() error) error {
	before, err := b.heard()
	if err != nil {
		return gone(err)
	}
	known := b.unchanged(before) || b.seen.firm && before.sub == b.seen.sub
	if known = known && b.event.watching(); known {
		b.own = map[string]bool{}
	}
	err = f()
	b.hush()
	b.own = nil
	if err != nil {
		return err
	}
	if after, err := b.stamps(); err == nil && known && b.seen.firm {
		b.seen = stamps{sub: after.sub, firm: true}
	}
	return nil
}

// hush takes out of the events what is known of renames of our own, which are no
// news, and so many that they would hide others.
func (b *box) hush() {
	if len(b.own) > 0 && b.store.hear() {
		b.event.drop(b.own)
		clear(b.own)
	}
}

// did notes what events say of a rename of ours that certify takes care of.
func (b *box) did(from, to string) {
	if b.own == nil {
		return
	}
	b.own[from], b.own[to] = false, true
	if len(b.own) >= maxEvents/2 {
		b.hush()
	}
}
