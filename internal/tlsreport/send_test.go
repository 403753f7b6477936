package tlsreport

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"postbag/internal/address"
	"postbag/internal/durable"
	"postbag/internal/status"
)

// A world is a host that reports, and those that it reports to.
type world struct {
	*Reporter
	txt map[string]string

	mu    sync.Mutex
	sent  []string    // to whom
	at    []time.Time // and when
	fails error       // of Submit
}

func newWorld(t testing.TB, txt map[string]string) *world {
	w := &world{txt: txt}
	w.Reporter = &Reporter{
		Recorder: &Recorder{FS: durable.New(), Dir: filepath.Join(t.TempDir(), "tlsrpt")},
		Resolver: w, Hostname: "mx.x.example", From: address.Address{Local: "tls", Domain: "x.example"}, Submit: w.submit,
	}
	return w
}

func (w *world) TXT(_ context.Context, name string) ([]string, error) {
	text, ok := w.txt[name]
	switch {
	case !ok:
		return nil, status.Perm("look up "+name, "5.1.2", "no such domain", errors.New("nxdomain"))
	case text == "servfail":
		return nil, status.Temp("look up "+name, "4.4.3", "DNS look-up failed", errors.New("servfail"))
	}
	return []string{text}, nil
}

func (w *world) submit(_ context.Context, from, to address.Address, letter []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.at = append(w.at, time.Now()); w.fails != nil {
		return w.fails
	}
	if !strings.Contains(string(letter), "\nTo: <"+to.String()+">\n") || from != w.From {
		return errors.New("not the letter")
	}
	w.sent = append(w.sent, to.String())
	return nil
}

func (w *world) note(domains ...string) {
	for _, d := range domains {
		w.Note(Session{Domain: d, Policy: none(d)})
	}
}

// running runs the reporter for a time, which passes at once.
func (w *world) running(t *testing.T, d time.Duration) {
	ctx, cancel := context.WithCancel(t.Context())
	var run sync.WaitGroup
	run.Go(func() { w.Run(ctx) })
	time.Sleep(d)
	synctest.Wait()
	cancel()
	run.Wait()
}

// In synctest it is midnight of January 1, 2000, UTC.
func TestADayIsReportedAfterMidnight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, map[string]string{"_smtp._tls.a.example": "v=TLSRPTv1; rua=mailto:tls%2Brpt@a.example?subject=x"})
		begin := time.Now()
		time.Sleep(12 * time.Hour)
		w.note("a.example", "silent.example")
		w.running(t, 24*time.Hour)
		if len(w.sent) != 1 || w.sent[0] != "tls+rpt@a.example" {
			t.Fatalf("sent to %q", w.sent)
		}
		if after := w.at[0].Sub(begin) - 24*time.Hour; after < 0 || after > spread+saveEvery {
			t.Errorf("%v after midnight", after)
		}
		if left, _ := os.ReadDir(w.Dir); len(left) != 0 {
			t.Errorf("left: %v", left)
		}
		w.running(t, 48*time.Hour)
		if len(w.sent) != 1 {
			t.Errorf("sent to %q: a day without sessions was reported", w.sent)
		}
	})
}

func TestWhatWasCountedOutlivesTheProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, map[string]string{"_smtp._tls.a.example": "v=TLSRPTv1; rua=mailto:tls@a.example"})
		w.note("a.example")
		w.running(t, time.Hour)
		w.Recorder = &Recorder{FS: w.FS, Dir: w.Dir}
		time.Sleep(40 * time.Hour)
		w.running(t, time.Minute)
		if len(w.sent) != 1 {
			t.Errorf("sent to %q", w.sent)
		}
	})
}

func TestAReportThatCannotBeSentIsTriedForADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, map[string]string{"_smtp._tls.a.example": "v=TLSRPTv1; rua=mailto:tls@a.example", "_smtp._tls.sick.example": "servfail"})
		w.fails = errors.New("disk full")
		w.note("a.example", "sick.example")
		w.running(t, 60*time.Hour)
		if n := len(w.at); n < 20 || n > 30 {
			t.Errorf("%d attempts", n)
		}
		if left, _ := os.ReadDir(w.Dir); len(left) != 0 {
			t.Errorf("left: %v", left)
		}
	})
}

func TestOneThatFailsIsTriedAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, map[string]string{"_smtp._tls.a.example": "v=TLSRPTv1; rua=mailto:tls@a.example", "_smtp._tls.sick.example": "servfail"})
		w.note("a.example", "sick.example")
		time.Sleep(30 * time.Hour)
		w.running(t, 3*time.Hour)
		w.txt["_smtp._tls.sick.example"] = "v=TLSRPTv1; rua=mailto:tls@sick.example"
		w.running(t, 3*time.Hour)
		if got := strings.Join(w.sent, " "); got != "tls@a.example tls@sick.example" {
			t.Errorf("sent to %s", got)
		}
	})
}

func TestReportsOfManyHostsAreSpreadOverHours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, map[string]string{"_smtp._tls.a.example": "v=TLSRPTv1; rua=mailto:tls@a.example"})
		w.note("a.example")
		time.Sleep(27*time.Hour - time.Second)
		if err := w.Save(); err != nil {
			t.Fatal(err)
		}
		if w.sendAll(t.Context(), 3*time.Hour); len(w.sent) != 0 {
			t.Error("sent before its time")
		}
		time.Sleep(time.Second)
		if w.sendAll(t.Context(), 3*time.Hour); len(w.sent) != 1 {
			t.Error("not sent at its time")
		}
	})
}

func TestAReportGoesByHTTPS(t *testing.T) {
	var got []string
	answer := http.StatusInternalServerError
	s := httptest.NewTLSServer(http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		packed, _ := io.ReadAll(req.Body)
		got = append(got, req.Method+" "+req.Header.Get("Content-Type")+" "+unpack(t, packed)["organization-name"].(string))
		rw.WriteHeader(answer)
	}))
	defer s.Close()
	w := newWorld(t, map[string]string{"_smtp._tls.a.example": "v=TLSRPTv1; rua=mailto:tls@a.example," + s.URL + "/v1,ftp://x,mailto:nobody"})
	w.Client = s.Client()
	yesterday := time.Now().Add(-24 * time.Hour)
	w.Now = func() time.Time { return yesterday }
	w.note("a.example")
	if err := w.Save(); err != nil {
		t.Fatal(err)
	}
	w.Now = nil
	if !w.sendAll(t.Context(), 0) {
		t.Error("nothing is left of one that was refused")
	}
	answer = http.StatusNoContent
	if w.sendAll(t.Context(), 0) {
		t.Error("something is left")
	}
	const want = "POST application/tlsrpt+gzip mx.x.example"
	if len(got) != 2 || got[1] != want || len(w.sent) != 1 {
		t.Errorf("posted %q, mailed to %q", got, w.sent)
	}
}

func TestReportsArePostedToPublicHostsOnly(t *testing.T) {
	for addr, ok := range map[string]bool{
		"192.0.2.1:443": true, "[2001:db8::1]:443": true,
		"127.0.0.1:443": false, "10.1.2.3:443": false, "[::1]:443": false, "[fe80::1]:443": false, "[fd00::1]:443": false, "[::ffff:127.0.0.1]:443": false, "169.254.169.254:80": false,
	} {
		if err := public("tcp", addr, nil); (err == nil) != ok {
			t.Errorf("public(%s) = %v", addr, err)
		}
	}
}
