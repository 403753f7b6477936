package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// relaySessions are those that bring the letters to be relayed.
const relaySessions = 10

// relay measures letters from one client through the queue to another host, and
// to many.
func relay(b *bench) error {
	for _, text := range strings.Split(b.hosts, ",") {
		hosts, err := strconv.Atoi(text)
		if err != nil {
			return err
		}
		sink, err := b.newSink(hosts)
		if err != nil {
			return err
		}
		ours, err := b.relayBySmtpd(sink)
		if err != nil {
			return err
		}
		all := []contender{ours}
		if !b.alone {
			all = b.relayBesidePostfix(all, sink)
		}
		turns, err := b.takeTurns(all, relaySessions)
		if err != nil {
			return err
		}
		fmt.Printf("  to %d host(s)\n", hosts)
		compare(all, turns)
	}
	return nil
}

// relayBesidePostfix adds Postfix, where it can be started.
func (b *bench) relayBesidePostfix(all []contender, s *sink) []contender {
	postfix, err := b.relayByPostfix(s)
	if err != nil {
		fmt.Println("  without Postfix:", err)
		return all
	}
	return append(all, postfix)
}

// A relayer is a server that sends all on.
type relayer struct {
	b     *bench
	title string
	addr  string
	pid   int
	idle  func() bool // nothing is in its queue
	sink  *sink
}

func (r *relayer) name() string { return r.title }

// relayDomain is the one that leads to the n-th host.
func relayDomain(n int) string { return fmt.Sprintf("d%d.test", n) }

// turn is over when the last letter is gone: taken, and out of the queue.
func (r *relayer) turn(sessions int) (t turn, err error) {
	l := &load{addr: r.addr, sessions: sessions, letters: r.b.letters, rcpt: func(n int) string {
		return "bob@" + relayDomain(n%len(r.sink.addrs))
	}}
	before, err := treeCPU(r.pid)
	if err != nil {
		return t, err
	}
	want := r.sink.taken.Load() + int64(r.b.letters)
	start := time.Now()
	if _, err := l.run(); err != nil {
		return t, err
	}
	if err := r.sink.await(want); err != nil {
		return t, err
	}
	if err := until("empty the queue", r.idle); err != nil {
		return t, err
	}
	elapsed := time.Since(start)
	after, err := treeCPU(r.pid)
	if n := r.sink.taken.Load(); err == nil && n != want {
		err = fmt.Errorf("%d letters came, of %d", n, want)
	}
	return turn{Letters: r.b.letters, Elapsed: elapsed, CPU: after - before}, err
}

func (b *bench) relayByPostfix(s *sink) (*relayer, error) {
	var transport strings.Builder
	for n, addr := range s.addrs {
		host, port, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&transport, "%s smtp:[%s]:%s\n", relayDomain(n), host, port)
	}
	name := fmt.Sprintf("postfix-relay%d", len(s.addrs))
	p, err := b.startPostfix(name, "transport_maps = texthash:DIR/etc/transport\n", map[string]string{"transport": transport.String()})
	if err != nil {
		return nil, err
	}
	return &relayer{b: b, title: "Postfix", addr: p.addr, pid: p.pid, idle: p.Idle, sink: s}, nil
}

func (b *bench) relayBySmtpd(s *sink) (*relayer, error) {
	root := filepath.Join(b.dir, fmt.Sprintf("relay%d", len(s.addrs)))
	if err := os.MkdirAll(root, 0o755); err != nil {
		return nil, err
	}
	var routes strings.Builder
	for n, addr := range s.addrs {
		fmt.Fprintf(&routes, "%s smtp://%s\n", relayDomain(n), addr)
	}
	file := filepath.Join(root, "routes")
	if err := os.WriteFile(file, []byte(routes.String()), 0o644); err != nil {
		return nil, err
	}
	return b.queueing("smtpd", root, s, "--routes", file)
}

// queueing is a smtpd that takes mail for all.
func (b *bench) queueing(title, root string, s *sink, args ...string) (*relayer, error) {
	spool := filepath.Join(root, "spool")
	if err := os.MkdirAll(spool, 0o700); err != nil {
		return nil, err
	}
	d, err := b.start("smtpd", append(args, "--spool", spool, "--users", "/dev/null", "--aliases", "/dev/null",
		"--hostname", "mx."+domain, "--domain", domain, "--listen", "smtp://127.0.0.1:0")...)
	if err != nil {
		return nil, err
	}
	return &relayer{b: b, title: title, addr: d.addr["smtp"], pid: d.cmd.Process.Pid, sink: s,
		idle: func() bool { return queued(spool) == 0 }}, nil
}

// queued is the number of messages in a queue of ours.
func queued(spool string) int {
	n := 0
	for _, sub := range []string{"new", "cur"} {
		files, _ := os.ReadDir(filepath.Join(spool, "queue", sub))
		n += len(files)
	}
	return n
}
