package fetch

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"postbag/internal/durable"
	"postbag/internal/fetchlog"
	"postbag/internal/mime"
	"postbag/internal/status"
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

// An mboxFile is an mbox, open and locked.
type mboxFile struct {
	fs   *durable.FS
	file *durable.File
	dot  string // the dot lock, "" when its directory would not have one
}

// lockTime is how long another program may keep its lock on an mbox, and
// staleTime when a dot lock is taken for one that was forgotten.
const (
	lockTime  = 30 * time.Second
	staleTime = 5 * time.Minute
)

// open opens an mbox, makes it if it is not there, and locks it in both ways
// that are customary.
func (s *mboxSink) open(path string) (*mboxFile, error) {
	box := &mboxFile{fs: s.FS}
	deadline := time.Now().Add(lockTime)
	for {
		busy, err := box.tryLock(path)
		if err != nil {
			box.close()
			return nil, err
		}
		if !busy {
			break
		}
		if time.Now().After(deadline) {
			box.close()
			return nil, status.Exit(status.ExTempFail, "lock "+path, errors.New("another program keeps it locked"))
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-s.ctx.Done():
			box.close()
			return nil, s.ctx.Err()
		}
	}
	return box, s.FS.SyncDir(filepath.Dir(path)) // it may be new
}

// tryLock takes what locks are missing; it reports whether one is taken.
func (b *mboxFile) tryLock(path string) (busy bool, err error) {
	if b.dot == "" {
		if busy, err = b.dotLock(path + ".lock"); busy || err != nil {
			return busy, err
		}
	}
	if b.file == nil {
		if b.file, err = b.fs.OpenAppend(path, 0o600); err != nil {
			return false, err
		}
	}
	free, err := b.file.TryLock()
	return !free, err
}

// dotLock makes the dot lock, whole with the number of this process in it: one
// that is killed must not leave a lock of which nobody knows the owner.
func (b *mboxFile) dotLock(path string) (busy bool, err error) {
	own := fmt.Sprintf("%s.%d", path, os.Getpid())
	f, err := b.fs.Create(own, 0o600)
	switch {
	case errors.Is(err, fs.ErrPermission): // as in a mail spool that belongs to root
		return false, nil
	case errors.Is(err, fs.ErrExist): // left by a process that had our number
		return true, b.fs.Remove(own)
	case err != nil:
		return false, err
	}
	defer b.fs.Remove(own)
	if _, err := fmt.Fprintf(f, "%d\n", os.Getpid()); err != nil {
		f.Close()
		return false, err
	}
	if err := f.Close(); err != nil {
		return false, err
	}
	if err = b.fs.Link(own, path); err == nil {
		b.dot = path
		return false, nil
	}
	if !errors.Is(err, fs.ErrExist) {
		return false, err
	}
	if forgotten(path) {
		if err := b.fs.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
	}
	return true, nil
}

// forgotten reports whether a dot lock's owner is gone: its process number
// stands in it, as is customary.
func forgotten(path string) bool {
	info, err := os.Stat(path)
	if err != nil {
		return false
	}
	if time.Since(info.ModTime()) > staleTime {
		return true
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return false
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	return err == nil && pid > 0 && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
}

func (b *mboxFile) close() {
	if b.file != nil {
		b.file.Close()
	}
	if b.dot != "" {
		b.fs.Remove(b.dot)
	}
}

// end is where the next letter may begin: after an empty line, which is added
// if it is missing.
func (b *mboxFile) end() (int64, error) {
	size, err := b.size()
	if err != nil || size == 0 {
		return size, err
	}
	last := make([]byte, min(size, 2))
	if _, err := b.file.ReadAt(last, size-int64(len(last))); err != nil {
		return 0, err
	}
	missing := ""
	if last[len(last)-1] != '\n' {
		missing = "\n\n"
	} else if len(last) == 2 && last[0] != '\n' {
		missing = "\n"
	}
	if missing != "" {
		if _, err := io.WriteString(b.file, missing); err != nil {
			return 0, err
		}
	}
	return size + int64(len(missing)), nil
}

func (b *mboxFile) size() (int64, error) {
	info, err := b.file.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// copyFrom appends a staged file, durably.
func (b *mboxFile) copyFrom(path string) error {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	if err := copyLetter(b.file, in); err != nil {
		return err
	}
	return b.file.Sync()
}

// settle finds out how much of a staged file has been appended at offset. All
// of it: it makes sure that it stays, and reports true. Else it takes back what
// is there, as long as that is nobody else's.
func (b *mboxFile) settle(path string, offset int64) (whole bool, err error) {
	want, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		// It is removed after `done` alone; and where the removal survived a
		// crash, what came before it on the disk did, too.
		return true, nil
	}
	if err != nil {
		return false, err
	}
	defer want.Close()
	size, err := b.size()
	if err != nil {
		return false, err
	}
	same, rest, err := compare(want, io.NewSectionReader(b.file, offset, max(0, size-offset)))
	if err != nil {
		return false, err
	}
	info, err := want.Stat()
	if err != nil {
		return false, err
	}
	if same == info.Size() {
		return true, b.file.Sync()
	}
	if size <= offset || !torn(rest) {
		return false, nil
	}
	if err := b.file.Truncate(offset); err != nil {
		return false, err
	}
	return false, b.file.Sync()
}

// torn reports whether what stands where a staged file and an mbox begin to
// differ is the rest of an append that a crash broke off: nothing, or what
// disks leave there. A letter of another program is none.
func torn(rest []byte) bool {
	return len(rest) == 0 || bytes.IndexByte(rest, 0) >= 0 && !bytes.Contains(rest, []byte("\nFrom "))
}

// compare reads both as far as they are the same: so many octets, and what b
// has then, up to a limit.
func compare(a, b io.Reader) (same int64, rest []byte, err error) {
	ra, rb := bufio.NewReaderSize(a, 64<<10), bufio.NewReaderSize(b, 64<<10)
	for {
		x, xerr := ra.ReadByte()
		y, yerr := rb.ReadByte()
		if xerr != nil && xerr != io.EOF || yerr != nil && yerr != io.EOF {
			return same, nil, errors.Join(xerr, yerr)
		}
		if yerr == io.EOF {
			return same, nil, nil
		}
		if xerr == io.EOF || x != y {
			rb.UnreadByte()
			rest, err := io.ReadAll(io.LimitReader(rb, 64<<20))
			return same, rest, err
		}
		same++
	}
}

// writeMbox writes a letter in mbox form: a From line, lines that begin like one
// quoted with >, an empty line at the end.
func writeMbox(w io.Writer, l letter, now time.Time, text *staged) error {
	from, err := sender(text)
	if err != nil {
		return err
	}
	at := l.internal
	if at.IsZero() {
		at = now
	}
	out := bufio.NewWriterSize(w, 32<<10)
	fmt.Fprintf(out, "From %s %s\n", from, at.UTC().Format(time.ANSIC))
	q := &fromQuoter{w: out, start: true}
	if err := toDisk(q, text); err != nil {
		return err
	}
	if err := q.finish(); err != nil {
		return err
	}
	out.WriteByte('\n')
	return out.Flush()
}

// sender is what the From line says: the letter's Return-Path.
func sender(text *staged) (string, error) {
	head, err := mime.ParseHeader(text)
	if err != nil {
		return "", err
	}
	if _, err := text.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	for _, a := range mime.ParseAddresses(head.Header.Get("Return-Path")) {
		from := a.Mailbox + "@" + a.Host
		if a.Host != "" && !strings.ContainsFunc(from, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
			return from, nil
		}
	}
	return "MAILER-DAEMON", nil
}

// A fromQuoter puts > before each line that begins ">*From " (mboxrd).
type fromQuoter struct {
	w     io.Writer
	line  []byte // the beginning of a line, as long as it may be one
	start bool   // the next octet begins a line
}

func (q *fromQuoter) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		if !q.start && q.line == nil {
			end := bytes.IndexByte(p, '\n') + 1
			if end == 0 {
				end = len(p)
			} else {
				q.start = true
			}
			if _, err := q.w.Write(p[:end]); err != nil {
				return 0, err
			}
			p = p[end:]
			continue
		}
		q.start = false
		q.line = append(q.line, p[0])
		p = p[1:]
		if err := q.decide(); err != nil {
			return 0, err
		}
	}
	return n, nil
}

// decide writes the beginning of a line as soon as it is clear what it is.
func (q *fromQuoter) decide() error {
	rest := bytes.TrimLeft(q.line, ">")
	if len(rest) < len("From ") && strings.HasPrefix("From ", string(rest)) && len(q.line) < maxQuotes {
		return nil
	}
	return q.flush(rest)
}

// maxQuotes bounds how many > are looked at.
const maxQuotes = 1000

func (q *fromQuoter) flush(rest []byte) error {
	if string(rest) == "From " {
		q.line = append([]byte{'>'}, q.line...)
	}
	q.start = q.line[len(q.line)-1] == '\n'
	_, err := q.w.Write(q.line)
	q.line = nil
	return err
}

// finish ends the last line.
func (q *fromQuoter) finish() error {
	if q.start {
		return nil
	}
	_, err := q.w.Write(append(q.line, '\n'))
	return err
}
