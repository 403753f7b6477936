// Package quota bounds what the letters of an account may take, as Maildir++
// does: a file `maildirsize` at the root of the Maildir holds the limit and what
// has come and gone since the letters were last counted. Other programs that know
// Maildir++ (Courier, maildrop, Dovecot, vpopmail) keep the same file.
//
//	10485760S,1000C
//	     4096      3
//	     -512     -1
//
// The first line is the limit, in octets and letters; what is 0 or missing has
// none. Each line after it has octets and letters, and they are added up.
//
// # What counts
//
// Every letter in new/ and cur/ of every folder, by the size that its name says
// (,S=), else that of its file. Trash and letters with the flag T count, too, as
// with Dovecot: a client empties its trash when there is no more room.
//
// # When they are counted anew
//
// When there is a limit and no file, when the file has another limit than the
// one configured, when it has grown to 5120 octets, and before anything is
// refused, unless the file is a fresh count: one line, less than 15 minutes old.
// So what other programs have removed without a note never refuses a letter.
//
// # Guarantees
//
// None that survives a crash but that of a count: the file is a summary of the
// Maildir. Deliveries at the same moment may each find room, so that together
// they exceed the limit, by the letters that were under way and no more.
package quota

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"postbag/internal/durable"
	"postbag/internal/status"
)

const (
	fileName = "maildirsize"
	// maxFile is how many octets the file may have before it is made anew.
	maxFile = 5120
	// fresh is how long a count is believed that says that there is no room.
	fresh = 15 * time.Minute
)

// ErrOver means that there is no room: 452 4.2.2, 552 5.2.2, NO [OVERQUOTA].
var ErrOver = errors.New("quota exceeded")

// A Limit is what an account may hold; what is 0 has no limit.
type Limit struct{ Bytes, Letters int64 }

// A Usage is what letters take: octets as they lie on the disk.
type Usage struct{ Bytes, Letters int64 }

// Add gives the sum of two.
func (u Usage) Add(v Usage) Usage { return Usage{u.Bytes + v.Bytes, u.Letters + v.Letters} }

// None reports that everything fits.
func (l Limit) None() bool { return l == Limit{} }

// Has reports whether there is room for that much.
func (l Limit) Has(u Usage) bool {
	return (l.Bytes <= 0 || u.Bytes <= l.Bytes) && (l.Letters <= 0 || u.Letters <= l.Letters)
}

// A Quota is that of one account. It is safe for concurrent use, as is the file
// by several processes.
type Quota struct {
	fs    *durable.FS
	root  string
	limit Limit
}

// New gives the quota of the account whose INBOX is the Maildir at root. fs works in
// the name of its owner, who may have put there whatever he wants. The
// limit is the configured one; where none is, the file's own first line counts,
// and an account without the file has no limit.
func New(fs *durable.FS, root string, limit Limit) *Quota { return &Quota{fs, root, limit} }

// State gives limit and usage. Where there is no limit, nothing is counted and
// the usage is zero.
func (q *Quota) State() (limit Limit, usage Usage, err error) {
	err = q.do(func() error {
		s, err := q.read()
		if err == nil && !s.limit.None() {
			limit, usage = s.limit, s.usage
		}
		return err
	})
	return limit, usage, err
}

// do runs f if there is anything to do.
func (q *Quota) do(f func() error) error {
	if !q.Kept() {
		return nil
	}
	return f()
}

// Kept reports whether what comes and goes is to be noted.
func (q *Quota) Kept() bool {
	_, err := q.fs.Lstat(q.path())
	return !errors.Is(err, os.ErrNotExist) || !q.limit.None()
}

// Check tells whether letters may be added. The error is ErrOver and temporary,
// since its owner may make room; it is permanent for what could never fit.
func (q *Quota) Check(add Usage) error {
	return q.do(func() error { return q.check(add) })
}

func (q *Quota) check(add Usage) error {
	s, err := q.read()
	if err != nil || s.limit.Has(s.usage.Add(add)) {
		return err
	}
	if !s.firm() {
		if s, err = q.count(s.limit); err != nil || s.limit.Has(s.usage.Add(add)) {
			return err
		}
	}
	refusal := &status.Error{Op: "add to " + q.root, Code: "4.2.2", Reply: 452, Text: "mailbox is full", Err: ErrOver}
	if !s.limit.Has(add) {
		refusal.Class, refusal.Code, refusal.Reply, refusal.Text = status.Permanent, "5.2.2", 552, "message is larger than the mailbox may be"
	}
	return refusal
}

// Note notes that letters have come, or gone when the numbers are negative. What
// cannot be noted is found when they are counted the next time.
func (q *Quota) Note(change Usage) {
	q.do(func() error {
		f, err := q.fs.OpenFile(q.path(), os.O_WRONLY|os.O_APPEND|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
		if err != nil {
			return err // the next Check makes the file, if there is a limit
		}
		defer f.Close()
		_, err = fmt.Fprintf(f, "%12d %12d\n", change.Bytes, change.Letters)
		return err
	})
}

// Recount counts all letters, where there is a limit.
func (q *Quota) Recount() error {
	return q.do(func() error {
		s, err := q.read()
		if err == nil && !s.limit.None() {
			_, err = q.count(s.limit)
		}
		return err
	})
}

func (q *Quota) path() string { return filepath.Join(q.root, fileName) }

// read gives what the file says, and makes it anew where that is due.
func (q *Quota) read() (state, error) {
	text, changed, err := readFile(q.fs, q.path())
	if errors.Is(err, os.ErrNotExist) {
		if q.limit.None() {
			return state{}, nil
		}
		return q.count(q.limit)
	}
	if err != nil {
		return state{}, fmt.Errorf("read quota: %w", err)
	}
	s, ok := parse(text)
	want := q.limit
	if want.None() {
		want = s.limit
	}
	if want.None() {
		return state{}, nil
	}
	if !ok || s.limit != want || len(text) >= maxFile {
		return q.count(want)
	}
	s.counted = changed
	return s, nil
}

// readFile reads as much of the file as one may have.
func readFile(fs *durable.FS, path string) (text []byte, changed time.Time, err error) {
	f, err := fs.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, changed, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = errors.New("not a file")
	}
	if err != nil {
		return nil, changed, fmt.Errorf("%s: %w", path, err)
	}
	text, err = io.ReadAll(io.LimitReader(f, maxFile))
	return text, st.ModTime(), err
}

// counts is how often letters are counted until none comes or goes meanwhile.
const counts = 3

// count counts all letters and begins the file with the result.
func (q *Quota) count(limit Limit) (s state, err error) {
	s = state{limit: limit, lines: 1, counted: time.Now()}
	for range counts {
		var calm bool
		if s.usage, calm, err = countLetters(q.fs, q.root); err != nil {
			return s, fmt.Errorf("count letters of %s: %w", q.root, err)
		}
		if calm {
			break
		}
	}
	if err := q.fs.WriteFile(q.path(), s.format(), 0o600); err != nil {
		return s, fmt.Errorf("write quota: %w", err)
	}
	return s, nil
}
