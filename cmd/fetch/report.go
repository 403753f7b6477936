package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"

	"postbag/internal/config"
	"postbag/internal/fetch"
	"postbag/internal/status"
)

// A reporter tells what happens: a line for each account and each warning on
// standard error, progress on a terminal, or JSON on standard output.
type reporter struct {
	out, err io.Writer
	quiet    bool
	mu       sync.Mutex
	json     *json.Encoder // nil: text
	terminal bool          // progress can be seen, and erased

	folder      string
	done, total int
}

func newReporter(v *config.Values) *reporter {
	r := &reporter{out: v.Stdout, err: v.Stderr, quiet: v.Bool("quiet")}
	if v.Bool("json") {
		r.json = json.NewEncoder(v.Stdout)
		return r
	}
	if f, ok := v.Stderr.(*os.File); ok {
		st, err := f.Stat()
		r.terminal = err == nil && st.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "dumb" && !r.quiet
	}
	return r
}

// A line of JSON.
type line struct {
	Event   string `json:"event"`
	Source  string `json:"source,omitempty"`
	Folder  string `json:"folder,omitempty"`
	Key     string `json:"key,omitempty"`
	Size    int64  `json:"size,omitempty"`
	Path    string `json:"path,omitempty"`
	Text    string `json:"text,omitempty"`
	New     *int   `json:"new,omitempty"`
	Known   *int   `json:"known,omitempty"`
	Deleted *int   `json:"deleted,omitempty"`
}

func (r *reporter) event(e fetch.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e.Kind == fetch.Passed {
		r.summary(e.Source, e.Sum)
		return
	}
	if r.json != nil {
		l := line{Event: string(e.Kind), Source: e.Source.String(), Folder: e.Folder, Key: e.Key, Size: e.Size, Path: e.Path, Text: e.Text}
		if e.Kind == fetch.Began {
			l.New = &e.Total
		}
		r.json.Encode(l)
		return
	}
	switch e.Kind {
	case fetch.Warning:
		r.say("warning: " + e.Source.String() + ": " + e.Text)
	case fetch.Began:
		r.folder, r.done, r.total = e.Folder, 0, e.Total
	case fetch.Fetched:
		r.done++
		if r.terminal {
			fmt.Fprintf(r.err, "\r\033[K%s: %s %d/%d", e.Source, r.folder, r.done, r.total)
		}
	}
}

// warn tells of what belongs to no account.
func (r *reporter) warn(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.json != nil {
		r.json.Encode(line{Event: "warning", Text: text})
		return
	}
	r.say("warning: " + text)
}

func (r *reporter) say(text string) {
	if !r.quiet {
		r.erase()
		fmt.Fprintln(r.err, "fetch:", text)
	}
}

// erase takes progress off the terminal.
func (r *reporter) erase() {
	if r.terminal {
		io.WriteString(r.err, "\r\033[K")
	}
}

// summary is the last word on an account.
func (r *reporter) summary(src fetch.Source, sum fetch.Summary) {
	r.erase()
	if r.json != nil {
		r.json.Encode(line{Event: "end", Source: src.String(), Size: sum.Octets, New: &sum.Fetched, Known: &sum.Known, Deleted: &sum.Deleted})
		return
	}
	if nothing := sum.Fetched == 0 && sum.Deleted == 0; r.quiet || nothing && !r.terminal {
		return // cron would send a letter
	}
	fmt.Fprintf(r.err, "fetch: %s: %d new (%d octets), %d known, %d deleted\n", src, sum.Fetched, sum.Octets, sum.Known, sum.Deleted)
}

// worst prints all errors but the worst, which ends the program: one that stays
// is worse than one that may pass.
func (r *reporter) worst(errs []error) error {
	if len(errs) == 0 {
		return nil
	}
	worst := 0
	for i, err := range errs {
		if status.ExitCode(errs[worst]) == status.ExTempFail && status.ExitCode(err) != status.ExTempFail {
			worst = i
		}
	}
	for i, err := range errs {
		if i != worst {
			fmt.Fprintln(r.err, "fetch:", err)
		}
	}
	return errs[worst]
}
