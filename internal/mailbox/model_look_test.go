package mailbox

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// old reads letters as a session saw them last: what others have expunged since
// can still be read, unless a foreign program has removed it.
func (m *model) old(i int, o order) {
	for _, l := range m.order(i, o, "old").Letters {
		text := m.told[o.Folder][told{m.validity(o.Folder), l.UID}]
		if l.Gone && !m.taken[text] || !l.Gone && text != "" && l.Text != text {
			m.t.Fatalf("letter %d of an old version was %q, is %q, gone %t", l.UID, text, l.Text, l.Gone)
		}
	}
}

// validity is the UIDVALIDITY of a folder, which never changes here.
func (m *model) validity(d int) uint32 {
	for key := range m.told[d] {
		return key.validity
	}
	return 0
}

// look compares what a session sees with the worlds, and takes those away that it
// is not. What is seen may lag a little: events are on their way, a scan that was
// disturbed leaves absences for the next one, and a letter of an unpaid batch is
// not missed.
func (m *model) look(i int, o order) report {
	m.t.Helper()
	for end := time.Now().Add(time.Minute); ; {
		o.Since = m.last[o.Folder].modseq
		r := m.order(i, o, "look")
		m.never(o.Folder, r)
		problem, fit := "", []world(nil)
		for _, w := range m.worlds {
			if p := w.compare(o.Folder, r); p == "" {
				fit = append(fit, w)
			} else {
				problem = p
			}
		}
		if len(fit) > 0 {
			m.worlds = fit
			m.follows(o.Folder, r)
			return r
		}
		if time.Now().After(end) {
			m.t.Fatal(problem)
		}
		m.agents[i].do(order{Op: "pay", Session: o.Session, Folder: o.Folder})
		time.Sleep(time.Millisecond)
	}
}

// never objects to what can never be right, however old a version is.
func (m *model) never(d int, r report) {
	m.t.Helper()
	if was := m.validity(d); was != 0 && r.Validity != was {
		m.t.Fatalf("UIDVALIDITY of folder %d was %d, is %d", d, was, r.Validity)
	}
	last := uint32(0)
	for _, l := range r.Letters {
		if l.UID <= last || l.UID >= r.UIDNext || l.ModSeq > r.ModSeq {
			m.t.Fatalf("letter %d after %d, UIDNEXT %d, modseq %d of %d", l.UID, last, r.UIDNext, l.ModSeq, r.ModSeq)
		}
		last = l.UID
		if !l.Gone {
			m.tell(d, told{r.Validity, l.UID}, l.Text)
		}
	}
	if r.ModSeq < m.last[d].modseq {
		m.t.Fatalf("HIGHESTMODSEQ fell from %d to %d", m.last[d].modseq, r.ModSeq)
	}
}

// follows objects to changes since the last look that a client with QRESYNC would
// not hear of (RFC 7162 section 3.2.5).
func (m *model) follows(d int, r report) {
	m.t.Helper()
	before, now := m.last[d], look{r.ModSeq, map[uint32]seenLetter{}}
	for _, l := range r.Letters {
		now.letters[l.UID] = l
		old, known := before.letters[l.UID]
		same := known && old.Flags == l.Flags && slices.Equal(old.Keywords, l.Keywords)
		if !same && l.ModSeq <= before.modseq {
			m.t.Fatalf("letter %d has changed since modseq %d, and still has %d", l.UID, before.modseq, l.ModSeq)
		}
	}
	for uid := range before.letters {
		_, there := now.letters[uid]
		vanished := slices.ContainsFunc(r.Vanished, func(v Range) bool { return v.First <= uid && uid <= v.Last })
		if there == vanished {
			m.t.Fatalf("letter %d is there: %t, has vanished since modseq %d: %t", uid, there, before.modseq, vanished)
		}
	}
	m.last[d] = now
}

// compare says how what is seen of a folder differs from a world.
func (w world) compare(d int, r report) string {
	seen := map[string]int{}
	for _, l := range r.Letters {
		want, there := w[d][l.Text]
		switch {
		case l.Gone || !there:
			return fmt.Sprintf("folder %d shows letter %d %q, which is not there", d, l.UID, l.Text)
		case !want.blurred && (l.Flags != want.flags || strings.Join(l.Keywords, ",") != want.keywords):
			return fmt.Sprintf("folder %d: letter %d %q has %s %q, want %s %s", d, l.UID, l.Text, l.Flags, l.Keywords, want.flags, want.keywords)
		}
		seen[l.Text]++
	}
	for text, l := range w[d] {
		if seen[text] != l.copies {
			return fmt.Sprintf("folder %d shows %q %d times, want %d", d, text, seen[text], l.copies)
		}
	}
	return ""
}
