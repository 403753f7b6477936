package mailbox

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"postbag/internal/mboxlog"
)

// exclusive runs f with the folder's lock, the state up to date and the log in
// order. The caller holds sem.
func (b *box) exclusive(ctx context.Context, f func() error) error {
	if b.locked {
		return f()
	}
	if err := b.acquire(ctx); err != nil {
		return err
	}
	defer b.release()
	return f()
}

// acquire tries for the lock with growing pauses: one goroutine a process and
// folder does so, and none sleeps in the kernel.
func (b *box) acquire(ctx context.Context) error {
	if b.shut() {
		return ErrClosed
	}
	deadline := time.Now().Add(b.store.o.LockWait)
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		ok, err := b.log.Lock(b)
		if errors.Is(err, mboxlog.ErrSnapshot) {
			b.log.Restart()
			continue
		}
		if err != nil {
			return gone(err)
		}
		if ok {
			b.locked = true
			break
		}
		if time.Now().After(deadline) {
			return inUse(b.dir)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := errors.Join(b.follows(), b.settle()); err != nil {
		b.release()
		return err
	}
	return nil
}

func (b *box) release() {
	b.locked = false
	if err := b.log.Unlock(); err != nil {
		b.store.o.Log.Error("unlock folder", "dir", b.dir, "err", err)
	}
}

// settle makes the log, just locked, say who the folder is.
//
//	no meta           a new log: the UIDVALIDITY that another server has given
//	                  the folder, else one that this Maildir never had
//	damage            letters were lost from the log; those whose files are
//	                  there get new UIDs. If a UID or modseq above all that is
//	                  left could have been given, UIDVALIDITY changes
//	another inode     a copy of a folder: the same letters, another MAILBOXID
func (b *box) settle() error {
	m := b.st.meta
	was := b.inode()
	switch {
	case !b.st.born:
		m.modseq = max(b.st.modseq, modseqAt(b.store.o.Now()))
		m.uidNext = max(b.st.uidNext, 1)
	case b.st.damaged:
		m.uidNext, m.modseq = max(b.st.uidNext, b.st.uidCeil), max(b.st.modseq, b.st.modCeil)
		b.store.o.Log.Warn("mailbox log was damaged", "dir", b.dir, "kept", b.path(logName)+".bad")
	case m.inode != was:
	default:
		return nil
	}
	m.floor = m.modseq
	if !b.st.born || b.st.damaged && !b.st.ceiled {
		var given uint32
		if !b.st.born {
			given = b.takeOver()
		}
		validity, err := nextValidity(b.store, b.dir, given)
		if err != nil {
			return err
		}
		m.validity = validity
	}
	if m.inode != was {
		rand.Read(m.id[:]) // never fails
		m.inode = was
	}
	changed := b.st.born && m.validity != b.st.validity
	if err := b.commit(m.encode(), encodeCeilings(b.st.uidCeil, b.st.modCeil)); err != nil || !changed {
		return err
	}
	return b.withRegister(func(r *register) error {
		if r == nil || !r.kept {
			return nil
		}
		return b.rewriteList(nil)
	})
}

// modseqAt is where a log begun at a time starts to count: above all that a lost
// log of the same folder may have given, unless it gave a million a second.
func modseqAt(t time.Time) uint64 { return uint64(t.Unix())<<20 | uint64(t.Nanosecond()/1000) }

// commit appends records to the log, which is locked, and makes them durable.
// After an error none of them counts, and the state is read again.
func (b *box) commit(recs ...mboxlog.Record) error {
	if err := b.note(recs...); err != nil {
		return err
	}
	return b.log.Sync()
}

// note is commit for what may be lost in a crash.
func (b *box) note(recs ...mboxlog.Record) error {
	if err := b.log.Append(recs...); err != nil {
		return err
	}
	for _, rec := range recs {
		if err := b.Apply(rec); err != nil {
			return err
		}
	}
	return nil
}

// noteLetters is note for letters, which need not be decoded to be applied. It
// encodes them in scratch, which it gives back.
func (b *box) noteLetters(scratch []byte, modseq uint64, list []arrival) ([]byte, error) {
	rec := appendLetters(scratch, modseq, list)
	if err := b.log.Append(rec); err != nil {
		return rec.Payload, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range list {
		b.st.applyLetter(modseq, &list[i])
	}
	return rec.Payload, nil
}

// Steps of the ceilings.
const (
	uidStep    = 1000
	modseqStep = 100_000
)

// number gives n UIDs and a modseq; what goes before the records that use
// them is returned as ceilings.
func (b *box) number(n int) (uid uint32, modseq uint64, ceilings []mboxlog.Record, err error) {
	uid, modseq = max(b.st.uidNext, b.leastUID), b.st.modseq+1
	if uint64(uid)+uint64(n) >= 1<<32-uidStep {
		return 0, 0, nil, errors.New("no UIDs left in this folder")
	}
	uc, mc := b.st.uidCeil, b.st.modCeil
	if next := uid + uint32(n); next > uc {
		uc = next + uidStep
	}
	if modseq >= mc {
		mc = modseq + modseqStep
	}
	if uc != b.st.uidCeil || mc != b.st.modCeil {
		ceilings = append(ceilings, encodeCeilings(uc, mc))
	}
	return uid, modseq, ceilings, nil
}
