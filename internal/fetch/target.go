package fetch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"path/filepath"
	"strings"

	"postbag/internal/address"
	"postbag/internal/durable"
	"postbag/internal/fetchlog"
	"postbag/internal/maildir"
	"postbag/internal/message"
	"postbag/internal/status"
)

// A Target is where letters go.
type Target struct {
	Kind TargetKind
	Arg  string // an absolute path, a command, a URL, or a user
}

// TargetKind is the way in which letters go somewhere.
type TargetKind string

// The kinds of Target.
const (
	ToMaildir  TargetKind = "maildir"
	ToMbox     TargetKind = "mbox"
	ToPipe     TargetKind = "pipe"
	ToSMTP     TargetKind = "smtp"
	ToLMTP     TargetKind = "lmtp"
	ToSendmail TargetKind = "sendmail"
	ToStdout   TargetKind = "-"
)

// ParseTarget reads maildir:PATH, mbox:PATH, pipe:COMMAND, smtp:// and lmtp://
// with a host, sendmail:USER or "-". Errors are of usage.
func ParseTarget(s string) (Target, error) {
	if s == "-" {
		return Target{Kind: ToStdout}, nil
	}
	kind, arg, _ := strings.Cut(s, ":")
	t := Target{TargetKind(kind), arg}
	err := errors.New("must be maildir:PATH, mbox:PATH, pipe:COMMAND, smtp://HOST, lmtp://HOST, sendmail:USER or -")
	if arg != "" {
		switch t.Kind {
		case ToMaildir, ToMbox:
			t.Arg, err = filepath.Abs(arg)
		case ToSMTP, ToLMTP:
			t.Arg = s
			_, err = parseRelay(t.Kind, s)
		case ToSendmail:
			_, err = address.ParseList(arg)
		case ToPipe:
			err = nil
		}
	}
	if err != nil {
		return Target{}, status.Exit(status.ExUsage, "target "+s, err)
	}
	return t, nil
}

// key names the target in the journal.
func (t Target) key() string { return string(t.Kind) + ":" + t.Arg }

// A sink is a target at work.
type sink interface {
	// recover finishes what a run began that was killed.
	recover(pending []fetchlog.Placement) error
	// put takes a letter, of which nothing is to be seen before commit; the text
	// is in wire form, and an error of reading means that there is no letter.
	put(ctx context.Context, l letter, text io.Reader) error
	// commit delivers what was put, in the journal too. It returns what was
	// delivered even with an error.
	commit(ctx context.Context) ([]delivered, error)
	// refused is an error if the target would not have some letters.
	refused() error
	// discard lets go of what was not committed.
	discard()
}

// A delivered letter is in the target for good.
type delivered struct {
	letter
	octets int64  // in wire form
	path   string // where it is, when it is a file
	known  bool   // it was there before: only its key is new
}

func (r *run) openSink() (sink, error) {
	switch r.Target.Kind {
	case ToMaildir:
		return &maildirSink{run: r, dirs: map[string]bool{}}, nil
	case ToMbox:
		return &mboxSink{run: r}, nil
	case ToPipe:
		return &streamSink{run: r, give: r.pipe}, nil
	case ToSendmail:
		return &streamSink{run: r, give: r.sendmail}, nil
	case ToSMTP, ToLMTP:
		return r.openRelay()
	case ToStdout:
		return &streamSink{run: r, give: r.print}, nil
	}
	return nil, fmt.Errorf("unknown target %q", r.Target.Kind)
}

// formers counts the letters of a batch that were delivered before their keys
// changed: of equal letters, only as many as there were then.
type formers map[string]int

func (met formers) known(f *fetchlog.Folder, digest string) bool {
	id := f.Name() + "\x00" + digest
	if met[id] >= f.Former(digest) {
		return false
	}
	met[id]++
	return true
}

// placement is what the journal says of a letter.
func (l letter) placement(digest string) fetchlog.Placement {
	return fetchlog.Placement{Folder: l.folder.Name(), Key: l.key, Digest: digest}
}

// A measure takes the digest and the size of what is written to it.
type measure struct {
	sum  hash.Hash
	size int64
}

func newMeasure() *measure { return &measure{sum: sha256.New()} }

func (m *measure) Write(p []byte) (int, error) {
	m.size += int64(len(p))
	return m.sum.Write(p)
}

// digest is half of SHA-256: enough to tell letters apart, also against
// somebody who tries hard.
func (m *measure) digest() string { return hex.EncodeToString(m.sum.Sum(nil)[:16]) }

// A staged letter is a whole one in wire form, in a file without a name.
type staged struct {
	*durable.File
	digest string
	size   int64
}

// stage reads a letter to its end, so that nobody gets half of one.
func (r *run) stage(text io.Reader) (*staged, error) {
	f, err := r.FS.Create(filepath.Join(r.State, "tmp."+maildir.Unique(r.now(), "stage")), 0o600)
	if err != nil {
		return nil, status.Exit(status.ExTempFail, "stage letter", err)
	}
	if err := r.FS.Remove(f.Name()); err != nil {
		f.Close()
		return nil, status.Exit(status.ExTempFail, "stage letter", err)
	}
	m := newMeasure()
	if err := copyLetter(io.MultiWriter(f, m), text); err != nil {
		f.Close()
		return nil, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		f.Close()
		return nil, localError("stage letter", err)
	}
	return &staged{f, m.digest(), m.size}, nil
}

// copyLetter copies, and tells an error of writing, which is ours, from one of
// reading, which is the server's.
func copyLetter(w io.Writer, text io.Reader) error {
	own := &writeError{w: w}
	_, err := io.Copy(own, text)
	if own.err != nil {
		return localError("write letter", own.err)
	}
	return err
}

type writeError struct {
	w   io.Writer
	err error
}

func (w *writeError) Write(p []byte) (n int, err error) {
	n, err = w.w.Write(p)
	w.err = err
	return n, err
}

// localError is one of this machine: it is tried again another time.
func localError(op string, err error) error {
	if err == nil || hasCode(err) {
		return err
	}
	return status.Exit(status.ExTempFail, op, err)
}

// toDisk copies a letter in wire form to w in disk form.
func toDisk(w io.Writer, text io.Reader) error {
	disk := message.ToDisk(w)
	if err := copyLetter(disk, text); err != nil {
		return err
	}
	return localError("write letter", disk.Close())
}
