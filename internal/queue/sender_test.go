package queue

import (
	"slices"
	"strings"
	"testing"

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
	want := []string{"no@far.example <bob@here.example> ", "yes@far.example <bob@here.example> "}
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
	if len(w.remote.from) != 2 || len(w.queued()) != 0 {
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
