// Bench measures what PERFORMANCE.md claims: `make bench`.
//
// Each figure is taken beside the same work done by the bare disk and by the
// program that people use today (Postfix, Dovecot), where that is installed and
// we are root, with the settings it is shipped with. The contenders take turns
// within one run, because a figure of one hour says nothing about another; what
// counts are the medians and the ratios, which are taken turn by turn.
//
// Everything lies in one folder (-dir, default .bench) on the disk that is
// measured, and is removed at the end. Servers listen on the loopback only. What
// the load generator costs is not counted, but it has the same processors.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// options are the flags.
type options struct {
	bin, dir  string
	versus    string // directories of other builds
	only      string
	rounds    int
	letters   int // of a turn
	mailboxes int // that they go to
	folder    int // letters of the large folder
	idle      int // connections that do nothing
	idlers    int
	keep      bool
	alone     bool // without Postfix and Dovecot
	sessions  string
	hosts     string
}

// A figure is one thing that can be measured.
type figure struct {
	name, what string
	creates    bool // it measures how files are made
	run        func(b *bench) error
}

// figures are all of them, in the order in which they run.
var figures = []figure{
	{"receive", "letters of 4 KiB into local Maildirs", true, receive},
	{"relay", "letters of 4 KiB through the queue to other hosts", true, relay},
	{"deferred", "letters of 4 KiB into an empty and a full queue", true, deferred},
	{"connections", "memory of sessions that do nothing", false, connections},
	{"imap", "one large folder", false, imapRead},
	{"change", "one large folder that is changed", false, imapChange},
	{"idle", "sessions that wait in one folder", false, idle},
	{"pop3", "one large folder by POP3", false, pop3},
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == childArg {
		fail(bareDisk(os.Args[2:]))
		return
	}
	var o options
	flag.StringVar(&o.bin, "bin", "bin", "directory of the programs")
	flag.StringVar(&o.versus, "versus", "", "directories of other builds that take turns too, separated by commas; not in all figures")
	flag.StringVar(&o.dir, "dir", ".bench", "directory to work in, on the disk to be measured")
	flag.StringVar(&o.only, "only", "", "figures to take, separated by commas: "+names())
	flag.IntVar(&o.rounds, "rounds", 5, "turns of each contender")
	flag.IntVar(&o.letters, "letters", 3000, "letters of a turn")
	flag.IntVar(&o.mailboxes, "mailboxes", 1, "Maildirs that the letters of a turn go to")
	flag.IntVar(&o.folder, "folder", 100_000, "letters of the large folder")
	flag.IntVar(&o.idle, "idle", 10_000, "connections that do nothing")
	flag.IntVar(&o.idlers, "idlers", 500, "sessions that wait")
	flag.StringVar(&o.sessions, "sessions", "1,10,50", "sessions at the same time")
	flag.BoolVar(&o.alone, "alone", false, "without Postfix and Dovecot, for what is quick")
	flag.StringVar(&o.hosts, "hosts", "1,200", "hosts that relayed letters go to")
	flag.BoolVar(&o.keep, "keep", false, "keep the directory")
	flag.Parse()
	fail(run(o))
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func names() string {
	var all []string
	for _, f := range figures {
		all = append(all, f.name)
	}
	return strings.Join(all, ", ")
}

// A bench is one run.
type bench struct {
	options
	cleanups []func()
}

func run(o options) (err error) {
	if o.bin, err = filepath.Abs(o.bin); err != nil {
		return err
	}
	if o.dir, err = filepath.Abs(o.dir); err != nil {
		return err
	}
	chosen, err := choose(o.only)
	if err != nil {
		return err
	}
	b := &bench{options: o}
	defer b.cleanup()
	go b.cleanupWhenInterrupted()
	describe()
	for _, f := range chosen {
		fmt.Printf("\n%s: %s\n", f.name, f.what)
		if err := b.take(f); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
	}
	return nil
}

// take takes one figure, with servers and a directory of its own.
func (b *bench) take(f figure) error {
	o := b.options
	defer func() {
		b.cleanup()
		b.options = o
	}()
	if f.creates {
		forget()
	}
	b.dir = filepath.Join(o.dir, f.name)
	if err := os.MkdirAll(b.dir, 0o755); err != nil {
		return err
	}
	return f.run(b)
}

func choose(only string) ([]figure, error) {
	if only == "" {
		return figures, nil
	}
	var chosen []figure
	for _, name := range strings.Split(only, ",") {
		i := slices.IndexFunc(figures, func(f figure) bool { return f.name == name })
		if i < 0 {
			return nil, fmt.Errorf("figure %q: none of %s", name, names())
		}
		chosen = append(chosen, figures[i])
	}
	return chosen, nil
}

// atEnd has f called when the figure has been taken, the last first.
func (b *bench) atEnd(f func()) { b.cleanups = append(b.cleanups, f) }

func (b *bench) cleanup() {
	for _, f := range slices.Backward(b.cleanups) {
		f()
	}
	b.cleanups = nil
	if !b.keep {
		os.RemoveAll(b.dir)
	}
}

func (b *bench) cleanupWhenInterrupted() {
	c := make(chan os.Signal, 1)
	signal.Notify(c, os.Interrupt, syscall.SIGTERM)
	<-c
	b.cleanup()
	fail(errors.New("interrupted"))
}
