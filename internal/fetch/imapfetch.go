package fetch

import (
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"postbag/internal/fetchlog"
)

func (b *imapBox) fetchFolder(r *run, f imapFolder) error {
	var uids []imap.UID
	var validity uint32
	err := b.wait(func() (err error) {
		validity, uids, err = b.open(r, f.name)
		return err
	})
	if err != nil {
		return err
	}
	folder, renewed, err := r.log.Folder(f.name, validity)
	if err != nil {
		return localError("journal", err)
	}
	if renewed {
		r.warn("folder %s has a new UIDVALIDITY; its letters are looked at again", f.name)
	}
	fresh, left, err := b.sortOut(r, folder, f, uids)
	if err != nil {
		return err
	}
	r.report(Event{Kind: Began, Folder: f.name, Total: len(fresh)})
	for batch := range batches(fresh) {
		if err := b.fetchBatch(r, batch); err != nil {
			return err
		}
	}
	if old := r.due(left); len(old) > 0 {
		return b.remove(r, old)
	}
	return nil
}

// open selects a folder, for reading only if nothing is to be deleted, and
// lists its letters.
func (b *imapBox) open(r *run, name string) (validity uint32, uids []imap.UID, err error) {
	data, err := b.c.Select(name, &imap.SelectOptions{ReadOnly: !r.deletes()}).Wait()
	if err != nil {
		return 0, nil, b.command(r, "open folder "+strconv.Quote(name)+" of", err)
	}
	if data.NumMessages == 0 {
		return data.UIDValidity, nil, nil
	}
	var options *imap.SearchOptions
	if b.c.Caps().Has(imap.CapESearch) { // ranges, not a number for each letter
		options = &imap.SearchOptions{ReturnAll: true}
	}
	found, err := b.c.UIDSearch(&imap.SearchCriteria{}, options).Wait()
	if err != nil {
		return 0, nil, b.command(r, "search folder "+strconv.Quote(name)+" of", err)
	}
	return data.UIDValidity, found.AllUIDs(), nil
}

// sortOut tells letters that are new from those that were delivered before.
func (b *imapBox) sortOut(r *run, folder *fetchlog.Folder, f imapFolder, uids []imap.UID) (fresh, left []letter, err error) {
	var wanted []imap.UID
	present := map[string]bool{}
	for _, uid := range uids {
		key := uidKey(uid)
		present[key] = true
		if folder.Done(key) {
			left = append(left, letter{folder: folder, key: key})
		} else {
			wanted = append(wanted, uid)
		}
	}
	r.sum.Known += len(left)
	if err := r.gone(folder, present); err != nil {
		return nil, nil, localError("journal", err)
	}
	slices.Sort(wanted)
	for part := range slices.Chunk(wanted, 500) {
		err := b.wait(func() error {
			list, err := b.c.Fetch(imap.UIDSetNum(part...), &imap.FetchOptions{UID: true, Flags: true, InternalDate: true, RFC822Size: true}).Collect()
			for _, m := range list {
				if m.UID == 0 || !slices.Contains(part, m.UID) {
					continue // the server tells of another letter's flags
				}
				fresh = append(fresh, letter{folder: folder, key: uidKey(m.UID), local: f.local,
					flags: maildirFlags(m.Flags), internal: m.InternalDate, size: m.RFC822Size})
			}
			return b.command(r, "fetch from", err)
		})
		if err != nil {
			return nil, nil, err
		}
	}
	return fresh, left, nil
}

func uidKey(uid imap.UID) string { return strconv.FormatUint(uint64(uid), 10) }

func keyUIDs(letters []letter) imap.UIDSet {
	var set imap.UIDSet
	for _, l := range letters {
		n, _ := strconv.ParseUint(l.key, 10, 32) // made by uidKey
		set.AddNum(imap.UID(n))
	}
	return set
}

// maildirFlags gives flags as letters of a file name, in ASCII order.
func maildirFlags(flags []imap.Flag) string {
	letters := map[string]byte{`\draft`: 'D', `\flagged`: 'F', `$forwarded`: 'P', `\answered`: 'R', `\seen`: 'S', `\deleted`: 'T'}
	var out []byte
	for _, f := range flags {
		if c, ok := letters[strings.ToLower(string(f))]; ok {
			out = append(out, c)
		}
	}
	slices.Sort(out)
	return string(slices.Compact(out))
}

// fetchBatch gets the letters of a batch and delivers them.
func (b *imapBox) fetchBatch(r *run, batch []letter) error {
	byKey := map[string]letter{}
	for _, l := range batch {
		byKey[l.key] = l
	}
	err := b.wait(func() error {
		section := &imap.FetchItemBodySection{Peek: true}
		cmd := b.c.Fetch(keyUIDs(batch), &imap.FetchOptions{UID: true, BodySection: []*imap.FetchItemBodySection{section}})
		for {
			m := cmd.Next()
			if m == nil {
				return b.command(r, "fetch from", cmd.Close())
			}
			if err := r.takeMessage(m, byKey); err != nil {
				b.abort() // the rest of the answers is not to be waited for
				return err
			}
		}
	})
	if ferr := r.flush(b); err == nil {
		err = ferr
	}
	return err
}

// takeMessage puts the letter of one FETCH response. Its UID commonly comes
// before its text; where it does not, the text waits in a file.
func (r *run) takeMessage(m *imapclient.FetchMessageData, byKey map[string]letter) error {
	var key string
	var early *staged
	for {
		item := m.Next()
		switch item := item.(type) {
		case nil:
			if early == nil {
				return nil
			}
			defer early.Close()
			return r.putOnce(byKey, key, early)
		case imapclient.FetchItemDataUID:
			key = uidKey(item.UID)
		case imapclient.FetchItemDataBodySection:
			if item.Literal == nil {
				r.warn("server gives no text of letter %s", key)
				continue
			}
			text := &exact{r: item.Literal, left: item.Literal.Size()}
			if key != "" {
				if err := r.putOnce(byKey, key, text); err != nil {
					return r.failed("fetch from", err)
				}
				continue
			}
			var err error
			if early, err = r.stage(text); err != nil {
				return r.failed("fetch from", err)
			}
		}
	}
}

// putOnce puts a letter that was asked for, once.
func (r *run) putOnce(byKey map[string]letter, key string, text io.Reader) error {
	l, ok := byKey[key]
	if !ok {
		return nil
	}
	delete(byKey, key)
	return r.put(l, text)
}

// An exact reader makes a literal that ends early an error.
type exact struct {
	r    io.Reader
	left int64
}

func (e *exact) Read(p []byte) (int, error) {
	n, err := e.r.Read(p)
	e.left -= int64(n)
	if err == io.EOF && e.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// remove deletes letters, and no others: without UIDPLUS, letters that somebody
// else has marked would go too.
func (b *imapBox) remove(r *run, done []letter) error {
	return b.wait(func() error {
		for part := range slices.Chunk(done, 500) {
			if err := b.removeSome(r, part); err != nil {
				return err
			}
		}
		return nil
	})
}

func (b *imapBox) removeSome(r *run, done []letter) error {
	set := keyUIDs(done)
	flags := &imap.StoreFlags{Op: imap.StoreFlagsAdd, Silent: true, Flags: []imap.Flag{imap.FlagDeleted}}
	if err := b.c.Store(set, flags, nil).Close(); err != nil {
		return b.command(r, "delete on", err)
	}
	caps := b.c.Caps()
	var err error
	switch {
	case caps.Has(imap.CapUIDPlus), caps.Has(imap.CapIMAP4rev2):
		err = b.c.UIDExpunge(set).Close()
	default:
		var others bool
		if others, err = b.othersMarked(set); others {
			r.warn("server has no UIDPLUS, and others have marked letters as deleted: ours are marked, too, but not expunged")
			return nil
		}
		if err == nil {
			err = b.c.Expunge().Close()
		}
	}
	if err != nil {
		return b.command(r, "delete on", err)
	}
	r.deleted(done)
	return nil
}

// othersMarked reports whether letters are marked as deleted that are not ours.
func (b *imapBox) othersMarked(ours imap.UIDSet) (bool, error) {
	found, err := b.c.UIDSearch(&imap.SearchCriteria{Flag: []imap.Flag{imap.FlagDeleted}}, nil).Wait()
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(found.AllUIDs(), func(u imap.UID) bool { return !ours.Contains(u) }), nil
}
