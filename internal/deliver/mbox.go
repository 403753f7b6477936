package deliver

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"postbag/internal/address"
	"postbag/internal/durable"
	"postbag/internal/recipient"
	"postbag/internal/spool"
	"postbag/internal/status"
)

// Limits of the lock on a mailbox file, those of Postfix.
const (
	mboxLockTries = 20
	mboxLockEvery = time.Second
	mboxLockStale = 500 * time.Second // a lock file that old is of somebody who died
)

// Files appends letters to mailbox files in the form of mbox(5): a line of theirs
// that begins with "From " gets a > before it.
//
// A file is locked for all programs that may use it: by fcntl(2), and by FILE.lock
// where its directory lets us. When an append has returned nil the letter is in
// the file, durably; after an error the file is as it was. A crash between that
// and the record of it makes a second copy.
type Files struct {
	Local *Local
	Every time.Duration // between attempts to lock; 0: a second
}

// append makes one attempt for one recipient.
func (f Files) append(ctx context.Context, d recipient.Destination, m Mail, to spool.Recipient) Outcome {
	path := d.Route.Path
	who, err := f.Local.owner(Mailbox{Dir: path, UID: d.UID, GID: d.GID, Shared: true})
	var fs *durable.FS
	if err == nil {
		fs, err = f.Local.as(who)
	}
	if err == nil {
		err = f.locked(ctx, fs, path, func(file *durable.File) error { return write(file, m, to) })
	}
	if err != nil {
		return Outcome{Err: status.Temp("deliver to "+path, "4.2.0", "mailbox file cannot be written now", err)}
	}
	return Outcome{Reply: "delivered to file"}
}

// locked calls do with the file open and locked, and makes a new name durable.
func (f Files) locked(ctx context.Context, fs *durable.FS, path string, do func(*durable.File) error) error {
	unlock, err := f.dotLock(ctx, fs, path+".lock")
	if err != nil {
		return err
	}
	defer unlock()
	_, missing := os.Lstat(path)
	file, err := fs.OpenAppend(path, 0o600)
	if err != nil {
		return err
	}
	defer file.Close() // gives the lock up, too
	if err := isMailbox(file); err != nil {
		return err
	}
	if err := f.retry(ctx, func() (bool, error) { return file.TryLock() }); err != nil {
		return err
	}
	if same, err := fs.Same(file, path); err != nil || !same {
		return errors.Join(err, errors.New("was replaced while it was locked"))
	}
	if err := do(file); err != nil {
		return err
	}
	if missing != nil {
		return fs.SyncDir(filepath.Dir(path))
	}
	return nil
}

// isMailbox refuses what is no file of its own: a letter is no command for a
// device, and a second name may be somebody else's.
func isMailbox(file *durable.File) error {
	st, err := file.Stat()
	if err != nil {
		return err
	}
	if sys, ok := st.Sys().(*syscall.Stat_t); !st.Mode().IsRegular() || !ok || sys.Nlink != 1 {
		return errors.New("is no regular file with one name")
	}
	return nil
}

var errLocked = errors.New("locked by another program")

// retry tries to lock as long as others have the lock.
func (f Files) retry(ctx context.Context, try func() (bool, error)) error {
	for range mboxLockTries {
		ok, err := try()
		if ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(or(f.Every, mboxLockEvery)):
		}
	}
	return errLocked
}

// dotLock makes a lock file. In a directory where we may make none the other
// lock has to do, as for Postfix.
func (f Files) dotLock(ctx context.Context, fs *durable.FS, path string) (unlock func(), err error) {
	made := false
	err = f.retry(ctx, func() (bool, error) {
		file, err := fs.Create(path, 0o600)
		switch {
		case err == nil:
			made = true
			return true, file.Close()
		case !errors.Is(err, iofs.ErrExist):
			return true, nil
		}
		if st, err := os.Lstat(path); err == nil && time.Since(st.ModTime()) > mboxLockStale {
			fs.Remove(path)
		}
		return false, nil
	})
	return func() {
		if made {
			fs.Remove(path)
		}
	}, err
}

// write appends the letter, or leaves the file as it was.
func write(file *durable.File, m Mail, to spool.Recipient) error {
	st, err := file.Stat()
	if err != nil {
		return err
	}
	err = copyLetter(file, m, to)
	if err == nil {
		err = file.Sync()
	}
	if err != nil {
		if terr := file.Truncate(st.Size()); terr != nil {
			return errors.Join(err, fmt.Errorf("take back: %w", terr))
		}
	}
	return err
}

func copyLetter(file *durable.File, m Mail, to spool.Recipient) error {
	body, err := m.Open()
	if err != nil {
		return err
	}
	defer body.Close()
	w := bufio.NewWriterSize(file, 64<<10)
	w.WriteString(fromLine(m.From))
	w.Write(finalFields(m.From, to.Address))
	if err := quoteFrom(w, bufio.NewReader(body)); err != nil {
		return err
	}
	return w.Flush()
}

// fromLine is what begins a letter in a file, and before one for a command.
func fromLine(from address.Address) string {
	name := from.String()
	if from.IsNull() {
		name = "MAILER-DAEMON"
	}
	return "From " + strings.ReplaceAll(name, " ", "_") + "  " + time.Now().UTC().Format(time.ANSIC) + "\n"
}

// quoteFrom copies a letter and the empty line after it; lines that could be
// taken for the beginning of the next get a >.
func quoteFrom(w *bufio.Writer, r *bufio.Reader) error {
	start, last := true, byte('\n')
	for {
		line, err := r.ReadSlice('\n')
		if start && strings.HasPrefix(string(line[:min(len(line), 5)]), "From ") {
			w.WriteByte('>')
		}
		w.Write(line)
		if len(line) > 0 {
			last = line[len(line)-1]
			start = last == '\n'
		}
		switch {
		case errors.Is(err, io.EOF):
			if last != '\n' {
				w.WriteByte('\n')
			}
			return w.WriteByte('\n')
		case err != nil && !errors.Is(err, bufio.ErrBufferFull):
			return err
		}
	}
}
