package deliver

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"postbag/internal/address"
	"postbag/internal/durable"
	"postbag/internal/maildir"
)

// A Mail is a queued message as an attempt sees it.
type Mail struct {
	ID         string
	From       address.Address
	Body       string // "8BITMIME" and so on, as the sender declared
	SMTPUTF8   bool
	Ret        string
	EnvID      string
	RequireTLS bool                          // RFC 8689
	Priority   int                           // RFC 6710
	By         time.Time                     // RFC 2852, with ByMode
	ByMode     string                        // "R" or "N", with "T" or without
	ClientIP   string                        // where it came from
	Ours       bool                          // somebody of this host has written it, not a stranger
	Open       func() (io.ReadCloser, error) // disk form; an error instead of io.EOF must not complete it
}

// A Box is a Mailbox that a queued message shall get into exactly once.
type Box struct {
	Mailbox
	Placed *Placing // what the journal said when the attempt began
}

// A Placing is a line of the journal: tmp/Tmp of Dir is durable and about to
// become new/Name.
type Placing struct {
	Dir, Tmp, Name string
	At             time.Time
	Owner          durable.Owner // whose it is; zero: this process's
}

// A Result tells how one Box went.
type Result struct {
	Err error
	// Undo takes back what may be in the Maildir after an Err. It must be
	// called only when the journal says, durably, that this Placing counts no
	// more: before that the letter has to stay where recovery looks for it.
	// It is nil when there is nothing to take back.
	Undo func()
}

// A Journal remembers, durably when it returns nil, that boxes[i] is about to
// get placings[i].
type Journal func(ctx context.Context, boxes []int, placings []Placing) error

// trusted is how long after a placing a missing tmp/X proves the rename: what
// cleans tmp/ leaves it alone much longer than that.
const trusted = maildir.TmpAge / 2

// Maildirs delivers a queued message into several mailboxes. There is one
// result for each box; all files are durable in tmp/ before the first is
// renamed, with one record of the journal for all.
func (l *Local) Maildirs(ctx context.Context, m Mail, boxes []Box, journal Journal) []Result {
	b := batch{local: l, mail: m, boxes: boxes, results: make([]Result, len(boxes))}
	for i := range boxes {
		b.prepare(ctx, i)
	}
	b.syncTmp()
	if len(b.ready) == 0 {
		return b.results
	}
	placings := make([]Placing, len(b.ready))
	for k, i := range b.ready {
		letter := b.letters[k]
		placings[k] = Placing{Dir: boxes[i].dir(), Tmp: letter.Unique(), Name: letter.FinalName(), At: l.now(), Owner: letter.who}
	}
	if err := journal(ctx, b.ready, placings); err != nil {
		// The line may be in the journal or not. Both are right while tmp/X
		// stays: recovery renames it, or a cleaner takes it.
		for k, i := range b.ready {
			b.letters[k].Abandon()
			b.results[i].Err = err
		}
		return b.results
	}
	b.place(ctx)
	return b.results
}

// A batch is one call of Maildirs.
type batch struct {
	local   *Local
	mail    Mail
	boxes   []Box
	results []Result
	ready   []int // indices of boxes whose letter is in tmp/
	letters []*Letter
}

// prepare brings one letter to tmp/, durably, or finishes what a crash has
// interrupted.
func (b *batch) prepare(ctx context.Context, i int) {
	if p := b.boxes[i].Placed; p != nil {
		found, err := b.finish(p)
		if err != nil || found {
			b.results[i].Err = err
			return
		}
	}
	letter, err := b.write(ctx, b.boxes[i].Mailbox)
	if err != nil {
		b.results[i].Err = err
		return
	}
	b.ready, b.letters = append(b.ready, i), append(b.letters, letter)
}

func (b *batch) finish(p *Placing) (found bool, err error) {
	fs, err := b.local.as(p.Owner)
	if err != nil {
		return false, err
	}
	thorough := b.local.now().Sub(p.At) > trusted
	return maildir.Finish(fs, p.Dir, p.Tmp, p.Name, thorough)
}

func (b *batch) write(ctx context.Context, box Mailbox) (*Letter, error) {
	letter, err := b.local.Begin(ctx, box, b.mail.From)
	if err != nil {
		return nil, err
	}
	body, err := b.mail.Open()
	if err == nil {
		_, err = io.Copy(letter, body)
		body.Close()
	}
	if err == nil {
		err = letter.Sync()
	}
	if err != nil {
		letter.Discard()
		return nil, fmt.Errorf("deliver %s to %s: %w", b.mail.ID, box.Dir, err)
	}
	return letter, nil
}

// syncTmp makes the names in tmp/ durable; a letter whose directory fails is
// out.
func (b *batch) syncTmp() {
	failed := syncDirs(b.letters, "tmp")
	for k := len(b.letters) - 1; k >= 0; k-- {
		if err := failed[b.letters[k].Dir()]; err != nil {
			b.letters[k].Discard()
			b.results[b.ready[k]].Err = err
			b.ready, b.letters = slices.Delete(b.ready, k, k+1), slices.Delete(b.letters, k, k+1)
		}
	}
}

// place renames and syncs. What fails here is still in the journal as placed.
func (b *batch) place(ctx context.Context) {
	for k, i := range b.ready {
		letter := b.letters[k]
		_, err := letter.Place(ctx, "new", "")
		b.results[i] = Result{Err: err, Undo: letter.Discard}
	}
	for k, i := range b.ready {
		if b.results[i].Err != nil {
			continue
		}
		if err := b.letters[k].settle(); err != nil {
			b.results[i].Err = err
			continue
		}
		b.results[i].Undo = nil
	}
}

// syncDirs syncs sub of every Maildir once.
func syncDirs(letters []*Letter, sub string) map[string]error {
	failed := map[string]error{}
	for _, l := range letters {
		if _, done := failed[l.Dir()]; !done {
			failed[l.Dir()] = l.fs.SyncDir(l.Dir() + "/" + sub)
		}
	}
	return failed
}
