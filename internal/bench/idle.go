package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// idleFolder is how many letters the folder has at most that sessions wait in.
const idleFolder = 1000

// A waiter is a kind of session that waits.
type waiter struct {
	name     string
	tls      bool
	compress bool
}

// waiters are the kinds that are measured, of Dovecot only the first: the others
// would need a certificate and a plugin.
var waiters = []waiter{{name: "plain"}, {name: "TLS", tls: true}, {name: "COMPRESS", compress: true}}

// idle measures what sessions of one user cost that have a folder selected and
// wait, and how soon the first and the last of them hear of a new letter.
func idle(b *bench) error {
	b.folder = min(b.folder, idleFolder)
	fmt.Printf("    %-24s %14s %16s %16s\n", fmt.Sprintf("%d sessions", b.idlers), "KiB a session", "first hears, ms", "last hears, ms")
	root := b.dir
	for _, kind := range waiters {
		b.dir = filepath.Join(root, kind.name)
		if err := b.idleOf(kind); err != nil {
			return fmt.Errorf("%s: %w", kind.name, err)
		}
		b.alone = true
	}
	return nil
}

// idleOf measures one kind, with servers of its own.
func (b *bench) idleOf(kind waiter) error {
	if err := os.MkdirAll(b.dir, 0o755); err != nil {
		return err
	}
	sides, err := b.imapSides()
	if err != nil {
		return err
	}
	if err := b.freshFolders(0, sides); err != nil {
		return err
	}
	for _, s := range sides {
		each, first, last, err := s.idle(kind)
		if err != nil {
			return fmt.Errorf("%s: %w", s.r.title, err)
		}
		fmt.Printf("    %-24s %14.1f %16.1f %16.1f\n", s.r.title+", "+kind.name, each, first, last)
	}
	return nil
}

// dial begins a session of a kind and selects the folder.
func (k waiter) dial(addr, user string) (*imapClient, error) {
	c, err := greetIMAP(addr)
	if err == nil && k.tls {
		err = c.startTLS()
	}
	if err == nil {
		_, err = c.do("LOGIN " + user + " secret")
	}
	if err == nil && k.compress {
		err = c.compress()
	}
	if err == nil {
		_, err = c.do("SELECT INBOX")
	}
	return c, err
}

func (s *imapSide) idle(kind waiter) (each, first, last float64, err error) {
	s.c, err = kind.dial(s.r.imap, s.user) // whatever is made once is there now
	if err != nil {
		return 0, 0, 0, err
	}
	before, err := s.restingMemory()
	if err != nil {
		return 0, 0, 0, err
	}
	conns := make([]*imapClient, s.b.idlers)
	for i := range conns {
		if conns[i], err = kind.dial(s.r.imap, s.user); err != nil {
			return 0, 0, 0, err
		}
		defer conns[i].nc.Close()
	}
	after, err := s.restingMemory()
	if err != nil {
		return 0, 0, 0, err
	}
	heard, err := s.hear(conns)
	each = float64(after-before) / 1024 / float64(len(conns))
	return each, 1000 * slices.Min(heard), 1000 * slices.Max(heard), err
}

// restingMemory waits until memory that is not used has been given back.
func (s *imapSide) restingMemory() (int64, error) {
	time.Sleep(10 * time.Second)
	return s.r.memory()
}

// hear has sessions wait in IDLE and puts a letter into their folder: how many
// seconds after it each hears of it.
func (s *imapSide) hear(conns []*imapClient) ([]float64, error) {
	for _, c := range conns {
		if _, err := c.nc.Write([]byte("i IDLE\r\n")); err != nil {
			return nil, err
		}
		if err := c.readTo("+ "); err != nil {
			return nil, err
		}
	}
	time.Sleep(3 * time.Second)
	heard, errs := make([]time.Time, len(conns)), make([]error, len(conns))
	var all sync.WaitGroup
	for i, c := range conns {
		all.Go(func() { errs[i] = c.hearEXISTS(); heard[i] = time.Now() })
	}
	if err := s.deliver(); err != nil {
		return nil, err
	}
	delivered := time.Now()
	all.Wait()
	took := make([]float64, len(conns))
	for i := range conns {
		if errs[i] != nil {
			return nil, errs[i]
		}
		took[i] = heard[i].Sub(delivered).Seconds()
	}
	return took, nil
}

func (c *imapClient) hearEXISTS() error {
	var seen []byte
	c.nc.SetReadDeadline(time.Now().Add(patience))
	buf := make([]byte, 512)
	for !bytes.Contains(seen, []byte(" EXISTS\r\n")) {
		n, err := c.nc.Read(buf)
		if err != nil {
			return fmt.Errorf("wait for EXISTS: %w", err)
		}
		seen = append(seen, buf[:n]...)
	}
	return nil
}
