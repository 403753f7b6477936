package main

import (
	"bytes"
	"fmt"
	"net"
	"strings"
	"time"
)

// A popClient is one POP3 connection that understands as little as it can.
type popClient struct {
	nc net.Conn
	in []byte
}

func dialPOP(addr string) (*popClient, error) {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	c := &popClient{nc: nc, in: make([]byte, 64<<10)}
	return c, c.await(1, lineEnd)
}

// What ends the reply to a command.
const (
	lineEnd = "\r\n"
	textEnd = "\r\n.\r\n"
)

// ask sends commands at once and reads the replies, which end so.
func (c *popClient) ask(end string, commands ...string) error {
	if _, err := c.nc.Write([]byte(strings.Join(commands, lineEnd) + lineEnd)); err != nil {
		return err
	}
	if err := c.await(len(commands), end); err != nil {
		return fmt.Errorf("%s: %w", commands[0], err)
	}
	return nil
}

// await reads until so many replies have ended.
func (c *popClient) await(replies int, end string) error {
	c.nc.SetReadDeadline(time.Now().Add(patience))
	held := 0 // octets of the last reading that an end may begin with
	begun := false
	for replies > 0 {
		n, err := c.nc.Read(c.in[held:])
		if err != nil {
			return err
		}
		seen := c.in[:held+n]
		if !begun && bytes.HasPrefix(seen, []byte("-ERR")) {
			return fmt.Errorf("%.100q", seen)
		}
		begun = true
		replies -= bytes.Count(seen, []byte(end))
		if last := bytes.LastIndex(seen, []byte(end)); last >= 0 {
			seen = seen[last+len(end):]
		}
		held = copy(c.in, seen[max(0, len(seen)-len(end)+1):])
	}
	return nil
}

// A popSide is one server with a copy of the mailbox.
type popSide struct {
	*imapSide
	c *popClient
}

// popSteps are in the order in which they are taken; each is timed.
var popSteps = []struct {
	name string
	run  func(s *popSide) error
}{
	{"login, STAT, UIDL: first ever", (*popSide).open},
	{"login, STAT, UIDL: again", func(s *popSide) error {
		if err := s.c.ask(lineEnd, "QUIT"); err != nil {
			return err
		}
		s.c.nc.Close()
		return s.open()
	}},
	{"RETR of all, one by one", func(s *popSide) error { return s.retrieve(1) }},
	{"RETR of all, 100 at a time", func(s *popSide) error { return s.retrieve(100) }},
	{"DELE of all, QUIT", func(s *popSide) error {
		if err := s.each(100, lineEnd, "DELE"); err != nil {
			return err
		}
		return s.c.ask(lineEnd, "QUIT")
	}},
}

func (s *popSide) open() (err error) {
	if s.c, err = dialPOP(s.r.pop); err != nil {
		return err
	}
	for _, command := range []string{"USER " + s.user, "PASS secret", "STAT"} {
		if err := s.c.ask(lineEnd, command); err != nil {
			return err
		}
	}
	return s.c.ask(textEnd, "UIDL")
}

func (s *popSide) retrieve(atOnce int) error { return s.each(atOnce, textEnd, "RETR") }

// each sends a command for every letter, some at a time.
func (s *popSide) each(atOnce int, end, verb string) error {
	var batch []string
	for n := 1; n <= s.b.folder; n++ {
		batch = append(batch, fmt.Sprintf("%s %d", verb, n))
		if len(batch) < atOnce && n < s.b.folder {
			continue
		}
		if err := s.c.ask(end, batch...); err != nil {
			return err
		}
		batch = batch[:0]
	}
	return nil
}

// pop3 measures a folder by POP3 beside Dovecot.
func pop3(b *bench) error {
	sides, err := b.imapSides()
	if err != nil {
		return err
	}
	b.folder = b.part()
	took := make([][][]float64, len(popSteps)) // step, side, round
	cpu := make([][]float64, len(sides))
	for i := range took {
		took[i] = make([][]float64, len(sides))
	}
	for round := range b.rounds {
		if err := b.freshFolders(round, sides); err != nil {
			return err
		}
		pops := make([]*popSide, len(sides))
		for i, s := range sides {
			pops[i] = &popSide{imapSide: s}
		}
		before := make([]float64, len(sides))
		for i, s := range sides {
			before[i], _ = s.r.cpu()
		}
		for n, st := range popSteps {
			for i := range pops {
				i = (i + round) % len(pops)
				s, start := pops[i], time.Now()
				if err := st.run(s); err != nil {
					return fmt.Errorf("%s: %s: %w", s.r.title, st.name, err)
				}
				took[n][i] = append(took[n][i], time.Since(start).Seconds())
			}
		}
		for i, s := range sides {
			after, err := s.r.restingCPU()
			if err != nil {
				return err
			}
			cpu[i] = append(cpu[i], after-before[i])
		}
	}
	reportHead(fmt.Sprintf("%d letters, seconds", b.folder), sides)
	for n, st := range popSteps {
		reportLine(st.name, took[n])
	}
	reportLine("processor time of the round", cpu)
	return nil
}
