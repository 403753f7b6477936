package imapsrv

import (
	"errors"
	"maps"
	"slices"
	"sync/atomic"

	"postbag/internal/account"
	"postbag/internal/mailbox"
	"postbag/internal/maillog"
)

// A watch is what a client has asked to be told of by NOTIFY, and what it knows.
type watch struct {
	*notification
	dirty    atomic.Bool // names, subscriptions or metadata may have changed
	unfollow func()
	known    survey
	folders  map[string]*watched // those with message events, by name
}

// A watched folder is one that is not selected, or was not when it came here.
type watched struct {
	folder *mailbox.Folder
	told   *mailbox.View // what the client knows of it
	events events
	made   account.Made
	cancel func()
}

// maxWatched is how many folders one session can be told of.
const maxWatched = 500

var errOverflow = no("[NOTIFICATIONOVERFLOW] too many mailboxes")

// tells reports whether events of the selected folder are told: all of them
// unless NOTIFY says otherwise.
func (w *watch) tells(e events) bool { return w == nil || w.selected.events&e != 0 }

// anytime reports whether something may be told while no command is under way.
func (w *watch) anytime() bool { return w != nil && (w.selected.events != 0 || len(w.others) > 0) }

// beginWatch puts what NOTIFY asks for in the place of what was asked before.
// What is not told yet of the selected folder is told now (RFC 5465 section 3.1).
func (s *session) beginWatch(n *notification) error {
	w := &watch{notification: n, folders: map[string]*watched{}}
	if err := s.follow(w); err != nil {
		s.endWatch(w)
		return err
	}
	s.endWatch(s.watch)
	s.watch = nil
	if s.sel != nil {
		if err := s.sel.folder.Sync(s.ctx); err != nil { // it is a NOOP, too
			s.endWatch(w)
			return err
		}
	}
	s.update(true)
	s.watch = w
	if n.status {
		for _, name := range slices.Sorted(maps.Keys(w.folders)) {
			s.tellStatus(name, w.folders[name])
		}
	}
	return nil
}

// follow opens the folders that a watch is of.
func (s *session) follow(w *watch) (err error) {
	if len(w.others) == 0 {
		return nil
	}
	w.unfollow = s.tree.Follow(func() {
		w.dirty.Store(true)
		s.c.Wake()
	})
	if w.known, err = s.takeSurvey(w); err != nil {
		return err
	}
	_, err = s.open(w)
	return err
}

func (s *session) endWatch(w *watch) {
	if w == nil {
		return
	}
	if w.unfollow != nil {
		w.unfollow()
	}
	for _, f := range w.folders {
		f.close()
	}
}

func (f *watched) close() {
	f.cancel()
	f.folder.Close()
}

// open opens folders of which message events are wanted, and closes others. It
// gives the names of those that it has opened.
func (s *session) open(w *watch) (opened []string, err error) {
	wanted := map[string]events{}
	for _, o := range w.known.folders {
		if e := w.of(o, s.tree.Separator()) & messageEvents; e != 0 && o.Exists {
			wanted[o.Name] = e
		}
	}
	if len(wanted) > maxWatched {
		return nil, errOverflow
	}
	for name, f := range w.folders {
		if wanted[name] == 0 || f.made != w.known.made[name] {
			f.close()
			delete(w.folders, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		if w.folders[name] != nil {
			continue
		}
		f, err := s.watchFolder(name)
		if errors.Is(err, account.ErrNoFolder) {
			continue // it went just now
		}
		if err != nil {
			return opened, err
		}
		f.events, f.made = wanted[name], w.known.made[name]
		w.folders[name] = f
		opened = append(opened, name)
	}
	return opened, nil
}

func (s *session) watchFolder(name string) (*watched, error) {
	folder, err := s.tree.Open(s.ctx, name)
	if err != nil {
		return nil, err
	}
	cancel := folder.Subscribe(s.c.Wake)
	if err := folder.Sync(s.ctx); err != nil {
		cancel()
		folder.Close()
		return nil, err
	}
	return &watched{folder: folder, told: folder.View(), cancel: cancel}, nil
}

// happened tells what has happened since the last time, in the selected folder
// and elsewhere.
func (s *session) happened(mayExpunge bool) {
	s.update(mayExpunge)
	w := s.watch
	if w == nil {
		return
	}
	if w.dirty.Swap(false) {
		s.tellTree()
	}
	if w = s.watch; len(w.folders) == 0 {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(w.folders)) {
		s.tellWatched(name, w.folders[name])
	}
}

// overflow gives up telling (RFC 5465 section 5.8).
func (s *session) overflow() {
	s.endWatch(s.watch)
	s.watch = &watch{notification: &notification{}}
	s.line("* OK [NOTIFICATIONOVERFLOW] too many mailboxes, nothing is told from now on")
}

// tellWatched tells what has changed in a folder that is not selected.
func (s *session) tellWatched(name string, f *watched) {
	old, cur := f.told, f.folder.View()
	if old == cur {
		return
	}
	f.told = cur
	if s.sel != nil && s.sel.name == name {
		return // of which the client hears otherwise
	}
	if items := s.changedItems(f.events, old, cur); len(items) > 0 {
		_ = s.writeStatus(name, f.folder, cur, items) // it fails for sizes only
	}
}

// changedItems are what STATUS has to say of a change (RFC 5465 sections 5.1 to
// 5.3).
func (s *session) changedItems(e events, old, cur *mailbox.View) (items []string) {
	d := mailbox.Diff(old, cur)
	if d.Added > 0 || len(d.Expunged) > 0 {
		items = append(items, "MESSAGES", "UIDNEXT")
	}
	changed := e&flagsChange != 0 && len(d.Changed) > 0
	if changed && old.Unseen() != cur.Unseen() {
		items = append(items, "UNSEEN")
	}
	if s.condstore && (len(items) > 0 || changed) {
		items = append(items, "HIGHESTMODSEQ")
	}
	if old.UIDValidity() != cur.UIDValidity() || s.condstore && changed {
		items = append(items, "UIDVALIDITY")
	}
	return items
}

// tellStatus says how a watched folder stands (RFC 5465 section 3.1), unless it
// is the selected one.
func (s *session) tellStatus(name string, f *watched) {
	if s.sel != nil && s.sel.name == name {
		return
	}
	items := []string{"MESSAGES", "UIDNEXT", "UIDVALIDITY", "UNSEEN"}
	if f.events&flagsChange != 0 {
		items = append(items, "HIGHESTMODSEQ")
	}
	_ = s.writeStatus(name, f.folder, f.told, items) // it fails for sizes only
}

// unselected is called for a folder that is no longer selected: of it the client
// knows what it was told till then.
func (s *session) unselected(sel *selected) {
	if s.watch != nil && s.watch.folders[sel.name] != nil {
		s.watch.folders[sel.name].told = sel.view
		s.c.Wake()
	}
}

// await waits for a command. What NOTIFY asks for is told meanwhile.
func (s *session) await() error {
	for s.watch.anytime() && s.in.Buffered() == 0 {
		s.happened(s.watch.selected.kind == "SELECTED") // RFC 5465 section 6.1.2: expunges may have to wait
		input, err := s.waitInput()
		if err != nil {
			return &connError{err}
		}
		if input {
			break
		}
	}
	return s.in.Fill()
}

// tellNewItems tells of new letters, from a position on, what NOTIFY asks for; not
// of those that this session has put in (RFC 5465 section 5.2).
func (s *session) tellNewItems(from int) {
	var positions []int
	for i := from; i < s.sel.view.Len(); i++ {
		if !s.sel.mine[s.sel.view.At(i).UID] {
			positions = append(positions, i)
		}
	}
	s.tellItems(positions, s.watch.selected.items)
}

// tellItems writes FETCH responses that no FETCH asks for.
func (s *session) tellItems(positions []int, items []item) {
	err := s.markSeen(positions, items)
	f := s.newFetching(items)
	for _, i := range positions {
		if err == nil {
			err = f.one(i)
		}
		if errors.Is(err, mailbox.ErrExpunged) {
			err = nil // the client will be told of that
		}
	}
	if isIO(err) {
		s.quit = true // it has a part of a response
	} else if err != nil {
		s.report(maillog.Session{Kind: maillog.Troubled, Login: s.login, Err: err})
	}
}

// putIn notes letters that this session has put into a folder. Of one that is not
// selected a STATUS is sent all the same, though RFC 5465 section 5 would have it
// omitted: UIDNEXT and HIGHESTMODSEQ are news, and clients count on it.
func (s *session) putIn(name string, uids []uint32) {
	if s.sel == nil || s.sel.name != s.tree.Canonical(name) {
		return
	}
	for _, uid := range uids {
		s.sel.mine[uid] = true
	}
}
