package fetch

import (
	"context"
	"errors"
	"io"
	"io/fs"

	"postbag/internal/durable"
	"postbag/internal/fetchlog"
)

// An mboxSink appends letters to an mbox. A batch is written to one file first,
// exactly as it is to stand in the mbox, and synced; then it is noted, with the
// place in the mbox where it will begin, appended, and noted as done. After a
// crash that file tells how much of it has been appended.
type mboxSink struct {
	*run
	file    *durable.File // of the batch
	batch   []delivered
	records []fetchlog.Placement
}

func (s *mboxSink) put(ctx context.Context, l letter, text io.Reader) error {
	st, err := s.stage(text) // a letter that breaks off must not stay in the batch
	if err != nil {
		return err
	}
	defer st.Close()
	if s.file == nil {
		if s.file, err = s.FS.Create(s.log.Staging(), 0o600); err != nil {
			return localError("stage batch", err)
		}
	}
	if err := writeMbox(s.file, l, s.now(), st); err != nil {
		return localError("stage batch", err)
	}
	s.batch = append(s.batch, delivered{letter: l, octets: st.size, path: s.Target.Arg})
	p := l.placement(st.digest)
	p.Dir, p.Tmp = s.Target.Arg, s.log.Staging()
	s.records = append(s.records, p)
	return nil
}

func (s *mboxSink) commit(context.Context) ([]delivered, error) {
	if s.file == nil {
		return nil, nil
	}
	err := s.file.Commit()
	s.file = nil
	if err == nil {
		err = s.FS.SyncDir(s.State)
	}
	if err == nil {
		err = s.appendBatch()
	}
	if err != nil {
		return nil, localError("deliver to "+s.Target.Arg, err)
	}
	done := s.batch
	s.batch, s.records = nil, nil
	return done, nil
}

// appendBatch appends the staged file under the locks of the mbox.
func (s *mboxSink) appendBatch() error {
	box, err := s.open(s.Target.Arg)
	if err != nil {
		return err
	}
	defer box.close()
	offset, err := box.end()
	if err != nil {
		return err
	}
	for i := range s.records {
		s.records[i].Offset = offset
	}
	if err := s.log.Placed(s.records...); err != nil {
		return err
	}
	if err := box.copyFrom(s.log.Staging()); err != nil {
		// The next run sees how much has been written and takes it back.
		return err
	}
	if err := s.log.Done(s.records...); err != nil {
		return err
	}
	return s.FS.Remove(s.log.Staging())
}

func (s *mboxSink) refused() error { return nil }

func (s *mboxSink) discard() {
	if s.file != nil {
		s.file.Discard()
		s.file = nil
	}
}

// recover finishes or takes back the batch of a run that was killed.
func (s *mboxSink) recover(pending []fetchlog.Placement) error {
	batches := map[string][]fetchlog.Placement{}
	for _, p := range pending {
		batches[p.Tmp] = append(batches[p.Tmp], p)
	}
	for tmp, letters := range batches {
		if err := s.recoverBatch(tmp, letters); err != nil {
			return localError("finish delivery to "+letters[0].Dir, err)
		}
	}
	if err := s.FS.Remove(s.log.Staging()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return localError("finish delivery", err)
	}
	return nil
}

// recoverBatch: nothing is appended before all letters of the batch are noted,
// so if anything was, pending is the whole batch.
func (s *mboxSink) recoverBatch(tmp string, letters []fetchlog.Placement) error {
	box, err := s.open(letters[0].Dir)
	if err != nil {
		return err
	}
	defer box.close()
	whole, err := box.settle(tmp, letters[0].Offset)
	if err != nil {
		return err
	}
	if whole {
		return s.log.Done(letters...)
	}
	for _, p := range letters {
		if err := s.log.Forget(p.Folder, p.Key); err != nil {
			return err
		}
	}
	return nil
}
