package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"postbag/internal/address"
	"postbag/internal/deliver"
	"postbag/internal/durable"
	"postbag/internal/recipient"
	"postbag/internal/route"
	"postbag/internal/spool"
	"postbag/internal/status"
)

// fakeResolver knows ann (a Maildir), team (ann and bob), and everything that is
// not at here.example is remote.
type fakeResolver struct{ dir string }

func (f fakeResolver) Resolve(_ context.Context, _, a address.Address) ([]recipient.Destination, error) {
	box := func(name string) recipient.Destination {
		dir := filepath.Join(f.dir, name)
		return recipient.Destination{Name: "maildir:" + dir, Dir: dir, UID: -1, Address: address.Address{Local: name, Domain: "here.example"}}
	}
	if a.Domain != "here.example" && a.Domain != "" {
		r, _ := route.ParseURL("mx:")
		return []recipient.Destination{{Name: "remote:" + a.String(), Address: a, Route: r, UID: -1}}, nil
	}
	switch a.Local {
	case "ann", "bob", "postmaster":
		return []recipient.Destination{box(a.Local)}, nil
	case "team":
		return []recipient.Destination{box("ann"), box("bob")}, nil
	case "list":
		all := []recipient.Destination{box("ann")}
		for _, member := range []string{"no@far.example", "yes@far.example", "reporting@far.example"} {
			r, _ := route.ParseURL("mx:")
			all = append(all, recipient.Destination{Name: "remote:" + member, Address: addr(member), Route: r, UID: -1})
		}
		for i := range all {
			all[i].Sender = addr("bob@here.example")
		}
		return all, nil
	case "nested", "nested-wait":
		who, ok := strings.CutPrefix(a.Local, "nested-")
		if !ok {
			who = "no"
		}
		var all []recipient.Destination
		for domain, owner := range map[string]string{"far.example": "bob@here.example", "inner.example": "ann@here.example", "own.example": ""} {
			r, _ := route.ParseURL("mx:")
			all = append(all, recipient.Destination{Name: "remote:" + who + "@" + domain, Address: addr(who + "@" + domain), Route: r, UID: -1, Sender: addr(owner)})
		}
		return all, nil
	case "pair", "mda":
		url, all := map[string]string{"pair": "mx:", "mda": "lmtp://127.0.0.1:24"}[a.Local], []recipient.Destination{}
		for _, to := range map[string][]string{"pair": {"eve@far.example", "reporting@near.example"}, "mda": {"x@far.example"}}[a.Local] {
			r, _ := route.ParseURL(url)
			all = append(all, recipient.Destination{Name: "remote:" + to, Address: addr(to), Route: r, UID: -1})
		}
		return all, nil
	case "away":
		r, _ := route.ParseURL("mx:")
		return []recipient.Destination{{Name: "remote:x@far.example", Address: addr("x@far.example"), Route: r, UID: -1, Forwarded: "here.example"}}, nil
	case "later":
		return nil, status.Temp("resolve", "4.3.0", "aliases cannot be read", errors.New("broken"))
	}
	return nil, status.Perm("resolve", "5.1.1", "no such user here", errors.New("unknown"))
}

// fakeRemote answers by the local part.
type fakeRemote struct {
	mu    sync.Mutex
	sent  []string
	from  []string // reverse-paths and parameters
	mails []deliver.Mail
	hang  chan struct{}
}

func (f *fakeRemote) Key(d recipient.Destination) string {
	if d.Route.Kind == route.LMTP {
		return d.Route.String()
	}
	return d.Address.Domain
}

func (f *fakeRemote) Send(ctx context.Context, d recipient.Destination, m deliver.Mail, to []spool.Recipient) []deliver.Outcome {
	if f.hang != nil {
		<-f.hang
	}
	body, err := m.Open()
	if err != nil {
		return []deliver.Outcome{{Err: err}}
	}
	text, _ := io.ReadAll(body)
	body.Close()
	f.mu.Lock()
	f.mails = append(f.mails, m)
	f.mu.Unlock()
	var all []deliver.Outcome
	for _, r := range to {
		f.mu.Lock()
		f.from = append(f.from, fmt.Sprintf("%s <%s> %s%s%s", r.Address, m.From, m.EnvID, r.Notify, r.Orig))
		f.mu.Unlock()
		o := deliver.Outcome{Host: "mx." + r.Address.Domain, Reply: "250 ok", Timely: r.Address.Local == "timely", Reports: r.Address.Local == "reporting"}
		switch r.Address.Local {
		case "no":
			o.Err, o.Reply = status.Perm("send", "5.1.1", "550 5.1.1 who", nil), "550 5.1.1 who"
		case "wait":
			o.Err, o.Reply = status.Temp("send", "4.2.0", "450 4.2.0 later", nil), "450 4.2.0 later"
		default:
			f.mu.Lock()
			f.sent = append(f.sent, r.Address.String()+" "+string(text))
			f.mu.Unlock()
		}
		all = append(all, o)
	}
	return all
}

type world struct {
	t      *testing.T
	dir    string
	spool  *spool.Spool
	runner *Runner
	remote *fakeRemote
	intake *Intake
	now    time.Time
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), remote: &fakeRemote{}, now: time.Now()}
	fs := durable.New()
	var err error
	if w.spool, err = spool.Open(fs, filepath.Join(w.dir, "spool"), spool.Options{Now: func() time.Time { return w.now }}); err != nil {
		t.Fatal(err)
	}
	local := &deliver.Local{FS: fs, Hostname: "here.example"}
	resolver := fakeResolver{w.dir}
	w.runner = &Runner{Spool: w.spool, Resolver: resolver, Local: local, Remote: w.remote, Hostname: "here.example", Now: func() time.Time { return w.now }}
	w.intake = &Intake{Spool: w.spool, Resolver: resolver, Local: local}
	return w
}

func addr(s string) address.Address {
	a, err := address.ParseUnqualified(s)
	if err != nil {
		return address.Address{}
	}
	return a
}

// send takes a letter in.
func (w *world) send(from string, to ...string) spool.ID {
	w.t.Helper()
	env := &spool.Envelope{From: addr(from), Proto: "ESMTP", UID: -1, Arrived: w.now}
	for _, a := range to {
		env.To = append(env.To, spool.Recipient{Address: addr(a)})
	}
	return w.take(env)
}

func (w *world) take(env *spool.Envelope) spool.ID {
	w.t.Helper()
	tx, err := w.intake.Begin(w.t.Context(), env)
	if err == nil {
		_, err = tx.Write([]byte("Subject: x\n\ntext\n"))
	}
	if err == nil {
		_, err = tx.Commit(w.t.Context())
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return env.ID
}

func (w *world) once(ids ...spool.ID) {
	w.t.Helper()
	if err := w.runner.Once(w.t.Context(), ids...); err != nil {
		w.t.Fatal(err)
	}
}

// box gives the letters of a mailbox.
func (w *world) box(name string) []string {
	files, _ := filepath.Glob(filepath.Join(w.dir, name, "new", "*"))
	var all []string
	for _, f := range files {
		b, _ := os.ReadFile(f)
		all = append(all, string(b))
	}
	return all
}

func (w *world) queued() []*spool.Entry {
	var all []*spool.Entry
	for e, err := range w.spool.List(w.t.Context()) {
		if err != nil {
			w.t.Fatal(err)
		}
		all = append(all, e)
	}
	return all
}

func TestOneLocalRecipientGoesStraightIntoTheMaildir(t *testing.T) {
	w := newWorld(t)
	w.send("x@far.example", "ann@here.example")
	if got := w.box("ann"); len(got) != 1 || len(w.queued()) != 0 || !strings.HasPrefix(got[0], "Return-Path: <x@far.example>\nDelivered-To: ann@here.example\n") {
		t.Errorf("%q, %d queued", got, len(w.queued()))
	}
}

func TestSeveralAreQueuedAndGetOneCopyEach(t *testing.T) {
	w := newWorld(t)
	w.send("x@far.example", "team@here.example", "ann@here.example", "eve@far.example")
	if len(w.queued()) != 1 || len(w.box("ann")) != 0 {
		t.Fatalf("%d queued before the attempt", len(w.queued()))
	}
	w.once()
	if len(w.box("ann")) != 1 || len(w.box("bob")) != 1 || len(w.remote.sent) != 1 || len(w.queued()) != 0 {
		t.Errorf("bob %d, sent %v, %d queued", len(w.box("bob")), w.remote.sent, len(w.queued()))
	}
}

func TestWhatFailsForNowStaysAndIsTriedLater(t *testing.T) {
	w := newWorld(t)
	w.send("ann@here.example", "wait@far.example", "later@here.example", "eve@far.example")
	w.once()
	q := w.queued()
	if len(q) != 1 || len(w.remote.sent) != 1 || !q[0].Progress.Next.After(w.now) || q[0].Progress.Attempts != 1 {
		t.Fatalf("%d queued, sent %v", len(q), w.remote.sent)
	}
	if last := q[0].Progress.Rcpts[0].Last; last == nil || last.Kind != spool.Deferred || last.Reply != "450 4.2.0 later" || last.Host != "mx.far.example" {
		t.Errorf("%+v", last)
	}
	w.once()
	if len(w.remote.sent) != 1 {
		t.Errorf("eve got it %d times", len(w.remote.sent))
	}
}

func TestFailuresAreReportedOnceToTheSender(t *testing.T) {
	w := newWorld(t)
	w.send("ann@here.example", "no@far.example", "nobody@here.example", "eve@far.example")
	w.once()
	got := w.box("ann")
	if len(got) != 1 || len(w.queued()) != 0 {
		t.Fatalf("%d reports, %d queued", len(got), len(w.queued()))
	}
	for _, want := range []string{"Return-Path: <>", "Final-Recipient: rfc822; no@far.example", "Final-Recipient: rfc822; nobody@here.example", "Status: 5.1.1", "550 5.1.1 who", "Remote-MTA: dns; mx.far.example"} {
		if !strings.Contains(got[0], want) {
			t.Errorf("the report has no %q:\n%s", want, got[0])
		}
	}
	if strings.Contains(got[0], "eve@far.example") {
		t.Error("the report names one who got the letter")
	}
}

// RFC 8689 section 5: a report on a letter that requires TLS requires it too, and
// gives back no more than the header.
func TestAReportOnALetterThatRequiresTLS(t *testing.T) {
	w := newWorld(t)
	w.take(&spool.Envelope{From: addr("eve@far.example"), UID: -1, Arrived: w.now, Ret: "FULL", RequireTLS: true, To: []spool.Recipient{{Address: addr("no@far.example")}}})
	w.once()
	if n := len(w.remote.mails); n != 2 || !w.remote.mails[0].RequireTLS || !w.remote.mails[1].RequireTLS || !w.remote.mails[1].From.IsNull() {
		t.Fatalf("%d letters to others: %+v", n, w.remote.mails)
	}
	if report := w.remote.sent[len(w.remote.sent)-1]; !strings.Contains(report, "text/rfc822-headers") || strings.Contains(report, "message/rfc822\n") {
		t.Errorf("the report has more than the header:\n%s", report)
	}
}

func TestAReportThatCannotBeDeliveredGoesToPostmasterAndNoFurther(t *testing.T) {
	w := newWorld(t)
	w.send("no@far.example", "nobody@here.example", "nobody2@here.example")
	w.once()
	if got := w.box("postmaster"); len(got) != 1 || len(w.queued()) != 0 {
		t.Errorf("%d letters to postmaster, %d queued", len(got), len(w.queued()))
	}
}

func TestNotifyDecidesWhatIsReported(t *testing.T) {
	for notify, want := range map[string]struct{ failed, arrived int }{
		"": {1, 0}, "NEVER": {0, 0}, "FAILURE": {1, 0}, "SUCCESS": {0, 1}, "SUCCESS,FAILURE": {1, 1},
	} {
		for to, n := range map[string]int{"no@far.example": want.failed, "eve@far.example": want.arrived, "bob@here.example": want.arrived} {
			w := newWorld(t)
			w.take(&spool.Envelope{From: addr("ann@here.example"), UID: -1, Arrived: w.now, To: []spool.Recipient{{Address: addr(to), Notify: notify}}})
			w.once()
			if got := len(w.box("ann")); got != n || len(w.queued()) != 0 {
				t.Errorf("NOTIFY=%s to %s: %d reports, want %d; %d queued", notify, to, got, n, len(w.queued()))
			}
		}
	}
}

func TestAfterItsLifetimeALetterComesBack(t *testing.T) {
	w := newWorld(t)
	id := w.send("ann@here.example", "wait@far.example")
	w.once()
	w.now = w.now.Add(6 * 24 * time.Hour)
	w.once(id)
	got := w.box("ann")
	if len(got) != 1 || !strings.Contains(got[0], "Status: 4.4.7") || !strings.Contains(got[0], "450 4.2.0 later") || len(w.queued()) != 0 {
		t.Errorf("%q, %d queued", got, len(w.queued()))
	}
}

func TestTheSenderIsWarnedOnceOfADelay(t *testing.T) {
	w := newWorld(t)
	w.runner.DelayWarning = 4 * time.Hour
	id := w.send("ann@here.example", "wait@far.example")
	for range 3 {
		w.now = w.now.Add(3 * time.Hour)
		w.once(id)
	}
	if got := w.box("ann"); len(got) != 1 || !strings.Contains(got[0], "Action: delayed") || len(w.queued()) != 1 {
		t.Errorf("%d warnings, %d queued", len(got), len(w.queued()))
	}
}

func TestAPlacedLetterIsFinishedAndNotWrittenAgain(t *testing.T) {
	w := newWorld(t)
	id := w.send("x@far.example", "ann@here.example", "bob@here.example")
	l, err := w.spool.Lock(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	ann := filepath.Join(w.dir, "ann")
	os.MkdirAll(filepath.Join(ann, "tmp"), 0o700)
	os.MkdirAll(filepath.Join(ann, "new"), 0o700)
	os.MkdirAll(filepath.Join(ann, "cur"), 0o700)
	os.WriteFile(filepath.Join(ann, "tmp", "X"), []byte("the letter of before the crash\n"), 0o600)
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	must(l.Begin(t.Context(), spool.Event{Kind: spool.Attempted, Next: w.now.Add(time.Hour).UnixMicro()}))
	must(l.Record(t.Context(), spool.Event{Kind: spool.Placed, Rcpt: 0, Dest: "maildir:" + ann, Dir: ann, Tmp: "X", Name: "X,S=31"}))
	l.Unlock()
	w.once()
	if got := w.box("ann"); len(got) != 1 || !strings.HasPrefix(got[0], "the letter of before") || len(w.box("bob")) != 1 || len(w.queued()) != 0 {
		t.Errorf("ann %q, bob %d, %d queued", got, len(w.box("bob")), len(w.queued()))
	}
}

func TestADeadDestinationDoesNotHoldUpTheOthers(t *testing.T) {
	w := newWorld(t)
	w.remote.hang = make(chan struct{})
	for i := range 50 {
		w.send("x@far.example", fmt.Sprintf("u%d@dead.example", i), "ann@here.example")
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- w.runner.Run(ctx) }()
	deadline := time.Now().Add(20 * time.Second)
	for len(w.box("ann")) < 50 && time.Now().Before(deadline) {
		time.Sleep(20 * time.Millisecond)
		if len(w.box("ann")) >= firstWindow {
			break
		}
	}
	close(w.remote.hang)
	for len(w.queued()) > 0 && time.Now().Before(deadline) {
		time.Sleep(20 * time.Millisecond)
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if len(w.box("ann")) != 50 || len(w.remote.sent) != 50 || len(w.queued()) != 0 {
		t.Errorf("ann %d, sent %d, %d queued", len(w.box("ann")), len(w.remote.sent), len(w.queued()))
	}
}

func TestWhatIsRecordedOfAnAttemptTellsWhy(t *testing.T) {
	w := newWorld(t)
	os.MkdirAll(filepath.Join(w.dir, "bob", "tmp"), 0o700) // without new/: cannot be placed
	w.send("x@far.example", "bob@here.example", "wait@far.example")
	w.once()
	q := w.queued()
	if len(q) != 1 {
		t.Fatalf("%d queued", len(q))
	}
	bob, far := q[0].Progress.Rcpts[0].Last, q[0].Progress.Rcpts[1].Last
	if bob.Kind != spool.Deferred || bob.Reply != "local error, try again later" || !strings.Contains(bob.Cause, "no such file") || bob.Via != filepath.Join(w.dir, "bob") {
		t.Errorf("of a Maildir: %+v", bob)
	}
	if far.Kind != spool.Deferred || far.Reply != "450 4.2.0 later" || far.Cause != "" || far.Via != "far.example" {
		t.Errorf("of another host: %+v", far)
	}
}

func TestLMTPAnswersForEachRecipient(t *testing.T) {
	w := newWorld(t)
	os.MkdirAll(filepath.Join(w.dir, "bob", "tmp"), 0o700) // without new/: cannot be placed
	env := &spool.Envelope{Proto: "LMTP", UID: -1, To: []spool.Recipient{{Address: addr("ann@here.example")}, {Address: addr("bob@here.example")}}}
	tx, err := w.intake.Begin(t.Context(), env)
	if err != nil {
		t.Fatal(err)
	}
	tx.Write([]byte("x\n"))
	errs, err := tx.Commit(t.Context())
	if err != nil || errs[0] != nil || errs[1] == nil {
		t.Errorf("%v, %v", errs, err)
	}
	if len(w.box("ann")) != 1 || len(w.queued()) != 0 {
		t.Errorf("ann %d, %d queued", len(w.box("ann")), len(w.queued()))
	}
}
