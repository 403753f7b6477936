package mailbox

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"postbag/internal/maildir"
	"postbag/internal/quota"
)

// Debts: what clients have been told and the log knows, but names and files do
// not say yet. States of one letter, and who moves it on:
//
//	log: flags, name: old            pay renames                       -> next
//	log: flags, name: new, unsynced  pay syncs cur/                    -> next
//	log: flags, name: new            pay appends paid                  -> settled
//	log: expunged, file there        pay unlinks or moves, syncs       -> next
//	log: expunged, file gone         pay appends paid                  -> settled
//	log: letter, file in tmp/        pay renames into cur/, syncs      -> next
//	log: letter, file in cur/        pay appends paid                  -> settled
//
// Each step may be repeated, so it does not matter who died in between: the
// next who looks pays what is open, after a while in which the debtor may do
// so himself.

const (
	payStep = 1000            // letters paid while the lock is held once
	payWait = 2 * time.Second // how long the debts of others are left to them

	// payPause is how long debts of our own may wait for more of them, so that
	// many changes cost one sync of the directories.
	payPause = 50 * time.Millisecond
)

// patience is how long to wait with what has just been promised. Letters that
// are not in their places yet are brought at once.
func (b *box) patience() time.Duration {
	if len(b.st.coming) > 0 {
		return 0
	}
	return payPause
}

// payLater sees to it that open debts are paid in the background.
func (b *box) payLater(wait time.Duration) {
	b.changed.Store(time.Now().UnixNano())
	if !b.st.debts() || !b.paying.CompareAndSwap(false, true) {
		return
	}
	started := b.store.start(func(ctx context.Context) {
		defer b.paying.Store(false)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return // Close pays
		}
		if err := b.payRounds(ctx, b.giveWay); err != nil && ctx.Err() == nil && !errors.Is(err, ErrClosed) && !errors.Is(err, ErrGone) {
			b.store.o.Log.Error("write flags into file names", "dir", b.dir, "err", err)
		}
	})
	if !started {
		b.paying.Store(false)
	}
}

// payAll pays all debts, and lets others at the folder in between.
func (b *box) payAll(ctx context.Context) error { return b.payRounds(ctx, nil) }

// payRounds is payAll with something to be done before each round but the first, if
// no letter is on its way into its place.
func (b *box) payRounds(ctx context.Context, between func(context.Context)) error {
	coming := true
	for stuck := 0; ; {
		if !coming && between != nil {
			between(ctx)
		}
		if err := b.lockCtx(ctx); err != nil {
			return err
		}
		paid, more, err := b.payOnce(ctx)
		coming = len(b.st.coming) > 0
		b.unlock()
		if err != nil || !more {
			return err
		}
		if paid > 0 {
			stuck = 0
		} else if stuck++; stuck > scans {
			return nil // others are moving the files just now; next time
		}
	}
}

// payOnce pays some debts. The caller holds sem.
func (b *box) payOnce(ctx context.Context) (paid int, more bool, err error) {
	if b.shut() {
		return 0, false, ErrClosed
	}
	if err := b.refresh(); err != nil {
		return 0, false, err
	}
	if !b.st.debts() {
		return 0, false, b.publish()
	}
	if err := b.loadNames(); err != nil {
		return 0, false, err
	}
	err = b.exclusive(ctx, func() error {
		p := &payer{box: b}
		err := b.certify(p.step)
		paid = p.paid
		return err
	})
	if err != nil {
		return paid, false, err
	}
	return paid, b.st.debts(), b.publish()
}

// A payer is one round of paying, under the lock.
type payer struct {
	*box
	paid    int
	missing bool // a file was not where it was thought to be
	came    []uint32
	flagged []uint32
	gone    []uint32
	touched bool // new/ or cur/ is to be synced before anything counts as paid
	freed   quota.Usage
}

func (p *payer) step() error {
	err := errors.Join(p.arrivals(), p.flags(), p.expunges())
	if p.freed.Letters < 0 {
		p.quota.Note(p.freed)
	}
	if serr := p.finish(); serr != nil {
		return serr
	}
	if p.missing {
		return errors.Join(err, p.search())
	}
	return err
}

// finish makes the renames durable and notes them as paid. The note itself may
// be lost: then the letters are looked at again.
func (p *payer) finish() error {
	if !p.touched {
		return nil
	}
	// Both: a letter that was moved from new/ to cur/, by whomever, and is
	// unlinked there must not come back in new/ after a crash. And in this
	// order, so that no letter is ever in neither.
	for _, sub := range []string{"cur", "new"} {
		if err := p.store.fs.SyncDir(p.path(sub)); err != nil {
			return err
		}
	}
	for _, list := range []struct {
		kind byte
		uids []uint32
	}{{kindPaidArrival, p.came}, {kindPaidFlags, p.flagged}, {kindPaidExpunge, p.gone}} {
		if len(list.uids) == 0 {
			continue
		}
		p.paid += len(list.uids)
		if err := p.note(encodePaid(list.kind, sorted(list.uids))); err != nil {
			return err
		}
	}
	return nil
}

// arrivals brings the letters of a batch from tmp/ into their places.
func (p *payer) arrivals() error {
	for uid, tmp := range p.st.coming {
		if len(p.came) >= payStep {
			return nil
		}
		r := p.st.rows.find(uid)
		if r == nil {
			p.touched = true
			p.came = append(p.came, uid)
			continue
		}
		at := usual(p.st.base(r), r.disk)
		err := p.settleIn(tmp, at)
		if errors.Is(err, fs.ErrNotExist) {
			var there bool
			if there, err = p.exists("tmp/" + tmp); there {
				continue // in the next round
			}
			// Brought by one who died before he could note it.
		}
		if errors.Is(err, fs.ErrExist) {
			// Renamed by link and unlink, and died in between.
			err = p.store.fs.Remove(p.path("tmp/" + tmp))
		}
		if err != nil {
			return err
		}
		p.touched = true
		p.came = append(p.came, uid)
	}
	return nil
}

// flags renames letters to what clients have been told.
func (p *payer) flags() error {
	if p.st.owing == 0 {
		return nil
	}
	var errs []error
	for _, c := range p.st.rows.chunks {
		for i := range c {
			if !c[i].owes {
				continue
			}
			if len(p.flagged) >= payStep || len(errs) >= maxFaults {
				return errors.Join(errs...)
			}
			if err := p.flag(&c[i]); err != nil {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// maxFaults is how many letters may fail in one round, each for a reason of its
// own, before the folder is taken to be at fault.
const maxFaults = 10

func (p *payer) flag(r *row) error {
	if _, coming := p.st.coming[r.uid]; coming {
		return nil // in the next round
	}
	// What others have written into the name since it was last read stays: only
	// the debt is added to it.
	from := p.st.where(r)
	mask := p.st.keys.mask()
	to := withFlags(from, withDebt(r, entryAt(from).flags&mask), mask)
	if from != to {
		err := p.rename(from, to)
		if errors.Is(err, fs.ErrExist) {
			if err = p.part([]twin{{extra: to, keeps: from}}); err == nil {
				err = p.rename(from, to)
			}
		}
		if errors.Is(err, fs.ErrNotExist) {
			p.missing = true
			return nil
		}
		if err != nil {
			return err
		}
	}
	p.touched = true
	p.flagged = append(p.flagged, r.uid)
	p.mu.Lock()
	p.st.at[r.uid] = to
	p.mu.Unlock()
	return nil
}

// withFlags gives the name below cur/ of the file at, with other flags of those
// in mask. All other letters stay.
func withFlags(at string, flags, mask Flags) string {
	n := maildir.ParseName(at[strings.IndexByte(at, '/')+1:])
	letters := flags.append(nil)
	for i := range len(n.Flags) {
		if parseFlags(n.Flags[i:i+1])&mask == 0 {
			letters = append(letters, n.Flags[i])
		}
	}
	slices.Sort(letters)
	return "cur/" + n.Base + ":2," + string(letters)
}

// expunges takes the files of expunged letters away: to expungedDir while some
// session may still want to read them, else for good.
func (p *payer) expunges() error {
	if len(p.st.doomed) == 0 {
		return nil
	}
	alone := p.alone()
	if now := p.store.o.Now(); now.Sub(p.swept) >= sweepEvery {
		p.sweep()
		p.swept = now
	}
	counted := p.quota.Kept()
	for uid, d := range p.st.doomed {
		if len(p.gone) >= payStep {
			return nil
		}
		size := int64(0)
		if counted {
			size = p.sizeAt(d.at)
		}
		err := p.takeAway(uid, d.at, alone && d.ours)
		if errors.Is(err, fs.ErrNotExist) {
			p.missing = true
			continue
		}
		if err != nil {
			return err
		}
		p.touched = true
		p.gone = append(p.gone, uid)
		p.freed = p.freed.Add(quota.Usage{Bytes: -size, Letters: -1})
	}
	return nil
}

// sizeAt is the size of a letter's file, from its name if that says.
func (b *box) sizeAt(at string) int64 {
	if n := maildir.ParseName(filepath.Base(at)); n.Size >= 0 {
		return n.Size
	}
	return b.fileSize(b.path(at))
}

func (p *payer) takeAway(uid uint32, at string, alone bool) error {
	if alone {
		err := p.store.fs.Remove(p.path(at))
		if err == nil {
			p.did(at, "")
		}
		return err
	}
	err := p.rename(at, p.expungedName(uid))
	if errors.Is(err, fs.ErrNotExist) {
		if err := p.store.fs.Mkdir(p.path(expungedDir), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		err = p.rename(at, p.expungedName(uid))
	}
	if errors.Is(err, fs.ErrExist) {
		// The same file, linked and not yet unlinked when somebody died; or a
		// letter of an older UIDVALIDITY, which nobody can ask for.
		err = p.store.fs.Replace(p.path(at), p.path(p.expungedName(uid)))
		if gone := p.store.fs.Remove(p.path(at)); err == nil && !errors.Is(gone, fs.ErrNotExist) {
			err = gone
		}
	}
	return err
}

// expungedName is where an expunged letter is kept, below the folder. The
// MAILBOXID tells the letters of a copied folder from ours.
func (b *box) expungedName(uid uint32) string {
	return expungedDir + "/" + mailboxID(b.st.id) + "." + strconv.FormatUint(uint64(uid), 10)
}

// search looks where the files are that were not in their places. Others have
// renamed or removed them.
func (p *payer) search() error {
	l, err := p.list()
	if err != nil {
		return err
	}
	if err := p.record(l, p.compare(l)); err != nil {
		return err
	}
	if len(p.st.doomed) == 0 {
		return nil
	}
	// record left doomed letters that it saw with their new places; the others
	// are gone if nothing moved during the scan.
	if l, err = p.calm(); err != nil || !l.calm() {
		return err
	}
	there := map[string]bool{}
	for i := range l.entries {
		there[keyOf(l.entries[i].base())] = true
	}
	var gone []uint32
	for uid, d := range p.st.doomed {
		if !there[keyOf(d.base)] {
			gone = append(gone, uid)
		}
	}
	return p.notePaid(gone)
}

// notePaid notes expunges as paid whose files are gone already.
func (b *box) notePaid(uids []uint32) error {
	if len(uids) == 0 {
		return nil
	}
	return b.note(encodePaid(kindPaidExpunge, sorted(uids)))
}

// sweep removes expunged letters that nobody can ask for any more: all when
// nobody else has the folder open, else those that are a day old.
func (b *box) sweep() {
	dir := b.path(expungedDir)
	files, err := b.store.fs.ReadDir(dir)
	if err != nil {
		return // most folders have none
	}
	alone := b.alone()
	left := 0
	for _, f := range files {
		st, err := b.store.fs.Lstat(filepath.Join(dir, f.Name()))
		if err != nil || !alone && b.store.o.Now().Sub(changed(st)) < expungedAge {
			left++
			continue
		}
		if b.store.fs.Remove(filepath.Join(dir, f.Name())) != nil {
			left++
		}
	}
	if left == 0 && alone {
		b.store.fs.Remove(dir)
	}
}

// expungedAge is how long an expunged letter is kept for sessions at most, where
// somebody goes on expunging, and sweepEvery how often they are looked at while
// somebody has the folder open all the time.
const (
	expungedAge = 24 * time.Hour
	sweepEvery  = time.Hour
)

// changed is when a file was last renamed, among other things.
func changed(st os.FileInfo) time.Time {
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		return time.Unix(sys.Ctim.Unix())
	}
	return st.ModTime()
}
