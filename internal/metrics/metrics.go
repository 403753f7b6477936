// Package metrics counts what happens and tells it in the text format of
// Prometheus (version 0.0.4).
//
//	set := &metrics.Set{}
//	received := set.Counters("postbag_received_total", "letters taken", "proto")
//	received.With("ESMTP").Inc()
//	set.WriteTo(w)
//
// Counting is one atomic addition, after the look-up of its labels where there
// are any. The values of labels are bounded: from maxSeries series of a metric on,
// whatever comes new is counted as "other". A nil metric counts nothing, so that
// who counts need not ask whether anybody listens.
//
// It is small on purpose. The library of Prometheus does more than six small
// programs need, each of which would start with its registry and its protobuf.
package metrics

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// maxSeries bounds the combinations of labels of one metric. Clients choose some
// of the values, and every series costs memory here and in Prometheus.
const maxSeries = 100

// separator of the values in a key: what clients choose does not have it.
const separator = "\x00"

// other stands for the labels that come after maxSeries.
const other = "other"

// A Set is what is told together. The zero Set is empty. It is safe for concurrent
// use.
type Set struct {
	mu  sync.Mutex
	all []family
}

// A family is a metric with its series.
type family interface {
	write(*Page)
}

func (s *Set) add(f family) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, f)
}

// WriteTo writes all metrics, in the order in which they were made.
func (s *Set) WriteTo(w io.Writer) (int64, error) {
	s.mu.Lock()
	all := slices.Clone(s.all)
	s.mu.Unlock()
	var p Page
	for _, f := range all {
		f.write(&p)
	}
	n, err := io.WriteString(w, p.b.String())
	return int64(n), err
}

// A Counter only grows. A nil one counts nothing.
type Counter struct{ n atomic.Uint64 }

// Inc counts one.
func (c *Counter) Inc() {
	if c != nil {
		c.n.Add(1)
	}
}

// Counters are a metric with labels: a Counter for each combination of values.
// Nil ones count nothing.
type Counters struct {
	name, help string
	labels     []string
	series     sync.Map // labels as they are written -> *Counter
	size       atomic.Int64
}

// Counters makes a metric.
func (s *Set) Counters(name, help string, labels ...string) *Counters {
	c := &Counters{name: name, help: help, labels: labels}
	s.add(c)
	return c
}

// With gives the Counter of a combination, one value for each label.
func (c *Counters) With(values ...string) *Counter {
	if c == nil {
		return nil
	}
	key := strings.ToValidUTF8(strings.Join(values, separator), "?")
	if n, ok := c.series.Load(key); ok {
		return n.(*Counter)
	}
	if c.size.Add(1) > maxSeries {
		key = strings.Join(slices.Repeat([]string{other}, len(values)), separator)
	}
	n, _ := c.series.LoadOrStore(key, new(Counter))
	return n.(*Counter)
}

func (c *Counters) write(p *Page) {
	p.Head(c.name, c.help, "counter")
	var keys []string
	c.series.Range(func(key, _ any) bool {
		keys = append(keys, key.(string))
		return true
	})
	slices.Sort(keys)
	for _, key := range keys {
		n, _ := c.series.Load(key)
		p.Sample(c.name, pairs(c.labels, strings.Split(key, separator)), float64(n.(*Counter).n.Load()))
	}
}

// pairs joins labels and values.
func pairs(labels, values []string) []string {
	var all []string
	for i, l := range labels {
		all = append(all, l, values[i])
	}
	return all
}

// A Gauge goes up and down. A nil one counts nothing.
type Gauge struct {
	name, help string
	n          atomic.Int64
}

// Gauge makes a metric.
func (s *Set) Gauge(name, help string) *Gauge {
	g := &Gauge{name: name, help: help}
	s.add(g)
	return g
}

// Add adds, or takes away.
func (g *Gauge) Add(n int64) {
	if g != nil {
		g.n.Add(n)
	}
}

func (g *Gauge) write(p *Page) {
	p.Head(g.name, g.help, "gauge")
	p.Sample(g.name, nil, float64(g.n.Load()))
}

// A Histogram counts durations by how long they were. A nil one counts nothing.
type Histogram struct {
	name, help string
	bounds     []time.Duration
	counts     []atomic.Uint64 // one more than bounds
	sum        atomic.Int64    // nanoseconds
}

// Histogram makes a metric whose buckets end at bounds, which grow.
func (s *Set) Histogram(name, help string, bounds ...time.Duration) *Histogram {
	h := &Histogram{name: name, help: help, bounds: bounds, counts: make([]atomic.Uint64, len(bounds)+1)}
	s.add(h)
	return h
}

// Observe counts one duration.
func (h *Histogram) Observe(d time.Duration) {
	if h == nil {
		return
	}
	at, _ := slices.BinarySearch(h.bounds, d)
	h.counts[at].Add(1)
	h.sum.Add(int64(d))
}

func (h *Histogram) write(p *Page) {
	p.Head(h.name, h.help, "histogram")
	counts := make([]uint64, len(h.counts))
	for i := range h.counts {
		counts[i] = h.counts[i].Load()
	}
	p.Buckets(h.name, h.bounds, counts, time.Duration(h.sum.Load()))
}

// Collect makes metrics that are read when they are told.
func (s *Set) Collect(read func(*Page)) { s.add(collected(read)) }

type collected func(*Page)

func (c collected) write(p *Page) { c(p) }

// A Page is what is being told.
type Page struct{ b strings.Builder }

// Head begins a metric; kind is counter, gauge or histogram.
func (p *Page) Head(name, help, kind string) {
	fmt.Fprintf(&p.b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
}

// Sample tells one value; labels are names and values in turn.
func (p *Page) Sample(name string, labels []string, value float64) {
	p.b.WriteString(name)
	for i := 0; i+1 < len(labels); i += 2 {
		p.b.WriteByte("{,"[min(i, 1)])
		fmt.Fprintf(&p.b, `%s="%s"`, labels[i], escaped.Replace(labels[i+1]))
	}
	if len(labels) > 0 {
		p.b.WriteByte('}')
	}
	p.b.WriteString(" " + strconv.FormatFloat(value, 'g', -1, 64) + "\n")
}

// escaped is how a value stands in a label.
var escaped = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

// Buckets tells a histogram; counts has one more than bounds, for what is beyond
// the last.
func (p *Page) Buckets(name string, bounds []time.Duration, counts []uint64, sum time.Duration) {
	var total uint64
	for i, n := range counts {
		total += n
		end := math.Inf(1)
		if i < len(bounds) {
			end = bounds[i].Seconds()
		}
		p.Sample(name+"_bucket", []string{"le", strconv.FormatFloat(end, 'g', -1, 64)}, float64(total))
	}
	p.Sample(name+"_sum", nil, sum.Seconds())
	p.Sample(name+"_count", nil, float64(total))
}
