package queue

import (
	"slices"
	"strings"
	"testing"

	"postbag/internal/spool"
)

// RFC 3461 sections 5.2.2, 5.2.3 and 5.2.7, RFC 3464 section 2.3.3.
func TestWhatIsToldOfSuccess(t *testing.T) {
	for name, c := range map[string]struct {
		to     string
		action string // "": nothing is told
	}{
		"a Maildir":                   {"bob@here.example", "delivered"},
		"a host that does not report": {"eve@far.example", "relayed"},
		"a host that does":            {"reporting@far.example", ""},
		"LMTP":                        {"mda@here.example", "delivered"},
		"an alias of several, one of whom does report": {"pair@here.example", "expanded"},
		"an alias of Maildirs":                         {"team@here.example", "expanded"},
		"a list, though members fail and report":       {"list@here.example", "delivered"},
	} {
		w := newWorld(t)
		w.take(&spool.Envelope{From: addr("ann@here.example"), UID: -1, Arrived: w.now, EnvID: "id", To: []spool.Recipient{{Address: addr(c.to), Notify: "SUCCESS"}}})
		w.once()
		w.once()
		reports := slices.DeleteFunc(w.box("ann"), func(text string) bool { return !strings.Contains(text, "\nReporting-MTA: ") })
		switch {
		case c.action == "" && len(reports) == 0:
		case len(reports) != 1 || !strings.Contains(reports[0], "Final-Recipient: rfc822; "+c.to+"\nAction: "+c.action+"\nStatus: 2.0.0\n"):
			t.Errorf("%s: %d reports, want %q:\n%s", name, len(reports), c.action, strings.Join(reports, "\n"))
		case strings.Contains(reports[0], "@far.example") && !strings.Contains(c.to, "@far.example"):
			t.Errorf("%s: the report tells where it leads:\n%s", name, reports[0])
		}
	}
}

// RFC 3461 section 5.2.7.3: of an alias of several addresses we tell of success, and
// those behind it do not; of a list nobody but its owner hears.
func TestWhatHostsBehindAnAliasAreAskedToReport(t *testing.T) {
	for notify, want := range map[string]string{"": "", "NEVER": "NEVER", "SUCCESS": "NEVER", "SUCCESS,DELAY": "DELAY", "FAILURE,SUCCESS": "FAILURE", "DELAY": "DELAY"} {
		w := newWorld(t)
		w.take(&spool.Envelope{From: addr("ann@here.example"), UID: -1, Arrived: w.now, EnvID: "id.", To: []spool.Recipient{
			{Address: addr("pair@here.example"), Notify: notify}, {Address: addr("list@here.example"), Notify: notify},
		}})
		w.once()
		orig := ""
		if notify != "" {
			orig = "rfc822;pair@here.example"
		}
		for _, line := range []string{
			"eve@far.example <ann@here.example> id." + want + orig, "reporting@near.example <ann@here.example> id." + want + orig,
			"yes@far.example <bob@here.example> ", "reporting@far.example <bob@here.example> ",
		} {
			if !slices.Contains(w.remote.from, line) {
				t.Errorf("NOTIFY=%s: no %q in %q", notify, line, w.remote.from)
			}
		}
	}
}
