package queue

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"postbag/internal/deliver"
	"postbag/internal/durable"
	"postbag/internal/mailtest"
	"postbag/internal/resolve"
	"postbag/internal/smtpout"
	"postbag/internal/spool"
)

// A world of many other hosts, each a domain of its own, on pipes. A third of
// them misbehave, each in its own way.
type internet struct {
	hosts int

	mu    sync.Mutex
	took  map[string]int // "letter domain" to how often
	conns map[int]int    // open connections to each host
	most  int            // that were open to one at a time
}

func domain(i int) string { return fmt.Sprintf("d%d.example", i) }

// MX and Addrs implement deliver.Resolver.
func (n *internet) MX(_ context.Context, domain string) ([]resolve.MX, bool, error) {
	return []resolve.MX{{Host: "mx." + domain, Preference: 10}}, false, nil
}

func (n *internet) Addrs(_ context.Context, host string) ([]netip.Addr, bool, error) {
	var i int
	fmt.Sscanf(host, "mx.d%d.example", &i)
	return []netip.Addr{netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})}, false, nil
}

// misbehaviours are given to every third host.
var misbehaviours = []string{"refuses", "says nothing", "hangs up", "tempfails", "is slow", "sends endless lines", "is not there"}

func (n *internet) manner(i int) string {
	if i%3 != 0 {
		return ""
	}
	return misbehaviours[i/3%len(misbehaviours)]
}

func (n *internet) dial(_ context.Context, _, addr string) (net.Conn, error) {
	ip := netip.MustParseAddrPort(addr).Addr().As4()
	i := int(ip[2])<<8 | int(ip[3])
	if n.manner(i) == "is not there" {
		return nil, errors.New("connection refused")
	}
	ours, theirs := net.Pipe()
	n.count(i, 1)
	go func() {
		n.serve(i, theirs)
		theirs.Close()
		n.count(i, -1)
	}()
	return ours, nil
}

func (n *internet) count(i, by int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.conns[i] += by
	n.most = max(n.most, n.conns[i])
}

// serve is one session at a host.
func (n *internet) serve(i int, c net.Conn) {
	r := bufio.NewReader(c)
	manner := n.manner(i)
	switch manner {
	case "says nothing":
		io.Copy(io.Discard, r)
		return
	case "hangs up":
		return
	case "sends endless lines":
		for {
			if _, err := io.WriteString(c, strings.Repeat("x", 1000)); err != nil {
				return
			}
		}
	}
	say := func(text string) {
		if manner == "is slow" {
			time.Sleep(time.Minute)
		}
		io.WriteString(c, text+"\r\n")
	}
	say("220 " + domain(i))
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		switch verb := strings.ToUpper(line[:4]); {
		case verb == "RCPT" && manner == "refuses":
			say("550 5.1.1 nobody of that name")
		case verb == "RCPT" && manner == "tempfails":
			say("451 4.3.0 later")
		case verb == "DATA":
			say("354 go on")
			n.take(i, r)
			say("250 2.0.0 taken")
		case verb == "QUIT":
			say("221 bye")
			return
		default:
			say("250 ok")
		}
	}
}

func (n *internet) take(i int, r *bufio.Reader) {
	letter := ""
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		if line == ".\r\n" {
			break
		}
		if subject, ok := strings.CutPrefix(line, "Subject: "); ok {
			letter = strings.TrimSpace(subject)
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.took[letter+" "+domain(i)]++
}

// TestADayWithManyBadHosts lets a day pass in which letters go to 1,000 hosts, a
// third of which misbehave. Each letter must arrive or come back, once, whatever
// became of the others; good hosts get theirs at once; no host gets more
// connections than it may. POSTBAG_DAY=full sends three times as many.
func TestADayWithManyBadHosts(t *testing.T) {
	dir := mailtest.Memory(t)
	rounds := 1
	if os.Getenv("POSTBAG_DAY") == "full" {
		rounds = 3
	}
	synctest.Test(t, func(t *testing.T) {
		const hosts, limit = 1000, 4
		n := &internet{hosts: hosts, took: map[string]int{}, conns: map[int]int{}}
		d := newDay(t, dir, n, limit)
		ctx, cancel := context.WithCancel(t.Context())
		w := d.runner.newWork(ctx, false)
		var running sync.WaitGroup
		running.Go(func() { w.loop(ctx, nil) })
		for round := range rounds {
			for i := range hosts {
				d.send(w, fmt.Sprintf("letter-%d-%d", round, i), i)
			}
			for i := range hosts / 10 {
				d.send(w, fmt.Sprintf("many-%d-%d", round, i), i, (i+111)%hosts, (i+222)%hosts, (i+333)%hosts)
			}
			time.Sleep(time.Minute)
			d.goodOnesHaveTheirs()
			time.Sleep(59 * time.Minute)
		}
		time.Sleep(time.Duration(rounds) * 23 * time.Hour) // reports to one sender are spread
		d.check()
		cancel()
		running.Wait()
		w.attempts.Wait()
		d.client.Close()
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.most > limit {
			t.Errorf("%d connections to one host, %d allowed", n.most, limit)
		}
	})
}

// A day is the host whose queue is looked at.
type day struct {
	t      *testing.T
	dir    string
	n      *internet
	client *smtpout.Client
	runner *Runner
	intake *Intake
	want   []string // "letter domain" of each recipient
}

func newDay(t *testing.T, dir string, n *internet, limit int) *day {
	fs := durable.NewTraced(untouched{})
	s, err := spool.Open(fs, filepath.Join(dir, "spool"), spool.Options{})
	if err != nil {
		t.Fatal(err)
	}
	client := &smtpout.Client{Hostname: "here.example", Dial: n.dial}
	local := &deliver.Local{FS: fs, Hostname: "here.example"}
	return &day{t: t, dir: dir, n: n, client: client,
		runner: &Runner{
			Spool: s, Resolver: fakeResolver{dir}, Local: local, Hostname: "here.example",
			Remote:      &deliver.Remote{Sender: client, Resolver: n, Hostname: "here.example"},
			Concurrency: limit, Lifetime: 16 * time.Hour, DelayWarning: 4 * time.Hour,
		},
		intake: &Intake{Spool: s, Resolver: fakeResolver{dir}, Local: local},
	}
}

// send takes a letter in for one user of each host.
func (d *day) send(w *work, letter string, hosts ...int) {
	env := &spool.Envelope{From: addr("ann@here.example"), UID: -1}
	for _, i := range hosts {
		env.To = append(env.To, spool.Recipient{Address: addr("user@" + domain(i))})
		d.want = append(d.want, letter+" "+domain(i))
	}
	tx, err := d.intake.Begin(context.Background(), env)
	if err == nil {
		_, err = io.WriteString(tx, "Subject: "+letter+"\n\ntext\n")
	}
	if err == nil {
		_, err = tx.Commit(context.Background())
	}
	if err != nil {
		d.t.Fatal(err)
	}
	w.add(env.ID, soon, false)
}

// goodOnesHaveTheirs checks that bad hosts kept nobody else waiting.
func (d *day) goodOnesHaveTheirs() {
	d.t.Helper()
	d.n.mu.Lock()
	defer d.n.mu.Unlock()
	late := 0
	for _, want := range d.want {
		var i int
		_, host, _ := strings.Cut(want, " ")
		fmt.Sscanf(host, "d%d.example", &i)
		if d.n.manner(i) == "" && d.n.took[want] == 0 {
			late++
		}
	}
	if late > 0 {
		d.t.Errorf("after a minute %d letters for good hosts still wait", late)
	}
}

// check looks for each letter, at its host or with its sender.
func (d *day) check() {
	d.t.Helper()
	back := map[string]int{}
	files, _ := filepath.Glob(filepath.Join(d.dir, "ann", "new", "*"))
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			d.t.Fatal(err)
		}
		report, letter, _ := strings.Cut(string(text), "Content-Description: Undelivered Message")
		if !strings.Contains(report, "Action: failed") {
			continue
		}
		_, letter, _ = strings.Cut(letter, "Subject: ")
		letter, _, _ = strings.Cut(letter, "\n")
		for _, part := range strings.Split(report, "Final-Recipient: rfc822; user@")[1:] {
			host, _, _ := strings.Cut(part, "\n")
			back[letter+" "+host]++
		}
	}
	wrong := 0
	for _, want := range d.want {
		if d.n.took[want]+back[want] != 1 {
			wrong++
			if wrong <= 5 {
				d.t.Errorf("%s arrived %d times and came back %d times", want, d.n.took[want], back[want])
			}
		}
	}
	if left := inQueue(d.dir); len(left) > 0 || wrong > 0 {
		d.t.Errorf("%d letters of %d ended wrong, %d are in the queue still", wrong, len(d.want), len(left))
	}
	d.t.Logf("%d letters, %d reports", len(d.want), len(back))
}
