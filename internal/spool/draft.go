package spool

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	iofs "io/fs"

	"postbag/internal/durable"
)

// A Draft is a message on its way into the queue. It is for one goroutine.
//
// It goes from writing (queue/tmp/NAME) to queued (queue/new/NAME) in Commit;
// Discard leads back from anywhere before. One file is written, a new one or a
// spare, one fdatasync, one rename, one directory sync that others share.
type Draft struct {
	s    *Spool
	env  *Envelope
	file *durable.File // nil after Commit and Discard
	tmp  string

	head    int   // octets of the envelope's field
	old     int64 // length of the spare that is written over; 0: the file is new
	buf     []byte
	wrote   bool // the start of the file has left buf
	dropped bool // in drop/: it has its final name already
	length  int64
	crc     uint32
	err     error // first error of writing; a later Commit returns it
}

// bufferSize lets an ordinary message reach the disk with one system call.
const bufferSize = 64 << 10

// Create begins a message. An envelope without ID gets one, one without time
// the present. What is written to the Draft is in disk form.
func (s *Spool) Create(ctx context.Context, e *Envelope) (*Draft, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("create message: %w", err)
	}
	if e.ID == "" {
		e.ID = s.NewID()
	}
	if e.Arrived.IsZero() {
		e.Arrived = s.now()
	}
	if sp := s.takeSpare(); sp != nil {
		return s.reuse(e, sp)
	}
	return s.draft(e, s.Path("queue", "tmp", e.ID.fileName()), 0o600)
}

// reuse is draft on a spare.
func (s *Spool) reuse(e *Envelope, sp *spare) (*Draft, error) {
	field, err := appendField(make([]byte, 0, 8<<10), e)
	if err != nil {
		s.keepSpare(sp)
		return nil, err
	}
	return &Draft{s: s, env: e, file: sp.file, tmp: sp.path, head: len(field), old: sp.size, buf: field}, nil
}

// Recreate is Create for an ID that was derived from a message whose lock the
// caller holds (ID.Derive). What a crash has left of an earlier try is removed;
// ErrQueued when that try had come to its end.
func (s *Spool) Recreate(ctx context.Context, e *Envelope) (*Draft, error) {
	_, err := s.find(e.ID)
	if err == nil {
		return nil, fmt.Errorf("create message %s: %w", e.ID, ErrQueued)
	}
	if !errors.Is(err, ErrUnknown) {
		return nil, err
	}
	err = s.fs.Remove(s.Path("queue", "tmp", e.ID.fileName()))
	if err != nil && !errors.Is(err, iofs.ErrNotExist) {
		return nil, fmt.Errorf("create message %s: %w", e.ID, err)
	}
	return s.Create(ctx, e)
}

func (s *Spool) draft(e *Envelope, tmp string, perm iofs.FileMode) (*Draft, error) {
	field, err := appendField(make([]byte, 0, 8<<10), e)
	if err != nil {
		return nil, err
	}
	f, err := s.fs.Create(tmp, perm)
	if err != nil {
		return nil, fmt.Errorf("create message %s: %w", e.ID, err)
	}
	return &Draft{s: s, env: e, file: f, tmp: tmp, head: len(field), buf: field}, nil
}

// Envelope is the envelope that the Draft was created with, its ID set.
func (d *Draft) Envelope() *Envelope { return d.env }

// Write takes the next octets of the message.
func (d *Draft) Write(p []byte) (int, error) {
	if d.err != nil {
		return 0, d.err
	}
	if d.file == nil {
		return 0, fmt.Errorf("write message %s: %w", d.env.ID, io.ErrClosedPipe)
	}
	d.length += int64(len(p))
	d.crc = crc32.Update(d.crc, castagnoli, p)
	if len(d.buf)+len(p) > bufferSize {
		d.flush()
	}
	if len(p) > bufferSize {
		d.put(p)
	} else {
		d.buf = append(d.buf, p...)
	}
	if d.err != nil {
		return 0, d.err
	}
	return len(p), nil
}

func (d *Draft) flush() {
	d.put(d.buf)
	d.buf, d.wrote = d.buf[:0], true
}

func (d *Draft) put(p []byte) {
	if d.err != nil {
		return
	}
	if _, err := d.file.Write(p); err != nil {
		d.err = fmt.Errorf("write message %s: %w", d.env.ID, err)
	}
}

// Commit queues the message. When it returns nil the message survives a crash
// of this machine, so the caller may answer 250; after an error it is not in
// the queue.
func (d *Draft) Commit(ctx context.Context) error {
	if d.file == nil {
		return fmt.Errorf("commit message %s: %w", d.env.ID, io.ErrClosedPipe)
	}
	defer d.Discard()
	err := ctx.Err()
	if err == nil {
		err = d.finish()
	}
	if err == nil && d.dropped {
		err = d.commitDrop()
	} else if err == nil {
		err = d.commit(d.s.Path("queue", "new"), d.env.ID.fileName())
	}
	if err != nil {
		return fmt.Errorf("commit message %s: %w", d.env.ID, err)
	}
	return nil
}

// commit goes from written to durable in tmp/, to named in dir, to that name
// durable.
func (d *Draft) commit(dir, name string) error {
	fs, f, to := d.s.fs, d.file, dir+"/"+name
	d.file = nil
	if err := f.Commit(); err != nil {
		fs.Remove(d.tmp)
		return err
	}
	if err := fs.RenameUnique(d.tmp, to); err != nil {
		fs.Remove(d.tmp)
		return err
	}
	if err := fs.SyncDir(dir); err != nil {
		// The name may or may not be on the disk. Nobody has been told of it,
		// so it shall not be there.
		fs.Remove(to)
		return err
	}
	if !d.wrote {
		d.s.fresh.put(&fresh{d.env.ID, d.buf})
	}
	return nil
}

// finish fills in length and checksum and writes what is left.
func (d *Draft) finish() error {
	err := d.complete()
	if whole := int64(d.head) + d.length; err == nil && d.old > whole {
		err = d.file.Truncate(whole)
	}
	return err
}

func (d *Draft) complete() error {
	final := sums(d.length, d.crc)
	if !d.wrote {
		copy(d.buf[len(fieldStart):], final)
		d.put(d.buf)
		return d.err
	}
	d.flush()
	if d.err != nil {
		return d.err
	}
	if _, err := d.file.Seek(int64(len(fieldStart)), io.SeekStart); err != nil {
		return err
	}
	d.put(final)
	return d.err
}

// Discard lets go of a message that has not been committed.
func (d *Draft) Discard() {
	switch {
	case d.file == nil:
		return
	case d.old > 0: // it was opened by another name
		d.file.Close()
		d.s.fs.Remove(d.tmp)
	default:
		d.file.Discard()
	}
	d.file = nil
}
