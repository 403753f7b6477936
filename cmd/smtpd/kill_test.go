package main

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestKilledAtAnyInstantNothingAcknowledgedIsLost kills smtpd with SIGKILL under
// load, again and again on one spool. Every letter that had its 250 must be
// there, whole. POSTBAG_KILLS says how often; the default keeps the test short.
func TestKilledAtAnyInstantNothingAcknowledgedIsLost(t *testing.T) {
	kills := 8
	if n, err := strconv.Atoi(os.Getenv("POSTBAG_KILLS")); err == nil {
		kills = n
	}
	k := newKiller(t, build(t))
	for range kills {
		k.round()
	}
	k.drain()
	k.check()
	t.Logf("%d kills, %d letters acknowledged", kills, len(k.acknowledged))
}

// A killer has one spool and what was acknowledged of it.
type killer struct {
	t               *testing.T
	dir, spool, bin string
	hostname        string
	args            []string // of smtpd, beside those of start
	log             logLines

	mu           sync.Mutex
	next         int
	late         bool // answers are too late to count
	acknowledged []string
}

// build makes the program, which a test can kill.
func build(t *testing.T) string {
	bin := filepath.Join(t.TempDir(), "smtpd")
	if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v: %s", err, out)
	}
	return bin
}

func newKiller(t *testing.T, bin string) *killer {
	k := &killer{t: t, dir: t.TempDir(), bin: bin, hostname: "mx.example.org"}
	k.spool = filepath.Join(k.dir, "spool")
	for name, text := range map[string]string{"users": "ann:{PLAIN}x\nbob:{PLAIN}x\n", "aliases": "team: ann, bob\n"} {
		if err := os.WriteFile(filepath.Join(k.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return k
}

// start runs smtpd and gives its address.
func (k *killer) start() (*exec.Cmd, string) {
	args := append([]string{"--spool", k.spool, "--users", filepath.Join(k.dir, "users"), "--aliases", filepath.Join(k.dir, "aliases"),
		"--hostname", k.hostname, "--domain", "example.org", "--listen", "smtp://127.0.0.1:0"}, k.args...)
	cmd := exec.Command(k.bin, args...)
	log, err := cmd.StderrPipe()
	if err != nil {
		k.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		k.t.Fatal(err)
	}
	lines := bufio.NewScanner(log)
	for lines.Scan() {
		if m := regexp.MustCompile(`msg=listening .*addr=(\S+)`).FindStringSubmatch(lines.Text()); m != nil {
			go func() {
				for lines.Scan() { // or it would wait for us
					k.log.add(lines.Text())
				}
			}()
			return cmd, m[1]
		}
	}
	k.t.Fatal("smtpd does not listen")
	return nil, ""
}

// round sends letters over several connections and kills in the middle, after
// some other misfortunes.
func (k *killer) round(first ...func()) {
	cmd, addr := k.start()
	k.setLate(false)
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() { k.sendUntilDead(addr) })
	}
	k.await()
	time.Sleep(rand.N(250 * time.Millisecond))
	for _, do := range first {
		do()
	}
	cmd.Process.Kill()
	cmd.Wait()
	wg.Wait()
}

// await waits until one more letter was acknowledged.
func (k *killer) await() {
	count := func() int {
		k.mu.Lock()
		defer k.mu.Unlock()
		return len(k.acknowledged)
	}
	before := count()
	for end := time.Now().Add(30 * time.Second); count() == before; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			k.t.Fatal("no letter was acknowledged")
		}
	}
}

func (k *killer) setLate(late bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.late = late
}

// name gives a number that no letter has had.
func (k *killer) name() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.next++
	return fmt.Sprintf("letter-%d-end", k.next)
}

// sendUntilDead notes each letter that got its 250.
func (k *killer) sendUntilDead(addr string) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return
	}
	defer c.Close()
	r := bufio.NewReader(c)
	ok := func(code string) bool {
		line, err := r.ReadString('\n')
		return err == nil && strings.HasPrefix(line, code)
	}
	say := func(text string) { fmt.Fprint(c, text) }
	if !ok("220") {
		return
	}
	say("HELO x\r\n")
	ok("250")
	for i := 0; ; i++ {
		name, to := k.name(), "ann"
		if i%3 == 0 {
			to = "team" // through the queue
		}
		say("MAIL FROM:<>\r\n")
		if !ok("250") {
			return
		}
		say("RCPT TO:<" + to + "@example.org>\r\n")
		ok("250")
		say("DATA\r\n")
		ok("354")
		say("Subject: " + to + " " + name + "\r\n\r\n" + strings.Repeat("x", rand.N(20000)) + "\r\n" + name + "\r\n.\r\n")
		if !ok("250") {
			return
		}
		k.mu.Lock()
		if !k.late {
			k.acknowledged = append(k.acknowledged, to+" "+name)
		}
		k.mu.Unlock()
	}
}

// drain runs the queue to its end.
func (k *killer) drain() {
	cmd := exec.Command(k.bin, "--spool", k.spool, "--users", filepath.Join(k.dir, "users"), "--aliases", filepath.Join(k.dir, "aliases"),
		"--hostname", "mx.example.org", "--domain", "example.org", "--run-queue")
	if out, err := cmd.CombinedOutput(); err != nil {
		k.t.Fatalf("run queue: %v: %s", err, out)
	}
	if left, _ := filepath.Glob(filepath.Join(k.spool, "queue", "*", "*.M*")); len(left) > 0 {
		for _, f := range left {
			if !strings.Contains(f, "/tmp/") {
				k.t.Errorf("left in the queue: %s", f)
			}
		}
	}
}

// check looks for every acknowledged letter, once in each mailbox it is for
// where it went through the queue, and looks that none is torn.
func (k *killer) check() {
	seen := map[string]int{}
	for _, box := range []string{"ann", "bob"} {
		files, _ := filepath.Glob(filepath.Join(k.spool, "mail", box, "new", "*"))
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				k.t.Fatal(err)
			}
			_, subject, _ := strings.Cut(string(text), "\nSubject: ")
			subject, _, _ = strings.Cut(subject, "\n")
			_, name, _ := strings.Cut(subject, " ")
			if name == "" || !strings.HasSuffix(string(text), "\n"+name+"\n") {
				k.t.Errorf("torn: %s", f)
			}
			seen[box+" "+subject]++
		}
	}
	lost := 0
	for _, a := range k.acknowledged {
		boxes := []string{"ann"}
		if strings.HasPrefix(a, "team") {
			boxes = []string{"ann", "bob"}
		}
		for _, box := range boxes {
			if seen[box+" "+a] == 0 {
				lost++
				k.t.Errorf("lost: %s for %s", a, box)
			}
			if seen[box+" "+a] > 1 {
				k.t.Errorf("%s is %d times in the mailbox of %s", a, seen[box+" "+a], box)
			}
		}
	}
	if lost > 0 || len(k.acknowledged) == 0 {
		k.t.Errorf("lost: %d of %d", lost, len(k.acknowledged))
	}
}
