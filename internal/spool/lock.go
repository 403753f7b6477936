package spool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	iofs "io/fs"
	"os"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"postbag/internal/durable"
)

// A Locked message belongs to its holder: nobody else attempts, changes or
// removes it. The lock dies with the process. It is for one goroutine at a
// time.
type Locked struct {
	s     *Spool
	file  *durable.File // the progress file, locked; nil: there is none yet
	entry *Entry
	seq   uint32 // of the last record
	sure  uint32 // of the last durable one
	size  int64  // length of the file up to it
	good  int64  // and up to the last one that is durable
	owed  bool   // what has been noted is not yet durable
	named bool   // the file's name is durable

	moving sync.RWMutex // of entry.file: a message may be read while it goes to cur/

	err error // the first failed Record; nothing is recorded after it

	fresh   *fresh        // the message, if it is in memory
	message *durable.File // and its file, locked
	held    []Event       // noted, and to be written once there is a progress file
	removed bool
}

// Lock takes a message to work on. It does not wait: ErrLocked when somebody
// has it. ErrUnknown when it is not in the queue (any more).
func (s *Spool) Lock(ctx context.Context, id ID) (*Locked, error) {
	if _, err := ParseID(string(id)); err != nil {
		return nil, err
	}
	if l := s.lockFresh(id); l != nil {
		return l, nil
	}
	if _, err := s.find(id); err != nil && !errors.Is(err, ErrUnknown) {
		return nil, err
	}
	for ctx.Err() == nil {
		l, again, err := s.tryLock(id)
		if err != nil || !again {
			return l, err
		}
	}
	return nil, fmt.Errorf("lock message %s: %w", id, ctx.Err())
}

// tryLock opens and locks the progress file. It is to be called again when the
// file was removed between the two: the lock then is on a file without a name,
// and somebody else may hold one on its successor.
func (s *Spool) tryLock(id ID) (l *Locked, again bool, err error) {
	path := s.progressPath(id)
	f, err := s.fs.OpenAppend(path, 0o600)
	if err != nil {
		return nil, false, fmt.Errorf("lock message %s: %w", id, err)
	}
	l = &Locked{s: s, file: f}
	ok, err := f.TryLock()
	if err == nil && !ok {
		err = ErrLocked
	}
	var same bool
	if err == nil {
		same, err = s.fs.Same(f, path)
	}
	if err == nil && same {
		err = l.load(id)
	}
	if err != nil {
		f.Close()
		return nil, false, fmt.Errorf("lock message %s: %w", id, err)
	}
	if !same {
		f.Close()
		return nil, true, nil
	}
	return l, false, nil
}

// load reads the message once the lock is held, and removes the progress file
// of one that is gone (the last step of Remove).
func (l *Locked) load(id ID) error {
	file, err := l.s.find(id)
	if errors.Is(err, ErrUnknown) {
		l.s.fs.Remove(l.s.progressPath(id))
		return ErrUnknown
	}
	if err != nil {
		return err
	}
	return l.reload(id, file)
}

func (l *Locked) reload(id ID, file string) error {
	e, err := l.s.load(id, file)
	if err != nil {
		return err
	}
	if e.Active { // somebody makes the first attempt
		return ErrLocked
	}
	raw, err := readAll(l.file)
	if err != nil {
		return err
	}
	sc := e.replay(raw)
	e.Active = true
	l.entry, l.seq, l.sure, l.size, l.good = e, sc.seq, sc.seq, int64(sc.good), int64(sc.good)
	// A message is in cur/ once its progress file is durable; see Sync.
	l.named = strings.HasPrefix(file, "queue/cur/")
	if sc.torn && !sc.damaged {
		if err := l.cut(); err != nil {
			return err
		}
	}
	// What was noted before a kill may not be on the disk yet.
	if l.owed = !l.named && sc.good > 0 && e.Damage == nil; l.owed {
		return l.Sync()
	}
	return nil
}

func readAll(f io.ReaderAt) ([]byte, error) {
	return io.ReadAll(io.NewSectionReader(f, 0, 1<<40))
}

// cut takes the torn tail away, durably, before anything is appended: behind it
// a new record would look like damage.
func (l *Locked) cut() error {
	if err := l.file.Truncate(l.good); err != nil {
		return err
	}
	return l.file.Sync()
}

// Entry is the message as Lock found it, with what Record has added.
func (l *Locked) Entry() *Entry { return l.entry }

// ID of the message.
func (l *Locked) ID() ID { return l.entry.ID }

// Record adds events to the message's progress. When it returns nil they
// survive a crash. After an error none of them can be relied on, either way,
// and nothing more is recorded under this lock: the caller stops, and the next
// attempt goes by what is really there.
func (l *Locked) Record(ctx context.Context, events ...Event) error {
	if err := l.Note(ctx, events...); err != nil {
		return err
	}
	return l.Sync()
}

// Note is Record without the disk: what it adds survives the end of this process,
// but not a power cut before the next Sync, Record or Remove. Of a fresh message (see
// HandOver) it survives neither: nobody else knows of its first attempt before that.
func (l *Locked) Note(ctx context.Context, events ...Event) error {
	if l.err != nil {
		return l.err
	}
	if len(events) == 0 {
		return ctx.Err()
	}
	if l.entry.Damage != nil {
		// Nothing is cut off here: what follows the damage is to be salvaged.
		return fmt.Errorf("record progress of %s: %w", l.ID(), l.entry.Damage)
	}
	note := l.append
	if l.file == nil {
		note = l.hold
	}
	if err := note(events); err != nil {
		return l.fail(err)
	}
	for _, e := range events {
		if err := l.entry.Progress.apply(e); err != nil {
			return err
		}
	}
	return nil
}

// fail takes back what has not become durable: a half of it must not come before
// the next record.
func (l *Locked) fail(err error) error {
	l.err = fmt.Errorf("record progress of %s: %w", l.ID(), err)
	if l.file != nil && l.file.Truncate(l.good) == nil {
		l.file.Sync()
	}
	return l.err
}

func (l *Locked) append(events []Event) error {
	var frames []byte
	seq := l.seq
	for i := range events {
		if events[i].Time.IsZero() {
			events[i].Time = l.s.now()
		}
		payload, err := events[i].encode()
		if err != nil {
			return err
		}
		seq++
		frames = appendFrame(frames, seq, l.sure+1, l.seq+uint32(len(events)), payload)
	}
	if _, err := l.file.Write(frames); err != nil {
		return err
	}
	l.seq, l.size, l.owed = seq, l.size+int64(len(frames)), true
	return nil
}

// Sync makes durable what has been noted. After an error it is as after one of
// Record. A message that has been attempted goes from new/ to cur/ with that,
// where it must have progress to be sent.
func (l *Locked) Sync() error {
	if l.err != nil || !l.owed {
		return l.err
	}
	err := l.write()
	if err == nil {
		err = l.file.Sync()
	}
	if err == nil && !l.named {
		err = l.s.fs.SyncDir(l.s.Path("queue/progress"))
	}
	if err != nil {
		return l.fail(err)
	}
	l.named, l.owed, l.good, l.sure = true, false, l.size, l.seq
	return l.settle()
}

// settle takes a message that has been attempted from new/ to cur/.
func (l *Locked) settle() error {
	name, isNew := strings.CutPrefix(l.entry.file, "queue/new/")
	if !isNew || l.entry.Progress.Attempts == 0 {
		return nil
	}
	base, _, _ := strings.Cut(name, ":")
	to := "queue/cur/" + base + ":2,"
	l.moving.Lock()
	defer l.moving.Unlock()
	err := l.s.fs.Rename(l.s.Path(l.entry.file), l.s.Path(to))
	if errors.Is(err, iofs.ErrExist) {
		// A crash has left both names of a rename, where renames are not atomic;
		// or a file server says so of a rename that it has done.
		if err = l.s.fs.Remove(l.s.Path(l.entry.file)); errors.Is(err, iofs.ErrNotExist) {
			err = nil
		}
	}
	if err != nil {
		return fmt.Errorf("settle message %s: %w", l.ID(), err)
	}
	// No sync: the record is durable, and either place is right with it.
	l.entry.file = to
	return nil
}

// Begin notes that an attempt is under way and when the next one is due, before
// anything is sent: a message that kills us does not come at once again. Of a
// first attempt a power cut may leave nothing: then nobody knows of it, and it is
// made again.
func (l *Locked) Begin(ctx context.Context, next Event) error {
	if l.entry.Progress.Attempts == 0 {
		return l.Note(ctx, next)
	}
	return l.Record(ctx, next)
}

// Open reads the message in disk form, without its envelope. Octets that are
// not those that were queued end in an error instead of io.EOF: who sends the
// message must then not complete it. It may be called while another goroutine
// records.
func (l *Locked) Open() (io.ReadCloser, error) {
	if l.fresh != nil {
		h := l.entry.head
		return &body{f: io.NopCloser(bytes.NewReader(l.fresh.raw[h.size:])), id: l.ID(), left: h.length, want: h.crc}, nil
	}
	l.moving.RLock()
	defer l.moving.RUnlock()
	return l.s.open(l.entry)
}

// OpenMessage reads a message that is not locked, as Locked.Open does.
func (s *Spool) OpenMessage(e *Entry) (io.ReadCloser, error) { return s.open(e) }

func (s *Spool) open(e *Entry) (io.ReadCloser, error) {
	f, err := os.OpenFile(s.Path(e.file), os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, iofs.ErrNotExist) {
		// It has moved from new to cur since, or is gone.
		var file string
		if file, err = s.find(e.ID); err == nil {
			f, err = os.Open(s.Path(file))
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open message %s: %w", e.ID, err)
	}
	if e.head.env == nil {
		return f, nil // no envelope could be read: all of it is the message
	}
	if _, err := f.Seek(int64(e.head.size), io.SeekStart); err != nil {
		f.Close()
		return nil, fmt.Errorf("open message %s: %w", e.ID, err)
	}
	return &body{f: f, id: e.ID, left: e.head.length, want: e.head.crc}, nil
}

// A body reads a message and checks it.
type body struct {
	f    io.ReadCloser
	id   ID
	left int64
	crc  uint32
	want uint32
}

// Read gives io.EOF only when all octets have come and are right.
func (b *body) Read(p []byte) (int, error) {
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	if b.left == 0 {
		if b.crc != b.want {
			return 0, fmt.Errorf("message %s: %w: checksum", b.id, errDamaged)
		}
		return 0, io.EOF
	}
	n, err := b.f.Read(p)
	b.left -= int64(n)
	b.crc = crc32.Update(b.crc, castagnoli, p[:n])
	if err == io.EOF {
		err = fmt.Errorf("message %s: %w: %d octets missing", b.id, errDamaged, b.left)
	}
	return n, err
}

func (b *body) Close() error { return b.f.Close() }

// Remove takes the message out of the queue. When it returns nil that survives
// a crash. The message goes first: progress without a message means nothing and
// is cleaned, a message without progress would look as if it had lost it.
func (l *Locked) Remove(ctx context.Context) error {
	l.s.NoteEnd(l.ID(), l.ending()) // before it is gone: who misses it then finds this
	l.removed = true
	if err := l.removeMessage(); err != nil {
		if l.file == nil {
			_ = l.Sync() // what was held is to be known when the message is found again
		}
		return fmt.Errorf("remove message %s: %w", l.ID(), err)
	}
	if err := l.s.fs.Remove(l.s.progressPath(l.ID())); err != nil && !errors.Is(err, iofs.ErrNotExist) {
		return fmt.Errorf("remove progress of %s: %w", l.ID(), err)
	}
	return nil
}

func (l *Locked) removeMessage() error {
	if done, err := l.retire(); done {
		return err
	}
	fs, name := l.s.fs, l.ID().fileName()
	// It may have moved to cur/ without a sync: then both directories, so that it
	// cannot come back in the one it left. In new/ alone it has never moved.
	dirs := []string{l.s.Path("queue/new")}
	names := []string{"queue/new/" + name, "queue/cur/" + name + ":2,"}
	if l.file == nil { // nobody has ever moved it
		names = names[:1]
	}
	if !slices.Contains(names, l.entry.file) { // a Maildir tool has given it flags
		names = append(names, l.entry.file)
	}
	for _, file := range names {
		err := fs.Remove(l.s.Path(file))
		if err != nil && !errors.Is(err, iofs.ErrNotExist) {
			return err
		}
		if err == nil && strings.HasPrefix(file, "queue/cur/") {
			dirs = append(dirs, l.s.Path("queue/cur"))
		}
	}
	return fs.SyncDir(dirs...)
}

// Unlock gives the message back.
func (l *Locked) Unlock() {
	l.leave()
	if l.file != nil {
		l.file.Close() // gives the lock up too
		l.file = nil
	}
}
