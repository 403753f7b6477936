package mailbox

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"postbag/internal/maildir"
)

// foreign has another program do something with one file, whatever our sessions
// have open. What they owe is paid before, so that it is known which letters are
// there and what their flags are.
func (m *model) foreign(i int, o order) {
	d := o.Folder
	m.order(i, o, "pay")
	m.look(i, o)
	at := m.victim(d)
	if at == "" {
		return
	}
	text := m.textOf(d, at)
	switch m.rnd.IntN(6) {
	case 0:
		m.note("rm %d/%s", d, at)
		m.must(os.Remove(m.path(d, at)))
		m.all(func(w world) { w.remove(d, text) })
		m.taken[text] = true
	case 1:
		m.copyFile(d, at, text)
	case 2:
		m.moveFile(d, at, text)
	case 3:
		m.fieldInName(d, at)
	case 4:
		m.forget(d)
	default:
		m.flagFile(d, at, text)
	}
}

func (m *model) path(d int, at string) string { return filepath.Join(m.root, modelFolders[d], at) }

// all changes every world.
func (m *model) all(step func(world)) {
	for _, w := range m.worlds {
		step(w)
	}
}

func (m *model) files(d int) (all []string) {
	for _, sub := range subdirs {
		files, err := os.ReadDir(m.path(d, sub))
		m.must(err)
		for _, f := range files {
			all = append(all, sub+"/"+f.Name())
		}
	}
	return all
}

func (m *model) victim(d int) string {
	files := m.files(d)
	if len(files) == 0 {
		return ""
	}
	return files[m.rnd.IntN(len(files))]
}

// textOf reads a letter as another program would, and gives it as IMAP does.
func (m *model) textOf(d int, at string) string {
	b, err := os.ReadFile(m.path(d, at))
	m.must(err)
	return strings.ReplaceAll(string(b), "\n", "\r\n")
}

func (m *model) newName() string { return maildir.Unique(time.Now(), "elsewhere") }

// deliver is what every delivery agent does.
func (m *model) deliver(d int) {
	text := m.text()
	name := m.newName()
	m.note("deliver %d/%s", d, name)
	m.write(d, "tmp/"+name, text)
	m.must(os.Rename(m.path(d, "tmp/"+name), m.path(d, "new/"+name)))
	m.all(func(w world) { w.add(d, text, modelLetter{}) })
}

func (m *model) write(d int, at, text string) {
	m.must(os.WriteFile(m.path(d, at), []byte(strings.ReplaceAll(text, "\r\n", "\n")), 0o600))
}

// copyFile is cp into new/: another letter, without flags.
func (m *model) copyFile(d int, at, text string) {
	name := m.newName()
	m.note("cp %d/%s new/%s", d, at, name)
	m.write(d, "new/"+name, text)
	m.all(func(w world) { w.add(d, text, modelLetter{}) })
}

// flagFile is what mutt does with flags: whatever it was shown before, the name
// has what it says now, and the letter is in cur/.
func (m *model) flagFile(d int, at, text string) {
	flags := Flags(m.rnd.IntN(64))
	to := withFlags(at, flags, system)
	m.note("flags %d/%s to %s", d, at, to)
	m.must(os.Rename(m.path(d, at), m.path(d, to)))
	m.all(func(w world) {
		l := w[d][text]
		l.flags, l.blurred = flags, l.blurred || l.copies > 1
		w[d][text] = l
	})
}

// moveFile is mv into the other folder, as mutt and sieve do: it keeps its flags
// and loses its keywords.
func (m *model) moveFile(d int, at, text string) {
	e := entryAt(at)
	name := m.newName() + ":2," + e.flags.String()
	m.note("mv %d/%s to %s", d, at, name)
	m.must(os.Rename(m.path(d, at), m.path(1-d, "cur/"+name)))
	m.taken[text] = true
	m.all(func(w world) {
		w.remove(d, text)
		w.add(1-d, text, modelLetter{flags: e.flags})
	})
}

// fieldInName is what mbsync does: a number of its own behind the base name. The
// letter stays the same.
func (m *model) fieldInName(d int, at string) {
	n := maildir.ParseName(at)
	if strings.Contains(n.Base, ",U=") {
		return
	}
	n.Base += ",U=7"
	m.note("mv %d/%s %s", d, at, n)
	m.must(os.Rename(m.path(d, at), m.path(d, n.String())))
}

// forget removes what can be deleted at any time.
func (m *model) forget(d int) {
	m.note("rm %d/postbag.snap postbag.cache", d)
	for _, name := range []string{snapName, cacheName} {
		if err := os.Remove(m.path(d, name)); !errors.Is(err, fs.ErrNotExist) {
			m.must(err)
		}
	}
}
