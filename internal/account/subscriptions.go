package account

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"postbag/internal/durable"
	"postbag/internal/mailbox"
	"postbag/internal/maildir"
	"postbag/internal/status"
)

const (
	subscriptionsName = "subscriptions"
	courierName       = "courierimapsubscribed"
	accountName       = "postbag.account"

	// version2 begins Dovecot's second format: levels apart by tabs, not by
	// the separator.
	version2 = "V\t2\n\n"
)

// Subscribed lists the names subscribed to, whether or not they are there.
func (t *Tree) Subscribed() ([]string, error) {
	names, _, err := t.readSubscriptions()
	return names, err
}

// Subscribe adds a name to the subscriptions. It need not be there (RFC 9051
// section 6.3.7).
func (t *Tree) Subscribe(ctx context.Context, name string) error {
	name = t.Canonical(name)
	if _, err := t.dir(name); err != nil {
		return err
	}
	return t.edit(ctx, func(names []string) []string {
		if slices.Contains(names, name) {
			return names
		}
		return append(names, name)
	})
}

// Unsubscribe takes a name out of the subscriptions.
func (t *Tree) Unsubscribe(ctx context.Context, name string) error {
	name = t.Canonical(name)
	return t.edit(ctx, func(names []string) []string {
		return slices.DeleteFunc(slices.Clone(names), func(n string) bool { return n == name })
	})
}

// edit changes the subscriptions, in the format that the file has.
func (t *Tree) edit(ctx context.Context, f func([]string) []string) error {
	return t.change(ctx, func() error {
		old, v1, err := t.readSubscriptions()
		if err != nil {
			return err
		}
		names := f(old)
		if slices.Equal(names, old) {
			return nil
		}
		text := t.encodeSubscriptions(names, v1)
		if err := t.fs.WriteFile(filepath.Join(t.root, subscriptionsName), []byte(text), 0o600); err != nil {
			return fmt.Errorf("write subscriptions: %w", err)
		}
		return nil
	})
}

func (t *Tree) readSubscriptions() (names []string, v1 bool, err error) {
	b, err := t.fs.ReadFile(filepath.Join(t.root, subscriptionsName))
	if errors.Is(err, fs.ErrNotExist) {
		return t.courierSubscriptions(), false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("read subscriptions: %w", err)
	}
	names, v1 = t.decodeSubscriptions(string(b))
	return names, v1, nil
}

// courierSubscriptions are what Courier left: names of directories, a line
// `INBOX.A.B` each. They count until there is a file of our own.
func (t *Tree) courierSubscriptions() (names []string) {
	b, err := t.fs.ReadFile(filepath.Join(t.root, courierName))
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(b)) {
		first, rest, deeper := strings.Cut(strings.TrimSpace(line), ".")
		if first != Inbox {
			continue
		}
		name := Inbox
		if deeper {
			name = t.decode("." + rest)
		}
		if t.check(name) == nil && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

func (t *Tree) decodeSubscriptions(text string) (names []string, v1 bool) {
	levels := "\t"
	rest, v2 := strings.CutPrefix(text, version2)
	if !v2 {
		levels = string(t.sep)
	}
	for line := range strings.Lines(rest) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" {
			continue
		}
		parts := strings.Split(line, levels)
		for i := range parts {
			parts[i] = maildir.DecodeFolder(unescape.Replace(parts[i]))
		}
		if name := t.Canonical(strings.Join(parts, string(t.sep))); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names, !v2 && len(text) > 0
}

func (t *Tree) encodeSubscriptions(names []string, v1 bool) string {
	var b strings.Builder
	levels := string(t.sep)
	if !v1 {
		b.WriteString(version2)
		levels = "\t"
	}
	for _, name := range names {
		parts := strings.Split(name, string(t.sep))
		for i := range parts {
			parts[i] = escape.Replace(maildir.EncodeFolder(parts[i]))
		}
		b.WriteString(strings.Join(parts, levels) + "\n")
	}
	return b.String()
}

// Dovecot's escapes for what would be taken for structure.
var (
	escape   = strings.NewReplacer("\x01", "\x011", "\t", "\x01t", "\r", "\x01r", "\n", "\x01n")
	unescape = strings.NewReplacer("\x011", "\x01", "\x01t", "\t", "\x01r", "\r", "\x01n", "\n")
)

// change runs f while no other process changes the tree, and tells those who
// Follow it.
func (t *Tree) change(ctx context.Context, f func() error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	lock, err := t.lock(ctx)
	if err != nil {
		return err
	}
	defer lock.Close() // gives the lock back; nothing unsynced is in it
	if err := f(); err != nil {
		return err
	}
	_ = lock.SetTimes(time.Now()) // what f did stands, whoever hears of it late
	return nil
}

// Follow has f called after folders have come, gone or got other names, and
// subscriptions or metadata have changed, by whatever program, until cancel is
// called. It may be called more often than that. f must not block.
func (t *Tree) Follow(f func()) (cancel func()) { return t.store.Attend(t.root, f) }

// lockWait is how long another process may keep the tree.
const lockWait = 10 * time.Second

func (t *Tree) lock(ctx context.Context) (*durable.File, error) {
	f, err := t.fs.OpenAppend(filepath.Join(t.root, accountName), 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock account %s: %w", t.root, err)
	}
	deadline := time.Now().Add(lockWait)
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		ok, err := f.TryLock()
		if ok {
			return f, nil
		}
		if err == nil && time.Now().After(deadline) {
			err = status.Temp("lock account "+t.root, "4.2.0", "account is in use by another process", mailbox.ErrInUse)
		}
		if err == nil {
			select {
			case <-time.After(pause):
				continue
			case <-ctx.Done():
				err = ctx.Err()
			}
		}
		f.Close()
		return nil, err
	}
}

const separatorKey = "separator "

// separator gives what clients of this account have always seen: what we wrote
// down at the first time, and that was what the Maildir had then, else def.
func (t *Tree) separator(ctx context.Context, def byte) (sep byte, err error) {
	if sep, ok := t.writtenSeparator(); ok {
		return sep, nil
	}
	err = t.change(ctx, func() error {
		var ok bool
		if sep, ok = t.writtenSeparator(); ok {
			return nil
		}
		if sep = t.formerSeparator(); sep == 0 {
			sep = def
		}
		f, err := t.fs.OpenAppend(filepath.Join(t.root, accountName), 0o600)
		if err != nil {
			return err
		}
		_, err = f.Write([]byte("\n" + separatorKey + string(sep) + "\n"))
		return errors.Join(err, f.Commit(), t.fs.SyncDir(t.root))
	})
	return sep, err
}

// writtenSeparator reads the last whole line that says it.
func (t *Tree) writtenSeparator() (sep byte, ok bool) {
	b, err := t.fs.ReadFile(filepath.Join(t.root, accountName))
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(b)) {
		s, found := strings.CutPrefix(line, separatorKey)
		if found && (s == "/\n" || s == ".\n") {
			sep, ok = s[0], true
		}
	}
	return sep, ok
}

// formerSeparator tells from what other servers left which separator they
// showed; 0 when nobody was there.
func (t *Tree) formerSeparator() byte {
	b, err := t.fs.ReadFile(filepath.Join(t.root, subscriptionsName))
	if err == nil && !strings.HasPrefix(string(b), version2) {
		switch {
		case strings.Contains(string(b), "/"):
			return '/'
		case strings.Contains(string(b), "."):
			return '.'
		}
	}
	for _, name := range []string{"dovecot-uidlist", "dovecot.index.log", "courierimapuiddb", courierName} {
		if _, err := t.fs.Stat(filepath.Join(t.root, name)); err == nil {
			return '.' // both servers' default on a Maildir
		}
	}
	return 0
}
