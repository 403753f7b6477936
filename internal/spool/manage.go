package spool

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Hold keeps a message from being attempted.
func (s *Spool) Hold(ctx context.Context, id ID) error {
	return s.with(ctx, id, func(l *Locked) error {
		if l.entry.Damage != nil {
			return nil // it is not attempted anyhow
		}
		return l.Record(ctx, Event{Kind: Held})
	})
}

// Release lets a message go that is held, or whose progress is damaged: what
// can still be read of that counts, the rest is sent again.
func (s *Spool) Release(ctx context.Context, id ID) error {
	return s.with(ctx, id, func(l *Locked) error {
		if err := l.mend(); err != nil {
			return err
		}
		return l.Record(ctx, Event{Kind: Released})
	})
}

// Retry makes a message due now.
func (s *Spool) Retry(ctx context.Context, id ID) error {
	return s.Postpone(ctx, id, s.now())
}

// Postpone makes a message due at a time.
func (s *Spool) Postpone(ctx context.Context, id ID, at time.Time) error {
	return s.with(ctx, id, func(l *Locked) error {
		return l.Record(ctx, Event{Kind: Retry, Next: at.UnixMicro()})
	})
}

// Delete removes a message from the queue, damaged or not; nobody is told.
func (s *Spool) Delete(ctx context.Context, id ID) error {
	return s.with(ctx, id, func(l *Locked) error { return l.Remove(ctx) })
}

func (s *Spool) with(ctx context.Context, id ID, do func(*Locked) error) error {
	l, err := s.Lock(ctx, id)
	if err != nil {
		return err
	}
	defer l.Unlock()
	return do(l)
}

// mend makes the progress of a message usable again: the damaged file is copied
// to queue/bad, then rewritten with all records that are whole, on both sides of
// the damage. A crash in between leaves a message without progress, which is
// held as before, and the copy. A message that is damaged itself stays so.
func (l *Locked) mend() error {
	if l.entry.Damage == nil {
		return nil
	}
	raw, err := readAll(l.file)
	if err != nil {
		return err
	}
	if err := l.keep(raw); err != nil {
		return fmt.Errorf("keep damaged progress of %s: %w", l.ID(), err)
	}
	if err := l.rewrite(salvage(raw, &l.entry.Envelope)); err != nil {
		return fmt.Errorf("mend progress of %s: %w", l.ID(), err)
	}
	if err := l.reload(l.ID(), l.entry.file); err != nil {
		return err
	}
	if err := l.entry.Damage; err != nil {
		return fmt.Errorf("message %s: %w", l.ID(), err)
	}
	return nil
}

// keep copies a damaged progress file aside.
func (l *Locked) keep(raw []byte) error {
	if len(raw) == 0 {
		return nil
	}
	dir := l.s.Path("queue", "bad")
	if err := l.s.fs.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	name := fmt.Sprintf("%s.%d", l.ID(), l.s.now().UnixMicro())
	return l.s.fs.WriteFile(dir+"/"+name, raw, 0o600)
}

// rewrite makes a progress file of just these records. A message in cur/ needs
// at least one.
func (l *Locked) rewrite(payloads [][]byte) error {
	if strings.HasPrefix(l.entry.file, "queue/cur/") {
		first, err := Event{Kind: Released, Time: l.s.now()}.encode()
		if err != nil {
			return err
		}
		payloads = append([][]byte{first}, payloads...)
	}
	var frames []byte
	for i, payload := range payloads {
		frames = appendFrame(frames, uint32(i+1), 1, uint32(len(payloads)), payload)
	}
	if err := l.file.Truncate(0); err != nil {
		return err
	}
	if _, err := l.file.Write(frames); err != nil {
		return err
	}
	return errors.Join(l.file.Sync(), l.s.fs.SyncDir(l.s.Path("queue/progress")))
}

// salvage finds every whole record of a damaged progress file that means
// something for a message of that envelope.
func salvage(raw []byte, e *Envelope) [][]byte {
	var found [][]byte
	progress := newProgress(e)
	for len(raw) > 0 {
		_, payload, rest, ok := nextFrame(raw)
		if !ok {
			raw = raw[1:]
			continue
		}
		if ev, err := decodeEvent(payload); err == nil && progress.apply(ev) == nil {
			found = append(found, payload)
		}
		raw = rest
	}
	return found
}
