package queue

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"postbag/internal/address"
	"postbag/internal/resolve"
	"postbag/internal/spool"
	"postbag/internal/status"
	"postbag/internal/trust"
)

// policies is a DNS that has nothing but DMARC policies.
type policies map[string]string

func (p policies) TXT(_ context.Context, name string) ([]string, error) {
	if text, ok := p[name]; ok {
		return []string{text}, nil
	}
	return nil, nil
}
func (policies) Exchangers(context.Context, string) ([]resolve.MX, error)  { return nil, nil }
func (policies) Addrs(context.Context, string) ([]netip.Addr, bool, error) { return nil, false, nil }
func (policies) Names(context.Context, netip.Addr) ([]string, error)       { return nil, nil }

func TestAScreenDoesWhatThePolicySays(t *testing.T) {
	dns := policies{"_dmarc.reject.example": "v=DMARC1; p=reject", "_dmarc.junk.example": "v=DMARC1; p=quarantine"}
	large := strings.Repeat(strings.Repeat("x", 70)+"\n", 3000)
	for _, tt := range []struct {
		name, author, body string
		to                 []string
		enforce            bool
		inbox, junk        int // letters of ann
		code               string
	}{
		{"verify takes all", "reject.example", "x\n", []string{"ann"}, false, 1, 0, ""},
		{"enforce refuses", "reject.example", "x\n", []string{"ann"}, true, 0, 0, "5.7.1"},
		{"a large one, too", "reject.example", large, []string{"ann"}, true, 0, 0, "5.7.1"},
		{"or puts it aside", "junk.example", "x\n", []string{"ann"}, true, 0, 1, ""},
		{"also on the way through the queue", "junk.example", "x\n", []string{"ann", "bob"}, true, 0, 1, ""},
		{"what has no policy is taken", "free.example", "x\n", []string{"ann"}, true, 1, 0, ""},
		{"whole, when it is large", "free.example", large, []string{"ann", "bob"}, true, 1, 0, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			s := &Screen{Intake: w.intake, Judge: &trust.Judge{DNS: dns, Hostname: "here.example"}, Enforce: tt.enforce}
			env := &spool.Envelope{From: addr("eve@free.example"), ClientIP: "192.0.2.1", HELO: "c", Proto: "ESMTP", UID: -1, Arrived: w.now}
			for _, name := range tt.to {
				env.To = append(env.To, spool.Recipient{Address: address.Address{Local: name, Domain: "here.example"}})
			}
			tx, err := s.Begin(t.Context(), env)
			if err != nil || env.ID == "" {
				t.Fatalf("Begin: %v, ID %q", err, env.ID)
			}
			head := "Received: by here.example\nAuthentication-Results: here.example; dmarc=pass\nFrom: Eve <eve@" + tt.author + ">\n\n"
			for _, part := range []string{head, tt.body} {
				if _, err := tx.Write([]byte(part)); err != nil {
					t.Fatal(err)
				}
			}
			_, err = tx.Commit(t.Context())
			if (err == nil) != (tt.code == "") {
				t.Fatalf("Commit: %v", err)
			}
			if tt.code != "" {
				if reply, code, text := status.Reply(err); reply != 550 || code != tt.code || !strings.Contains(text, "reject.example") {
					t.Errorf("refused with %d %s %s", reply, code, text)
				}
			}
			w.once()
			inbox, junk := w.box("ann"), lettersIn(t, filepath.Join(w.dir, "ann", ".Junk", "new"))
			if len(inbox) != tt.inbox || len(junk) != tt.junk || len(w.queued()) != 0 {
				t.Fatalf("%d letters in the inbox, %d in .Junk, %d queued", len(inbox), len(junk), len(w.queued()))
			}
			for _, text := range append(inbox, junk...) {
				_, text, _ = strings.Cut(text, "Delivered-To: ann@here.example\n")
				want := strings.Replace(head, "Authentication-Results: here.example; dmarc=pass\n", "", 1) + tt.body
				if !strings.HasPrefix(text, "Authentication-Results: here.example; spf=none") || !strings.HasSuffix(text, want) || strings.Contains(text, "dmarc=pass") {
					t.Errorf("arrived as %.400q", text)
				}
			}
			if left, _ := os.ReadDir(w.spool.Path("queue", "tmp")); len(left) != 0 {
				t.Errorf("left in tmp/: %v", left)
			}
		})
	}
}

func lettersIn(t *testing.T, dir string) (all []string) {
	t.Helper()
	files, _ := os.ReadDir(dir)
	for _, f := range files {
		text, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(text))
	}
	if len(all) > 0 {
		if _, err := os.Stat(filepath.Join(dir, "..", "maildirfolder")); err != nil {
			t.Error(err)
		}
	}
	return all
}
