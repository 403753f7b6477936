package imapsrv

import (
	"errors"
	"maps"
	"slices"
	"strings"

	"postbag/internal/account"
	"postbag/internal/maillog"
)

// A survey is the folders of an account at one time, as far as NOTIFY speaks of
// them.
type survey struct {
	folders  []account.Folder
	made     map[string]account.Made     // by name
	metadata map[string]account.Metadata // by name, "" for the account; only what is wanted
	renamed  map[string]string           // former names, as of this survey and those right before it
}

func (t *survey) find(name string) account.Folder {
	if i := slices.IndexFunc(t.folders, func(f account.Folder) bool { return f.Name == name }); i >= 0 {
		return t.folders[i]
	}
	return account.Folder{Name: name}
}

// surveys is how often the folders are looked at anew when some go meanwhile.
const surveys = 5

// takeSurvey looks at the folders.
func (s *session) takeSurvey(w *watch) (t survey, err error) {
	for range surveys {
		if t, err = s.lookAtFolders(w); !errors.Is(err, account.ErrNoFolder) {
			break
		}
	}
	return t, err
}

// lookAtFolders does it once. ErrNoFolder means that one of them went meanwhile.
func (s *session) lookAtFolders(w *watch) (t survey, err error) {
	if t.folders, err = s.tree.List(s.ctx); err != nil {
		return t, err
	}
	t.made, t.metadata = map[string]account.Made{}, map[string]account.Metadata{}
	for _, f := range t.folders {
		if !f.Exists {
			continue
		}
		if t.made[f.Name] = s.tree.Made(&f); !s.tree.Exists(f.Name) {
			return t, account.ErrNoFolder
		}
		if w.of(f, s.tree.Separator())&mailboxMetadata == 0 {
			continue
		}
		if t.metadata[f.Name], err = s.tree.Metadata(f.Name); err != nil {
			return t, err
		}
	}
	if slices.ContainsFunc(w.others, func(g eventGroup) bool { return g.events&serverMetadata != 0 }) {
		t.metadata[""], err = s.tree.Metadata("")
	}
	return t, err
}

// tellTree tells what has become of names, subscriptions and metadata, but for
// what this session itself has just done to folders of some names, or to that of
// one name, which has another one now (RFC 5465 section 5).
func (s *session) tellTree(own ...string) {
	w := s.watch
	if w == nil || len(w.others) == 0 {
		return
	}
	cur, err := s.takeSurvey(w)
	if err == nil && lacks(cur, w.known) {
		// A folder that is renamed while the directory is read may be found under
		// neither name.
		cur, err = s.takeSurvey(w)
	}
	if err != nil {
		s.report(maillog.Session{Kind: maillog.Troubled, Login: s.login, Err: err}) // the next change is another chance
		return
	}
	old := w.known
	cur.follow(old)
	w.known = cur
	for _, c := range changedNames(old, cur, s.tree.Separator()) {
		if !c.by(own, s.tree.Separator()) && w.wants(c.event, old.find(c.name), cur.find(c.name), s.tree.Separator()) {
			s.tellName(cur.find(c.name), c.was)
		}
	}
	s.tellMetadata(old, cur, own)
	opened, err := s.open(w)
	if err != nil {
		s.overflow()
		return
	}
	for _, name := range opened {
		s.tellStatus(name, w.folders[name])
	}
}

// wants decides whether an event is told of a folder that was or is meant.
func (w *watch) wants(e events, old, cur account.Folder, sep byte) bool {
	return (w.of(old, sep)|w.of(cur, sep))&e != 0
}

// A nameChange is a folder of which LIST has something new to say.
type nameChange struct {
	name  string
	event events
	cause string // the folder that has changed: this one or a child of it
	was   string // its former name, if it was renamed
}

// by reports whether a change is what was done to folders of some names.
func (c nameChange) by(own []string, sep byte) bool {
	if slices.Contains(own, c.cause) {
		return true
	}
	if len(own) != 2 {
		return false
	}
	_, from := below(c.was, own[0], sep)
	_, to := below(c.name, own[1], sep)
	return from && to
}

// changedNames finds what was created, deleted, renamed and (un)subscribed. The
// parent of a folder that comes or goes is affected too; the children of one that
// is renamed are not told of (RFC 5465 section 5.4).
func changedNames(old, cur survey, sep byte) (all []nameChange) {
	renamed := renames(old, cur)
	gone := map[string]bool{}
	for name, was := range renamed {
		gone[was] = true
		if !withParent(cur.renamed, name, was, sep) {
			all = append(all, nameChange{name, mailboxName, name, was})
		}
	}
	lone := func(name string, there map[string]account.Made) {
		if _, both := there[name]; both || renamed[name] != "" || gone[name] {
			return
		}
		all = append(all, nameChange{name, mailboxName, name, ""})
		if at := strings.LastIndexByte(name, sep); at > 0 {
			all = append(all, nameChange{name[:at], mailboxName, name, ""})
		}
	}
	for name := range old.made {
		lone(name, cur.made)
	}
	for name := range cur.made {
		lone(name, old.made)
	}
	for _, name := range changedSubscriptions(old, cur) {
		all = append(all, nameChange{name, subscriptionChange, name, ""})
	}
	return inOrder(all)
}

// renames gives the former names of folders that have another one.
func renames(old, cur survey) map[string]string {
	names := map[account.Made]string{}
	for name, made := range old.made {
		if _, stays := cur.made[name]; !stays && made != (account.Made{}) {
			names[made] = name
		}
	}
	was := map[string]string{}
	for name, made := range cur.made {
		if _, there := old.made[name]; !there && names[made] != "" {
			was[name] = names[made]
		}
	}
	return was
}

// lacks reports whether a folder is gone from a survey, and not renamed.
func lacks(cur, old survey) bool {
	made := map[account.Made]bool{}
	for _, m := range cur.made {
		made[m] = true
	}
	for name, m := range old.made {
		if _, stays := cur.made[name]; !stays && !made[m] {
			return true
		}
	}
	return false
}

// follow notes which folders have other names than in the survey before. Folders
// are renamed one after the other: a survey may find the parent renamed, and the
// next one its child.
func (t *survey) follow(old survey) {
	renamed := renames(old, *t)
	if len(renamed) == 0 {
		return
	}
	t.renamed = map[string]string{}
	maps.Copy(t.renamed, old.renamed)
	maps.Copy(t.renamed, renamed)
}

// withParent reports whether a folder has another name because a folder above it
// has.
func withParent(renamed map[string]string, name, was string, sep byte) bool {
	for at := strings.LastIndexByte(name, sep); at > 0; at = strings.LastIndexByte(name[:at], sep) {
		if above := renamed[name[:at]]; above != "" && above+name[at:] == was {
			return true
		}
	}
	return false
}

func changedSubscriptions(old, cur survey) (names []string) {
	was := map[string]bool{}
	for _, f := range old.folders {
		was[f.Name] = f.Subscribed
	}
	for _, f := range cur.folders {
		if f.Subscribed != was[f.Name] {
			names = append(names, f.Name)
		}
		delete(was, f.Name)
	}
	for name, subscribed := range was {
		if subscribed {
			names = append(names, name)
		}
	}
	return names
}

// inOrder sorts changes by name; of two with one name that say the same the
// first stays.
func inOrder(all []nameChange) []nameChange {
	slices.SortStableFunc(all, func(a, b nameChange) int { return strings.Compare(a.name, b.name) })
	return slices.CompactFunc(all, func(a, b nameChange) bool { return a.name == b.name && a.event == b.event && b.was == "" })
}

// tellName writes the LIST response of an event.
func (s *session) tellName(f account.Folder, was string) {
	var attrs []string
	if !f.Exists {
		attrs = append(attrs, `\NonExistent`)
	}
	switch {
	case f.HasChildren:
		attrs = append(attrs, `\HasChildren`)
	case f.Exists:
		attrs = append(attrs, `\HasNoChildren`)
	}
	if f.Subscribed {
		attrs = append(attrs, `\Subscribed`)
	}
	attrs = append(attrs, f.SpecialUse...)
	more := ""
	if was != "" {
		more = ` ("OLDNAME" (` + s.encodeName(was) + `))`
	}
	s.line("* LIST (" + strings.Join(attrs, " ") + ") " + s.quotedSeparator() + " " + s.encodeName(f.Name) + more)
}

// tellMetadata names entries that have changed.
func (s *session) tellMetadata(old, cur survey, own []string) {
	for _, name := range slices.Sorted(maps.Keys(cur.metadata)) {
		before, known := old.metadata[name]
		if !known || slices.Contains(own, name) {
			continue // a client knows nothing of what is new to it
		}
		if names := before.Changed(cur.metadata[name]); len(names) > 0 {
			s.line("* METADATA " + s.encodeName(name) + " " + strings.Join(names, " "))
		}
	}
}
