package spool

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"os"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"postbag/internal/durable"
)

// Drop begins a submission by a user who may not write into the queue. The file
// lies under its final, unguessable name in drop/ from the start; what tells
// that it is whole are the length and the checksum in its first field, which are
// written last. So Commit needs no rename, and no directory that the user could
// not open to sync.
//
// Group and owner may read it: drop/ gives the file the group of the service.
func (s *Spool) Drop(ctx context.Context, e *Envelope) (*Draft, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("drop message: %w", err)
	}
	if e.ID == "" {
		e.ID = s.NewID()
	}
	if e.Arrived.IsZero() {
		e.Arrived = s.now()
	}
	var name [16]byte
	rand.Read(name[:])
	d, err := s.draft(e, s.Path("drop", hex.EncodeToString(name[:])), 0o440)
	if err != nil {
		return nil, err
	}
	// The umask of the user shall not hide the file from the service.
	if err := d.file.Chmod(0o440); err != nil {
		d.Discard()
		return nil, fmt.Errorf("drop message %s: %w", e.ID, err)
	}
	d.dropped = true
	return d, nil
}

// commitDrop completes a dropped message where it is.
func (d *Draft) commitDrop() error {
	f := d.file
	d.file = nil
	err := f.SyncNamed()
	if err = errors.Join(err, f.Close()); err != nil {
		d.s.fs.Remove(d.tmp)
	}
	return err
}

// A Refusal is a file in drop/ that is no message of ours, or not whole. It
// stays where it is.
type Refusal struct {
	File string
	UID  int
	Err  error
}

// TakeDrops moves what users have dropped into the queue and returns the IDs;
// none while another process does so. A file is copied, made durable in the queue,
// then unlinked: its sender may still have it open and change it. What is refused
// is told once by each Spool.
func (s *Spool) TakeDrops(ctx context.Context) (ids []ID, refused []Refusal, err error) {
	names, err := readNames(s.Path("drop"))
	if err != nil {
		return nil, nil, fmt.Errorf("take drops: %w", err)
	}
	if len(names) == 0 {
		return nil, nil, nil
	}
	t := taker{Spool: s}
	defer t.end()
	if ok, err := t.begin(); err != nil || !ok {
		return nil, nil, err
	}
	for _, name := range names {
		if ctx.Err() != nil {
			break
		}
		id, uid, err := t.take(ctx, name)
		switch {
		case err == nil:
			ids = append(ids, id)
		case errors.Is(err, errDamaged):
			if s.tellOnce(name) {
				refused = append(refused, Refusal{name, uid, err})
			}
		case !errors.Is(err, errIncomplete) && !errors.Is(err, iofs.ErrNotExist):
			return ids, refused, fmt.Errorf("take drop %s: %w", name, err)
		}
	}
	if len(ids) > 0 {
		// Before anything is delivered: a name that comes back after a crash
		// would be taken a second time.
		err = s.fs.SyncDir(s.Path("drop"))
	}
	return ids, refused, err
}

// A taker is the one who takes drops at present. It holds the locks of the
// messages that it has made until their drops are gone for good, so that no other
// process delivers them before.
type taker struct {
	*Spool
	lock *durable.File
	made []*durable.File
}

// begin is false when another process takes the drops.
func (t *taker) begin() (ok bool, err error) {
	if t.lock, err = t.fs.OpenAppend(t.Path("run", "drop.lock"), 0o600); err == nil {
		ok, err = t.lock.TryLock()
	}
	if err != nil {
		return false, fmt.Errorf("take drops: %w", err)
	}
	return ok, nil
}

func (t *taker) end() {
	for _, f := range t.made {
		f.Close()
	}
	if t.lock != nil {
		t.lock.Close()
	}
}

// dropAge is how long a file in drop/ may be without a whole envelope before it
// is refused.
const dropAge = time.Hour

// errIncomplete says that the sender is still writing, or died while he did.
var errIncomplete = errors.New("not complete")

func (s *taker) take(ctx context.Context, name string) (id ID, uid int, err error) {
	path := s.Path("drop", name)
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENXIO) {
		return "", -1, fmt.Errorf("%w: no regular file", errDamaged)
	}
	if err != nil {
		return "", -1, err
	}
	defer f.Close()
	st, uid, err := owner(f)
	if err != nil {
		return "", uid, err
	}
	h, err := readHead(f)
	if errors.Is(err, errShort) && s.now().Sub(st.ModTime()) < dropAge {
		return "", uid, errIncomplete
	}
	if err != nil {
		return "", uid, err
	}
	if h.length == 0 && h.crc == 0 && st.Size() > int64(h.size) {
		return "", uid, errIncomplete
	}
	if st.Size()-int64(h.size) != h.length {
		return "", uid, fmt.Errorf("%w: %d octets of %d", errDamaged, st.Size()-int64(h.size), h.length)
	}
	e := dropped(h.env, uid)
	if !s.taken(e.ID, h, uid) {
		if err := s.copyDrop(ctx, e, f, h); err != nil {
			return "", uid, err
		}
	}
	return e.ID, uid, s.fs.Remove(path)
}

// InDrop reports whether a message has been dropped and not taken yet. It is in
// vain for users who may not read drop/.
func (s *Spool) InDrop(id ID) bool {
	names, _ := readNames(s.Path("drop"))
	return slices.ContainsFunc(names, func(name string) bool {
		f, err := os.OpenFile(s.Path("drop", name), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
		if err != nil {
			return false
		}
		defer f.Close()
		h, err := readHead(f)
		return err == nil && h.env.ID == id
	})
}

// owner checks that a file is one that a user may have dropped, and whose.
func owner(f *os.File) (iofs.FileInfo, int, error) {
	st, err := f.Stat()
	if err != nil {
		return nil, -1, err
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok || !st.Mode().IsRegular() || sys.Nlink != 1 {
		return nil, -1, fmt.Errorf("%w: no regular file with one name", errDamaged)
	}
	return st, int(sys.Uid), nil
}

// dropped keeps of an envelope what a user may say, and adds who it was.
func dropped(e *Envelope, uid int) *Envelope {
	return &Envelope{
		ID: e.ID, From: e.From, To: e.To, Arrived: e.Arrived,
		Body: e.Body, SMTPUTF8: e.SMTPUTF8, Ret: e.Ret, EnvID: e.EnvID,
		Proto: "local", UID: uid, Hold: e.Hold,
	}
}

// taken reports whether a crash came between queueing a drop and unlinking it.
func (s *Spool) taken(id ID, h head, uid int) bool {
	file, err := s.find(id)
	if err != nil {
		return false
	}
	e, err := s.load(id, file)
	return err == nil && e.UID == uid && e.head.length == h.length && e.head.crc == h.crc
}

// copyDrop makes the queue file of a drop. It has a name of its own in tmp/: what
// is there is of a taker that died.
func (s *taker) copyDrop(ctx context.Context, e *Envelope, f *os.File, h head) error {
	if _, err := ParseID(string(e.ID)); err != nil {
		e.ID = s.NewID()
	}
	if _, err := s.find(e.ID); err == nil {
		e.ID = s.NewID() // somebody's else
	}
	if err := s.reserve(e.ID); err != nil {
		return err
	}
	tmp := s.Path("queue", "tmp", e.ID.fileName()+".drop")
	if err := s.fs.Remove(tmp); err != nil && !errors.Is(err, iofs.ErrNotExist) {
		return err
	}
	d, err := s.draft(e, tmp, 0o600)
	if err != nil {
		return err
	}
	defer d.Discard()
	if _, err := f.Seek(int64(h.size), io.SeekStart); err != nil {
		return err
	}
	if _, err := io.Copy(d, &body{f: f, id: e.ID, left: h.length, want: h.crc}); err != nil {
		return err
	}
	return d.Commit(ctx)
}

// reserve takes the lock of a message that is about to be.
func (s *taker) reserve(id ID) error {
	f, err := s.fs.OpenAppend(s.progressPath(id), 0o600)
	if err != nil {
		return err
	}
	s.made = append(s.made, f)
	ok, err := f.TryLock()
	if err == nil && ok {
		ok, err = s.fs.Same(f, f.Name())
	}
	if err == nil && !ok {
		err = errIncomplete // somebody cleans: another time
	}
	return err
}

func (s *Spool) tellOnce(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refused[name] {
		return false
	}
	if s.refused == nil {
		s.refused = map[string]bool{}
	}
	s.refused[name] = true
	return true
}
