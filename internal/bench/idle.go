package main

import (
	"bytes"
	"fmt"
	"slices"
	"sync"
	"time"
)

// idleFolder is how many letters the folder has at most that sessions wait in.
const idleFolder = 1000

// idle measures what sessions of one user cost that have a folder selected and
// wait, and how soon the first and the last of them hear of a new letter.
func idle(b *bench) error {
	sides, err := b.imapSides()
	if err != nil {
		return err
	}
	b.folder = min(b.folder, idleFolder)
	if err := b.freshFolders(0, sides); err != nil {
		return err
	}
	fmt.Printf("    %-12s %14s %16s %16s\n", fmt.Sprintf("%d sessions", b.idlers), "KiB a session", "first hears, ms", "last hears, ms")
	for _, s := range sides {
		each, first, last, err := s.idle()
		if err != nil {
			return fmt.Errorf("%s: %w", s.r.title, err)
		}
		fmt.Printf("    %-12s %14.1f %16.1f %16.1f\n", s.r.title, each, first, last)
	}
	return nil
}

func (s *imapSide) idle() (each, first, last float64, err error) {
	if err := s.again(); err != nil { // whatever is made once is there now
		return 0, 0, 0, err
	}
	if _, err := s.c.do("SELECT INBOX"); err != nil {
		return 0, 0, 0, err
	}
	before, err := s.restingMemory()
	if err != nil {
		return 0, 0, 0, err
	}
	conns := make([]*imapClient, s.b.idlers)
	for i := range conns {
		if conns[i], err = dialIMAP(s.r.imap, s.user, "secret"); err != nil {
			return 0, 0, 0, err
		}
		defer conns[i].nc.Close()
		if _, err = conns[i].do("SELECT INBOX"); err != nil {
			return 0, 0, 0, err
		}
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
