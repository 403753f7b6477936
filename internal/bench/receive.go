package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// A contender takes turns with others at the same work.
type contender interface {
	name() string
	turn(sessions int) (turn, error)
}

// receive measures letters into Maildirs, each durable before its 250.
func receive(b *bench) error {
	smtpd, err := b.newSmtpd("smtpd", b.bin)
	if err != nil {
		return err
	}
	all := []contender{&disk{b: b}, &disk{b: b, shared: true}, smtpd}
	for _, bin := range b.otherBuilds() {
		other, err := b.newSmtpd("smtpd of "+filepath.Base(bin), bin)
		if err != nil {
			return err
		}
		all = append(all, other)
	}
	if !b.alone {
		all = b.besidePostfix(all)
	}
	for _, text := range strings.Split(b.sessions, ",") {
		sessions, err := strconv.Atoi(text)
		if err != nil {
			return err
		}
		turns, err := b.takeTurns(all, sessions)
		if err != nil {
			return err
		}
		fmt.Printf("  %d session(s)\n", sessions)
		report(all, turns)
		if fdatasync, fsync, err := smtpd.syncCalls(sessions); err != nil {
			fmt.Println("    syncs not counted:", err)
		} else {
			fmt.Printf("    smtpd for each letter: %.2f fdatasync, %.2f fsync of a directory\n", fdatasync, fsync)
		}
	}
	return nil
}

// besidePostfix adds Postfix, where it can be started.
func (b *bench) besidePostfix(all []contender) []contender {
	postfix, err := b.newPostfix()
	if err != nil {
		fmt.Println("  without Postfix:", err)
		return all
	}
	return append(all, postfix)
}

// takeTurns gives the turns of each contender. The first turn of each is for
// warming up. Another begins each round, and what one has left to be written
// is written before the next one.
func (b *bench) takeTurns(all []contender, sessions int) ([][]turn, error) {
	turns := make([][]turn, len(all))
	for round := range b.rounds + 1 {
		for i := range all {
			i = (i + round) % len(all)
			settle()
			t, err := all[i].turn(sessions)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", all[i].name(), err)
			}
			if round > 0 {
				turns[i] = append(turns[i], t)
			}
		}
	}
	return turns, nil
}

// A mailServer is a server with an address and Maildirs.
type mailServer struct {
	b       *bench
	title   string
	addr    string
	pid     int
	maildir func(account string) string
	own     func(dir string) error // makes a Maildir the server's
	done    func() bool            // nothing is on its way; nil: never anything is
	n       int
}

func (s *mailServer) name() string { return s.title }

// turn sends the letters into Maildirs that are new. It is over when the last
// one is in its Maildir.
func (s *mailServer) turn(sessions int) (t turn, err error) {
	s.n++
	account := func(m int) string { return accountName(s.n, m%s.b.mailboxes) }
	for m := range s.b.mailboxes {
		if err := s.makeMaildir(s.maildir(account(m))); err != nil {
			return t, err
		}
	}
	l := &load{addr: s.addr, sessions: sessions, letters: s.b.letters, rcpt: func(n int) string { return account(n) + "@" + domain }}
	before, err := treeCPU(s.pid)
	if err != nil {
		return t, err
	}
	start := time.Now()
	elapsed, err := l.run()
	if err != nil {
		return t, err
	}
	if s.done != nil {
		if err := until("deliver", s.done); err != nil {
			return t, err
		}
		elapsed = time.Since(start)
	}
	after, err := treeCPU(s.pid)
	if err != nil {
		return t, err
	}
	arrived := 0
	for m := range s.b.mailboxes {
		files, _ := os.ReadDir(filepath.Join(s.maildir(account(m)), "new"))
		arrived += len(files)
	}
	if arrived != s.b.letters {
		return t, fmt.Errorf("%d of %d letters arrived", arrived, s.b.letters)
	}
	return turn{Letters: s.b.letters, Elapsed: elapsed, CPU: after - before}, nil
}

func (s *mailServer) makeMaildir(dir string) error {
	for _, sub := range []string{"", "tmp", "new", "cur"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return err
		}
		if err := s.own(filepath.Join(dir, sub)); err != nil {
			return err
		}
	}
	return nil
}

// accountName is the m-th account of a turn.
func accountName(turn, m int) string { return fmt.Sprintf("u%dx%d", turn, m) }

// accounts are those of all turns: each has Maildirs that are new.
func (b *bench) accounts() (all []string) {
	for n := range (b.rounds+2)*(1+strings.Count(b.sessions, ",")) + 1 { // one to warm up, one to count

		for m := range b.mailboxes {
			all = append(all, accountName(n, m))
		}
	}
	return all
}

// otherBuilds are the directories of -versus.
func (b *bench) otherBuilds() []string {
	return strings.FieldsFunc(b.versus, func(r rune) bool { return r == ',' })
}

// newSmtpd is ours, of the build in a directory.
func (b *bench) newSmtpd(title, bin string) (*mailServer, error) {
	root := filepath.Join(b.dir, title)
	if err := os.MkdirAll(filepath.Join(root, "spool"), 0o700); err != nil {
		return nil, err
	}
	var users strings.Builder
	for _, account := range b.accounts() {
		fmt.Fprintf(&users, "%s:{PLAIN}x\n", account)
	}
	file := filepath.Join(root, "users")
	if err := os.WriteFile(file, []byte(users.String()), 0o600); err != nil {
		return nil, err
	}
	d, err := b.startOf(bin, "smtpd", "--spool", filepath.Join(root, "spool"), "--users", file, "--aliases", "/dev/null",
		"--hostname", "mx."+domain, "--domain", domain, "--listen", "smtp://127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	return &mailServer{
		b: b, title: title, addr: d.addr["smtp"], pid: d.cmd.Process.Pid,
		maildir: func(account string) string { return filepath.Join(root, "spool", "mail", account) },
		own:     func(string) error { return nil },
	}, nil
}
