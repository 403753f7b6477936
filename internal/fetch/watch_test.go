package fetch

import (
	"bytes"
	"context"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"postbag/internal/status"
)

// passes counts what a watch reports.
type passes struct {
	mu   sync.Mutex
	sum  int
	seen chan struct{}
}

func watchJob(f *Fetch) *passes {
	p := &passes{seen: make(chan struct{}, 100)}
	f.Report = func(e Event) {
		if e.Kind != Passed {
			return
		}
		p.mu.Lock()
		p.sum += e.Sum.Fetched
		p.mu.Unlock()
		p.seen <- struct{}{}
	}
	return p
}

// await waits until so many letters have come.
func (p *passes) await(t *testing.T, n int) {
	t.Helper()
	if !p.come(n, 20*time.Second) {
		t.Fatalf("less than %d letters came", n)
	}
}

func (p *passes) come(n int, limit time.Duration) bool {
	late := time.After(limit)
	for {
		p.mu.Lock()
		sum := p.sum
		p.mu.Unlock()
		if sum >= n {
			return true
		}
		select {
		case <-p.seen:
		case <-late:
			return false
		}
	}
}

func TestWatchBringsWhatComesAndEndsWithItsContext(t *testing.T) {
	s := startIMAP(t, nil)
	s.append(t, "INBOX", letterText(0), nil)
	dir := filepath.Join(t.TempDir(), "Maildir")
	f := job(t, "imap", s.port, "maildir:"+dir)
	p := watchJob(f)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f.Watch(ctx) }()
	p.await(t, 1)
	// This server does not tell of a letter that comes just before IDLE begins.
	n := 1
	for came := false; !came && n < 6; n++ {
		s.append(t, "INBOX", letterText(n), nil)
		came = p.come(n+1, 2*time.Second)
	}
	stop()
	if err := <-done; err != nil {
		t.Errorf("Watch = %v", err)
	}
	sameLetters(t, letters(t, dir), want(n))
}

func TestAWatchOfSeveralFoldersHearsOfEachAtOnce(t *testing.T) {
	s := startIMAP(t, nil)
	for _, folder := range []string{"Lists", "Work"} {
		if err := s.user.Create(folder, nil); err != nil {
			t.Fatal(err)
		}
	}
	dir := filepath.Join(t.TempDir(), "Maildir")
	f := job(t, "imap", s.port, "maildir:"+dir)
	f.Folders = []string{"*"}
	p := watchJob(f)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f.Watch(ctx) }()
	// Without attendants the folders are looked at each pollTime. This server does
	// not tell of a letter that comes just before IDLE begins: one more makes it.
	n, began := 0, time.Now()
	for _, folder := range []string{"Lists", "Work", "INBOX"} {
		for came, tries := false, 0; !came; tries++ {
			if tries == 6 {
				t.Fatalf("nothing of %s comes", folder)
			}
			s.append(t, folder, letterText(n), nil)
			n++
			came = p.come(n, 2*time.Second)
		}
	}
	if took := time.Since(began); took > pollTime {
		t.Errorf("it took %v: only looking each %v brings as much", took, pollTime)
	}
	stop()
	if err := <-done; err != nil {
		t.Errorf("Watch = %v", err)
	}
}

// TestWatchConnectsAnew cuts each connection after a while.
func TestWatchConnectsAnew(t *testing.T) {
	s := startIMAP(t, nil)
	s.append(t, "INBOX", letterText(0), nil)
	dir := filepath.Join(t.TempDir(), "Maildir")
	f := job(t, "imap", s.port, "maildir:"+dir)
	var mu sync.Mutex
	var open net.Conn
	f.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, addr)
		mu.Lock()
		defer mu.Unlock()
		open = c
		return c, err
	}
	asked := 0
	f.Password = func(context.Context) (string, error) { asked++; return "secret", nil }
	p := watchJob(f)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f.Watch(ctx) }()
	p.await(t, 1)
	mu.Lock()
	open.Close()
	mu.Unlock()
	s.append(t, "INBOX", letterText(1), nil)
	p.await(t, 2)
	stop()
	if err := <-done; err != nil || asked != 2 {
		t.Errorf("Watch = %v, %d passwords", err, asked)
	}
	sameLetters(t, letters(t, dir), want(2))
}

func TestWhatEndsAWatch(t *testing.T) {
	for _, tt := range []struct {
		name    string
		code    int
		before  bool
		refused int
		want    bool
	}{
		{"a login that is refused", status.ExNoPerm, false, 1, true},
		{"not a login that is refused later", status.ExNoPerm, true, 1, false},
		{"but one that is refused again and again", status.ExNoPerm, true, maxLogins, true},
		{"a certificate that is no good", status.ExProtocol, false, 0, true},
		{"not a server that talks nonsense once", status.ExProtocol, true, 0, false},
		{"not a host that does not answer", status.ExUnavailable, false, 0, false},
		{"not one that is not known now", status.ExNoHost, false, 0, false},
		{"standard output that is closed", status.ExIOErr, true, 0, true},
		{"nothing wrong", 0, true, 0, false},
	} {
		var err error
		if tt.code != 0 {
			err = status.Exit(tt.code, "x", context.Canceled)
		}
		if got := lasting(err, tt.before, tt.refused); got != tt.want {
			t.Errorf("%s: lasting = %t, want %t", tt.name, got, tt.want)
		}
	}
}

// TestWatchIsPatient lets an hour without a server go by.
func TestWatchIsPatient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := job(t, "pop3", "1", "maildir:"+filepath.Join(t.TempDir(), "Maildir"))
		var tries []time.Time
		f.Dial = func(context.Context, string, string) (net.Conn, error) {
			tries = append(tries, time.Now())
			return nil, &net.OpError{Op: "dial", Err: context.DeadlineExceeded}
		}
		ctx, stop := context.WithTimeout(t.Context(), time.Hour)
		defer stop()
		if err := f.Watch(ctx); err != nil {
			t.Errorf("Watch = %v", err)
		}
		if len(tries) < 10 || len(tries) > 20 {
			t.Errorf("%d attempts in an hour", len(tries))
		}
		if first := tries[1].Sub(tries[0]); first > 2*firstPause {
			t.Errorf("the second attempt came after %v", first)
		}
	})
}

func TestDeleteAfter(t *testing.T) {
	for proto, start := range map[string]func() (string, func() int){
		"imap": func() (string, func() int) { return startLetters(t, "imap", 2) },
		"pop3": func() (string, func() int) { return startLetters(t, "pop3", 2) },
	} {
		port, left := start()
		f := job(t, proto, port, "maildir:"+filepath.Join(t.TempDir(), "Maildir"))
		f.DeleteAfter = 24 * time.Hour
		if sum := run1(t, f); sum.Fetched != 2 || sum.Deleted != 0 {
			t.Errorf("%s: at first: %+v", proto, sum)
		}
		f.Now = func() time.Time { return time.Now().Add(23 * time.Hour) }
		if sum := run1(t, f); sum.Deleted != 0 || left() != 2 {
			t.Errorf("%s: too early: %+v", proto, sum)
		}
		f.Now = func() time.Time { return time.Now().Add(25 * time.Hour) }
		if sum := run1(t, f); sum.Deleted != 2 || left() != 0 {
			t.Errorf("%s: in time: %+v, %d are left", proto, sum, left())
		}
	}
}

func TestParseTarget(t *testing.T) {
	for in, want := range map[string]string{
		"-": "-:", "pipe:cat >x": "pipe:cat >x", "maildir:/a/../b": "maildir:/b", "sendmail:ann": "sendmail:ann",
		"smtp://localhost:2525": "smtp:smtp://localhost:2525", "lmtp:///run/lmtp": "lmtp:lmtp:///run/lmtp",
		"lmtp://ann%40example.org@/run/lmtp": "lmtp:lmtp://ann%40example.org@/run/lmtp",
	} {
		if got, err := ParseTarget(in); err != nil || got.key() != want {
			t.Errorf("ParseTarget(%q) = %q, %v; want %q", in, got.key(), err, want)
		}
	}
	for _, bad := range []string{"", "x", "maildir:", "smtp://", "smtp:///path", "smtp://host/path", "smtp://host:0", "smtp://a:b@host", "smtp://a%40b%40c@host", "sendmail:a@@b"} {
		if got, err := ParseTarget(bad); err == nil {
			t.Errorf("ParseTarget(%q) = %v", bad, got)
		} else if status.ExitCode(err) != status.ExUsage || bytes.ContainsAny([]byte(err.Error()), "\n") {
			t.Errorf("ParseTarget(%q): %v", bad, err)
		}
	}
	if got, err := parseRelay(ToLMTP, "lmtp://ann%40example.org@/run/lmtp"); err != nil || got.hop.Socket != "/run/lmtp" || !got.hop.LMTP || got.to.String() != "ann@example.org" {
		t.Errorf("parseRelay = %+v, %v", got, err)
	}
	if got, err := parseRelay(ToSMTP, "smtp://mx"); err != nil || got.hop.Port != 25 || !strings.EqualFold(got.hop.Host, "mx") {
		t.Errorf("parseRelay = %+v, %v", got, err)
	}
}
