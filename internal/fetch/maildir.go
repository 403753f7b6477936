package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"postbag/internal/fetchlog"
	"postbag/internal/maildir"
	"postbag/internal/message"
)

// A maildirSink puts letters into a Maildir and its folders. Its steps are
// those of package fetchlog.
type maildirSink struct {
	*run
	dirs  map[string]bool // known to be Maildirs
	batch []stagedLetter
}

// A stagedLetter is whole in a tmp/; commit syncs it.
type stagedLetter struct {
	delivered
	digest string
	file   *maildir.Letter
	sub    string // where it will go: new or cur
	name   string // there
}

func (s *maildirSink) put(ctx context.Context, l letter, text io.Reader) error {
	dir := filepath.Join(s.Target.Arg, l.local)
	if err := s.makeDir(dir); err != nil {
		return localError("maildir "+dir, err)
	}
	file, err := maildir.Begin(s.FS, dir, maildir.Unique(s.now(), s.Hostname))
	if err != nil {
		return localError("maildir "+dir, err)
	}
	m := newMeasure()
	disk := message.ToDisk(file)
	if err := copyLetter(io.MultiWriter(disk, m), text); err != nil {
		file.Discard()
		return err
	}
	if err := disk.Close(); err != nil {
		file.Discard()
		return localError("maildir "+dir, err)
	}
	s.batch = append(s.batch, newStaged(l, file, m))
	return nil
}

func newStaged(l letter, file *maildir.Letter, m *measure) stagedLetter {
	st := stagedLetter{delivered: delivered{letter: l, octets: m.size}, digest: m.digest(), file: file, sub: "new", name: file.FinalName()}
	if l.flags != "" {
		st.sub, st.name = "cur", maildir.ParseName(st.name).WithFlags(l.flags).String()
	}
	st.path = filepath.Join(file.Dir(), st.sub, st.name)
	return st
}

// makeDir makes a Maildir, and marks one that is a folder as Maildir++ wants it.
func (s *maildirSink) makeDir(dir string) error {
	if s.dirs[dir] {
		return nil
	}
	if err := maildir.Init(s.FS, s.Target.Arg, 0o700); err != nil {
		return err
	}
	if dir != s.Target.Arg {
		if err := maildir.Init(s.FS, dir, 0o700); err != nil {
			return err
		}
	}
	s.dirs[dir] = true
	return nil
}

// syncs is how many letters are synced at a time: the disk writes one journal for
// several.
const syncs = 16

// sync makes the letters of a batch durable in tmp/.
func (s *maildirSink) sync(batch []stagedLetter) error {
	errs := make([]error, len(batch))
	slots := make(chan struct{}, syncs)
	var wg sync.WaitGroup
	for i, st := range batch {
		if st.known {
			continue
		}
		slots <- struct{}{}
		wg.Go(func() {
			errs[i] = st.file.Sync(st.internal)
			<-slots
		})
	}
	wg.Wait()
	return firstOf(errs)
}

// firstOf is the first error of some; one line is enough.
func firstOf(errs []error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// commit goes through the steps of "Exactly once" for the whole batch. Once the
// journal says `placed`, it is not called off any more.
func (s *maildirSink) commit(ctx context.Context) (done []delivered, err error) {
	batch := s.sortOut()
	s.batch = nil
	if err := s.sync(batch); err != nil {
		discardAll(batch)
		return nil, localError("deliver to "+s.Target.Arg, err)
	}
	if err := s.place(batch); err != nil {
		return nil, localError("deliver to "+s.Target.Arg, err)
	}
	var records []fetchlog.Placement
	for _, st := range batch {
		records = append(records, st.placement(st.digest))
		done = append(done, st.delivered)
	}
	if err := s.log.Done(records...); err != nil {
		return nil, localError("deliver to "+s.Target.Arg, err)
	}
	return done, nil
}

// sortOut drops the files of letters that are there already under a key that
// has changed; they need only be noted.
func (s *maildirSink) sortOut() []stagedLetter {
	batch, met := s.batch, formers{}
	for i := range batch {
		if met.known(batch[i].folder, batch[i].digest) {
			batch[i].file.Discard()
			batch[i].known, batch[i].file = true, nil
		}
	}
	return batch
}

// place renames staged letters to their places, durably.
func (s *maildirSink) place(batch []stagedLetter) error {
	var tmps, dirs []string
	var records []fetchlog.Placement
	for _, st := range batch {
		if st.known {
			continue
		}
		p := st.placement(st.digest)
		p.Dir, p.Tmp, p.Name = st.file.Dir(), st.file.Unique(), filepath.Join(st.sub, st.name)
		records = append(records, p)
		tmps = append(tmps, filepath.Join(p.Dir, "tmp"))
		dirs = append(dirs, filepath.Join(p.Dir, st.sub))
	}
	if err := s.FS.SyncDir(compact(tmps)...); err != nil {
		discardAll(batch)
		return err
	}
	if err := s.log.Placed(records...); err != nil {
		// The record may be on the disk or not: whoever reads the journal next
		// finishes these letters, or fetches them again.
		abandonAll(batch)
		return err
	}
	defer abandonAll(batch)
	for _, st := range batch {
		if st.known {
			continue
		}
		if _, err := st.file.Place(context.WithoutCancel(s.ctx), st.sub, st.flags); err != nil {
			return err
		}
	}
	return s.FS.SyncDir(compact(dirs)...)
}

// compact leaves one of each.
func compact(names []string) []string {
	slices.Sort(names)
	return slices.Compact(names)
}

func discardAll(batch []stagedLetter) {
	for _, st := range batch {
		if st.file != nil {
			st.file.Discard()
		}
	}
}

func abandonAll(batch []stagedLetter) {
	for _, st := range batch {
		if st.file != nil {
			st.file.Abandon()
		}
	}
}

func (s *maildirSink) discard() {
	discardAll(s.batch)
	s.batch = nil
}

func (s *maildirSink) refused() error { return nil }

// recover finishes letters that were `placed` and not `done`.
func (s *maildirSink) recover(pending []fetchlog.Placement) error {
	var done, lost []fetchlog.Placement
	for _, p := range pending {
		there, err := s.finish(p)
		if err != nil {
			return localError("finish delivery to "+p.Dir, err)
		}
		if there {
			done = append(done, p)
		} else {
			lost = append(lost, p)
		}
	}
	if err := s.log.Done(done...); err != nil {
		return localError("finish delivery", err)
	}
	for _, p := range lost {
		if err := s.log.Forget(p.Folder, p.Key); err != nil {
			return localError("finish delivery", err)
		}
	}
	return nil
}

// finish renames a letter to its place if that was not done. It reports false
// when the letter is nowhere, because somebody cleaned tmp/.
func (s *maildirSink) finish(p fetchlog.Placement) (bool, error) {
	from, to := filepath.Join(p.Dir, "tmp", p.Tmp), filepath.Join(p.Dir, p.Name)
	err := s.FS.Rename(from, to)
	switch {
	case errors.Is(err, fs.ErrExist): // a link was made, and the unlink was not
		err = s.FS.Remove(from)
	case errors.Is(err, fs.ErrNotExist) && s.old(p):
		if there, err := present(p); err != nil || !there {
			return false, err
		}
		err = nil
	case errors.Is(err, fs.ErrNotExist):
		if _, derr := os.Stat(filepath.Join(p.Dir, "tmp")); derr != nil {
			return false, s.lostDir(p, derr)
		}
		err = nil
	}
	if err != nil {
		return false, err
	}
	return true, s.FS.SyncDir(filepath.Dir(to))
}

// lostDir: a Maildir that is no longer there has lost its letters on purpose; a
// disk that is not mounted has not.
func (s *maildirSink) lostDir(p fetchlog.Placement, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		s.warn("%s is gone with a letter that was just delivered to it; it will be fetched again", p.Dir)
		return nil
	}
	return err
}

// old reports whether a letter was staged so long ago that others may have
// cleaned it away.
func (s *maildirSink) old(p fetchlog.Placement) bool {
	seconds, _, _ := strings.Cut(p.Tmp, ".")
	n, err := strconv.ParseInt(seconds, 10, 64)
	return err != nil || s.now().Sub(time.Unix(n, 0)) > maildir.TmpAge/2
}

// present looks for a letter that readers may have moved on.
func present(p fetchlog.Placement) (bool, error) {
	base := maildir.ParseName(filepath.Base(p.Name)).Base
	for _, sub := range []string{"new", "cur"} {
		names, err := os.ReadDir(filepath.Join(p.Dir, sub))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, fmt.Errorf("look for %s: %w", base, err)
		}
		for _, n := range names {
			if maildir.ParseName(n.Name()).Base == base {
				return true, nil
			}
		}
	}
	return false, nil
}
