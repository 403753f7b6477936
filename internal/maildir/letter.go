package maildir

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"postbag/internal/durable"
)

// A Letter is being put into a Maildir. It goes from writing (tmp/X) to synced
// to placed (new/X or cur/X) to done; Discard leads back from each but the
// last. It is for one goroutine at a time.
type Letter struct {
	fs     *durable.FS
	dir    string
	unique string
	file   *durable.File // nil once synced
	at     string        // where the file is now; "" once it is settled or gone
	sub    string        // where Place put it

	buf    *[]byte // not yet written; nil: nothing
	size   int64
	lines  int64 // line ends that get a CR on the wire
	lastCR bool
}

// bufferSize lets an ordinary letter reach the disk with one system call, and
// costs a session no more than its own line buffers do.
const bufferSize = 32 << 10

// buffers are shared by all letters: memory without state.
var buffers = sync.Pool{New: func() any {
	b := make([]byte, 0, bufferSize)
	return &b
}}

// Begin starts a letter in tmp/unique. A Maildir that is not there is
// fs.ErrNotExist: whether to make it is the caller's question.
func Begin(fs *durable.FS, dir, unique string) (*Letter, error) {
	at := dir + "/tmp/" + unique
	f, err := fs.Create(at, 0o600)
	if err != nil {
		return nil, fmt.Errorf("begin letter %s: %w", at, err)
	}
	return &Letter{fs: fs, dir: dir, unique: unique, file: f, at: at}, nil
}

// Unique is the name in tmp/.
func (l *Letter) Unique() string { return l.unique }

// Dir is the Maildir.
func (l *Letter) Dir() string { return l.dir }

// Size is the number of octets written so far.
func (l *Letter) Size() int64 { return l.size }

// WireSize is the same with CRLF line ends.
func (l *Letter) WireSize() int64 { return l.size + l.lines }

// Write takes the next octets, in disk form.
func (l *Letter) Write(p []byte) (int, error) {
	if l.file == nil {
		return 0, fmt.Errorf("write letter %s: %w", l.unique, iofs.ErrClosed)
	}
	l.count(p)
	if l.buf == nil {
		l.buf = buffers.Get().(*[]byte)
	}
	if len(*l.buf)+len(p) <= bufferSize {
		*l.buf = append(*l.buf, p...)
		return len(p), nil
	}
	if err := l.flush(); err != nil {
		return 0, err
	}
	if len(p) >= bufferSize {
		return l.put(p)
	}
	*l.buf = append(*l.buf, p...)
	return len(p), nil
}

// release gives the buffer back.
func (l *Letter) release() {
	if l.buf != nil {
		*l.buf = (*l.buf)[:0]
		buffers.Put(l.buf)
		l.buf = nil
	}
}

// count keeps the sizes: each LF without a CR before it gets one on the wire.
func (l *Letter) count(p []byte) {
	if len(p) == 0 {
		return
	}
	l.size += int64(len(p))
	l.lines += int64(bytes.Count(p, []byte{'\n'}) - bytes.Count(p, []byte("\r\n")))
	if l.lastCR && p[0] == '\n' {
		l.lines--
	}
	l.lastCR = p[len(p)-1] == '\r'
}

func (l *Letter) flush() error {
	if l.buf == nil || len(*l.buf) == 0 {
		return nil
	}
	_, err := l.put(*l.buf)
	*l.buf = (*l.buf)[:0]
	return err
}

func (l *Letter) put(p []byte) (int, error) {
	n, err := l.file.Write(p)
	if err != nil {
		return n, fmt.Errorf("write letter %s: %w", l.at, err)
	}
	return n, nil
}

// Sync makes the octets durable in tmp/ and closes the file. A zero mtime
// leaves the time of writing. After an error the letter can only be discarded:
// a sync that failed once proves nothing by succeeding later.
func (l *Letter) Sync(mtime time.Time) error {
	if l.file == nil {
		return fmt.Errorf("sync letter %s: %w", l.unique, iofs.ErrClosed)
	}
	if err := l.flush(); err != nil {
		return err
	}
	if !mtime.IsZero() {
		if err := l.file.SetTimes(mtime); err != nil {
			return fmt.Errorf("set time of letter %s: %w", l.at, err)
		}
	}
	f := l.file
	l.file = nil
	l.release()
	if err := f.Commit(); err != nil {
		return fmt.Errorf("sync letter %s: %w", l.at, err)
	}
	return nil
}

// FinalName is the name that Place gives the letter below "new".
func (l *Letter) FinalName() string {
	b := make([]byte, 0, len(l.unique)+32)
	b = append(b, l.unique...)
	b = append(b, ",S="...)
	b = strconv.AppendInt(b, l.size, 10)
	b = append(b, ",W="...)
	b = strconv.AppendInt(b, l.WireSize(), 10)
	return string(b)
}

// Place makes a synced letter visible in sub ("new" or "cur") and returns its
// file's name. It is durable after SyncDir, not before. A delivery that has
// been called off by ctx is not placed.
func (l *Letter) Place(ctx context.Context, sub, flags string) (name string, err error) {
	if err := ctx.Err(); err != nil {
		return "", fmt.Errorf("place letter %s: %w", l.unique, err)
	}
	if l.file != nil || l.at == "" || l.sub != "" {
		return "", fmt.Errorf("place letter %s: not synced, or placed before", l.unique)
	}
	name = l.FinalName()
	if sub == "cur" {
		name = ParseName(name).WithFlags(flags).String()
	}
	to := l.dir + "/" + sub + "/" + name
	if err := l.fs.RenameUnique(l.at, to); err != nil {
		return "", fmt.Errorf("place letter: %w", err)
	}
	l.at, l.sub = to, sub
	return name, nil
}

// SyncDir makes the name that Place gave durable. Deliveries into one Maildir
// share the sync. After an error the letter is discarded by the caller, who has
// not told anybody of it.
func (l *Letter) SyncDir() error {
	if l.sub == "" {
		return fmt.Errorf("sync letter %s: not placed", l.unique)
	}
	if err := l.fs.SyncDir(l.dir + "/" + l.sub); err != nil {
		return fmt.Errorf("sync letter %s: %w", l.at, err)
	}
	l.at = ""
	return nil
}

// Abandon lets go of a letter without taking its file away, for a letter that
// a journal may name: whoever reads the journal finishes or cleans.
func (l *Letter) Abandon() {
	l.at = ""
	l.release()
	if l.file != nil {
		l.file.Close()
		l.file = nil
	}
}

// Discard takes back a letter that shall not be delivered, wherever it is; it
// does nothing to one that is done. The error of an unlink has nobody to tell:
// what stays in tmp/ is cleaned, and what stays in new/ was never acknowledged.
func (l *Letter) Discard() {
	if l.at == "" {
		return
	}
	if l.file != nil {
		l.file.Discard()
		l.file = nil
	} else {
		l.fs.Remove(l.at)
	}
	l.at = ""
	l.release()
}

// Finish completes a delivery of which a journal says `placed`, after a crash:
// tmp is the name in tmp/, name the one that it was to get in new/.
//
// If tmp is there, it is renamed and the name synced. If not, the rename had
// happened and readers may have moved the letter on; found is false only when
// thorough demands a look and no letter of that name is there: then something
// cleaned tmp/ and the letter must be delivered again. Thorough costs a reading
// of the folder and is needed only for a journal entry that is older than what
// cleaners of tmp/ leave alone (TmpAge).
func Finish(fs *durable.FS, dir, tmp, name string, thorough bool) (found bool, err error) {
	err = fs.Rename(filepath.Join(dir, "tmp", tmp), filepath.Join(dir, "new", name))
	switch {
	case errors.Is(err, iofs.ErrNotExist) && thorough:
		if found, err = has(fs, dir, name); err != nil || !found {
			return false, err
		}
	case errors.Is(err, iofs.ErrExist):
		// A link was made and the crash came before the unlink.
		err = fs.Remove(filepath.Join(dir, "tmp", tmp))
	}
	if err != nil && !errors.Is(err, iofs.ErrNotExist) {
		return false, fmt.Errorf("finish letter %s: %w", name, err)
	}
	if err := fs.SyncDir(filepath.Join(dir, "new")); err != nil {
		return false, fmt.Errorf("finish letter %s: %w", name, err)
	}
	return true, nil
}
