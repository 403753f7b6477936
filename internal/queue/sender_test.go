package queue

import (
	"slices"
	"strings"
	"testing"
	"time"

	"postbag/internal/address"
	"postbag/internal/spool"
)

// What a list sends comes from its owner, who hears of what fails.
func TestAListSendsInTheNameOfItsOwner(t *testing.T) {
	w := newWorld(t)
	w.take(&spool.Envelope{From: addr("x@far.example"), Proto: "ESMTP", UID: -1, EnvID: "id",
		To: []spool.Recipient{{Address: addr("list@here.example"), Notify: "NEVER", Orig: "rfc822;list@here.example"}}})
	w.once()
	slices.Sort(w.remote.from)
	want := []string{"no@far.example <bob@here.example> ", "reporting@far.example <bob@here.example> ", "yes@far.example <bob@here.example> "}
	if !slices.Equal(w.remote.from, want) {
		t.Errorf("sent %q, want %q", w.remote.from, want)
	}
	if got := w.box("ann"); len(got) != 1 || !strings.HasPrefix(got[0], "Return-Path: <bob@here.example>\n") {
		t.Errorf("a member of this host got %q", got)
	}
	w.once() // the report
	got := w.box("bob")
	if len(got) != 1 || !strings.Contains(got[0], "Final-Recipient: rfc822; no@far.example\n") || strings.Contains(got[0], "yes@far.example") {
		t.Errorf("the owner was told %q", got)
	}
	if len(w.remote.from) != len(want) || len(w.queued()) != 0 {
		t.Errorf("the sender was told, too: %q, %d left", w.remote.from, len(w.queued()))
	}
}

func TestTheReversePathOfWhatIsSentOn(t *testing.T) {
	for name, tt := range map[string]struct{ from, to, want string }{
		"sent on by an alias": {"x@far.example", "away@here.example", "x@far.example <ours@here.example> "},
		"a bounce, too":       {"", "away@here.example", "x@far.example <> "},
		"sent there at once":  {"x@far.example", "x@far.example", "x@far.example <x@far.example> "},
	} {
		w := newWorld(t)
		w.runner.Forward = func(_ address.Address, domain string) address.Address {
			return address.Address{Local: "ours", Domain: domain}
		}
		w.send(tt.from, tt.to)
		w.once()
		if !slices.Equal(w.remote.from, []string{tt.want}) {
			t.Errorf("%s: %q, want %q", name, w.remote.from, tt.want)
		}
	}
}

// Each owner hears of the members of the own list, though one address leads
// through several of them; of what is no list's the sender hears.
func TestEachOwnerOfNestedListsIsTold(t *testing.T) {
	for to, later := range map[string]time.Duration{"nested": 0, "nested-wait": 6 * 24 * time.Hour} {
		w := newWorld(t)
		w.send("postmaster@here.example", to+"@here.example")
		for range 3 { // the letter; again when its time is up; the reports
			w.once()
			w.now = w.now.Add(later)
		}
		who := map[bool]string{true: "no", false: "wait"}[later == 0]
		for box, final := range map[string]string{"bob": who + "@far.example", "ann": who + "@inner.example", "postmaster": to + "@here.example"} {
			got := w.box(box)
			if len(got) != 1 || !strings.Contains(got[0], "Final-Recipient: rfc822; "+final+"\n") || strings.Count(got[0], "Final-Recipient") != 1 {
				t.Errorf("%s: %s was told %q, want of %s", to, box, got, final)
			}
		}
		if got := strings.Join(w.box("postmaster"), ""); !strings.Contains(got, "mx.own.example") || strings.Contains(got, "mx.far.example") {
			t.Errorf("%s: the sender hears of members: %s", to, got)
		}
		if n := len(w.queued()); n != 0 {
			t.Errorf("%s: %d left in the queue", to, n)
		}
	}
}
