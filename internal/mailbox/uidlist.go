package mailbox

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"syscall"

	"postbag/internal/durable"
	"postbag/internal/mboxlog"
	"postbag/internal/uidlist"
)

// A folder that came from Dovecot has its list of UIDs. What that says is taken
// over when our log is begun, and from then on the list is kept up to date:
// UIDs are given under Dovecot's lock, after the list has been read again, and
// stand in the list, on the disk, before they stand in our log. So one can go
// back, and Dovecot may even serve the folder at the same time: whoever sees a
// letter first gives its UID. Where the list contradicts what our clients have
// been told it is written anew.
//
// Courier's list is taken over, too, but not kept.

// known is what was last read of a list.
type known struct {
	ino  uint64
	size int64
	next uint32
}

// A register is a list while UIDs are given: all of it, or what others have
// added since it was last read.
type register struct {
	*uidlist.List
	known map[string]int // index into Records by key
	kept  bool           // it is Dovecot's
}

func newRegister(l *uidlist.List, kept bool) *register {
	r := &register{l, make(map[string]int, len(l.Records)), kept}
	for i := range l.Records {
		r.known[keyOf(entryAt("cur/"+l.Records[i].Name).base())] = i
	}
	return r
}

// withRegister runs f with the list that another server keeps of the folder, if
// there is one: Dovecot's under its lock. The folder's own lock is held.
func (b *box) withRegister(f func(r *register) error) error {
	r := b.courier()
	if _, err := b.store.fs.Stat(b.path(uidlist.Dovecot)); err == nil {
		lock, ok, err := uidlist.Lock(b.store.fs, b.path(uidlist.Dovecot), b.store.o.LockWait)
		if err == nil && !ok {
			err = inUse(uidlist.Dovecot)
		}
		if err != nil {
			return err
		}
		defer lock.Unlock()
		if r, err = b.readRegister(); err != nil {
			return err
		}
	}
	if r == nil {
		return f(nil)
	}
	if r.Validity == b.st.validity {
		b.leastUID = r.Next
	}
	defer func() { b.leastUID = 0 }()
	return f(r)
}

// readRegister reads what has been added to Dovecot's list, or all of it when
// it is another file than before.
func (b *box) readRegister() (*register, error) {
	f, err := b.store.fs.Open(b.path(uidlist.Dovecot))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	from := int64(0)
	if b.register.ino == inodeOf(st) && b.register.size <= st.Size() {
		from = b.register.size
	}
	if st.Size()-from > durable.MaxRead {
		return nil, fmt.Errorf("read %s: %w", uidlist.Dovecot, syscall.EFBIG)
	}
	text := make([]byte, st.Size()-from)
	if _, err := f.ReadAt(text, from); err != nil && len(text) > 0 {
		return nil, fmt.Errorf("read %s: %w", uidlist.Dovecot, err)
	}
	l := &uidlist.List{Validity: b.st.validity, Next: b.register.next}
	if from > 0 {
		l.Add(text, 3)
	} else if l, err = uidlist.Parse(text); err != nil {
		b.store.o.Log.Warn("list of UIDs makes no sense and is written anew", "dir", b.dir, "name", uidlist.Dovecot)
		l = &uidlist.List{Next: 1}
	}
	return newRegister(l, true), nil
}

// modeOf is the mode that a file has, for the one that replaces it.
func (b *box) modeOf(path string) fs.FileMode {
	if st, err := b.store.fs.Stat(path); err == nil {
		return st.Mode().Perm()
	}
	return 0o600
}

func inodeOf(st fs.FileInfo) uint64 { return st.Sys().(*syscall.Stat_t).Ino }

func (b *box) readList(name string) *uidlist.List {
	text, err := b.store.fs.ReadFile(b.path(name))
	if err != nil {
		return nil
	}
	l, err := uidlist.Parse(text)
	if err != nil {
		return nil
	}
	return l
}

// takeOver gives the UIDVALIDITY that another server gave the folder; 0 when
// there was none.
func (b *box) takeOver() uint32 {
	for _, name := range []string{uidlist.Dovecot, uidlist.Courier} {
		if l := b.readList(name); l != nil {
			return l.Validity
		}
	}
	return 0
}

// courier is the register of a folder that was Courier's, while no UID has been
// given.
func (b *box) courier() *register {
	if b.st.uidNext > 1 {
		return nil
	}
	if l := b.readList(uidlist.Courier); l != nil && l.Validity == b.st.validity {
		return newRegister(l, false)
	}
	return nil
}

// adopted is a letter that another server knows.
type adopted struct {
	entry
	uid  uint32
	pop3 pop3
}

// take gives new letters the UIDs that the list has for them, if those are not
// below next, which has not been given yet; others are left in rest.
func (r *register) take(fresh []entry, next uint32) (old []adopted, rest []entry) {
	for _, e := range fresh {
		i, ok := r.known[keyOf(e.base())]
		if !ok || r.Records[i].UID < next {
			rest = append(rest, e)
			continue
		}
		old = append(old, adopted{e, r.Records[i].UID, pop3{r.Records[i].UIDL(), r.Records[i].Order()}})
	}
	slices.SortFunc(old, func(x, y adopted) int { return cmp.Compare(x.uid, y.uid) })
	return old, rest
}

// takeUIDs takes UIDs from a list, and what goes with them, as records. When the
// log is new, UIDNEXT is taken over too.
func (b *box) takeUIDs(r *register, fresh []entry) (old []arrival, recs []mboxlog.Record, rest []entry) {
	if r == nil || r.Validity != b.st.validity {
		return nil, nil, fresh
	}
	taken, rest := r.take(fresh, b.st.uidNext)
	uidls := map[uint32]string{}
	for i := range taken {
		old = append(old, arrive(&taken[i].entry, taken[i].uid, b.store.o.Now()))
		if taken[i].pop3 != (pop3{}) {
			uidls[taken[i].uid] = taken[i].pop3.String()
		}
	}
	if len(uidls) > 0 {
		recs = append(recs, encodeUIDLs(uidls))
	}
	if b.st.uidNext == 1 {
		m := b.st.meta
		m.uidNext = r.Next
		recs = append(recs, m.encode())
	}
	return old, recs, rest
}

// enlist brings letters that are about to get UIDs into the list, which is then
// on the disk; old ones stand there already.
func (b *box) enlist(r *register, old, letters []arrival) error {
	if r == nil || !r.kept || len(letters) == 0 {
		return nil
	}
	anew := r.Validity != b.st.validity
	for i := range letters {
		_, twice := r.known[keyOf(letters[i].base)]
		anew = anew || twice
	}
	if anew {
		return b.rewriteList(append(listRecords(old), listRecords(letters)...))
	}
	return b.appendList(listRecords(letters))
}

func listRecords(letters []arrival) []uidlist.Record {
	list := make([]uidlist.Record, len(letters))
	for i := range letters {
		l := &letters[i]
		list[i] = uidlist.Record{UID: l.uid, Name: l.base + ":2," + l.flags.String()}
	}
	return list
}

func (b *box) appendList(add []uidlist.Record) error {
	f, err := b.store.fs.OpenAppend(b.path(uidlist.Dovecot), 0o600)
	if err != nil {
		return err
	}
	var text []byte
	st, err := f.Stat()
	if err == nil && st.Size() > 0 {
		last := make([]byte, 1)
		if _, err = f.ReadAt(last, st.Size()-1); last[0] != '\n' {
			text = append(text, '\n') // a torn line stays one of its own
		}
	}
	for i := range add {
		text = add[i].Append(text)
	}
	if err == nil {
		_, err = f.Write(text)
	}
	b.register = known{}
	if err = errors.Join(err, f.Commit()); err != nil {
		return fmt.Errorf("add to %s: %w", uidlist.Dovecot, err)
	}
	b.register = known{inodeOf(st), st.Size() + int64(len(text)), add[len(add)-1].UID + 1}
	return nil
}

// rewriteList makes the list say what our log says, and add besides. What else
// stands in it stays: the mailbox's id, unique-ids of POP3.
func (b *box) rewriteList(add []uidlist.Record) error {
	if err := b.loadNames(); err != nil {
		return err
	}
	l := &uidlist.List{Validity: b.st.validity, Next: b.st.uidNext}
	fields := map[uint32][]string{}
	if old := b.readList(uidlist.Dovecot); old != nil {
		l.GUID = old.GUID
		for _, r := range old.Records {
			if old.Validity == l.Validity {
				fields[r.UID] = r.Fields
			}
		}
	}
	for _, c := range b.st.rows.chunks {
		for i := range c {
			base, _ := b.st.name(&c[i])
			l.Records = append(l.Records, uidlist.Record{UID: c[i].uid, Fields: fields[c[i].uid], Name: base + ":2," + c[i].disk.String()})
		}
	}
	for i := range add {
		add[i].Fields = fields[add[i].UID]
	}
	l.Records = append(l.Records, add...)
	if n := len(add); n > 0 {
		l.Next = max(l.Next, add[n-1].UID+1)
	}
	b.register = known{}
	return b.store.fs.WriteFile(b.path(uidlist.Dovecot), l.Format(), b.modeOf(b.path(uidlist.Dovecot)))
}
