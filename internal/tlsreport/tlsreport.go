// Package tlsreport tells other domains how TLS with their hosts went (RFC 8460):
// it counts sessions, and once a day sends a report to each domain that asks for
// one by a TXT record at _smtp._tls.
//
// # What it promises
//
// Nothing that mail depends on: no error here delays a letter. Counts are written
// down now and then, so a crash loses those of a few minutes; a report may come
// twice after one, with the same Report-ID. What cannot be sent is tried again for
// a day.
//
// # Files
//
//	DIR/2026-11-28.json	what was counted on a day (UTC), until it is sent
//
// A domain that asks for no report goes from the file of its day when the reports
// are made.
package tlsreport

import (
	"encoding/json"
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"postbag/internal/durable"
)

// Kinds of policies, RFC 8460 section 4.4.
const (
	STS      = "sts"
	TLSA     = "tlsa"
	NoPolicy = "no-policy-found"
)

// A Policy is what a session went by.
type Policy struct {
	Kind    string   `json:"policy-type"`
	Strings []string `json:"policy-string,omitempty"` // the records, or the lines of the policy
	Domain  string   `json:"policy-domain"`
	MX      []string `json:"mx-host,omitempty"` // patterns of a policy of MTA-STS
}

// A Failure is why a session was not secured as its policy has it.
type Failure struct {
	Result string `json:"result-type"`
	From   string `json:"sending-mta-ip,omitempty"`
	MX     string `json:"receiving-mx-hostname,omitempty"`
	To     string `json:"receiving-ip,omitempty"`
	Count  int64  `json:"failed-session-count"`
	Reason string `json:"failure-reason-code,omitempty"`
}

// A Session is one attempt to agree on TLS with a host of a domain.
type Session struct {
	Domain  string // of the recipients, in ASCII: who may want a report
	Policy  Policy
	Failure *Failure // nil: it was secured
}

// A tally counts the sessions under one policy.
type tally struct {
	Policy   Policy     `json:"policy"`
	Summary  summary    `json:"summary"`
	Failures []*Failure `json:"failure-details,omitempty"`
}

type summary struct {
	Good int64 `json:"total-successful-session-count"`
	Bad  int64 `json:"total-failure-session-count"`
}

// A domain is what was counted for one.
type domain struct {
	Tallies []*tally `json:"policies"`
	Sent    []string `json:"sent,omitempty"` // where the report of the day has gone already
}

// Bounds on what is remembered of a day. What is beyond them is not reported in
// detail, or not at all.
const (
	maxDomains  = 10_000
	maxTallies  = 20  // of a domain
	maxFailures = 100 // different ones under a policy
)

// A Recorder counts sessions. FS and Dir must be set; it is safe for concurrent
// use. One process at a time records in a directory.
type Recorder struct {
	FS  *durable.FS
	Dir string
	Now func() time.Time // nil: time.Now

	mu      sync.Mutex
	day     string // of domains
	domains map[string]*domain
	changed bool  // since it was saved
	lost    error // the first day that could not be saved when it was over
}

func (r *Recorder) now() time.Time {
	if r.Now == nil {
		return time.Now()
	}
	return r.Now()
}

const dayForm = "2006-01-02"

// Note counts a session.
func (r *Recorder) Note(s Session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.turn()
	d := r.domains[s.Domain]
	if d == nil {
		if len(r.domains) >= maxDomains {
			return
		}
		d = &domain{}
		r.domains[s.Domain] = d
	}
	d.count(s)
	r.changed = true
}

// turn begins a day. What was counted on it before this process began is read.
func (r *Recorder) turn() {
	today := r.now().UTC().Format(dayForm)
	if today == r.day {
		return
	}
	if err := r.save(); err != nil && r.lost == nil {
		r.lost = err
	}
	r.day, r.changed = today, false
	r.domains, _ = r.load(today)
	if r.domains == nil {
		r.domains = map[string]*domain{}
	}
}

func (d *domain) count(s Session) {
	i := slices.IndexFunc(d.Tallies, func(t *tally) bool { return t.Policy.same(s.Policy) })
	if i < 0 {
		if len(d.Tallies) >= maxTallies {
			return
		}
		i = len(d.Tallies)
		d.Tallies = append(d.Tallies, &tally{Policy: s.Policy})
	}
	t := d.Tallies[i]
	if s.Failure == nil {
		t.Summary.Good++
		return
	}
	t.Summary.Bad++
	t.fail(*s.Failure)
}

// fail counts a failure among those that are the same.
func (t *tally) fail(f Failure) {
	for _, known := range t.Failures {
		f.Count = known.Count
		if *known == f {
			known.Count++
			return
		}
	}
	if f.Count = 1; len(t.Failures) < maxFailures {
		t.Failures = append(t.Failures, &f)
	}
}

func (p Policy) same(q Policy) bool {
	return p.Kind == q.Kind && p.Domain == q.Domain && slices.Equal(p.Strings, q.Strings)
}

// Save writes down what has been counted.
func (r *Recorder) Save() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.day != "" {
		r.turn()
	}
	err := errors.Join(r.lost, r.save())
	r.lost = nil
	return err
}

func (r *Recorder) save() error {
	if !r.changed {
		return nil
	}
	if err := r.store(r.day, r.domains); err != nil {
		return err
	}
	r.changed = false
	return nil
}

func (r *Recorder) path(day string) string { return filepath.Join(r.Dir, day+".json") }

func (r *Recorder) store(day string, domains map[string]*domain) error {
	data, err := json.Marshal(domains)
	if err != nil {
		return fmt.Errorf("keep tls results of %s: %w", day, err)
	}
	err = r.FS.WriteFile(r.path(day), data, 0o600)
	if errors.Is(err, iofs.ErrNotExist) {
		if err := r.FS.MkdirAll(r.Dir, 0o700); err != nil {
			return err
		}
		err = r.FS.WriteFile(r.path(day), data, 0o600)
	}
	return err
}

func (r *Recorder) load(day string) (domains map[string]*domain, err error) {
	data, err := os.ReadFile(r.path(day))
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, &domains); err != nil {
		return nil, fmt.Errorf("read tls results of %s: %w", day, err)
	}
	return domains, nil
}

// over are the days that have ended and of which something is left, the oldest
// first.
func (r *Recorder) over() ([]string, error) {
	files, err := os.ReadDir(r.Dir)
	if errors.Is(err, iofs.ErrNotExist) {
		return nil, nil
	}
	var days []string
	today := r.now().UTC().Format(dayForm)
	for _, f := range files {
		day, ok := strings.CutSuffix(f.Name(), ".json")
		if _, perr := time.Parse(dayForm, day); ok && perr == nil && day < today {
			days = append(days, day)
		}
	}
	return days, err
}
