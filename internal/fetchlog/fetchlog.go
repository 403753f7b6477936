// Package fetchlog remembers which letters of a remote mailbox fetch has
// delivered, so that each is delivered once, however often fetch is killed.
//
// There is one journal for each pair of an account and a target: what went to
// one target has not gone to another. While it is open, nobody else can open a
// journal of that account.
//
// # Exactly once
//
// A letter goes through these states; what each means after a crash:
//
//	no record       it is to be fetched; what lies of it in tmp/ is of no meaning
//	`placed`        it is safe in a temporary file, which was to be renamed (a
//	                Maildir) or appended (an mbox): Pending lists it, and the
//	                target finishes it before anything else is done
//	`done`          it has been delivered, and may be deleted on the server
//
// Placed and Done return after their records are on the disk.
//
// # Files
//
//	DIR/ACCOUNT-HASH.lock    the lock of an account; empty
//	DIR/ACCOUNT-HASH.log     a journal; HASH is of account and target
//	DIR/ACCOUNT-HASH.log.batch  see Staging
//	DIR/ACCOUNT-HASH.log.bad a journal that was damaged, as it was found
//
// A journal is lines of fields, each behind its own CRC. A line whose CRC is
// wrong was never acknowledged, or the disk lost it; the others hold whatever
// is around them, since each was written only after what it says was true. A
// journal with such lines, or with many records of no more use, is written anew
// when it is opened.
package fetchlog

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"postbag/internal/durable"
)

// ErrLocked means that another process fetches from that account.
var ErrLocked = errors.New("account is being fetched by another process")

// A Log is an open journal. It is not safe for concurrent use.
type Log struct {
	Now func() time.Time // nil: time.Now

	fs      *durable.FS
	path    string
	lock    *durable.File
	file    *durable.File
	folders map[string]*Folder
	pending map[pendingKey]Placement
	lines   int // in the file
	damaged int // lines that were dropped when it was opened
	err     error
}

type pendingKey struct{ folder, key string }

// A Folder is what is known of one remote folder.
type Folder struct {
	log      *Log
	name     string
	validity uint32
	done     map[string]delivery // by key
	former   map[string]int      // digests of letters of a former UIDVALIDITY, and how many of each
}

// A delivery is what is known of a letter that was delivered.
type delivery struct {
	digest string
	at     int64 // seconds since 1970
}

// A Placement is a letter that is safe on the disk and on its way to its place.
type Placement struct {
	Folder, Key string // on the server: name, and UID or unique-id
	Digest      string // of its octets in wire form
	Dir         string // the Maildir, or the mbox
	Tmp         string // its temporary file: a name in Dir's tmp/, or a path
	Name        string // in a Maildir's new/ or cur/, or empty
	Offset      int64  // where it begins in an mbox
}

// Open opens the journal of an account and a target, both of which are names of
// the caller's choice, and makes it when there is none. Directories are made
// as needed. The caller finishes what is Pending before anything else.
func Open(fsys *durable.FS, dir, account, target string) (*Log, error) {
	if err := fsys.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("fetch journal: %w", err)
	}
	l := &Log{fs: fsys, path: filepath.Join(dir, fileName(account, account+"\x00"+target)+".log"),
		folders: map[string]*Folder{}, pending: map[pendingKey]Placement{}}
	if err := l.open(filepath.Join(dir, fileName(account, account)+".lock")); err != nil {
		l.Close()
		return nil, fmt.Errorf("fetch journal of %s: %w", account, err)
	}
	return l, nil
}

func (l *Log) open(lockPath string) (err error) {
	if l.lock, err = l.fs.OpenAppend(lockPath, 0o600); err != nil {
		return err
	}
	if free, err := l.lock.TryLock(); err != nil || !free {
		return errors.Join(err, ErrLocked)
	}
	data, err := os.ReadFile(l.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	l.read(data)
	if l.damaged > 0 {
		if err := l.fs.WriteFile(l.path+".bad", data, 0o600); err != nil {
			return err
		}
	}
	if l.damaged > 0 || l.lines > 1000 && l.lines > 2*l.useful() || errors.Is(err, fs.ErrNotExist) {
		return l.rewrite()
	}
	l.file, err = l.fs.OpenAppend(l.path, 0o600)
	return err
}

// fileName makes a readable and unique file name.
func fileName(account, unique string) string {
	readable := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || strings.ContainsRune(`/\:*?"<>|`, r) {
			return '_'
		}
		return r
	}, account)
	sum := sha256.Sum256([]byte(unique))
	return strings.TrimLeft(readable[:min(len(readable), 80)], ".") + "-" + hex.EncodeToString(sum[:8])
}

// Close gives the journal and the lock back.
func (l *Log) Close() error {
	var errs []error
	for _, f := range []*durable.File{l.file, l.lock} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}

// Staging is the path of a file that belongs to whoever has the journal open,
// for what it needs to keep beside it.
func (l *Log) Staging() string { return l.path + ".batch" }

// Damaged is the number of lines that could not be read when the journal was
// opened; they stand in a file beside it whose name ends in .bad. After a crash
// the last line may be one of them.
func (l *Log) Damaged() int { return l.damaged }

// Pending lists the letters that are `placed` and not `done`.
func (l *Log) Pending() []Placement {
	all := slices.Collect(maps.Values(l.pending))
	slices.SortFunc(all, func(a, b Placement) int {
		return strings.Compare(a.Folder+"\x00"+a.Key, b.Folder+"\x00"+b.Key)
	})
	return all
}

// Folder is what is known of a folder whose UIDVALIDITY is now that (0 with
// POP3). When it was another one before, no key is known any more, but the
// letters are, by their digests: renewed reports that.
func (l *Log) Folder(name string, validity uint32) (f *Folder, renewed bool, err error) {
	f = l.folder(name)
	if f.validity == validity {
		return f, false, nil
	}
	renewed = len(f.done) > 0
	if err := l.append([]record{{"validity", name, strconv.FormatUint(uint64(validity), 10)}}); err != nil {
		return nil, false, err
	}
	return f, renewed, nil
}

func (l *Log) folder(name string) *Folder {
	f := l.folders[name]
	if f == nil {
		f = &Folder{log: l, name: name, done: map[string]delivery{}, former: map[string]int{}}
		l.folders[name] = f
	}
	return f
}

// Name is the folder's name on the server.
func (f *Folder) Name() string { return f.name }

// Done reports whether the letter with that key has been delivered.
func (f *Folder) Done(key string) bool {
	_, ok := f.done[key]
	return ok
}

// DoneAt is when that was; zero when it has not been.
func (f *Folder) DoneAt(key string) time.Time {
	d, ok := f.done[key]
	if !ok {
		return time.Time{}
	}
	return time.Unix(d.at, 0)
}

// Keys lists the keys of all letters that have been delivered.
func (f *Folder) Keys() []string { return slices.Collect(maps.Keys(f.done)) }

// Former is how many letters with that digest were delivered before the
// folder's UIDVALIDITY changed, and have not been met since. To note one as Done
// under its new key is to meet it.
func (f *Folder) Former(digest string) int { return f.former[digest] }

// Done notes letters, keys and digests of which are given, as delivered. When
// it returns, they stay so.
func (l *Log) Done(letters ...Placement) error {
	now := time.Now
	if l.Now != nil {
		now = l.Now
	}
	at := strconv.FormatInt(now().Unix(), 10)
	var recs []record
	for _, p := range letters {
		recs = append(recs, record{"done", p.Folder, p.Key, p.Digest, at})
	}
	return l.append(recs)
}

// Placed notes letters as safe in their temporary files, before their names are
// changed. When it returns, Pending lists them also after a crash.
func (l *Log) Placed(letters ...Placement) error {
	var recs []record
	for _, p := range letters {
		recs = append(recs, record{"placed", p.Folder, p.Key, p.Digest, p.Dir, p.Tmp, p.Name, strconv.FormatInt(p.Offset, 10)})
	}
	return l.append(recs)
}

// Forget drops what is known of letters that are no longer on the server, or
// that must be fetched again.
func (l *Log) Forget(folder string, keys ...string) error {
	var recs []record
	for _, key := range keys {
		recs = append(recs, record{"forget", folder, key})
	}
	return l.append(recs)
}

// append writes records, waits until they are on the disk, and only then
// believes them. After an error the journal is of no more use.
func (l *Log) append(recs []record) error {
	if l.err != nil || len(recs) == 0 {
		return l.err
	}
	var buf bytes.Buffer
	for _, r := range recs {
		r.write(&buf)
	}
	if _, err := l.file.Write(buf.Bytes()); err != nil {
		l.err = fmt.Errorf("fetch journal %s: %w", l.path, err)
		return l.err
	}
	if err := l.file.Sync(); err != nil {
		l.err = fmt.Errorf("fetch journal %s: %w", l.path, err)
		return l.err
	}
	for _, r := range recs {
		l.apply(r)
	}
	l.lines += len(recs)
	return nil
}

// rewrite replaces the file by one that says the same and no more.
func (l *Log) rewrite() error {
	var buf bytes.Buffer
	l.lines = 0
	for _, name := range slices.Sorted(maps.Keys(l.folders)) {
		for _, r := range l.folders[name].records() {
			r.write(&buf)
			l.lines++
		}
	}
	for _, p := range l.Pending() {
		record{"placed", p.Folder, p.Key, p.Digest, p.Dir, p.Tmp, p.Name, strconv.FormatInt(p.Offset, 10)}.write(&buf)
		l.lines++
	}
	if err := l.fs.WriteFile(l.path, buf.Bytes(), 0o600); err != nil {
		return err
	}
	var err error
	l.file, err = l.fs.OpenAppend(l.path, 0o600)
	return err
}

// records say all that is known of a folder.
func (f *Folder) records() []record {
	recs := []record{{"validity", f.name, strconv.FormatUint(uint64(f.validity), 10)}}
	for _, key := range slices.Sorted(maps.Keys(f.done)) {
		d := f.done[key]
		recs = append(recs, record{"done", f.name, key, d.digest, strconv.FormatInt(d.at, 10)})
	}
	for _, digest := range slices.Sorted(maps.Keys(f.former)) {
		recs = append(recs, record{"former", f.name, digest, strconv.Itoa(f.former[digest])})
	}
	return recs
}

// useful is about how many records rewrite would write.
func (l *Log) useful() int {
	n := len(l.pending) + len(l.folders)
	for _, f := range l.folders {
		n += len(f.done) + len(f.former)
	}
	return n
}

var table = crc32.MakeTable(crc32.Castagnoli)

// A record is the fields of a line, the first of which says what it is.
type record []string

var escaper = strings.NewReplacer(`\`, `\\`, "\t", `\t`, "\n", `\n`)

// write writes a line: the CRC of the rest, and the fields.
func (r record) write(buf *bytes.Buffer) {
	fields := make([]string, len(r))
	for i, f := range r {
		fields[i] = escaper.Replace(f)
	}
	line := strings.Join(fields, "\t")
	fmt.Fprintf(buf, "%08x\t%s\n", crc32.Checksum([]byte(line), table), line)
}

// read applies every line that is whole.
func (l *Log) read(data []byte) {
	for len(data) > 0 {
		line, rest, whole := bytes.Cut(data, []byte{'\n'})
		data = rest
		r, ok := parse(line)
		if ok = ok && whole && l.apply(r); ok {
			l.lines++
		} else {
			l.damaged++
		}
	}
}

func parse(line []byte) (record, bool) {
	sum, text, ok := strings.Cut(string(line), "\t")
	want, err := strconv.ParseUint(sum, 16, 32)
	if !ok || len(sum) != 8 || err != nil || crc32.Checksum([]byte(text), table) != uint32(want) {
		return nil, false
	}
	fields := strings.Split(text, "\t")
	for i, f := range fields {
		fields[i] = unescape(f)
	}
	return fields, true
}

func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '\\' && i+1 < len(s) {
			i++
			switch c = s[i]; c {
			case 't':
				c = '\t'
			case 'n':
				c = '\n'
			}
		}
		b.WriteByte(c)
	}
	return b.String()
}

// apply takes a record for true. It reports false for one that it does not
// understand.
func (l *Log) apply(r record) bool {
	switch {
	case r[0] == "validity" && len(r) == 3:
		v, err := strconv.ParseUint(r[2], 10, 32)
		if err != nil {
			return false
		}
		l.folder(r[1]).renew(uint32(v))
	case r[0] == "done" && len(r) == 5:
		at, err := strconv.ParseInt(r[4], 10, 64)
		if err != nil {
			return false
		}
		l.folder(r[1]).add(r[2], delivery{r[3], at})
		delete(l.pending, pendingKey{r[1], r[2]})
	case r[0] == "placed" && len(r) == 8:
		offset, err := strconv.ParseInt(r[7], 10, 64)
		if err != nil {
			return false
		}
		l.pending[pendingKey{r[1], r[2]}] = Placement{r[1], r[2], r[3], r[4], r[5], r[6], offset}
	case r[0] == "forget" && len(r) == 3:
		delete(l.folder(r[1]).done, r[2])
		delete(l.pending, pendingKey{r[1], r[2]})
	case r[0] == "former" && len(r) == 4:
		n, err := strconv.Atoi(r[3])
		if err != nil {
			return false
		}
		l.folder(r[1]).former[r[2]] = n
	default:
		return false
	}
	return true
}

// renew begins another UIDVALIDITY: keys mean nothing any more.
func (f *Folder) renew(validity uint32) {
	if f.validity == validity {
		return
	}
	for _, d := range f.done {
		f.former[d.digest]++
	}
	f.validity, f.done = validity, map[string]delivery{}
}

// add notes a letter, which may be one that was known before its key changed.
func (f *Folder) add(key string, d delivery) {
	f.done[key] = d
	if f.former[d.digest] > 1 {
		f.former[d.digest]--
	} else {
		delete(f.former, d.digest)
	}
}
