package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// A step is one thing that a mailbox server is asked, timed.
type step struct {
	name string
	need string // capability, or ""
	run  func(s *imapSide) (time.Duration, error)
}

// An imapSide is one server with a copy of the mailbox, in one round.
type imapSide struct {
	b      *bench
	r      *mailReader
	user   string
	c      *imapClient
	caps   string
	serial int
}

// command is a step of one command.
func command(name, need, text string) step {
	return step{name, need, func(s *imapSide) (time.Duration, error) {
		return s.c.do(strings.ReplaceAll(text, "{part}", fmt.Sprintf("1:%d", s.b.part())))
	}}
}

// part is how many letters the steps take that are not for all.
func (b *bench) part() int { return min(b.folder, 10_000) }

// readSteps are in the order in which one warms the caches for the next.
var readSteps = []step{
	{"first SELECT ever", "", selectAnew},
	{"SELECT, one letter is new", "", selectChanged},
	{"SELECT, unchanged", "", selectUnchanged},
	command("FETCH 1:* FLAGS", "", "FETCH 1:* (FLAGS)"),
	command("FETCH 1:* ENVELOPE, cold", "", "FETCH 1:* (ENVELOPE)"),
	command("FETCH 1:* ENVELOPE, warm", "", "FETCH 1:* (ENVELOPE)"),
	command("FETCH 1:* BODYSTRUCTURE, cold", "", "FETCH 1:* (BODYSTRUCTURE)"),
	command("FETCH 1:* BODYSTRUCTURE, warm", "", "FETCH 1:* (BODYSTRUCTURE)"),
	command("FETCH 1:* dates and sizes", "", "FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE)"),
	{"ENVELOPE of all, new session", "", func(s *imapSide) (time.Duration, error) {
		if err := s.again(); err != nil {
			return 0, err
		}
		if _, err := s.c.do("SELECT INBOX"); err != nil {
			return 0, err
		}
		return s.c.do("FETCH 1:* (ENVELOPE)")
	}},
	command("SEARCH SUBJECT", "", "SEARCH SUBJECT garden"),
	command("SEARCH SUBJECT, again", "", "SEARCH SUBJECT river"),
	command("SEARCH SENTSINCE", "", "SEARCH SENTSINCE 1-Jun-2024"),
	command("SORT (DATE)", "SORT", "SORT (DATE) UTF-8 ALL"),
	command("SORT (SUBJECT)", "SORT", "SORT (SUBJECT) UTF-8 ALL"),
	command("THREAD REFERENCES", "THREAD=REFERENCES", "THREAD REFERENCES UTF-8 ALL"),
	command("SEARCH TEXT in 10,000", "", "SEARCH {part} TEXT "+needle),
	{"bodies of 5,000", "", func(s *imapSide) (time.Duration, error) {
		return s.c.do(fmt.Sprintf("FETCH 1:%d (BODY.PEEK[])", min(s.b.folder, 5000)))
	}},
}

// changeSteps change the folder.
var changeSteps = []step{
	{"first SELECT ever", "", selectAnew},
	command("STORE 1:* flag", "", "STORE 1:* +FLAGS.SILENT (\\Flagged)"),
	{"APPEND of 200", "", appendMany},
	{"COPY of 10,000", "", func(s *imapSide) (time.Duration, error) {
		if _, err := s.c.do("CREATE copies"); err != nil {
			return 0, err
		}
		return s.c.do(fmt.Sprintf("COPY 1:%d copies", s.b.part()))
	}},
	{"EXPUNGE of 10,000", "", func(s *imapSide) (time.Duration, error) {
		if _, err := s.c.do(fmt.Sprintf("STORE 1:%d +FLAGS.SILENT (\\Deleted)", s.b.part())); err != nil {
			return 0, err
		}
		return s.c.do("EXPUNGE")
	}},
}

// again logs in anew.
func (s *imapSide) again() (err error) {
	if s.c != nil {
		s.c.close()
	}
	if s.c, err = dialIMAP(s.r.imap, s.user, "secret"); err != nil {
		return fmt.Errorf("log in to %s: %w", s.r.title, err)
	}
	if _, err = s.c.do("CAPABILITY"); err == nil {
		s.caps = string(s.c.tail)
	}
	return err
}

func (s *imapSide) can(need string) bool {
	return need == "" || strings.Contains(s.caps+" ", " "+need+" ") || strings.Contains(s.caps, " "+need+"\r")
}

func selectAnew(s *imapSide) (time.Duration, error) {
	if err := s.again(); err != nil {
		return 0, err
	}
	return s.c.do("SELECT INBOX")
}

// selectChanged is a SELECT after a letter has come while nobody looked.
func selectChanged(s *imapSide) (time.Duration, error) {
	s.c.close()
	s.c = nil
	if err := s.deliver(); err != nil {
		return 0, err
	}
	return selectAnew(s)
}

// selectUnchanged waits until times of directories cannot be mistaken.
func selectUnchanged(s *imapSide) (time.Duration, error) {
	s.c.close()
	s.c = nil
	time.Sleep(3 * time.Second)
	return selectAnew(s)
}

// deliver puts a letter into new/ as other programs do.
func (s *imapSide) deliver() error {
	s.serial++
	name := fmt.Sprintf("%d.M%06dP%dR%d.bench", time.Now().Unix(), time.Now().Nanosecond()/1000, os.Getpid(), s.serial)
	dir := s.r.maildir(s.user)
	tmp := filepath.Join(dir, "tmp", name)
	if err := os.WriteFile(tmp, []byte("Subject: new\n\nnew\n"), 0o644); err != nil {
		return err
	}
	if err := s.r.own(tmp); err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Join(dir, "new", name))
}

// appendMany appends letters one by one.
func appendMany(s *imapSide) (time.Duration, error) {
	text := letterText()
	start := time.Now()
	for range 200 {
		if err := s.c.upload("INBOX", text); err != nil {
			return 0, err
		}
	}
	return time.Since(start), nil
}

// imapRead and imapChange measure a folder beside Dovecot.
func imapRead(b *bench) error   { return b.imap(readSteps) }
func imapChange(b *bench) error { return b.imap(changeSteps) }

// imap goes step by step, each server in turn on its own copy of the folder.
func (b *bench) imap(steps []step) error {
	sides, err := b.imapSides()
	if err != nil {
		return err
	}
	took := make([][][]float64, len(steps)) // step, side, round
	cpu := make([][]float64, len(sides))
	for i := range took {
		took[i] = make([][]float64, len(sides))
	}
	for round := range b.rounds {
		if err := b.imapRound(round, steps, sides, took, cpu); err != nil {
			return err
		}
	}
	reportSteps(b, steps, sides, took, cpu)
	return nil
}

// imapSides are our server, Dovecot where it can be, and other builds of ours.
func (b *bench) imapSides() ([]*imapSide, error) {
	ours, err := b.newReader("postbag", b.bin)
	if err != nil {
		return nil, err
	}
	sides := []*imapSide{{b: b, r: ours}}
	if !b.alone {
		dovecot, err := b.newDovecot()
		if err != nil {
			fmt.Println("  without Dovecot:", err)
		} else {
			sides = append(sides, &imapSide{b: b, r: dovecot})
		}
	}
	for _, bin := range b.otherBuilds() {
		other, err := b.newReader(filepath.Base(bin), bin)
		if err != nil {
			return nil, err
		}
		sides = append(sides, &imapSide{b: b, r: other})
	}
	return sides, nil
}

// imapRound takes all steps on fresh copies of the folder.
func (b *bench) imapRound(round int, steps []step, sides []*imapSide, took [][][]float64, cpu [][]float64) error {
	if err := b.freshFolders(round, sides); err != nil {
		return err
	}
	before := make([]float64, len(sides))
	for i, s := range sides {
		before[i], _ = s.r.cpu()
	}
	for n, st := range steps {
		for i := range sides {
			i = (i + round) % len(sides)
			s := sides[i]
			if n > 0 && !s.can(st.need) {
				continue
			}
			t, err := st.run(s)
			if err != nil {
				return fmt.Errorf("%s: %s: %w", s.r.title, st.name, err)
			}
			took[n][i] = append(took[n][i], t.Seconds())
		}
	}
	for i, s := range sides {
		s.c.close()
		s.c = nil
		after, err := s.r.restingCPU()
		if err != nil {
			return err
		}
		cpu[i] = append(cpu[i], after-before[i])
	}
	return nil
}

// freshFolders gives each side a new user with a full folder.
func (b *bench) freshFolders(round int, sides []*imapSide) error {
	var dirs []string
	for _, s := range sides {
		s.user = readerUser(round)
		dirs = append(dirs, s.r.maildir(s.user))
	}
	if err := fillMaildir(b.folder, dirs...); err != nil {
		return err
	}
	for i, s := range sides {
		for _, sub := range []string{"", "cur", "new", "tmp", ".."} {
			if err := s.r.own(filepath.Join(dirs[i], sub)); err != nil {
				return err
			}
		}
	}
	settle()
	return nil
}

func reportSteps(b *bench, steps []step, sides []*imapSide, took [][][]float64, cpu [][]float64) {
	reportHead(fmt.Sprintf("%d letters, seconds", b.folder), sides)
	for n, st := range steps {
		reportLine(st.name, took[n])
	}
	reportLine("processor time of the round", cpu)
}

// reportHead prints what stands above columns of sides.
func reportHead(title string, sides []*imapSide) {
	fmt.Printf("    %-34s", title)
	for _, s := range sides {
		fmt.Printf(" %10s", s.r.title)
	}
	for range sides[1:] {
		fmt.Print("   ratio")
	}
	fmt.Println()
}

// reportLine prints medians; the ratios say how many times the first is faster
// than the others, round by round.
func reportLine(name string, v [][]float64) {
	fmt.Printf("    %-34s", name)
	for _, side := range v {
		if len(side) == 0 {
			fmt.Printf(" %10s", "-")
			continue
		}
		fmt.Printf(" %10.4f", median(side))
	}
	for _, side := range v[1:] {
		if len(side) != len(v[0]) {
			fmt.Printf(" %7s", "-")
			continue
		}
		var ratio []float64
		for i := range side {
			ratio = append(ratio, side[i]/v[0][i])
		}
		fmt.Printf(" %7.2f", median(ratio))
	}
	fmt.Println()
}
