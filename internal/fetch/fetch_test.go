package fetch

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"

	"postbag/internal/durable"
	"postbag/internal/status"
)

// job is a Fetch from a server on this host.
func job(t *testing.T, proto, port, target string) *Fetch {
	t.Helper()
	src, err := ParseURL(proto + "://ann@localhost:" + port)
	if err != nil {
		t.Fatal(err)
	}
	to, err := ParseTarget(target)
	if err != nil {
		t.Fatal(err)
	}
	return &Fetch{Source: src, Target: to, FS: durable.New(), State: filepath.Join(t.TempDir(), "state"), Hostname: "host", TLS: TLSOff,
		Password: func(context.Context) (string, error) { return "secret", nil }}
}

func run1(t *testing.T, f *Fetch) Summary {
	t.Helper()
	sum, err := f.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

// letters are the texts of all letters in a Maildir, sorted.
func letters(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	for _, sub := range []string{"new", "cur"} {
		names, err := filepath.Glob(filepath.Join(dir, sub, "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, string(text))
		}
	}
	slices.Sort(all)
	return all
}

// want are the first n letters in disk form, sorted.
func want(n int) []string {
	var all []string
	for i := range n {
		all = append(all, strings.ReplaceAll(letterText(i), "\r\n", "\n"))
	}
	slices.Sort(all)
	return all
}

func sameLetters(t *testing.T, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%d letters, want %d", len(got), len(want))
		for i := range min(len(got), len(want)) {
			if got[i] != want[i] {
				t.Fatalf("got  %.200q\nwant %.200q", got[i], want[i])
			}
		}
	}
}

func TestIMAPIntoAMaildir(t *testing.T) {
	s := startIMAP(t, nil)
	for i := range 150 { // more than two batches
		s.append(t, "INBOX", letterText(i), nil)
	}
	dir := filepath.Join(t.TempDir(), "Maildir")
	f := job(t, "imap", s.port, "maildir:"+dir)
	if sum := run1(t, f); sum.Fetched != 150 || sum.Known != 0 || sum.Deleted != 0 {
		t.Errorf("first run: %+v", sum)
	}
	sameLetters(t, letters(t, dir), want(150))
	s.append(t, "INBOX", letterText(150), nil)
	if sum := run1(t, f); sum.Fetched != 1 || sum.Known != 150 {
		t.Errorf("second run: %+v", sum)
	}
	f.Delete = true
	if sum := run1(t, f); sum.Fetched != 0 || sum.Deleted != 151 {
		t.Errorf("with Delete: %+v", sum)
	}
	if n := s.count(t, "INBOX"); n != 0 {
		t.Errorf("%d letters are left on the server", n)
	}
	sameLetters(t, letters(t, dir), want(151))
	if tmp, _ := filepath.Glob(dir + "/tmp/*"); len(tmp) > 0 {
		t.Errorf("left in tmp/: %v", tmp)
	}
}

func TestFlagsAndDatesAreKept(t *testing.T) {
	s := startIMAP(t, nil)
	at := time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)
	s.append(t, "INBOX", letterText(0), &imap.AppendOptions{Time: at, Flags: []imap.Flag{imap.FlagSeen, imap.FlagAnswered, "$Forwarded", "other"}})
	s.append(t, "INBOX", letterText(1), nil)
	dir := filepath.Join(t.TempDir(), "Maildir")
	run1(t, job(t, "imap", s.port, "maildir:"+dir))
	seen, _ := filepath.Glob(dir + "/cur/*:2,PRS")
	fresh, _ := filepath.Glob(dir + "/new/*")
	if len(seen) != 1 || len(fresh) != 1 || strings.Contains(fresh[0], ":") {
		t.Fatalf("cur %v, new %v", seen, fresh)
	}
	if info, err := os.Stat(seen[0]); err != nil || !info.ModTime().Equal(at) {
		t.Errorf("time of the file is %v, want %v", info.ModTime(), at)
	}
}

func TestFoldersBecomeMaildirFolders(t *testing.T) {
	s := startIMAP(t, nil)
	for i, name := range []string{"INBOX", "Lists/Go", "Entwürfe"} {
		if name != "INBOX" {
			if err := s.user.Create(name, nil); err != nil {
				t.Fatal(err)
			}
		}
		s.append(t, name, letterText(i), nil)
	}
	dir := filepath.Join(t.TempDir(), "Maildir")
	f := job(t, "imap", s.port, "maildir:"+dir)
	f.Folders = []string{"*"}
	if sum := run1(t, f); sum.Fetched != 3 {
		t.Errorf("%+v", sum)
	}
	for sub, n := range map[string]int{"": 1, ".Lists.Go": 1, ".Entw&APw-rfe": 1} {
		if got := letters(t, filepath.Join(dir, sub)); len(got) != n {
			t.Errorf("%q has %d letters", sub, len(got))
		}
	}
}

func TestANewUIDValidityBringsNothingTwice(t *testing.T) {
	s := startIMAP(t, nil)
	for i := range 3 {
		s.append(t, "INBOX", letterText(i), nil)
	}
	dir := filepath.Join(t.TempDir(), "Maildir")
	f := job(t, "imap", s.port, "maildir:"+dir)
	run1(t, f)
	if err := s.user.Delete("INBOX"); err != nil {
		t.Fatal(err)
	}
	if err := s.user.Create("INBOX", nil); err != nil {
		t.Fatal(err)
	}
	for i := range 4 {
		s.append(t, "INBOX", letterText(i), nil)
	}
	s.append(t, "INBOX", letterText(2), nil) // equal to one, yet another
	if sum := run1(t, f); sum.Fetched != 2 || sum.Known != 3 {
		t.Errorf("%+v", sum)
	}
	all := append(want(4), strings.ReplaceAll(letterText(2), "\r\n", "\n"))
	slices.Sort(all)
	sameLetters(t, letters(t, dir), all)
}

func TestTLS(t *testing.T) {
	cert, pool := certificate(t)
	config := &tls.Config{Certificates: []tls.Certificate{cert}}
	imapPort := startIMAP(t, config).port
	popPort := startPOP(t, &popServer{tls: config}).port
	noTLS := startIMAP(t, nil).port
	popNoTLS := startPOP(t, &popServer{}).port
	tests := []struct {
		name, proto, port string
		mode              TLSMode
		client            *tls.Config
		exit              int
	}{
		{"STARTTLS", "imap", imapPort, TLSDefault, &tls.Config{RootCAs: pool}, 0},
		{"STLS", "pop3", popPort, TLSDefault, &tls.Config{RootCAs: pool}, 0},
		{"a certificate that nobody vouches for", "imap", imapPort, TLSDefault, nil, 76},
		{"the same with POP3", "pop3", popPort, TLSDefault, nil, 76},
		{"a certificate of another host", "imap", imapPort, TLSDefault, &tls.Config{RootCAs: pool, ServerName: "example.org"}, 76},
		{"no STARTTLS", "imap", noTLS, TLSDefault, &tls.Config{RootCAs: pool}, 76},
		{"no STLS", "pop3", popNoTLS, TLSDefault, &tls.Config{RootCAs: pool}, 76},
		{"TLS from the start where there is none", "imaps", noTLS, TLSDefault, &tls.Config{RootCAs: pool}, 76},
		{"none wanted", "pop3", popNoTLS, TLSOff, nil, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := job(t, tt.proto, tt.port, "maildir:"+t.TempDir())
			f.TLS, f.TLSConfig, f.Timeout = tt.mode, tt.client, 5*time.Second
			asked := false
			f.Password = func(context.Context) (string, error) { asked = true; return "secret", nil }
			_, err := f.Run(t.Context())
			if got := status.ExitCode(err); got != tt.exit {
				t.Errorf("exit %d, want %d: %v", got, tt.exit, err)
			}
			if tt.exit != 0 && asked {
				t.Error("the password was wanted for a connection that is not secret")
			}
		})
	}
}

func TestExitCodes(t *testing.T) {
	closed := listen(t)
	closedPort := port(closed)
	closed.Close()
	imapPort, popPort := startIMAP(t, nil).port, startPOP(t, &popServer{}).port
	wrong := func(context.Context) (string, error) { return "wrong-password", nil }
	mute := listen(t)
	serve(t, mute, func(c net.Conn) { c.Read(make([]byte, 1)) })
	http := listen(t)
	serve(t, http, func(c net.Conn) { fmt.Fprint(c, "HTTP/1.1 400 Bad Request\r\n\r\n"); c.Read(make([]byte, 1)) })
	tests := []struct {
		name, proto, port string
		change            func(*Fetch)
		exit              int
	}{
		{"nobody listens", "imap", closedPort, nil, 69},
		{"no such host", "imap", imapPort, func(f *Fetch) { f.Source.Host = "no.such.host.invalid" }, 68},
		{"bad password, IMAP", "imap", imapPort, func(f *Fetch) { f.Password = wrong }, 77},
		{"bad password, POP3", "pop3", popPort, func(f *Fetch) { f.Password = wrong }, 77},
		{"no such folder", "imap", imapPort, func(f *Fetch) { f.Source.Folder = "nowhere" }, 69},
		{"no folder that matches", "imap", imapPort, func(f *Fetch) { f.Folders = []string{"nowhere*"} }, 69},
		{"a mechanism that is not offered", "imap", imapPort, func(f *Fetch) { f.Mechanism = "scram-sha-256" }, 69},
		{"a server that says nothing, IMAP", "imap", port(mute), func(f *Fetch) { f.Timeout = 50 * time.Millisecond }, 69},
		{"a server that says nothing, POP3", "pop3", port(mute), func(f *Fetch) { f.Timeout = 50 * time.Millisecond }, 69},
		{"another protocol, IMAP", "imap", port(http), nil, 76},
		{"another protocol, POP3", "pop3", port(http), nil, 76},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := job(t, tt.proto, tt.port, "maildir:"+t.TempDir())
			f.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
				if strings.HasPrefix(addr, "no.such") { // not a question for a real name server
					return nil, &net.OpError{Op: "dial", Net: network, Err: &net.DNSError{Err: "no such host", Name: addr, IsNotFound: true}}
				}
				return (&net.Dialer{}).DialContext(ctx, network, addr)
			}
			if tt.change != nil {
				tt.change(f)
			}
			_, err := f.Run(t.Context())
			if got := status.ExitCode(err); got != tt.exit {
				t.Errorf("exit %d, want %d: %v", got, tt.exit, err)
			}
			if err != nil && (strings.Contains(err.Error(), "wrong-password") || strings.Contains(err.Error(), "\n")) {
				t.Errorf("error is %q", err)
			}
		})
	}
}

func TestPOPIntoAMaildir(t *testing.T) {
	s := &popServer{}
	for i := range 100 {
		s.letters = append(s.letters, popLetter{fmt.Sprint("id", i), letterText(i)})
	}
	startPOP(t, s)
	dir := filepath.Join(t.TempDir(), "Maildir")
	f := job(t, "pop3", s.port, "maildir:"+dir)
	if sum := run1(t, f); sum.Fetched != 100 {
		t.Errorf("first run: %+v", sum)
	}
	withLineEnds := want(100)
	for i, l := range withLineEnds { // POP3 ends every letter's last line
		if !strings.HasSuffix(l, "\n") {
			withLineEnds[i] += "\n"
		}
	}
	slices.Sort(withLineEnds)
	sameLetters(t, letters(t, dir), withLineEnds)
	if sum := run1(t, f); sum.Fetched != 0 || sum.Known != 100 {
		t.Errorf("second run: %+v", sum)
	}
	f.Delete = true
	if sum := run1(t, f); sum.Fetched != 0 || sum.Deleted != 100 || s.count() != 0 {
		t.Errorf("with Delete: %+v, %d left", sum, s.count())
	}
}

func TestPOPWithoutUIDL(t *testing.T) {
	s := &popServer{noUIDL: true}
	for i := range 3 {
		s.letters = append(s.letters, popLetter{"", letterText(2 * i)})
	}
	s.letters = append(s.letters, s.letters[0]) // two that are equal
	startPOP(t, s)
	dir := filepath.Join(t.TempDir(), "Maildir")
	f := job(t, "pop3", s.port, "maildir:"+dir)
	if _, err := f.Run(t.Context()); status.ExitCode(err) != status.ExUnavailable || !strings.Contains(err.Error(), "UIDL") {
		t.Errorf("with Keep: %v", err)
	}
	f.Delete = true
	if sum := run1(t, f); sum.Fetched != 4 || sum.Deleted != 4 || s.count() != 0 || len(letters(t, dir)) != 4 {
		t.Errorf("%+v, %d left, %d here", sum, s.count(), len(letters(t, dir)))
	}
	s.mu.Lock()
	s.letters = []popLetter{{"", letterText(0)}} // comes again, so it is new
	s.mu.Unlock()
	if sum := run1(t, f); sum.Fetched != 1 {
		t.Errorf("the same letter again: %+v", sum)
	}
}

func TestALetterThatDoesNotComeWholeDoesNotArrive(t *testing.T) {
	for _, kind := range []string{"maildir", "mbox", "pipe"} {
		t.Run(kind, func(t *testing.T) {
			s := startPOP(t, &popServer{letters: []popLetter{{"a", letterText(1)}}, cut: 40})
			path := filepath.Join(t.TempDir(), "to")
			arg := path
			if kind == "pipe" {
				arg = "cat > " + path
			}
			f := job(t, "pop3", s.port, kind+":"+arg)
			f.Delete = true
			sum, err := f.Run(t.Context())
			if status.ExitCode(err) != status.ExTempFail || sum.Fetched != 0 || s.quits != 0 {
				t.Errorf("%+v, %v, %d quits", sum, err, s.quits)
			}
			files, _ := filepath.Glob(path + "/*/*")
			if text, err := os.ReadFile(path); len(files) > 0 || err == nil && len(text) > 0 {
				t.Errorf("something is there: %v %q", files, text)
			}
			s.cut = 0
			if sum := run1(t, f); sum.Fetched != 1 || s.count() != 0 {
				t.Errorf("next run: %+v", sum)
			}
		})
	}
}

func TestPipe(t *testing.T) {
	s := &popServer{}
	for i := range 3 {
		s.letters = append(s.letters, popLetter{fmt.Sprint("id", i), letterText(2 * i)})
	}
	startPOP(t, s)
	dir := t.TempDir()
	f := job(t, "pop3", s.port, "pipe:grep -q 'letter 2' && exit 75; cat /dev/null; echo x >> "+dir+"/count; env > "+dir+"/env")
	f.Environ = CleanEnviron([]string{"PATH=" + os.Getenv("PATH"), "POSTBAG_FETCH_PASSWORD=secret"})
	f.Delete = true
	sum, err := f.Run(t.Context())
	if status.ExitCode(err) != status.ExTempFail || sum.Fetched != 2 || s.count() != 1 || s.letters[0].id != "id1" {
		t.Errorf("%+v, %v, left %v", sum, err, s.letters)
	}
	if n, _ := os.ReadFile(dir + "/count"); len(n) != 4 {
		t.Errorf("command was content %d times", len(n)/2)
	}
	if env, _ := os.ReadFile(dir + "/env"); len(env) == 0 || bytes.Contains(env, []byte("secret")) {
		t.Errorf("environment of the command: %q", env)
	}
	f.Target.Arg = "cat > " + dir + "/letter"
	run1(t, f)
	if text, _ := os.ReadFile(dir + "/letter"); string(text) != strings.ReplaceAll(letterText(2), "\r\n", "\n") {
		t.Errorf("command got %.100q", text)
	}
}

func TestStdoutAndMbox(t *testing.T) {
	s := startPOP(t, &popServer{letters: []popLetter{
		{"a", "Return-Path: <bob@example.org>\r\nSubject: x\r\n\r\nFrom me\r\n>From you\r\n From him\r\nFro\r\n"},
		{"b", "Subject: y\r\n\r\n>From"},
	}})
	const text = "From bob@example.org Sat Feb  3 04:05:06 2001\nReturn-Path: <bob@example.org>\nSubject: x\n\n>From me\n>>From you\n From him\nFro\n\n" +
		"From MAILER-DAEMON Sat Feb  3 04:05:06 2001\nSubject: y\n\n>From\n\n"
	now := func() time.Time { return time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC) }
	var out bytes.Buffer
	f := job(t, "pop3", s.port, "-")
	f.Stdout, f.Now = &out, now
	run1(t, f)
	if out.String() != text {
		t.Errorf("standard output:\n%s\nwant:\n%s", out.String(), text)
	}
	path := filepath.Join(t.TempDir(), "mbox")
	for _, tt := range []struct{ before, between string }{{"", ""}, {"From x\n\ny\n\n", ""}, {"From x\n\ny\n", "\n"}, {"From x\n\ny", "\n\n"}} {
		if err := os.WriteFile(path, []byte(tt.before), 0o600); err != nil {
			t.Fatal(err)
		}
		f := job(t, "pop3", s.port, "mbox:"+path)
		f.Now = now
		if sum := run1(t, f); sum.Fetched != 2 {
			t.Errorf("%+v", sum)
		}
		if got, _ := os.ReadFile(path); string(got) != tt.before+tt.between+text {
			t.Errorf("mbox:\n%s\nwant:\n%s", got, tt.before+tt.between+text)
		}
		if locks, _ := filepath.Glob(path + ".lock"); len(locks) > 0 {
			t.Error("the dot lock is left")
		}
	}
}

func TestOneRunPerAccount(t *testing.T) {
	s := startPOP(t, &popServer{letters: []popLetter{{"a", letterText(0)}}})
	f := job(t, "pop3", s.port, "maildir:"+t.TempDir())
	f.Password = func(ctx context.Context) (string, error) {
		g := *f
		if _, err := g.Run(ctx); status.ExitCode(err) != status.ExTempFail {
			t.Errorf("second run = %v", err)
		}
		return "secret", nil
	}
	run1(t, f)
}

func TestCancelEndsARun(t *testing.T) {
	mute := listen(t)
	ctx, cancel := context.WithCancel(t.Context())
	serve(t, mute, func(c net.Conn) {
		fmt.Fprint(c, "+OK\r\n")
		cancel()
		c.Read(make([]byte, 100))
		c.Read(make([]byte, 1))
	})
	f := job(t, "pop3", port(mute), "maildir:"+t.TempDir())
	if _, err := f.Run(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Run = %v", err)
	}
}
