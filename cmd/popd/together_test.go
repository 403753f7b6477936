package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"postbag/internal/durable"
	"postbag/internal/maildir"
)

// An observation is what one session sees of the mailbox: texts by UID.
type observation map[uint32]string

// A history holds what all sessions have seen, and objects to what cannot be.
type history struct {
	mu      sync.Mutex
	text    map[uint32]string // what each UID was
	uid     map[string]uint32 // where each text was
	doomed  map[string]bool   // texts that POP3 is deleting, or has deleted
	deleted map[string]bool   // texts that were deleted, as POP3 was told
	wrong   []string
	looks   map[string]int // by protocol
}

func (h *history) note(who string, seen observation) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.looks[who]++
	there := map[string]bool{}
	for uid, text := range seen {
		if there[text] {
			h.wrong = append(h.wrong, fmt.Sprintf("%s sees %s twice", who, text))
		}
		there[text] = true
		if was, ok := h.text[uid]; ok && was != text {
			h.wrong = append(h.wrong, fmt.Sprintf("%s: UID %d was %s, is %s", who, uid, was, text))
		}
		if was, ok := h.uid[text]; ok && was != uid {
			h.wrong = append(h.wrong, fmt.Sprintf("%s: %s had UID %d, has %d", who, text, was, uid))
		}
		h.text[uid], h.uid[text] = text, uid
	}
}

// check notes an observation that began after these were deleted.
func (h *history) check(who string, look func() (observation, error)) error {
	h.mu.Lock()
	gone := make([]string, 0, len(h.deleted))
	for text := range h.deleted {
		gone = append(gone, text)
	}
	h.mu.Unlock()
	seen, err := look()
	if err != nil {
		return err
	}
	h.note(who, seen)
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, text := range seen {
		if slices.Contains(gone, text) {
			h.wrong = append(h.wrong, fmt.Sprintf("%s: %s came back", who, text))
		}
	}
	return nil
}

// vanished objects to letters that a session has seen before, does not see now,
// and nobody has deleted.
func (h *history) vanished(who string, before, now observation) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for uid, text := range before {
		if now[uid] == "" && !h.doomed[text] {
			h.wrong = append(h.wrong, fmt.Sprintf("%s does not see %s any more, UID %d", who, text, uid))
		}
	}
}

var listeningAt = regexp.MustCompile(`msg=listening proto=\S+ addr=(\S+)`)

// startDaemon runs a program of this project until the test ends. The errors that it
// logs are none that the test expects.
func startDaemon(t *testing.T, path, proto, spool, users string, expected ...string) (addr string) {
	t.Helper()
	cmd := exec.Command(path, "--spool", spool, "--users", users, "--listen", proto+"://127.0.0.1:0")
	stderr, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	found := make(chan string, 1)
	go func() {
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			if m := listeningAt.FindStringSubmatch(lines.Text()); m != nil {
				found <- m[1]
			}
			isExpected := func(words string) bool { return strings.Contains(lines.Text(), words) }
			if isExpected("level=ERROR") && !slices.ContainsFunc(expected, isExpected) {
				t.Error(lines.Text())
			}
		}
		close(found)
	}()
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		for range found {
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	})
	addr, ok := <-found
	if !ok {
		t.Fatalf("%s does not listen", path)
	}
	return addr
}

// buildAll builds programs, and skips those that are not there.
func buildAll(t *testing.T, programs ...string) (bin string) {
	t.Helper()
	bin = t.TempDir()
	for _, p := range programs {
		if out, err := exec.Command("go", "build", "-o", filepath.Join(bin, p), "postbag/cmd/"+p).CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v: %s", p, err, out)
		}
	}
	return bin
}

// popSession logs in, reads everything, and deletes some letters.
func popSession(addr string, h *history) error {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Minute))
	p := &popper{r: bufio.NewReader(c), w: c}
	p.line()
	p.say("USER ann")
	p.say("PASS secret")
	seen := observation{}
	var doomed []string
	for _, l := range p.list("UIDL") {
		number, id, _ := strings.Cut(l, " ")
		uid, err := strconv.ParseUint(id[:8], 16, 32)
		if err != nil {
			return fmt.Errorf("UIDL says %q", l)
		}
		text := strings.Join(p.list("RETR "+number), "")
		if p.err != nil && strings.Contains(p.err.Error(), "gone") { // deleted by the other session
			p.err = nil
			continue
		}
		seen[uint32(uid)] = text
		if rand.IntN(1000) == 0 {
			p.say("DELE " + number)
			doomed = append(doomed, text)
		}
	}
	h.mu.Lock()
	for _, text := range doomed {
		h.doomed[text] = true
	}
	h.mu.Unlock()
	p.say("QUIT")
	if p.err != nil {
		return p.err
	}
	h.note("POP3", seen)
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, text := range doomed {
		h.deleted[text] = true
	}
	return nil
}

// A popper speaks POP3; the first error stays.
type popper struct {
	r   *bufio.Reader
	w   io.Writer
	err error
}

func (p *popper) line() string {
	l, err := p.r.ReadString('\n')
	if p.err == nil {
		p.err = err
	}
	return strings.TrimSuffix(l, "\r\n")
}

func (p *popper) say(command string) {
	if p.err != nil {
		return
	}
	fmt.Fprintf(p.w, "%s\r\n", command)
	if l := p.line(); p.err == nil && !strings.HasPrefix(l, "+OK") {
		p.err = fmt.Errorf("%s: %s", command, l)
	}
}

func (p *popper) list(command string) (lines []string) {
	p.say(command)
	for p.err == nil {
		l := p.line()
		if l == "." {
			break
		}
		lines = append(lines, l)
	}
	return lines
}

// imapSession looks at everything, again and again.
func imapSession(ctx context.Context, addr string, h *history) error {
	c, err := imapclient.DialInsecure(addr, nil)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Login("ann", "secret").Wait(); err != nil {
		return err
	}
	if _, err := c.Select("INBOX", nil).Wait(); err != nil {
		return err
	}
	var before observation
	for ctx.Err() == nil {
		err := h.check("IMAP", func() (observation, error) {
			now, err := look(c)
			if err == nil {
				h.vanished("IMAP", before, now)
			}
			before = now
			return now, err
		})
		if err != nil {
			return err
		}
	}
	return c.Logout().Wait()
}

func look(c *imapclient.Client) (observation, error) {
	if err := c.Noop().Wait(); err != nil {
		return nil, err
	}
	section := &imap.FetchItemBodySection{Peek: true}
	all, err := c.Fetch(imap.UIDSet{{Start: 1}}, &imap.FetchOptions{UID: true, BodySection: []*imap.FetchItemBodySection{section}}).Collect()
	if err != nil && !strings.Contains(err.Error(), "EXPUNGEISSUED") {
		return nil, err
	}
	seen := observation{}
	for _, m := range all {
		if text := strings.ReplaceAll(string(m.FindBodySection(section)), "\r\n", ""); m.UID != 0 && text != "" { // empty: expunged meanwhile
			seen[uint32(m.UID)] = text
		}
	}
	return seen, nil
}

// others deliver letters, one each pause, while other programs rename what lies
// in new/ and cur/. A delivery that takes longer is made up for by the next ones.
func others(t *testing.T, dir string, letters int, pause time.Duration) (texts []string) {
	fs := durable.New()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { renamers(ctx, dir, pause) })
	defer wg.Wait()
	defer cancel()
	begin := time.Now()
	for n := range letters {
		time.Sleep(time.Until(begin.Add(time.Duration(n) * pause)))
		text := fmt.Sprintf("Subject: letter %d", n)
		if _, err := maildir.Deliver(fs, dir, "host", time.Now(), strings.NewReader(text+"\n\n")); err != nil {
			t.Error(err)
			return texts
		}
		texts = append(texts, text)
	}
	t.Logf("%d letters in %v", letters, time.Since(begin).Round(time.Millisecond))
	return texts
}

// stock is how many letters are there before: so many that a scan reads their
// names in several steps, and a rename in between may hide one.
const stock = 2000

// fill puts them into cur/.
func fill(t *testing.T, dir string) (texts []string) {
	for n := range stock {
		text := fmt.Sprintf("Subject: old %d", n)
		name := fmt.Sprintf("%d.M%dP1.host:2,S", 1700000000+n, n)
		if err := os.WriteFile(filepath.Join(dir, "cur", name), []byte(text+"\n\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		texts = append(texts, text)
	}
	return texts
}

// burst is how many files are renamed at a time: so many that scans of the
// folder meet them.
const burst = 20

func renamers(ctx context.Context, dir string, pause time.Duration) {
	for ctx.Err() == nil {
		for _, sub := range []string{"new", "cur"} {
			names, _ := os.ReadDir(filepath.Join(dir, sub))
			for range min(burst, len(names)) {
				name := maildir.ParseName(names[rand.IntN(len(names))].Name())
				flags := []string{"", "S", "FS", "RS"}[rand.IntN(4)]
				os.Rename(filepath.Join(dir, sub, name.String()), filepath.Join(dir, "cur", name.WithFlags(flags).String())) // it may be gone
			}
		}
		time.Sleep(pause)
	}
}

// Two processes of imapd and one of popd on one Maildir, with mail delivered and
// files renamed by others. POSTBAG_SOAK=20s delivers a thousand letters, 50 a
// second.
func TestManyProgramsOnOneMaildir(t *testing.T) {
	programs := []string{"popd"}
	imapds := 0
	if _, err := os.Stat("../imapd/main.go"); err == nil {
		programs, imapds = append(programs, "imapd"), 2
	} else {
		t.Log("imapd is not there: popd alone, twice")
	}
	bin := buildAll(t, programs...)
	root := t.TempDir()
	spool, users := filepath.Join(root, "spool"), filepath.Join(root, "users")
	if err := os.WriteFile(users, []byte("ann:{PLAIN}secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	h := &history{text: map[uint32]string{}, uid: map[string]uint32{}, doomed: map[string]bool{}, deleted: map[string]bool{}, looks: map[string]int{}}
	pops := []string{startDaemon(t, filepath.Join(bin, "popd"), "pop3", spool, users)}
	if imapds == 0 {
		pops = append(pops, startDaemon(t, filepath.Join(bin, "popd"), "pop3", spool, users))
	}
	dir := filepath.Join(spool, "mail", "ann")
	if err := maildir.Init(durable.New(), dir, 0o700); err != nil {
		t.Fatal(err)
	}
	length, pause := 2*time.Second, 5*time.Millisecond
	if soak, err := time.ParseDuration(os.Getenv("POSTBAG_SOAK")); err == nil {
		length, pause = soak, 20*time.Millisecond
	}
	texts := fill(t, dir)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	for range imapds {
		addr := startDaemon(t, filepath.Join(bin, "imapd"), "imap", spool, users)
		for range 2 {
			wg.Go(func() {
				if err := imapSession(ctx, addr, h); err != nil {
					t.Errorf("IMAP: %v", err)
				}
			})
		}
	}
	for _, addr := range pops {
		wg.Go(func() {
			for ctx.Err() == nil {
				if err := popSession(addr, h); err != nil {
					t.Errorf("POP3: %v", err)
					return
				}
			}
		})
	}
	texts = append(texts, others(t, dir, int(length/pause), pause)...)
	cancel()
	wg.Wait()
	last := observation{}
	h.mu.Lock()
	deleted := h.deleted
	h.deleted = map[string]bool{}
	h.mu.Unlock()
	if err := lastLook(pops[0], last); err != nil {
		t.Fatal(err)
	}
	h.note("the last session", last)
	present := map[string]bool{}
	for _, text := range last {
		present[text] = true
	}
	for _, text := range texts {
		if present[text] == deleted[text] {
			t.Errorf("%s: there %t, deleted %t", text, present[text], deleted[text])
		}
	}
	for _, w := range h.wrong[:min(10, len(h.wrong))] {
		t.Error(w)
	}
	if h.looks["POP3"] == 0 || imapds > 0 && h.looks["IMAP"] == 0 {
		t.Error("nothing was seen")
	}
	t.Logf("%d letters, %d deleted, looks %v", len(texts), len(deleted), h.looks)
}

// lastLook reads all and deletes nothing.
func lastLook(addr string, seen observation) error {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	p := &popper{r: bufio.NewReader(c), w: c}
	p.line()
	p.say("USER ann")
	p.say("PASS secret")
	for _, l := range p.list("UIDL") {
		number, id, _ := strings.Cut(l, " ")
		uid, _ := strconv.ParseUint(id[:8], 16, 32)
		seen[uint32(uid)] = strings.Join(p.list("RETR "+number), "")
	}
	p.say("QUIT")
	return p.err
}
