package fetch

import (
	"errors"
	"fmt"
	"io"

	"postbag/internal/fetchlog"
	"postbag/internal/popclient"
	"postbag/internal/status"
)

// popFolder is the name of the only folder in the journal.
const popFolder = "INBOX"

// A popBox is a POP3 session.
type popBox struct {
	c       *popclient.Client
	folder  *fetchlog.Folder
	number  map[string]int // of each letter, by its key
	deleted []letter
}

func (r *run) connectPOP() (mailbox, error) {
	conn, err := r.dial()
	if err != nil {
		return nil, err
	}
	c, err := popclient.New(conn, r.timeout())
	if err != nil {
		return nil, r.failed("connect to", err)
	}
	box := &popBox{c: c, number: map[string]int{}}
	if err := r.openPOP(c); err != nil {
		box.abort()
		return nil, err
	}
	return box, nil
}

// openPOP makes the session secret and logs in.
func (r *run) openPOP(c *popclient.Client) error {
	if _, err := c.Capabilities(); err != nil {
		return r.failed("connect to", err)
	}
	if r.mode() == TLSStart {
		if !c.Has("STLS") {
			return r.noTLS("STLS")
		}
		if err := c.StartTLS(r.tlsConfig()); err != nil {
			return r.failed("TLS with", err)
		}
	}
	password, err := r.Password(r.ctx)
	if err != nil {
		return err
	}
	mechanism, err := r.chooseMechanism(c.Mechanisms(), true)
	if err != nil {
		return err
	}
	return r.loginPOP(c, mechanism, password)
}

func (r *run) loginPOP(c *popclient.Client, mechanism, password string) error {
	if mechanism == "" {
		return r.refused(c.Login(r.Source.User, password))
	}
	client, err := r.saslClient(mechanism, password)
	if err != nil {
		return err
	}
	if err := c.Auth(client); err != nil {
		return r.refused(err)
	}
	return r.verified(client)
}

// refused gives a login that a server refuses the exit code 77, unless the
// server says that the password is not what it minds.
func (r *run) refused(err error) error {
	var pop *popclient.Error
	if errors.As(err, &pop) && (pop.Code == "" || pop.Code == "AUTH") {
		return status.Exit(status.ExNoPerm, r.op("login to"), err)
	}
	return r.failed("login to", err)
}

// fetch gets what is new.
func (b *popBox) fetch(r *run) (err error) {
	if b.folder, _, err = r.log.Folder(popFolder, 0); err != nil {
		return err
	}
	sizes, err := b.c.List()
	if err != nil {
		return r.failed("fetch from", err)
	}
	ids, err := b.c.UIDL()
	var refused *popclient.Error
	switch {
	case errors.As(err, &refused) && r.Delete:
		return b.fetchNameless(r, sizes)
	case errors.As(err, &refused):
		return status.Exit(status.ExUnavailable, r.op("fetch from"),
			errors.New("server has no UIDL, so what is new cannot be told; only --delete works with it"))
	case err != nil:
		return r.failed("fetch from", err)
	}
	return b.fetchNamed(r, ids, sizes)
}

// fetchNamed goes by unique-ids.
func (b *popBox) fetchNamed(r *run, ids, sizes []popclient.Item) error {
	size := map[int]int64{}
	for _, it := range sizes {
		size[it.Number] = it.Size
	}
	var wanted []letter
	var left []letter // delivered before, but not deleted
	present := map[string]bool{}
	for _, it := range ids {
		l := letter{folder: b.folder, key: unique(it.UIDL, present), size: size[it.Number]}
		present[l.key], b.number[l.key] = true, it.Number
		if b.folder.Done(l.key) {
			left = append(left, l)
		} else {
			wanted = append(wanted, l)
		}
	}
	if err := r.gone(b.folder, present); err != nil {
		return err
	}
	r.sum.Known += len(left)
	if err := b.remove(r, r.due(left)); err != nil {
		return err
	}
	return b.retrieve(r, wanted)
}

// unique mends unique-ids that are not: of equal ones, each has its ordinal.
func unique(id string, present map[string]bool) string {
	key := id
	for n := 2; present[key]; n++ {
		key = fmt.Sprintf("%s #%d", id, n)
	}
	return key
}

func (b *popBox) retrieve(r *run, wanted []letter) error {
	r.report(Event{Kind: Began, Folder: popFolder, Total: len(wanted)})
	for batch := range batches(wanted) {
		numbers, byNumber := make([]int, len(batch)), map[int]letter{}
		for i, l := range batch {
			numbers[i] = b.number[l.key]
			byNumber[numbers[i]] = l
		}
		err := b.c.Retrieve(numbers, func(n int, text io.Reader) error { return r.put(byNumber[n], text) })
		if err := r.afterBatch(b, err); err != nil {
			return err
		}
	}
	return nil
}

// afterBatch flushes what came, then reports why not more came. A letter that
// the server refuses to give is a warning: the others matter too.
func (r *run) afterBatch(box mailbox, err error) error {
	var refused *popclient.Error
	if errors.As(err, &refused) {
		r.warn("%v", err)
		err = nil
	}
	if ferr := r.flush(box); ferr != nil && err == nil {
		return ferr
	}
	return r.failed("fetch from", err)
}

// fetchNameless fetches from a server without unique-ids, where every letter is
// new that has not been seen by a run that was killed. Letters are told apart
// by what they are, so they are written to a temporary file first.
func (b *popBox) fetchNameless(r *run, sizes []popclient.Item) error {
	r.report(Event{Kind: Began, Folder: popFolder, Total: len(sizes)})
	present := map[string]bool{}
	for _, it := range sizes {
		err := b.c.Retrieve([]int{it.Number}, func(number int, text io.Reader) error {
			return b.putNameless(r, number, text, present)
		})
		if err := r.afterBatch(b, err); err != nil {
			return err
		}
	}
	return r.gone(b.folder, present)
}

func (b *popBox) putNameless(r *run, number int, text io.Reader, present map[string]bool) error {
	tmp, err := r.stage(text)
	if err != nil {
		return err
	}
	defer tmp.Close()
	l := letter{folder: b.folder, key: unique("sha256:"+tmp.digest, present), size: tmp.size}
	present[l.key], b.number[l.key] = true, number
	if b.folder.Done(l.key) {
		r.sum.Known++
		b.deleted = append(b.deleted, l)
		_, err := b.c.Delete(number)
		return err
	}
	return r.put(l, tmp)
}

// remove marks letters; Quit deletes them.
func (b *popBox) remove(r *run, done []letter) error {
	numbers, byNumber := make([]int, len(done)), map[int]letter{}
	for i, l := range done {
		numbers[i] = b.number[l.key]
		byNumber[numbers[i]] = l
	}
	marked, err := b.c.Delete(numbers...)
	for _, n := range marked {
		b.deleted = append(b.deleted, byNumber[n])
	}
	return r.failed("delete on", err)
}

func (b *popBox) close(r *run) error {
	if err := b.c.Quit(); err != nil {
		return r.failed("end session with", err)
	}
	r.deleted(b.deleted)
	keys := make([]string, len(b.deleted))
	for i, l := range b.deleted {
		keys[i] = l.key
	}
	return localError("journal", r.log.Forget(popFolder, keys...))
}

// idle: a session of POP3 shows the letters that there were at its begin.
func (b *popBox) idle(*run) (bool, error) { return false, nil }

func (b *popBox) abort() { b.c.Close() }
