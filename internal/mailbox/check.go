package mailbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"postbag/internal/maildir"
	"postbag/internal/mboxlog"
	"postbag/internal/uidlist"
)

// A Finding is a line of what Check has to say of a folder.
type Finding struct {
	Fault bool // something is wrong; else it is only to be known
	Text  string
}

// Check looks at a folder's log, snapshot and files, and changes nothing. The
// folder may be in use; what is just being done then shows as a note.
func (s *Store) Check(dir string) ([]Finding, error) {
	if _, err := s.fs.Stat(filepath.Join(dir, "cur")); err != nil {
		return nil, fmt.Errorf("check %s: %w", dir, gone(err))
	}
	c := &checker{b: newBox(s, dir)}
	if err := errors.Join(c.log(), c.files()); err != nil {
		return nil, fmt.Errorf("check %s: %w", dir, err)
	}
	c.list()
	return c.found, nil
}

// Repair brings a folder into order: it does what the next session would do
// and waits for it. Letters are never removed; what is damaged beyond that is
// for people to look at.
func (s *Store) Repair(ctx context.Context, dir string) error {
	s.Release(dir)
	// Without a snapshot everything is read from the log.
	for _, name := range []string{snapName, stampsName} {
		if err := s.fs.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	f, err := s.Open(ctx, dir)
	if err != nil {
		return err
	}
	defer f.Close()
	// The second look takes for gone what the first did not find.
	return errors.Join(f.Sync(ctx), f.PayDebts(ctx), f.Sync(ctx), f.b.mendList(ctx))
}

// mendList writes Dovecot's list anew if it contradicts the log.
func (b *box) mendList(ctx context.Context) error {
	if err := b.lockCtx(ctx); err != nil {
		return err
	}
	defer b.unlock()
	return b.exclusive(ctx, func() error {
		if err := b.loadNames(); err != nil {
			return err
		}
		c := &checker{b: b}
		if c.list(); len(c.found) == 0 {
			return nil
		}
		return b.withRegister(func(*register) error { return b.rewriteList(nil) })
	})
}

// A checker collects what is found in one folder.
type checker struct {
	b     *box
	found []Finding
}

func (c *checker) fault(format string, args ...any) {
	c.found = append(c.found, Finding{true, fmt.Sprintf(format, args...)})
}

func (c *checker) note(n int, format string) {
	if n > 0 {
		c.found = append(c.found, Finding{false, fmt.Sprintf(format, n)})
	}
}

// log reads the log and compares the snapshot with it.
func (c *checker) log() error {
	b := c.b
	rep, err := mboxlog.Inspect(b.store.fs, b.path(logName), -1, b)
	if errors.Is(err, fs.ErrNotExist) {
		c.found = append(c.found, Finding{Text: "there is no log: no session has been here yet"})
		return nil
	}
	if err != nil {
		return err
	}
	switch {
	case !rep.Head && rep.Tail > 0:
		c.fault("%s: is no log", logName)
	case rep.Gaps > 0:
		c.fault("%s: records are missing in %d places", logName, rep.Gaps)
	case rep.Refused != nil:
		c.fault("%s: %v", logName, rep.Refused)
	case b.st.damaged:
		c.fault("%s: was damaged, and no session has drawn the consequences yet", logName)
	}
	if rep.Head {
		c.note(int(rep.Tail), logName+": %d octets of an unfinished record at the end")
	}
	if _, err := b.store.fs.Stat(b.path(logName + ".bad")); err == nil {
		c.found = append(c.found, Finding{Text: logName + ".bad: a log that was damaged once"})
	}
	c.stamps()
	return c.snapshot(rep)
}

// stamps looks whether the stamps can be read. They need not be of this log.
func (c *checker) stamps() {
	s, err := mboxlog.OpenSnapshot(c.b.store.fs, c.b.path(stampsName))
	if err == nil {
		defer s.Close()
		_, err = s.Section(0)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.fault("%s: is damaged", stampsName)
	}
}

// snapshot looks whether the snapshot says what the log said at its position.
func (c *checker) snapshot(rep mboxlog.Report) error {
	s, err := mboxlog.OpenSnapshot(c.b.store.fs, c.b.path(snapName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		c.fault("%s: is damaged", snapName)
		return nil
	}
	defer s.Close()
	if s.Position.ID != rep.ID {
		c.found = append(c.found, Finding{Text: snapName + ": is of an older log"})
		return nil
	}
	then := newBox(c.b.store, c.b.dir)
	if _, err := mboxlog.Inspect(c.b.store.fs, c.b.path(logName), s.Position.Offset, then); err != nil {
		return err
	}
	var st state
	st.reset()
	head, err1 := s.Section(sectionHead)
	rows, err2 := s.Section(sectionRows)
	text, err3 := s.Section(sectionNames)
	d := &decoder{b: head}
	decodeSnapHead(d, &st)
	if err := errors.Join(err1, err2, err3); err != nil || d.bad || !loadRows(&st, rows) {
		c.fault("%s: is damaged", snapName)
		return nil
	}
	st.names.data, st.names.size = text, uint32(len(text))
	if n := disagree(&st, &then.st); n > 0 {
		c.fault("%s: says something else than the log of %d letters", snapName, n)
	}
	return nil
}

// disagree counts letters that are not the same in two states.
func disagree(x, y *state) (n int) {
	for _, c := range x.rows.chunks {
		for i := range c {
			r := y.rows.find(c[i].uid)
			if r == nil || r.modseq != c[i].modseq || r.flags != c[i].flags || r.id != c[i].id || keyOf(y.base(r)) != keyOf(x.base(&c[i])) {
				n++
			}
		}
	}
	return n + max(0, y.rows.length-x.rows.length)
}

// files compares log and directories, and looks at each file.
func (c *checker) files() error {
	b := c.b
	l, err := b.list()
	if err != nil {
		return err
	}
	d := b.compare(l)
	for _, t := range d.twins {
		c.fault("%s: has the name of %s", t.extra, t.keeps)
	}
	for uid, tmp := range b.st.coming {
		if err := c.coming(uid, tmp); err != nil {
			c.fault("letter %d: is neither in tmp nor in cur", uid)
		}
	}
	for i := range l.entries {
		c.file(l.entries[i].at)
	}
	c.note(len(d.fresh), "%d letters have no UID yet")
	c.note(len(d.absent), "%d letters were removed by others since the last session")
	c.note(len(d.changed), "%d letters were given other flags by others since the last session")
	c.note(b.st.owing, "%d names are yet to follow the flags that clients were told of")
	c.note(len(b.st.doomed), "%d expunged letters are yet to be taken away")
	c.note(len(b.st.coming), "%d letters are yet to be brought into their places")
	return nil
}

func (c *checker) coming(uid uint32, tmp string) error {
	_, err := c.b.store.fs.Stat(c.b.path("tmp/" + tmp))
	if r := c.b.st.rows.find(uid); err != nil && r != nil {
		_, err = c.b.store.fs.Stat(c.b.path(c.b.st.where(r)))
	}
	return err
}

// file looks at a letter's file.
func (c *checker) file(at string) {
	st, err := c.b.store.fs.Lstat(c.b.path(at))
	if err != nil {
		return // gone meanwhile
	}
	if !st.Mode().IsRegular() {
		c.fault("%s: is no file", at)
		return
	}
	if n := maildir.ParseName(filepath.Base(at)); n.Size >= 0 && n.Size != st.Size() {
		c.fault("%s: has %d octets, its name says %d", at, st.Size(), n.Size)
	}
}

// list compares Dovecot's list of UIDs with the log.
func (c *checker) list() {
	l := c.b.readList(uidlist.Dovecot)
	if l == nil || !c.b.st.born {
		return
	}
	if l.Validity != c.b.st.validity {
		c.fault("%s: has UIDVALIDITY %d, the log %d", uidlist.Dovecot, l.Validity, c.b.st.validity)
		return
	}
	n := 0
	for i := range l.Records {
		r := c.b.st.find(entryAt("cur/" + l.Records[i].Name).base())
		if r != nil && r.uid != l.Records[i].UID {
			n++
		}
	}
	if n > 0 {
		c.fault("%s: has other UIDs than the log for %d letters", uidlist.Dovecot, n)
	}
}
