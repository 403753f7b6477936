// Package account knows the folders of one account: a Maildir++ tree, where
// INBOX is the root and folder A/B is the directory `.A.B` beside INBOX's
// new/, cur/ and tmp/.
//
// Names are UTF-8 here and modified UTF-7 on disk (UTF-8 on disk is
// understood). A directory with a cur/ is a folder, whoever made it. What is
// not, of the directories that begin with a dot, is none.
//
// # Files at the root
//
//	subscriptions        as Dovecot has it, both versions of its format; without
//	                     it courierimapsubscribed counts
//	postbag.account      the separator that clients of this account have always
//	                     seen; the lock for changes of the tree
//	postbag.uidvalidity  see package mailbox
//	.A.B/postbag.use     special uses that a folder was made for, one a line
//	.A.B/postbag.metadata
//	                     what clients keep with a folder; INBOX's is at the root
//	postbag.metadata.account
//	                     what they keep with the account
//	postbag.deleted.*    a deleted folder on its way out; of no meaning to
//	                     anybody, removed by whoever opens the account next
//
// # Crashes
//
// A folder being made gets cur/ last, so it is there whole or not at all. One
// being deleted gets its other name first. A rename of a folder with children
// is one rename each: killed in between, some have the old name still.
package account

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/text/unicode/norm"

	"postbag/internal/durable"
	"postbag/internal/mailbox"
	"postbag/internal/maildir"
	"postbag/internal/quota"
)

// Errors that callers tell apart with errors.Is.
var (
	ErrNoFolder = errors.New("no such mailbox")        // NO [NONEXISTENT]
	ErrExists   = errors.New("mailbox exists already") // NO [ALREADYEXISTS]
	ErrBadName  = errors.New("not a name for a mailbox")
	ErrInbox    = errors.New("INBOX cannot be deleted")
)

// Inbox is the name of the folder at the root.
const Inbox = "INBOX"

// Options of a Tree. The zero value works.
type Options struct {
	// Separator for an account that has never been used with another one;
	// default '/'.
	Separator byte
}

// A Tree is one account's folders. It is safe for concurrent use.
type Tree struct {
	fs    *durable.FS
	store *mailbox.Store
	root  string
	sep   byte

	mu sync.Mutex // one change of the tree at a time
}

// Open opens the account whose INBOX is the Maildir at root, and makes that if
// it is not there.
func Open(ctx context.Context, store *mailbox.Store, root string, o Options) (*Tree, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, err
	}
	t := &Tree{fs: store.FS(), store: store, root: root}
	if _, err := t.fs.Stat(filepath.Join(root, "cur")); errors.Is(err, fs.ErrNotExist) {
		if err := maildir.Init(t.fs, root, 0o700); err != nil {
			return nil, fmt.Errorf("make maildir %s: %w", root, err)
		}
	}
	if o.Separator == 0 {
		o.Separator = '/'
	}
	if t.sep, err = t.separator(ctx, o.Separator); err != nil {
		return nil, fmt.Errorf("open account %s: %w", root, err)
	}
	t.sweep()
	return t, nil
}

// Close gives the tree back. Folders opened through it stay open.
func (t *Tree) Close() error { return nil }

// Quota says how much the account may hold, and holds.
func (t *Tree) Quota() *quota.Quota { return t.store.Quota(t.root) }

// Separator stands between the levels of names.
func (t *Tree) Separator() byte { return t.sep }

// Open opens a folder. ErrNoFolder means that there is none of that name.
func (t *Tree) Open(ctx context.Context, name string) (*mailbox.Folder, error) {
	dir, err := t.dir(name)
	if err != nil {
		return nil, err
	}
	f, err := t.store.Open(ctx, dir)
	if errors.Is(err, mailbox.ErrGone) {
		return nil, fmt.Errorf("open %s: %w", name, ErrNoFolder)
	}
	return f, err
}

// Exists reports whether there is a folder of that name.
func (t *Tree) Exists(name string) bool {
	dir, err := t.dir(name)
	return err == nil && t.isFolder(dir)
}

func (t *Tree) isFolder(dir string) bool {
	st, err := t.fs.Stat(filepath.Join(dir, "cur"))
	return err == nil && st.IsDir()
}

// Canonical gives a name as List would: INBOX in capitals, no separator at the
// end, and in Normalization Form C unless a folder has it as it is (RFC 9051
// section 5.1).
func (t *Tree) Canonical(name string) string {
	name = t.inCapitals(name)
	if norm.NFC.IsNormalString(name) {
		return name
	}
	if dir, err := t.dirOf(name); err == nil && t.isFolder(dir) {
		return name
	}
	return norm.NFC.String(name)
}

func (t *Tree) inCapitals(name string) string {
	name = strings.TrimSuffix(name, string(t.sep))
	first, rest, deeper := strings.Cut(name, string(t.sep))
	if !strings.EqualFold(first, Inbox) {
		return name
	}
	if !deeper {
		return Inbox
	}
	return Inbox + string(t.sep) + rest
}

// maxName is the longest name of a directory on Linux file systems.
const maxName = 255

// dir gives the directory of a folder, which may not be there. A UTF-8 name on
// disk is found before the modified UTF-7 one is taken for granted.
func (t *Tree) dir(name string) (string, error) { return t.dirOf(t.Canonical(name)) }

func (t *Tree) dirOf(name string) (string, error) {
	if name == Inbox {
		return t.root, nil
	}
	if err := t.check(name); err != nil {
		return "", err
	}
	encoded, plain := "", ""
	for part := range strings.SplitSeq(name, string(t.sep)) {
		encoded += "." + encode(part)
		plain += "." + part
	}
	if len(encoded) > maxName {
		return "", fmt.Errorf("%q: %w: too long", name, ErrBadName)
	}
	dir := filepath.Join(t.root, encoded)
	if plain != encoded && !strings.Contains(plain, "/") && t.decode(plain) == name {
		if utf := filepath.Join(t.root, plain); !t.isFolder(dir) && t.isFolder(utf) {
			return utf, nil
		}
	}
	return dir, nil
}

// check refuses names that no folder can have.
func (t *Tree) check(name string) error {
	for part := range strings.SplitSeq(name, string(t.sep)) {
		if part == "" {
			return fmt.Errorf("%q: %w: empty level", name, ErrBadName)
		}
		if strings.ContainsFunc(part, func(r rune) bool { return r < ' ' || r == 0x7F || r == 0xFFFD }) {
			return fmt.Errorf("%q: %w: control character", name, ErrBadName)
		}
	}
	return nil
}

// newDir gives the directory of a folder that is to be made. Its name must be
// Net-Unicode (RFC 9051 section 5.1, RFC 5198 section 2).
func (t *Tree) newDir(name string) (string, error) {
	never := func(r rune) bool { return r >= 0x80 && r < 0xA0 || r == 0x2028 || r == 0x2029 || r == 0xFEFF }
	if strings.ContainsFunc(name, never) {
		return "", fmt.Errorf("%q: %w: control character", name, ErrBadName)
	}
	return t.dir(name)
}

// escapes stand on disk for what a level may have in its name but a
// directory's name may not: modified UTF-7 of the character.
var escapes = strings.NewReplacer(".", "&AC4-", "/", "&AC8-")

// encode gives one level of a name as it stands on disk.
func encode(part string) string { return escapes.Replace(maildir.EncodeFolder(part)) }

// decode gives the name of the folder whose directory is `.A.B`.
func (t *Tree) decode(disk string) string {
	parts := strings.Split(disk[1:], ".")
	for i, p := range parts {
		parts[i] = maildir.DecodeFolder(p)
	}
	return strings.Join(parts, string(t.sep))
}
